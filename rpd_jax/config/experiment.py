"""Settings of a run as typed dataclasses: the one source of defaults and bounds.

Treat a config as read-only once `validate` has passed. A field is one line, `num_envs: int = setting(32, low=1)`; what
concerns several fields at once is checked in `validate`.
"""

# No `from __future__ import annotations` here: config flags of ml_collections, in others' programs, read field types.
import dataclasses
import json
import math
import re
from collections.abc import Mapping
from typing import Any, ClassVar

from rpd_jax.config.alarms import AlarmConfig
from rpd_jax.config.algorithm import AlgorithmConfig
from rpd_jax.config.env import EnvConfig
from rpd_jax.config.teacher import TeacherConfig
from rpd_jax.config.validation import (
    ConfigError,
    Settings,
    accept_former_names,
    check,
    choice,
    field_types,
    from_dict,
    require,
    setting,
    to_dict,
)
from rpd_jax.config.variant import VariantSpec


@dataclasses.dataclass
class NetworkConfig(Settings):
    """The student's network; structure is shared by the population."""

    name: str = setting("standard", required=True)  # see policies/base.py
    path: str = "octo-nano"  # of "octo": the checkpoint that its transformer begins from, as teacher.path
    # Widths of the state student's separate actor and critic trunks.
    hidden: tuple[int, ...] = setting((256, 256, 256), low=1, required=True, right="at least one width")
    log_std_init: float = setting(-0.5, low=-20, high=20)  # of every action dimension
    # One for each action dimension; empty: log_std_init.
    log_std_init_each: tuple[float, ...] = setting((), low=-20, high=20)
    mean_init: tuple[float, ...] = ()  # of the actions, one for each dimension, in action units; empty: 0
    bins: int = setting(256, low=2)  # tokens of each action dimension, of token policies
    normalize_observations: bool = False  # by running moments, each member its own; frames are left alone


@dataclasses.dataclass
class GuidanceConfig(Settings):
    """How transient guidance judges progress; when a variant queries is its own (see `guidance/settings.py`)."""

    # Of the mean reward, whose means must rise one after the other before guidance ends.
    windows: int = setting(3, low=2)
    window_iterations: int = setting(5, low=1)  # iterations of a window
    # The largest mean reward of a rollout's step, to which gain and threshold refer. None: 1, what every reward but
    # "dense" pays at most.
    attainable_reward: float | None = setting(None, above=0)


@dataclasses.dataclass
class EvalConfig(Settings):
    """Deterministic evaluation in environments of its own; episodes run to their time limit."""

    every: int = setting(10, low=0)  # iterations between the points of the learning curve; 0: only at the end
    curve_episodes: int = setting(32, low=1)  # per member, for a point of the curve
    episodes: int = setting(100, low=1)  # per member and for the teacher, at the end
    num_envs: int = setting(16, low=1)  # per member
    seed: int = setting(1_000_003, low=0)  # of the episodes, the same for every member
    videos: int = setting(2, low=0)  # episodes filmed per variant and for the teacher; 0: none


@dataclasses.dataclass
class RunConfig(Settings):
    """Where results go."""

    directory: str = setting("runs/default", required=True, right="a path")  # of the run
    checkpoint_every: int = setting(20, low=0)  # iterations; 0: only at the end
    keep_checkpoints: int = setting(2, low=1)  # the newest so many
    # At most, where the whole loop is one program; metrics come once a call.
    iterations_per_call: int = setting(1, low=1)
    devices: int | None = setting(None, low=1)  # that members are shared out over; None: as many as are of use
    # What devices share out: members, or the environments of all members, for fewer members than devices, where the
    # loop is one program (not C physics).
    split: str = setting("members", choices=("members", "environments"))
    tensorboard: bool = True  # also write TensorBoard's event files
    wandb_project: str = ""  # empty: no W&B
    distributed: bool = False  # several processes, on any number of hosts, share the members out: docs/cluster.md
    # HOST:PORT where process 0 is to listen; None, here and in the next two: what SLURM, Open MPI, Kubernetes or a
    # Cloud TPU says.
    coordinator_address: str | None = None
    num_processes: int | None = setting(None, low=1)  # of the run
    process_id: int | None = setting(None, low=0)  # which of them this is
    heartbeat_timeout_seconds: int = setting(100, low=1)  # after which a silent process counts as dead

    def check_together(self) -> None:
        """Raises ConfigError where the settings contradict each other."""
        address = self.coordinator_address
        right = "HOST:PORT, where process 0 is to listen"
        require(
            address is None or re.fullmatch(r".+:\d{1,5}", address) is not None,
            "run.coordinator_address",
            address,
            right,
        )
        for name in ("coordinator_address", "num_processes", "process_id"):
            given = getattr(self, name)
            require(given is None or self.distributed, f"run.{name}", given, "None without run.distributed=True")


