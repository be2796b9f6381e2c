"""vlagents' agent servers (0.3): JSON texts, with arrays in base64, as arguments of one call over RPyC 6.

Only texts, numbers and truth values cross, all of which RPyC sends by value: pickling is switched off here, and the
server need not allow it, though it does. Names of a request are "robot/camera" for frames, "robot/joints" and
"robot/xyzrpy" for states ([D]), "robot/gripper" for a single number, and "language_instruction". A robot's
answer is its action with its gripper behind it, if that is apart.

One agent serves all connections, each from a thread of its own, and is closed whenever one of them ends: an agent for
which that matters needs one connection and a long deadline.
"""

from __future__ import annotations

import base64
import contextlib
import json
import socket
import time
from typing import Any

import numpy as np
from absl import logging

from rpd_jax.ipc.messages import ProtocolError, RemoteError
from rpd_jax.ipc.text import described, one_line
from teachers.remote.adapters import Adapter, Address, Fields, NotReady, array_from

INSTRUCTION = "language_instruction"
STATES = ("joints", "xyzrpy")
GRIPPER = "gripper"
_POLL_S, _FIRST_NEWS_S, _NEWS_S = 0.2, 5.0, 60.0  # while an agent loads its model: asking, and saying so in the log
_NOT_RPYC_6 = "invalid message type"  # how rpyc's own ValueError begins when a message's first byte says no kind of it
_PRIVATE = {  # the server may call nothing here
    "allow_pickle": False,
    "allow_safe_attrs": False,
    "allow_exposed_attrs": False,
    "allow_getattr": False,
    "import_custom_exceptions": False,
    "instantiate_custom_exceptions": False,
}


