"""The hub's client: addresses, the token, and failures in one line."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from rpd_jax.config.extras import need
from rpd_jax.config.validation import ConfigError

if TYPE_CHECKING:
    import huggingface_hub

DATASETS = "datasets/"
_HTTP = ("httpx", "httpx2", "httpcore", "huggingface_hub", "requests", "urllib3")  # whose errors are the connection's
_LENGTH = 300  # of what the hub says, characters


class Address(NamedTuple):
    """Of a repository."""

    name: str  # "USER/NAME"
    repo_type: str  # "model" or "dataset"

    def __str__(self) -> str:
        """As `address` reads it."""
        return f"{DATASETS if self.repo_type == 'dataset' else ''}{self.name}"


def address(text: str) -> Address:
    """Reads "USER/NAME", the address of a model, or "datasets/USER/NAME". Raises ConfigError for any other text.

    The extra `hub` must be there, see `need_hub`.
    """
    from huggingface_hub.utils import HFValidationError, validate_repo_id

    name = text.removeprefix(DATASETS)
    right = "USER/NAME, or datasets/USER/NAME for a recording"
    if name.count("/") != 1 or not all(name.split("/")):
        raise ConfigError(f"repo={text!r} is no name of a repository: it must be {right}")
    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise ConfigError(f"repo={text!r} is no name of a repository: {_line(error)}") from error
    return Address(name, "dataset" if name != text else "model")


def need_hub(what: str) -> None:
    """Raises ConfigError with the command to install the extra, unless it is there."""
    need("hub", what)


def client(endpoint: str | None = None) -> huggingface_hub.HfApi:
    """The client of an endpoint; None: that of HF_ENDPOINT, or the hub's own."""
    from huggingface_hub import HfApi

    return HfApi(endpoint=endpoint, library_name="rpd_jax")


def need_token() -> None:
    """Raises ConfigError unless this user has logged in, or HF_TOKEN is set."""
    from huggingface_hub import get_token

    if not get_token():
        raise ConfigError(
            "there is no token to push with: run `hf auth login` once, or set HF_TOKEN to one with write access"
        )


def file_sizes(info: Any) -> dict[str, int | None]:
    """The files of a repository in bytes, of what `HfApi.repo_info` answers; None unless that was asked for sizes."""
    return {each.rfilename: each.size for each in info.siblings or ()}


@contextlib.contextmanager
def explained(where: Address, what: str) -> Iterator[None]:
    """Turns failures of the hub and of the connection into a ConfigError of one line; `what`: "pushed", "pulled"."""
    from huggingface_hub.utils import HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError

    failed = f"repo={str(where)!r} cannot be {what}"
    try:
        yield
    except ConfigError:
        raise
    except RepositoryNotFoundError as error:
        other = "" if where.repo_type == "dataset" else f"; a recording's address is {DATASETS}{where.name}"
        raise ConfigError(f"{failed}: there is none of that name that this token may read{other}") from error
    except RevisionNotFoundError as error:
        raise ConfigError(f"{failed}: it has no such revision: name a branch, a tag or a commit") from error
    except HfHubHTTPError as error:
        status = getattr(error.response, "status_code", None)
        if status in (401, 403):
            reason = f"the token is not accepted, or may not do this ({status}): check it with `hf auth whoami`"
        elif status == 412:
            reason = "somebody else changed it meanwhile: push again"
        else:
            reason = _line(error)
        raise ConfigError(f"{failed}: {reason}") from error
    except Exception as error:  # which ones there are depends on the HTTP client
        if isinstance(error, OSError | ValueError) or _module(error) in _HTTP:
            raise ConfigError(f"{failed} ({type(error).__name__}): {_line(error)}") from error
        raise


def _module(error: Any) -> str:
    return type(error).__module__.partition(".")[0]


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:_LENGTH]
