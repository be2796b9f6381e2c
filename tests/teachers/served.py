"""Policy servers in processes of their own, and what is sent to them."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from arm_spec import arm_spec
from kinematic_arm import pick_cube_spec

from rpd_jax.envs.base import ArraySpec, EnvSpec, slices
from teachers.conventions import LIBERO_OSC

NEEDS = {"openpi": "websockets", "vlagents": "rpyc"}
SCHEMES = {"openpi": "ws", "vlagents": "rpyc"}
SIZE = 16


class Server:
    """A policy server in a process of its own, which can be killed and started again at the same port."""

    def __init__(self, protocol: str, *arguments: str) -> None:
        self._protocol, self._arguments, self.port = protocol, arguments, 0
        self.start()

    def start(self) -> None:
        program = str(Path(__file__).parent / "policy_server.py")
        command = [sys.executable, program, self._protocol, str(self.port), *self._arguments]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()

    @property
    def url(self) -> str:
        return f"{SCHEMES[self._protocol]}://127.0.0.1:{self.port}"


@contextlib.contextmanager
def running(protocol: str, *arguments: str) -> Iterator[Server]:
    pytest.importorskip(NEEDS[protocol])
    server = Server(protocol, *arguments)
    try:
        yield server
    finally:
        server.kill()


def spec_with_frames() -> EnvSpec:
    return pick_cube_spec(frame_shape=(SIZE, SIZE, 3))


def libero_spec(size: int = SIZE) -> EnvSpec:
    """Two cameras and proprioception under the names that LIBERO has for them."""
    return arm_spec(
        name="test:Bowl-v1",
        instruction="pick up the bowl",
        contract=LIBERO_OSC,
        frame_shape=(size, size, 3),
        further_cameras={"rgb_wrist": (size, size, 3)},
        observation={"state": ArraySpec((6,), "float32"), "proprio": ArraySpec((8,), "float32")},
        layout={"proprio": slices({"eef_pos": 3, "eef_axis_angle": 3, "gripper_qpos": 2})},
    )


def frames(size: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (size, SIZE, SIZE, 3), np.uint8)
