"""Writes openpi_client.json and vlagents.json, beside this: what the packages of these names put on the wire.

    python tests/golden/remote/record.py (openpi|vlagents)

To be run in an environment with that package; nothing of this project is imported. What was sent is written out below,
as the tests compare it with what our adapters send and read (`tests/teachers/test_remote_packages.py`).
"""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import json
import platform
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

FRAME = (np.arange(18, dtype=np.uint8) * 14).reshape(2, 3, 3)
ACTIONS = (np.arange(21, dtype=np.float32) / 8 - 1).reshape(3, 7)  # eighths: exact in binary
NUMBERS = np.arange(6).reshape(2, 3)

OPENPI_SENT: Mapping[str, dict[Any, Any]] = {
    "observation": {"observation/image": FRAME, "observation/state": ACTIONS[0], "prompt": "pick up the cube"},
    "dtypes": {name: NUMBERS.astype(name) for name in ("?", "i1", "<i8", ">i2", "<u4", "<f2", "<f4", ">f4", "<f8")},
    "layouts": {
        "fortran": np.asfortranarray(NUMBERS),
        "strided": NUMBERS[:, ::2],
        "backwards": NUMBERS[::-1],
        "0-d": np.array(3.5, np.float32),
        "empty": np.zeros((0, 7), np.float32),
    },
    "bytes and texts": {"text": "roter Würfel", "bytes": b"\x00\xff", b"key": 1, "none": None, "list": [1, 2.5, True]},
}
"""Messages that both sides can send."""

OPENPI_RECEIVED: Mapping[str, dict[Any, Any]] = {
    "answer": {
        "actions": ACTIONS,
        "state": np.float32(0.5),
        "policy_timing": {"infer_ms": 1.5},
        "server_timing": {"infer_ms": 2.5, "prev_total_ms": 3.5},
    },
    "greeting": {
        "names": np.array(["left", "right"]),
        "bytes": np.array([b"a", b"bc"]),
        "day": np.array(["2020-02-29"], "M8[D]"),
        "count": np.int64(3),
        "flag": np.bool_(True),
    },
    "nothing": {},
}
"""Messages that only servers send: numpy's scalars, and arrays that are no numbers."""

FITTED: tuple[tuple[int, int, int], ...] = ((2, 3, 4), (5, 8, 16), (8, 5, 16), (7, 7, 4), (9, 4, 5), (4, 4, 4))
"""Height and width of a frame, and the square that it is fitted into."""

LIBERO: Mapping[str, Any] = {
    "size": 256,
    "eef_pos": ACTIONS[0, :3],
    "eef_axis_angle": ACTIONS[1, :3],
    "gripper_qpos": ACTIONS[2, :2],
    "instruction": "pick up the black bowl and place it on the plate",
}
"""An observation of LIBERO's environment; its frames are `libero_frames`."""

VLAGENTS_ASKED: Mapping[str, dict[str, Any]] = {
    "chunk": {"right/rgb_side": FRAME, "language_instruction": "chunk"},
    "one action": {"right/rgb_side": FRAME, "right/joints": ACTIONS[0], "language_instruction": "one action"},
    "gripper": {"arm/wrist": FRAME[:, ::-1], "arm/xyzrpy": ACTIONS[1, :6], "arm/gripper": np.array([0.5], np.float32)},
}
"""Observations, under the names that our requests have for their parts."""


def frame(height: int, width: int) -> np.ndarray:
    """A frame that is not smooth."""
    return (np.arange(height * width * 3) * 37 % 251).astype(np.uint8).reshape(height, width, 3)


def libero_frames() -> tuple[np.ndarray, np.ndarray]:
    """Of both cameras, turned by 180 degrees as LIBERO's environment gives them."""
    agentview = frame(LIBERO["size"], LIBERO["size"])
    return agentview, np.ascontiguousarray(agentview.transpose(1, 0, 2))