@accept_former_names
@dataclasses.dataclass
class Config(Settings):
    """A whole experiment: an environment, a teacher, an algorithm, its variants and seeds."""

    renamed: ClassVar[Mapping[str, str]] = {"ppo": "algorithm"}  # former name -> name: both work for one version

    preset: str = ""  # the preset that this began as
    # Each a name, perhaps with overrides ("rpd-mse:mse=5"), or a spec; see algorithms/variants.py.
    variants: tuple[str | VariantSpec, ...] = setting(("ppo", "rpd-mse"), required=True, right="at least one variant")
    # Every variant has a member of each.
    seeds: tuple[int, ...] = setting((0, 1, 2), low=0, required=True, right="a list of at least one whole number")
    env: EnvConfig = dataclasses.field(default_factory=EnvConfig)
    network: NetworkConfig = dataclasses.field(default_factory=NetworkConfig)
    algorithm: AlgorithmConfig = dataclasses.field(default_factory=AlgorithmConfig)
    teacher: TeacherConfig = dataclasses.field(default_factory=TeacherConfig)
    guidance: GuidanceConfig = dataclasses.field(default_factory=GuidanceConfig)
    eval: EvalConfig = dataclasses.field(default_factory=EvalConfig)
    alarms: AlarmConfig = dataclasses.field(default_factory=AlarmConfig)
    run: RunConfig = dataclasses.field(default_factory=RunConfig)

    @property
    def iterations(self) -> int:
        """Iterations that make up `algorithm.total_steps`, rounded up."""
        return math.ceil(self.algorithm.total_steps / self.algorithm.iteration_steps(self.env.num_envs))

    def to_dict(self) -> dict[str, Any]:
        return to_dict(self)

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), indent=2, allow_nan=False)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Config":
        """Inverse of `to_dict`; raises ConfigError for unknown fields and for values that no field can have."""
        return from_dict(cls, _std_bounds_moved(values))

    def validate(self) -> "Config":
        """Converts values that mean what a field declares, e.g. lists given as "a,b"; returns self.

        Raises:
          ConfigError: the first value that its field does not allow (see `validation.check`), or that another forbids.
        """
        check(self)
        names = [variant if isinstance(variant, str) else variant.name for variant in self.variants]
        require(len(set(names)) == len(names), "variants", names, "no name twice")
        require(len(set(self.seeds)) == len(self.seeds), "seeds", self.seeds, "no seed twice")
        self.env.check_kind()
        self.env.check_together()
        self.teacher.check_together()
        self.algorithm.check_kind()
        self.algorithm.validate(self.env.num_envs)
        self.run.check_together()
        return self


def _std_bounds_moved(values: Any) -> Any:
    """Earlier versions had the bounds of log-std among the network's settings: they are the algorithm's."""
    try:
        network, algorithm = ({**values.get(name, {})} for name in ("network", "algorithm"))
    except (AttributeError, TypeError):  # no tables: `from_dict` says so
        return values
    bounds = {name: network.pop(name, None) for name in ("log_std_min", "log_std_max")}
    algorithm |= {name: bound for name, bound in bounds.items() if bound is not None}
    moved = {"network": network, "algorithm": algorithm}
    return {**values, **{name: section for name, section in moved.items() if section or name in values}}


def check_field(path: str, cls: Any = Config) -> None:
    """Raises ConfigError unless `path` ("algorithm.gamma") names a setting of the dataclass `cls`, of any kind."""
    walked: list[str] = []
    for part in path.split("."):
        part = getattr(cls, "renamed", {}).get(part, part)
        names = _fields(cls)
        if not names:
            raise ConfigError(f"config.{path} is unknown: config.{'.'.join(walked)} has no fields of its own")
        inside = [section for section, kind in names.items() if part in _fields(kind)]
        closest = f"{inside[0]}.{part}" if inside else ""
        choice(".".join(["config", *walked, "<field>"]), part, names, closest)
        walked.append(part)
        cls = names[part]


def _fields(cls: Any) -> Mapping[str, Any]:
    """The fields of a dataclass, or of all kinds of one (see `tagged`), and their types; {} for anything else."""
    if hasattr(cls, "every_field"):
        return cls.every_field()
    return field_types(cls) if dataclasses.is_dataclass(cls) else {}
