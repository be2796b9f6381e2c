"""Settings of scripted teachers: the ways to make them worse, so that a teacher's quality is a variable."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from rpd_jax.config.env import EnvConfig
from rpd_jax.config.teacher import TeacherConfig
from rpd_jax.config.validation import setting
from rpd_jax.envs.suite import SEPARATOR
from teachers.sampling import Sampling


@dataclasses.dataclass
class ScriptedSettings(Sampling, TeacherConfig):
    """All zero: the teacher as written.

    `noise` is what averaging over samples removes; everything else is a systematic error, the same for the same
    observation, that no averaging removes. `bias`, `aim_error` and `aim_direction` are in the world's axes.
    """

    factory: ClassVar[str] = "teachers.scripted:make"

    name: str = setting("scripted", required=True)
    # Standard deviation on all seven dimensions, in action units; the sum is clipped to the action box.
    noise: float = setting(0.0, low=0)
    # Metres; added to the object's position as the teacher believes it, and to where it carries the object.
    bias: tuple[float, ...] = setting((0.0, 0.0, 0.0), lengths=(3,))
    # Metres by which the believed position is off, in a part of the workspace only, and until the object is held.
    aim_error: float = setting(0.0, low=0)
    aim_error_fraction: float = setting(0.0, low=0, high=1)  # share of the episodes' starting positions: that part
    aim_direction: tuple[float, ...] = setting((1.0, 0.0, 0.0), lengths=(3,))  # of aim_error; normalised
    lag: int = setting(0, low=0)  # the teacher sees the observation of this many steps ago
    gripper_shift: float = 0.0  # metres; positive closes late (only when nearer than needed), negative early

    def look(self, env: EnvConfig) -> None:
        """See `TeacherConfig.look`."""
        from teachers.scripted import check_task

        suite, _, tasks = env.name.partition(":")
        if suite not in ("libero", "own"):  # by the words of its instruction; by the environment's own specification
            for task in tasks.split(SEPARATOR):
                check_task(task)
