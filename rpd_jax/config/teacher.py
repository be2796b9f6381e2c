"""Settings that every kind of teacher has. Those of one kind stand beside it, in `teachers/`."""

# No `from __future__ import annotations` here: config flags of ml_collections, in others' programs, read field types.
import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from rpd_jax.config.tagged import Tagged
from rpd_jax.config.validation import setting

GRIPPERS = ("fixed", "reference")


@dataclasses.dataclass
class TeacherConfig(Tagged, section="teacher"):
    """Who labels the rollouts, and how; `name` decides which further settings there are.

    `TeacherConfig(name="octo", path="octo-nano")` is an `OctoSettings`. A kind of your own is a subclass that
    `teachers.register_teacher` is told of.
    """

    factory: ClassVar[str | Callable[..., Any]]  # (env_spec, settings) -> Teacher, or where to import it from
    needs_environment: ClassVar[bool] = True  # False: the factory may be given None for env_spec

    name: str = setting("scripted", required=True)
    # fixed: mapped into the environment's range; reference: left as the teacher gives it.
    gripper: str = setting("fixed", choices=GRIPPERS)
    probe: bool = True  # move the arm at start-up and check the action contract's signs
    # Observations per call, at most; fewer where they are queried while the rollout is being collected.
    batch_size: int = setting(16_384, low=1)
    # Where the teacher acts by itself (evaluation, videos, collection): steps of a chunk that are executed open-loop
    # before it is asked again; at most its chunk. Labels are made of every step's own answer, whatever this says.
    replan_every: int = setting(1, low=1)

    if TYPE_CHECKING:  # what it becomes has more fields

        def __init__(self, name: str = "scripted", **fields: Any) -> None: ...

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
