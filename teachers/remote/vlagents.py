"""vlagents' agent servers (0.3): JSON texts, with arrays in base64, as arguments of one call over RPyC 6.

Only texts, numbers and truth values cross, all of which RPyC sends by value: pickling is switched off here, and the
server need not allow it, though it does. Names of a request are "robot/camera" for frames, "robot/joints" and
"robot/xyzrpy" for states (float32 [D]), "robot/gripper" for a single number, and "language_instruction". A robot's
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

from rpd_jax.ipc.messages import ProtocolError, RemoteError
from teachers.remote.adapters import Adapter, Address, Fields, array_from

INSTRUCTION = "language_instruction"
STATES = ("joints", "xyzrpy")
GRIPPER = "gripper"
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
        self._ready = False

    def ask(self, fields: Fields, timeout_s: float) -> np.ndarray:
        """See `adapters.Connection`. The first question waits until the agent has loaded its model."""
        deadline = time.monotonic() + timeout_s
        while not self._ready:
            self._ready = self._call("is_initialized", deadline, bool)
            if not self._ready:
                time.sleep(min(0.2, max(0.0, deadline - time.monotonic())))
        robot, text = encode(fields)
        return decode(self._call("act", deadline, str, text), robot)

    def close(self) -> None:
        """Ends the connection. Idempotent."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # wakes a thread that waits for an answer
        self._connection.close()

    def _call(self, name: str, deadline: float, kind: type, *arguments: str) -> Any:
        """What a method of the server returns, which must be of this very type: no reference to anything there."""
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            raise TimeoutError("no answer in time")
        try:
            answer = self._timed(getattr(self._connection.root, name), remaining)(*arguments).value
        except EOFError as error:
            raise ConnectionError(f"it closed the connection: {error}") from error
        except Exception as error:
            if hasattr(error, "_remote_tb"):
                text = str(error).splitlines()
                raise RemoteError(type(error).__name__, text[0] if text else "", error._remote_tb) from None
            if isinstance(error, ValueError) and str(error).startswith(_NOT_RPYC_6):
                raise ProtocolError(
                    f"it does not speak RPyC 6, whose messages differ from RPyC 5's: {error}"
                ) from error
            raise
        if type(answer) is not kind:
            raise ProtocolError(f"{name}() must answer with a {kind.__name__}")
        return answer


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
        return np.stack(actions).astype(np.float32)
    except (KeyError, TypeError, ValueError) as error:
        message = f"{type(error).__name__} {error}"
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
    connect=VlagentsConnection,
)
