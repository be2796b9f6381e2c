"""Settings that every kind of teacher has. Those of one kind stand beside it, in `teachers/`."""

# No `from __future__ import annotations` here: config flags of ml_collections, in others' programs, read field types.
import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from rpd_jax.config.env import EnvConfig
from rpd_jax.config.tagged import Tagged
from rpd_jax.config.validation import setting

GRIPPERS = ("fixed", "reference")


@dataclasses.dataclass(frozen=True)
class Acting:
    """How a teacher acts by itself, in evaluation, videos and collection; see the settings of the same names."""

    replan_every: int = 1
    ensemble: float | None = None
    clipped_share: float = 0.05

    @property
    def note(self) -> str:
        """What differs from executing the first action of every step's own answer, in words; else empty."""
        if self.ensemble is not None:
            return f"ensemble={self.ensemble:g}"
        return f"replan_every={self.replan_every}" if self.replan_every > 1 else ""


EVERY_STEP = Acting()


@dataclasses.dataclass
class TeacherConfig(Tagged, section="teacher"):
    """Who labels the rollouts, and how; `name` decides which further settings there are.

    `TeacherConfig(name="octo", path="octo-nano")` is an `OctoSettings`. A kind of your own is a subclass that
    `teachers.register_teacher` is told of.
    """

    factory: ClassVar[str | Callable[..., Any]]  # (env_spec, settings) -> Teacher, or where to import it from
    needs_environment: ClassVar[bool] = True  # False: the factory may be given None for env_spec

    name: str = setting("scripted", required=True)  # the kind, which decides what further settings there are
    # fixed: mapped into the environment's range; reference: left as the teacher gives it.
    gripper: str = setting("fixed", choices=GRIPPERS)
    probe: bool = True  # move the arm at start-up and check the action contract's signs
    # Observations per call, at most; fewer where they are queried while the rollout is being collected.
    batch_size: int = setting(16_384, low=1)
    # Where the teacher acts by itself (evaluation, videos, collection): steps of a chunk that are executed open-loop
    # before it is asked again; at most its chunk. Labels do not depend on it: see the guidance of each variant.
    replan_every: int = setting(1, low=1)
    # Where the teacher acts by itself: temporal ensembling, the mean of all that its chunks say of a step, weighed by
    # exp(-ensemble * i), i = 0 the oldest (0.01 in ACT; 0: the plain mean; below 0: newer ones count more). None: off.
    ensemble: float | None = setting(None, low=-100, high=100)
    # Share of answers that the conversion into the environment's contract may cut short before a warning says so.
    clipped_share: float = setting(0.05, low=0, high=1)

    if TYPE_CHECKING:  # what it becomes has more fields

        def __init__(self, name: str = "scripted", **fields: Any) -> None: ...

    def check_together(self) -> None:
        """Raises ConfigError for values that are each possible, but not together."""

    @property
    def acting(self) -> Acting:
        return Acting(self.replan_every, self.ensemble, self.clipped_share)

    def look(self, env: EnvConfig) -> None:
        """Raises ValueError for what is seen to be wrong before anything is started: a path, a package, the task.

        `env`: of the run.
        """

    def starts(self) -> str:
        """What making the teacher would start, connect to or fetch, in words; empty: nothing outside this process."""
        return ""


TeacherConfig.kinds |= {
    "scripted": "teachers.scripted.settings:ScriptedSettings",
    "octo": "teachers.octo.settings:OctoSettings",
    "openvla": "teachers.openvla.settings:OpenVLASettings",
    "policy": "teachers.policy.settings:PolicySettings",
    "remote": "teachers.remote.settings:RemoteSettings",
    "expert": "teachers.expert:ExpertSettings",
    "toy": "teachers.toy:ToySettings",
}
