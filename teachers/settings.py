"""From a run's TeacherConfig to a teacher for its environment, contract converted and signs probed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from absl import logging

from rpd_jax.config import ConfigError, TeacherConfig
from rpd_jax.envs.base import VectorEnv
from rpd_jax.ipc.supervised import SidecarFailed
from rpd_jax.types import Teacher, TeacherError
from teachers.base import make
from teachers.converted import ConvertedTeacher
from teachers.probe import probe_actions

CORRUPTION = ("noise", "bias", "aim_error", "aim_error_fraction", "aim_direction", "lag", "gripper_shift")

IN_PROCESS = ("scripted", "toy", "policy", "octo")
"""Teachers that are made of nothing but files and this process."""

SETTINGS: dict[str, Callable[[TeacherConfig], dict[str, Any]]] = {
    "scripted": lambda c: {name: getattr(c, name) for name in (*CORRUPTION, "samples", "std", "min_std")},
    "octo": lambda c: {
        name: getattr(c, name) for name in ("path", "contract", "statistics_key", "samples", "std", "min_std")
    },
    "openvla": lambda c: {
        name: getattr(c, name)
        for name in (
            *("path", "contract", "statistics_key", "samples", "std", "min_std"),
            *("python", "devices", "rows", "cpus", "log", "socket", "dtype", "center_crop", "frames", "oft", "prompt"),
            "ready_seconds",
        )
    },
    "policy": lambda c: {"directory": c.path, "samples": c.samples},
    "remote": lambda c: {
        name: getattr(c, name)
        for name in (
            *("address", "protocol", "request", "frame_size", "connections", "ready_seconds", "deadline_seconds"),
            *("contract", "samples", "std", "min_std"),
        )
    },
    "toy": lambda c: {"noise": c.noise, "bias": c.bias},
}
"""What each kind of teacher is told of a TeacherConfig."""


def starts(config: TeacherConfig) -> str:
    """What making the teacher would start, connect to or fetch, in words; empty: nothing outside this process."""
    if config.name == "remote":
        return f"connects to {config.address}"
    if config.socket:
        return f"connects to the socket {config.socket}"
    if config.path.startswith("hf://"):
        return f"fetches {config.path}"
    if config.name not in IN_PROCESS:
        log = f", whose output goes to {config.log}" if config.log else ""
        return f"starts {config.python or 'a process of this interpreter'}{log}"
    return ""


def teacher_factory(config: TeacherConfig) -> Callable[[VectorEnv], Teacher]:
    """A function that makes the teacher for an environment (what `rpd_jax.train` takes).

    It moves the environment to check the action contract where the teacher brings a contract of its own or is told
    to probe, and the environment can say where its tool is.

    Raises (when called):
      ConfigError: unknown teacher, one that cannot be loaded or reached, a setting it refuses, a contract that cannot
        be converted, or a sign that the probe contradicts.
    """

    def build(env: VectorEnv) -> Teacher:
        try:
            return _build(config, env)
        except (ValueError, OSError, SidecarFailed, TeacherError) as error:
            raise ConfigError(f"teacher.name={config.name!r} cannot work: {error}") from error

    return build


def _build(config: TeacherConfig, env: VectorEnv) -> Teacher:
    settings = SETTINGS.get(config.name, lambda c: {})(config)
    teacher = make(config.name, env.spec, settings)
    if teacher.spec.contract is not None:
        teacher = ConvertedTeacher(teacher, env.spec, config.gripper)
    if config.probe and env.spec.contract is not None and "tcp_pose" in env.spec.layout.get("proprio", {}):
        probe_actions(env)
        logging.info("probe: the arm moves as the action contract of %s says", env.spec.name)
    return teacher
