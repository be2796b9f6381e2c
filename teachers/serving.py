"""The serving file beside a fine-tuned model: how it is to be served, and what it was made of.

`teachers.openvla`'s server obeys it, and both teachers compare it with the environment and with the files that are
there. Models that were fine-tuned by earlier versions have `trained_on.json` alone. Neither jax nor torch is needed.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from rpd_jax.config.validation import ConfigError, Settings, from_dict, setting
from rpd_jax.runs.files import read_json, write_json
from teachers.digest import digest

SERVING_FILE = "serving.json"


@dataclasses.dataclass
class Serving(Settings):
    """What a fine-tuning knows of its model; empty fields are not known, or do not apply."""

    steps: int = setting(0, low=0)  # done
    planned: int = setting(0, low=0)  # of the whole run; more than `steps` where it is not finished
    cameras: dict[str, str] = dataclasses.field(default_factory=dict)  # the model's image -> entry of an observation
    statistics_key: str = ""  # the data set in whose units actions are
    prompt: str = ""  # style, see `OpenVLASettings`
    frames: str = ""  # how frames were made, likewise
    center_crop: bool = False  # it was trained with random crops
    base: str = ""  # the checkpoint that was fine-tuned, as it was given
    base_digest: str = ""  # `digest` of its directory
    trained_on: dict[str, Any] = dataclasses.field(default_factory=dict)  # a `TrainedOn`, as JSON

    def write(self, directory: Path) -> None:
        """Writes the file."""
        write_json(directory / SERVING_FILE, dataclasses.asdict(self))

    def followed(self, given: Any) -> dict[str, Any]:
        """How the model is served by settings or flags of the same names: as they say, else as the file does."""
        names = ("center_crop", "frames", "prompt", "statistics_key")
        return {name: getattr(given, name) or getattr(self, name) for name in names}

    def remarks(self, base: Path | None = None) -> list[str]:
        """One line for each thing that makes the model another than its fine-tuning meant.

        Args:
          base: directory of the checkpoint that an adapter is added to.
        """
        found = []
        if self.steps < self.planned:
            found.append(f"its fine-tuning is unfinished: {self.steps} of {self.planned} steps")
        if base is not None and self.base_digest and (now := digest(base)) != self.base_digest:
            found.append(
                f"was fine-tuned from {self.base}, digest {self.base_digest}; {base} is another, of digest {now}: "
                "expect it to fail"
            )
        return found


def read_serving(directory: Path) -> Serving | None:
    """The file of a model's directory; None if it has none. Raises ConfigError for a damaged one."""
    path = directory / SERVING_FILE
    if not path.is_file():
        return None
    values = read_json(path)
    trained_on = values.pop("trained_on", {})
    if not isinstance(trained_on, dict):
        raise ConfigError(f"{path}: trained_on={trained_on!r} cannot work: it must be a JSON object")
    try:
        return dataclasses.replace(from_dict(Serving, values), trained_on=trained_on)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
