"""Settings that only ManiSkill's tasks have."""

# No `from __future__ import annotations` here: config flags of ml_collections, in others' programs, read field types.
import dataclasses

from rpd_jax.config.env import EnvConfig
from rpd_jax.config.validation import require, setting
from rpd_jax.envs.camera import CameraSettings

SIMULATORS = ("cpu", "gpu")


@dataclasses.dataclass
class ManiSkillConfig(CameraSettings, EnvConfig):
    """Beside the fields of `EnvConfig`."""

    control_mode: str = setting("pd_ee_delta_pose", required=True)  # as ManiSkill calls it
    # An episode has so many times more steps, each moving and turning the tool by so much less; the gripper is as ever.
    horizon_scale: int = setting(1, low=1)
    simulator: str = setting("cpu", choices=SIMULATORS)  # gpu: one process, all environments on JAX's first GPU
    processes: int | None = setting(None, low=1)  # simulator processes; None: one per CPU core
    deadline_seconds: float = setting(60.0, above=0)  # a simulator process that needs longer for a step is restarted

    def check_together(self) -> None:
        super().check_together()
        if self.simulator == "gpu":
            require(self.processes is None, "env.processes", self.processes, "None where env.simulator is 'gpu'")
