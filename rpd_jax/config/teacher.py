"""Settings that every kind of teacher has. Those of one kind stand beside it, in `teachers/`."""

# No `from __future__ import annotations` here: config flags of ml_collections, in others' programs, read field types.
import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from rpd_jax.config.env import EnvConfig
from rpd_jax.config.tagged import Tagged
from rpd_jax.config.validation import Settings, require, setting

GRIPPERS = ("fixed", "reference")
PLACEMENTS = ("local", "ray")


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
class RayPlacement(Settings):
    """Where a teacher's replicas run with `teacher.placement=ray`; see docs/ray.md."""

    address: str = ""  # of the cluster, HOST:PORT; empty: a Ray of this machine alone, which listens on loopback only
    replicas: int = setting(1, low=1)  # processes that share the queries
    cpus: float = setting(1.0, low=0)  # cores that Ray reserves for a replica
    gpus: float = setting(0.0, low=0)  # GPUs of a replica, which sees no others; 0.5: two replicas share one
    restarts: int = setting(8, low=0)  # of a replica that dies, by Ray
    ready_seconds: float = setting(900.0, above=0)  # for replicas to load their model, and for a lost one to be back

    def check_together(self) -> None:
        """Raises ConfigError for an address or a share of GPUs that cannot be."""
        host, _, port = self.address.rpartition(":")
        fits = not self.address or (host != "" and "/" not in host and port.isascii() and port.isdigit())
        require(fits, "teacher.ray.address", self.address, "HOST:PORT, or empty for a Ray of this machine alone")
        shared = self.gpus < 1 or self.gpus == int(self.gpus)
        require(shared, "teacher.ray.gpus", self.gpus, "a whole number, or below 1 to share a GPU")


@dataclasses.dataclass
class TeacherConfig(Tagged, section="teacher"):
    """Who labels the rollouts, and how; `name` decides which further settings there are.

    `TeacherConfig(name="octo", path="octo-nano")` is an `OctoSettings`. A kind of your own is a subclass that
    `teachers.register_teacher` is told of.
    """

    factory: ClassVar[str | Callable[..., Any]]  # (env_spec, settings) -> Teacher, or where to import it from
    needs_environment: ClassVar[bool] = True  # False: the factory may be given None for env_spec
    uses_jax: ClassVar[bool] = True  # False: its model runs in another process, and JAX beside it needs no GPU

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
    # local: in this process, or in processes that it starts; ray: in replicas on a Ray cluster, placed by `ray`.
    placement: str = setting("local", choices=PLACEMENTS)
    ray: RayPlacement = dataclasses.field(default_factory=RayPlacement)

    if TYPE_CHECKING:  # what it becomes has more fields

        def __init__(self, name: str = "scripted", **fields: Any) -> None: ...

    def check_together(self) -> None:
        """Raises ConfigError for values that are each possible, but not together."""
        self.ray.check_together()
        for field in dataclasses.fields(RayPlacement) if self.placement == "local" else ():
            value = getattr(self.ray, field.name)
            require(value == field.default, f"teacher.ray.{field.name}", value, "left out, or teacher.placement=ray")

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

    def reaches(self) -> str:
        """As `starts`, with what its placement does."""
        cluster = f"the Ray cluster at {self.ray.address}" if self.ray.address else "a Ray of this machine"
        placed = f"has {self.ray.replicas} replicas on {cluster}" if self.placement == "ray" else ""
        return ", ".join(filter(None, (placed, self.starts())))


TeacherConfig.kinds |= {
    "scripted": "teachers.scripted.settings:ScriptedSettings",
    "octo": "teachers.octo.settings:OctoSettings",
    "openvla": "teachers.openvla.settings:OpenVLASettings",
    "policy": "teachers.policy.settings:PolicySettings",
    "remote": "teachers.remote.settings:RemoteSettings",
    "expert": "teachers.expert:ExpertSettings",
    "toy": "teachers.toy:ToySettings",
}
