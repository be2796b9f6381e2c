"""Settings of a run as typed dataclasses: the one source of defaults, and their validation.

Treat a config as read-only once `validate` has passed; it is mutable only because absl flags write into it.
"""

# No `from __future__ import annotations` here: absl's config flags read the field types, not their names.
import dataclasses
import json
import math
import typing
from collections.abc import Mapping
from typing import Any

from rpd_jax.teacher_config import TeacherConfig
from rpd_jax.validation import ConfigError, at_least_one, choice, from_dict, positive, require

ADVANTAGES = ("gae", "finite_horizon")
OBSERVATIONS = ("state", "ee", "rgb", "rgb+proprio")
REWARDS = ("normalized_dense", "dense", "sparse", "v2", "v3")
PHYSICS = ("auto", "c", "mjx")
SIMULATORS = ("cpu", "gpu")


@dataclasses.dataclass
class EnvConfig:
    """The environment that all members train in."""

    name: str = "tabletop:PickCube-v1"  # suite:task
    control_mode: str = "pd_ee_delta_pose"
    reward: str = "normalized_dense"  # normalized_dense | dense | sparse | v2 | v3 (simplified: see envs/rewards.py)
    observation: str = "state"  # what the student sees: state | ee | rgb | rgb+proprio
    image_size: int = 256  # pixels, square
    num_envs: int = 32  # per member
    max_episode_steps: int | None = None  # None: the task's own
    # An episode has so many times more steps, each moving and turning the tool by so much less; the gripper is as ever.
    horizon_scale: int = 1
    instruction: str = ""  # the task in words, for teachers and recordings; empty: the task's own
    end_on_success: bool = True  # training episodes terminate at success (ManiSkill's partial reset)
    random_ages: bool | None = None  # first training episodes are cut short at random; None: if longer than rollouts
    simulator: str = "cpu"  # of maniskill: cpu | gpu (one process, all environments on JAX's first GPU)
    processes: int | None = None  # simulator processes; None: one per CPU core
    deadline_seconds: float = 60.0  # a simulator process that needs longer for a step is restarted
    camera_eye: tuple[float, ...] = ()  # metres, world axes; empty: the task's own
    camera_target: tuple[float, ...] = ()
    camera_fov: float = 0.0  # radians, vertical; 0: the task's own
    camera_shift: tuple[float, ...] = ()  # metres, added to the eye; the camera still looks at its target
    # Of tabletop tasks:
    physics: str = "auto"  # auto | c | mjx


@dataclasses.dataclass
class NetworkConfig:
    """The actor-critic; structure is shared by the population."""

    hidden: tuple[int, ...] = (256, 256, 256)  # of the state student's separate actor and critic trunks
    log_std_init: float = -0.5
    normalize_observations: bool = False  # by running moments, each member its own; frames are left alone


@dataclasses.dataclass
class PPOConfig:
    """PPO's settings; the floats marked [v] can be overridden by each variant."""

    total_steps: int = 1_000_000  # environment steps per member
    rollout_length: int = 50  # T
    epochs: int = 8
    minibatches: int = 32  # of equal size; a remainder of the batch is left out, another one each epoch
    learning_rate: float = 3e-4  # [v]
    learning_rate_end: float = 1.0  # [v] fraction of learning_rate at the end (linear)
    adam_eps: float = 1e-5
    max_grad_norm: float = 0.5
    gamma: float = 0.8  # [v]
    gae_lambda: float = 0.9  # [v]
    advantage: str = "gae"  # gae | finite_horizon
    bootstrap_terminated: bool = True  # also bootstrap a success with V(final observation), as ManiSkill's recipe
    normalize_advantage: bool = True  # per minibatch
    clip_ratio: float = 0.2  # [v]
    value_clip: float | None = None  # None: no clipping of the value loss
    value_coef: float = 0.5  # [v]
    entropy_coef: float = 0.0  # [v]
    target_kl: float | None = (
        0.1  # [v] a member whose approximate KL exceeds it skips its remaining minibatches; None: never
    )

    def batch_size(self, num_envs: int) -> int:
        """Transitions per member and iteration."""
        return self.rollout_length * num_envs


