"""What ManiSkill's two vector environments share: the request to their workers, and the reply."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rpd_jax.envs.base import EnvSpec
from rpd_jax.envs.maniskill.settings import Settings, env_spec, start_advice
from rpd_jax.envs.process_env import ProcessEnv
from rpd_jax.envs.workers import Request
from rpd_jax.ipc.process import SidecarProcess


class ManiSkillEnv(ProcessEnv):
    """See there."""

    title = "ManiSkill"

    def __init__(self, settings: Settings) -> None:
        """Starts the workers; see `ProcessEnv`."""
        self._settings = settings
        assert settings.processes is not None, "`Settings` fills it in"
        super().__init__(
            settings.seeds,
            settings.processes,
            drawn=("rgb",) if settings.draws else (),
            random_ages=settings.random_ages,
            deadline_s=settings.deadline_s,
        )

    def _make_request(self, worker: int) -> Request:
        return "make", self._settings.request(self._rows[worker])

    def _specify(self, made: Mapping[str, Any]) -> EnvSpec:
        return env_spec(self._settings, made)

    def _start_error(self, error: Exception, process: SidecarProcess) -> Exception:
        if advice := start_advice(error, process.log_tail()):
            return RuntimeError(advice)
        return super()._start_error(error, process)