class VlagentsConnection:
    """An RPyC connection to an agent."""

    def __init__(self, address: Address, timeout_s: float) -> None:
        """Connects. Raises OSError where no such server answers."""
        try:
            import rpyc
        except ImportError as error:
            raise ValueError(
                f"teacher.protocol='vlagents' needs rpyc: pip install rpd_jax[vlagents] ({error})"
            ) from None
        self._timed = rpyc.timed
        self._socket = address.open(timeout_s)
        settings = {**_PRIVATE, "sync_request_timeout": timeout_s}
        self._connection = rpyc.utils.factory.connect_stream(rpyc.SocketStream(self._socket), config=settings)
        self._url, self._ready, self._root = address.url, False, None

    def ask(self, fields: Fields, timeout_s: float, ready_s: float | None = None) -> np.ndarray:
        """See `adapters.Connection`. The first question waits until the agent has loaded its model."""
        robot, text = encode(fields)
        if not self._ready:
            self._wait_until_ready(timeout_s if ready_s is None else ready_s)
            self._ready = True
        return decode(self._call("act", timeout_s, str, text), robot)

    def close(self) -> None:
        """Ends the connection. Idempotent."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # wakes a thread that waits for an answer
        self._connection.close()

    def _wait_until_ready(self, ready_s: float) -> None:
        began = time.monotonic()
        news = began + _FIRST_NEWS_S
        remaining = ready_s
        while not self._is_initialized(remaining, ready_s):
            now = time.monotonic()
            remaining = began + ready_s - now
            if now >= news:
                logging.info(
                    "the agent at %s is not ready yet, after %.0f s: waiting for at most %g s (teacher.ready_seconds)",
                    *(self._url, now - began, ready_s),
                )
                news = now + _NEWS_S
            time.sleep(min(_POLL_S, max(0.0, remaining)))

    def _is_initialized(self, remaining_s: float, ready_s: float) -> bool:
        try:
            if remaining_s > 0:
                return self._call("is_initialized", remaining_s, bool)
        except TimeoutError:
            if self._root is None:  # it is no such server, or has just been started
                raise
        raise NotReady(f"its agent was not ready within {ready_s:g} s (teacher.ready_seconds)") from None

    def _call(self, name: str, timeout_s: float, kind: type, *arguments: str) -> Any:
        """What a method of the server returns, which must be of this very type: no reference to anything there."""
        try:
            if self._root is None:
                self._root = self._connection.root
            answer = self._timed(getattr(self._root, name), timeout_s)(*arguments).value
        except EOFError as error:
            raise ConnectionError(f"it closed the connection: {one_line(error)}") from None
        except BaseException as error:  # whatever is raised there is raised here, SystemExit too
            if hasattr(error, "_remote_tb"):
                raise _told(error) from None
            if not isinstance(error, Exception):
                raise
            if isinstance(error, TimeoutError):
                if self._root is None:
                    raise TimeoutError("it lets connect and answers nothing: is it a vlagents server?") from None
                raise TimeoutError(f"no answer to {name}() within {timeout_s:g} s") from None
            if isinstance(error, OSError):
                raise
            if isinstance(error, ValueError) and str(error).startswith(_NOT_RPYC_6):
                raise ProtocolError(
                    f"it does not speak RPyC 6, whose messages differ from RPyC 5's: {error}"
                ) from error
            raise ProtocolError(f"what it sends is not RPyC's: {described(error)}") from error
        if type(answer) is not kind:
            raise ProtocolError(f"{name}() must answer with a {kind.__name__}")
        return answer


def _told(error: BaseException) -> RemoteError:
    """An error of the server, which names and describes it as it likes."""
    try:  # not str(error), which RPyC extends by the traceback
        return RemoteError(type(error).__name__, BaseException.__str__(error), str(error._remote_tb))  # type: ignore[attr-defined]  # RPyC's
    except Exception:
        return RemoteError("Exception", "one that cannot be shown")


def encode(fields: Fields) -> tuple[str, str]:
    """The robot's name, and the JSON text of an observation. Raises ValueError for names that mean nothing there."""
    single: dict[str, Any] = {"cameras": {}, "camera_data_type": "raw"}
    instruction: str | None = None  # what a policy without language is sent
    robots: set[str] = set()
    for name, value in fields.items():
        robot, separator, part = name.partition("/")
        if isinstance(value, str) and name == INSTRUCTION:
            instruction = value
        elif separator and isinstance(value, np.ndarray) and value.ndim == 3:
            single["cameras"][part] = value
            robots.add(robot)
        elif separator and isinstance(value, np.ndarray) and part in STATES:
            single[part] = value
            robots.add(robot)
        elif separator and isinstance(value, np.ndarray) and part == GRIPPER and value.size == 1:
            single[part] = float(value.item())
            robots.add(robot)
        else:
            raise ValueError(
                f"teacher.request: vlagents has no {name!r} for this: need ROBOT/CAMERA for frames, "
                f"ROBOT/{' or ROBOT/'.join(STATES)} for states, ROBOT/{GRIPPER} for one number, {INSTRUCTION} for the "
                "instruction"
            )
    if len(robots) != 1:
        raise ValueError(f"teacher.request: vlagents needs one robot, got {sorted(robots)}")
    robot = robots.pop()
    return robot, json.dumps({"obs": {robot: single}, INSTRUCTION: instruction}, default=_plain)


def decode(text: str, robot: str) -> np.ndarray:
    """The chunk [horizon, A] of a robot's actions in an answer. Raises ProtocolError."""
    try:
        parts = [step[robot] for step in json.loads(text)["acts"]]
        pairs = [(_array(part["action"]), part["gripper"]) for part in parts]
        actions = [action if gripper is None else np.append(action, _array(gripper)) for action, gripper in pairs]
        with np.errstate(over="ignore"):  # what is too large becomes infinite, and no label
            return np.stack(actions).astype(np.float32)
    except Exception as error:  # an answer can be wrong in many ways: missing, of another type, nested too deeply ...
        message = f"{type(error).__name__} {one_line(error)}"
        raise ProtocolError(f"an answer without actions of robot {robot!r}: {message} in {text[:200]!r}") from None


def _plain(value: Any) -> dict[str, Any]:
    if isinstance(value, np.ndarray):
        data = base64.b64encode(value.tobytes()).decode()
        return {"__numpy__": data, "dtype": value.dtype.str, "shape": value.shape}
    raise TypeError(f"cannot send {type(value).__name__}")


def _array(value: Any) -> Any:
    """An array or number of an answer. Others, in an action's "info", may be of any kind, and are not read."""
    if isinstance(value, dict):
        return array_from(base64.b64decode(value["__numpy__"]), value.get("dtype"), value.get("shape"))
    return value


VLAGENTS = Adapter(
    name="vlagents",
    schemes=("rpyc",),
    request=("right/rgb_side=rgb", f"{INSTRUCTION}=instruction"),
    encode=encode,
    connect=VlagentsConnection,
)