@dataclasses.dataclass
class GuidanceConfig:
    """How transient guidance judges progress; how a variant asks is its own (see `guidance/settings.py`)."""

    windows: int = 3  # of the mean reward, whose means must rise one after the other before guidance ends
    window_iterations: int = 5  # iterations of a window
    # The largest mean reward of a rollout's step, to which gain and threshold refer. None: 1, what every reward but
    # "dense" pays at most.
    attainable_reward: float | None = None


@dataclasses.dataclass
class EvalConfig:
    """Deterministic evaluation in environments of its own; episodes run to their time limit."""

    every: int = 10  # iterations between the points of the learning curve; 0: only at the end
    curve_episodes: int = 32  # per member, for a point of the curve
    episodes: int = 100  # per member and for the teacher, at the end
    num_envs: int = 16  # per member
    seed: int = 1_000_003
    videos: int = 2  # episodes filmed per variant and for the teacher; 0: none


@dataclasses.dataclass
class RunConfig:
    """Where results go."""

    directory: str = "runs/default"
    checkpoint_every: int = 20  # iterations; 0: only at the end
    keep_checkpoints: int = 2
    iterations_per_call: int = 1  # at most, where the whole loop is one program; metrics come once a call
    tensorboard: bool = True
    wandb_project: str = ""  # empty: no W&B