def libero_element() -> dict[str, Any]:
    """What openpi's LIBERO client makes of it, by the package's functions: MuJoCo's numbers are doubles."""
    from openpi_client import image_tools

    upright = [np.ascontiguousarray(raw[::-1, ::-1]) for raw in libero_frames()]
    image, wrist = (image_tools.convert_to_uint8(image_tools.resize_with_pad(each, 224, 224)) for each in upright)
    parts = [LIBERO[name].astype(np.float64) for name in ("eef_pos", "eef_axis_angle", "gripper_qpos")]
    return {
        "observation/image": image,
        "observation/wrist_image": wrist,
        "observation/state": np.concatenate(parts),
        "prompt": LIBERO["instruction"],
    }


def vlagents_answer(instruction: str | None) -> np.ndarray:
    """What the recorded agent answers, [horizon, 7]; the gripper is the last number."""
    return ACTIONS[:1] if instruction == "one action" else ACTIONS


def record_openpi() -> dict[str, Any]:
    from openpi_client import image_tools, msgpack_numpy

    packed = {name: _text(msgpack_numpy.packb(message)) for name, message in (OPENPI_SENT | OPENPI_RECEIVED).items()}
    fitted = {str(sizes): _text(image_tools.resize_with_pad(frame(*sizes[:2]), *sizes[2:] * 2)) for sizes in FITTED}
    made_with = _versions(("openpi-client", "msgpack", "numpy", "pillow"))
    libero = hashlib.sha256(msgpack_numpy.packb(libero_element())).hexdigest()
    return {"made with": made_with, "packed": packed, "fitted": fitted, "libero": libero}


def record_vlagents() -> dict[str, Any]:
    """Its own client asks its own server, over the loopback, and both texts are kept."""
    from rpyc.utils.server import ThreadedServer
    from vlagents.client import RemoteAgent
    from vlagents.policies.interface import Act, Agent, Obs, SingleObs
    from vlagents.server import AgentService

    class Recorded(Agent):
        def act(self, obs: Obs) -> Act:
            (robot,) = obs.obs
            answer = vlagents_answer(obs.language_instruction)
            if obs.language_instruction == "one action":
                return self._single_step_act(robot, answer[0])
            infos = [{"names": np.array(["left", "right"]), "mean": answer.mean()}, None, None]
            return self._chunk_act(robot, answer[:, :6], grippers=answer[:, 6], infos=infos)

    class Recording(AgentService):
        texts: tuple[str, str] = ("", "")

        def exposed_act(self, text: str) -> str:
            answer = super().exposed_act(text)
            Recording.texts = (str(text), answer)
            return answer

    server = ThreadedServer(Recording(Recorded(""), "recorded"), hostname="127.0.0.1", port=0)
    threading.Thread(target=server.start, daemon=True).start()
    while not server.active:
        time.sleep(0.01)
    client = RemoteAgent("127.0.0.1", server.port, "recorded", image_size=None)
    exchanges = {}
    for name, fields in VLAGENTS_ASKED.items():
        parts = {key.partition("/")[2]: value for key, value in fields.items() if "/" in key}
        (robot,) = {key.partition("/")[0] for key in fields if "/" in key}
        states = {key: value for key, value in parts.items() if key in ("joints", "xyzrpy")}
        if "gripper" in parts:
            states["gripper"] = float(parts["gripper"][0])
        cameras = {key: value for key, value in parts.items() if value.ndim == 3}
        single = SingleObs(cameras=cameras, **states)
        client.act(Obs(obs={robot: single}, language_instruction=fields.get("language_instruction")))
        asked, answered = Recording.texts
        exchanges[name] = {"robot": robot, "asked": asked, "answered": answered}
    client.close()
    server.close()
    return {"made with": _versions(("vlagents", "json_numpy", "rpyc", "numpy")), "exchanges": exchanges}


def _text(data: bytes | np.ndarray) -> str:
    return base64.b64encode(data if isinstance(data, bytes) else data.tobytes()).decode()


def _versions(packages: Iterable[str]) -> dict[str, str]:
    versions = {package: importlib.metadata.version(package) for package in packages}
    return versions | {"python": platform.python_version()}


if __name__ == "__main__":
    recorder, file = {
        "openpi": (record_openpi, "openpi_client.json"),
        "vlagents": (record_vlagents, "vlagents.json"),
    }[sys.argv[1]]
    Path(__file__).with_name(file).write_text(json.dumps(recorder(), indent=1, ensure_ascii=False) + "\n")
