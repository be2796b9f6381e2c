"""From a run's TeacherConfig to a teacher for its environment, contract converted and signs probed."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator

from absl import logging

from rpd_jax.config import ConfigError, EnvConfig, TeacherConfig
from rpd_jax.config.validation import check
from rpd_jax.envs.base import VectorEnv
from rpd_jax.ipc.supervised import SidecarFailed
from rpd_jax.types import Teacher, TeacherError
from teachers.base import make
from teachers.converted import ConvertedTeacher
from teachers.probe import probe_actions


def teacher_factory(config: TeacherConfig) -> TeacherOf:
    """What makes the teacher for an environment (what `rpd_jax.train` takes).

    It moves the environment to check the action contract where the teacher brings a contract of its own or is told
    to probe, and the environment can say where its tool is.

    Raises (when called):
      ConfigError: unknown teacher, one that cannot be loaded or reached, a setting it refuses, a contract that cannot
        be converted, or a sign that the probe contradicts.
    """

    return TeacherOf(config)


class TeacherOf:
    """Makes the teacher of some settings, see `teacher_factory`."""

    def __init__(self, config: TeacherConfig) -> None:
        self._config = config

    def __call__(self, env: VectorEnv) -> Teacher:
        with self._in_one_line():
            return _build(self._config, env)

    def look(self, env: EnvConfig) -> None:
        """Raises ConfigError for what is seen to be wrong before an environment is started."""
        settings = dataclasses.replace(self._config)
        check(settings, "teacher.")  # which also makes "a,b" the list that it stands for
        with self._in_one_line():
            settings.look(env)

    @contextlib.contextmanager
    def _in_one_line(self) -> Iterator[None]:
        try:
            yield
        except (ValueError, OSError, SidecarFailed, TeacherError) as error:
            raise ConfigError(f"teacher.name={self._config.name!r} cannot work: {error}") from error


def _build(config: TeacherConfig, env: VectorEnv) -> Teacher:
    teacher = make(env.spec, config)
    if teacher.spec.contract is not None:
        teacher = ConvertedTeacher(teacher, env.spec, config.gripper)
    located = any("tcp_pose" in env.spec.layout.get(key, {}) for key in ("proprio", "state"))
    if config.probe and env.spec.contract is not None and located:
        probe_actions(env)
        logging.info("probe: the arm moves as the action contract of %s says", env.spec.name)
    return teacher