@dataclasses.dataclass
class Config:
    """A whole experiment: an environment, a teacher, variants and seeds."""

    preset: str = ""
    variants: tuple[str, ...] = ("ppo", "rpd-mse")
    seeds: tuple[int, ...] = (0, 1, 2)
    env: EnvConfig = dataclasses.field(default_factory=EnvConfig)
    network: NetworkConfig = dataclasses.field(default_factory=NetworkConfig)
    ppo: PPOConfig = dataclasses.field(default_factory=PPOConfig)
    teacher: TeacherConfig = dataclasses.field(default_factory=TeacherConfig)
    guidance: GuidanceConfig = dataclasses.field(default_factory=GuidanceConfig)
    eval: EvalConfig = dataclasses.field(default_factory=EvalConfig)
    run: RunConfig = dataclasses.field(default_factory=RunConfig)

    @property
    def iterations(self) -> int:
        """Rollouts that make up `ppo.total_steps`, rounded up."""
        return math.ceil(self.ppo.total_steps / self.ppo.batch_size(self.env.num_envs))

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), indent=2)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Config":
        """Inverse of `to_dict`; raises ConfigError for unknown fields."""
        return from_dict(cls, values, "config")

    def validate(self) -> "Config":
        """Normalises lists given as "a,b" and raises ConfigError for the first impossible value; returns self."""
        self.variants = tuple(name for item in self.variants for name in str(item).split(",") if name)
        require(len(self.variants) > 0, "variants", self.variants, "at least one variant name")
        require(len(set(self.variants)) == len(self.variants), "variants", self.variants, "no name twice")
        require(len(self.seeds) > 0, "seeds", self.seeds, "at least one seed")
        require(len(set(self.seeds)) == len(self.seeds), "seeds", self.seeds, "no seed twice")
        require(all(0 <= s < 2**31 for s in self.seeds), "seeds", self.seeds, "integers in [0, 2**31)")
        self._validate_env()
        self._validate_ppo()
        self._validate_rest()
        return self

    def _validate_env(self) -> None:
        env = self.env
        require(env.name.count(":") == 1, "env.name", env.name, "suite:task, e.g. maniskill:PickCube-v1")
        choice("env.reward", env.reward, REWARDS)
        choice("env.observation", env.observation, OBSERVATIONS)
        at_least_one("env", env, "num_envs", "image_size", "horizon_scale")
        for field in ("max_episode_steps", "processes"):
            value = getattr(env, field)
            require(value is None or value >= 1, f"env.{field}", value, "None or at least 1")
        positive("env", env, "deadline_seconds")
        choice("env.simulator", env.simulator, SIMULATORS)
        if env.simulator == "gpu":
            require(env.processes is None, "env.processes", env.processes, "None where env.simulator is 'gpu'")
        choice("env.physics", env.physics, PHYSICS)
        for field in ("camera_eye", "camera_target", "camera_shift"):
            value = getattr(env, field)
            require(len(value) in (0, 3), f"env.{field}", value, "three numbers, or empty")
        require(0 <= env.camera_fov < math.pi, "env.camera_fov", env.camera_fov, "a number in [0, pi)")
        smallest = 36  # NatureCNN's three unpadded convolutions need this many pixels
        if "rgb" in env.observation:
            require(env.image_size >= smallest, "env.image_size", env.image_size, f"at least {smallest}")

    def _validate_ppo(self) -> None:
        ppo = self.ppo
        at_least_one("ppo", ppo, "total_steps", "rollout_length", "epochs", "minibatches")
        batch = ppo.batch_size(self.env.num_envs)
        require(
            ppo.minibatches <= batch,
            "ppo.minibatches",
            ppo.minibatches,
            f"at most the batch of {batch} (ppo.rollout_length x env.num_envs)",
        )
        positive("ppo", ppo, "learning_rate", "adam_eps", "max_grad_norm", "clip_ratio")
        for field in ("gamma", "gae_lambda", "learning_rate_end"):
            require(0 <= getattr(ppo, field) <= 1, f"ppo.{field}", getattr(ppo, field), "a number in [0, 1]")
        for field in ("value_coef", "entropy_coef"):
            require(getattr(ppo, field) >= 0, f"ppo.{field}", getattr(ppo, field), "at least 0")
        for field in ("value_clip", "target_kl"):
            value = getattr(ppo, field)
            if value == math.inf:  # flags cannot say None
                value = None
                setattr(ppo, field, value)
            require(value is None or value > 0, f"ppo.{field}", value, "None or a positive number")
        choice("ppo.advantage", ppo.advantage, ADVANTAGES)

    def _validate_rest(self) -> None:
        require(len(self.network.hidden) > 0, "network.hidden", self.network.hidden, "at least one width")
        require(min(self.network.hidden) > 0, "network.hidden", self.network.hidden, "positive widths")
        self.teacher.validate()
        guidance = self.guidance
        require(guidance.windows >= 2, "guidance.windows", guidance.windows, "at least 2")
        at_least_one("guidance", guidance, "window_iterations")
        attainable = guidance.attainable_reward
        require(attainable is None or attainable > 0, "guidance.attainable_reward", attainable, "None or positive")
        at_least_one("eval", self.eval, "episodes", "curve_episodes", "num_envs")
        for owner, settings, fields in (
            ("eval", self.eval, ("every", "videos", "seed")),
            ("run", self.run, ("checkpoint_every",)),
        ):
            for field in fields:
                require(getattr(settings, field) >= 0, f"{owner}.{field}", getattr(settings, field), "at least 0")
        at_least_one("run", self.run, "keep_checkpoints", "iterations_per_call")
        require(bool(self.run.directory), "run.directory", self.run.directory, "a path")


def check_field(path: str, cls: Any = Config) -> None:
    """Raises ConfigError unless `path` ("ppo.learning_rate") names a setting of the dataclass `cls`."""
    walked = []
    for part in path.split("."):
        names = [f.name for f in dataclasses.fields(cls)] if dataclasses.is_dataclass(cls) else []
        if not names:
            raise ConfigError(f"config.{path} is unknown: config.{'.'.join(walked)} has no fields of its own")
        choice(".".join(["config", *walked, "<field>"]), part, names)
        walked.append(part)
        cls = typing.get_type_hints(cls)[part]
