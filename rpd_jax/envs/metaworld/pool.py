"""Meta-World's tasks as a vector environment whose simulators run in worker processes, which import no jax.

Needs `make metaworld-env`, or another environment with Meta-World (Python 3.11 or newer, with msgpack) in `env.python`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rpd_jax.envs.metaworld import tasks
from rpd_jax.envs.process_venv import VenvEnv

_WORKER = "rpd_jax.envs.metaworld.worker"


class MetaWorldVectorEnv(VenvEnv):
    """One task, see `process_venv.VenvEnv`.

    Observations have the entry "expert", float32 [B, 4]: what the task's script does there, as a function of the state
    alone, clipped to the box. Students do not see it; `teacher.name=expert` answers with it.
    """

    venv, cameras, proprio, contract = tasks.VENV, tasks.CAMERAS, tasks.PROPRIO, None

    def _module(self) -> str:
        return _WORKER

    def _fields(self) -> Mapping[str, Any]:
        return {"max_episode_steps": self._config.max_episode_steps or tasks.MAX_EPISODE_STEPS}
