"""Settings of the environment that every suite has. Those of one suite stand in its folder of `envs/`."""

# No `from __future__ import annotations` here: config flags of ml_collections, in others' programs, read field types.
import dataclasses
from typing import Any

from rpd_jax.config.tagged import Tagged
from rpd_jax.config.validation import choice, require, setting

ENTRIES = ("state", "ee", "rgb", "proprio")  # of an observation; further cameras' are "rgb_...", e.g. "rgb_wrist"
FRAMES = "rgb"
REWARDS = ("normalized_dense", "dense", "sparse", "v2", "v3")
OWN = "own"  # the suite of an environment that a caller of `train` brings
SMALLEST_IMAGE = 36  # NatureCNN's three unpadded convolutions need this many pixels


def is_frames(entry: str) -> bool:
    """Whether an entry of an observation holds a camera's frames: "rgb", the first's, or e.g. "rgb_wrist"."""
    return entry.partition("_")[0] == FRAMES


@dataclasses.dataclass
class EnvConfig(Tagged, section="env"):
    """The environment that all members train in; the suite that `name` begins with decides which further settings.

    `EnvConfig(name="maniskill:PickCube-v1", simulator="gpu")` is a `ManiSkillConfig`. A suite of your own brings its
    settings along, see `envs.registry.register_suite`.
    """

    name: str = setting("tabletop:PickCube-v1", required=True)  # suite:task
    reward: str = setting("normalized_dense", choices=REWARDS)  # v2, v3: simplified, see envs/rewards.py
    # What the student sees: state, ee, or frames of one camera or several, perhaps with proprio: rgb+rgb_wrist+proprio.
    observation: str = setting("state", required=True)
    image_size: int = setting(256, low=1)  # pixels, square
    num_envs: int = setting(32, low=1)  # per member
    max_episode_steps: int | None = setting(None, low=1)  # None: the task's own
    instruction: str = ""  # the task in words, for teachers and recordings; empty: the task's own
    end_on_success: bool = True  # training episodes terminate at success (ManiSkill's partial reset)
    # Whether the first training episode of each environment is cut short at random; None: where episodes are longer
    # than rollouts, so that a rollout holds every part of an episode.
    random_ages: bool | None = None

    @classmethod
    def tag_of(cls, name: str) -> str:
        return name.partition(":")[0]

    @classmethod
    def check_name(cls, name: Any) -> None:
        """Raises ConfigError for a name that is not "suite:task", or of an unknown suite."""
        named = isinstance(name, str) and name.count(":") == 1
        require(named, "env.name", name, "suite:task, e.g. maniskill:PickCube-v1")
        suite = cls.tag_of(name)
        choice("env.name: suite", suite, [tag for tag in cls.kinds if tag != OWN or suite == OWN])

    @property
    def entries(self) -> tuple[str, ...]:
        """Which entries of an observation the student sees."""
        return tuple(self.observation.split("+"))

    @property
    def sees_frames(self) -> bool:
        return any(map(is_frames, self.entries))

    def check_together(self) -> None:
        """Raises ConfigError for values that are each possible, but not together."""
        for entry in self.entries:
            if not entry.startswith(FRAMES + "_"):
                choice("env.observation", entry, ENTRIES)
        frames = [entry for entry in self.entries if is_frames(entry)]
        together = self.entries in (("state",), ("ee",)) or (bool(frames) and {*self.entries} <= {*frames, "proprio"})
        right = "state, ee, or frames and perhaps proprio, e.g. rgb+rgb_wrist+proprio"
        require(together and len({*self.entries}) == len(self.entries), "env.observation", self.observation, right)
        if frames:
            right = f"at least {SMALLEST_IMAGE}"
            require(self.image_size >= SMALLEST_IMAGE, "env.image_size", self.image_size, right)


EnvConfig.kinds |= {
    "tabletop": "rpd_jax.envs.tabletop.config:TabletopConfig",
    "maniskill": "rpd_jax.envs.maniskill.config:ManiSkillConfig",
    "libero": "rpd_jax.envs.libero.config:LiberoConfig",
    "metaworld": "rpd_jax.envs.metaworld.config:MetaWorldConfig",
    "toy": EnvConfig,
    OWN: EnvConfig,
}
