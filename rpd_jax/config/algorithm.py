"""Settings of the algorithm families. `algorithm.name` chooses the family, which brings settings of its own.

A float marked `per_variant` is a leaf of the learner's variants: each variant of a run may override it.
"""

# No `from __future__ import annotations` here: config flags of ml_collections, in others' programs, read field types.
import dataclasses
from typing import Any

from rpd_jax.config.tagged import Tagged
from rpd_jax.config.validation import bounds, require, setting

ADVANTAGES = ("gae", "finite_horizon")
KL_STOPS = ("update", "surrogate")


def per_variant(default: Any, **bound: Any) -> Any:
    """A `setting` that each variant may override."""
    return dataclasses.field(default=default, metadata=bounds(**bound) | {"per_variant": True})


@dataclasses.dataclass
class AlgorithmConfig(Tagged, section="algorithm"):
    """What every family has."""

    name: str = setting("ppo", required=True)
    total_steps: int = setting(  # per member: of the environment, or of recorded demonstrations where nothing is played
        1_000_000, low=1, high=2**53, right="a whole number, at least 1 and at most 2**53"
    )
    learning_rate: float = per_variant(
        3e-4, above=0, high=1e38, right="a positive number"
    )  # one too large is seen to diverge
    learning_rate_end: float = per_variant(1.0, low=0, high=1)  # fraction of learning_rate at the end (linear)
    adam_eps: float = setting(1e-5, above=0)
    max_grad_norm: float = setting(0.5, above=0)

    def iteration_steps(self, num_envs: int) -> int:
        """Steps of `total_steps` that a member makes in one iteration; `num_envs` are its environments."""
        raise NotImplementedError(f"{type(self).__name__} does not say how many steps an iteration has")

    def validate(self, num_envs: int) -> None:
        """Raises ConfigError where settings contradict each other, or the number of a member's environments."""


@dataclasses.dataclass
class RolloutConfig(AlgorithmConfig):
    """What families have that play: a rollout of every environment in each iteration."""

    rollout_length: int = setting(50, low=1)  # T

    def iteration_steps(self, num_envs: int) -> int:
        return self.rollout_length * num_envs


@dataclasses.dataclass
class PPOConfig(RolloutConfig):
    """Proximal policy optimisation, with distillation terms or without."""

    epochs: int = setting(8, low=1)
    minibatches: int = setting(32, low=1)  # of equal size; a remainder is left out, another one each epoch
    gamma: float = per_variant(0.8, low=0, high=1)
    gae_lambda: float = per_variant(0.9, low=0, high=1)
    advantage: str = setting("gae", choices=ADVANTAGES)
    bootstrap_terminated: bool = True  # also bootstrap a success with V(final observation), as ManiSkill's recipe
    normalize_advantage: bool = True  # per minibatch
    clip_ratio: float = per_variant(0.2, above=0)
    value_clip: float | None = setting(None, above=0, infinity="none")  # None: no clipping of the value loss
    value_coef: float = per_variant(0.5, low=0)
    entropy_coef: float = per_variant(0.0, low=0)
    entropy_coef_end: float = per_variant(1.0, low=0, high=1)  # fraction of entropy_coef at the end (linear)
    # How far a member's approximate KL may go in an update; None: as far as it will.
    target_kl: float | None = per_variant(0.1, above=0, infinity="none")
    # What a member whose KL exceeds target_kl leaves out until the next rollout. update: everything. surrogate: PPO's
    # terms of the policy alone; value function and distillation go on, however far the teacher's pull moves the mean.
    kl_stop: str = setting("update", choices=KL_STOPS)

    def validate(self, num_envs: int) -> None:
        minibatches, batch = self.minibatches, self.iteration_steps(num_envs)
        right = f"at most the batch of {batch} (algorithm.rollout_length x env.num_envs)"
        require(minibatches <= batch, "algorithm.minibatches", minibatches, right)
        if self.normalize_advantage:  # of one transition it is 0
            right = f"at most half the batch of {batch}: advantages are normalised over each minibatch"
            require(minibatches <= batch // 2, "algorithm.minibatches", minibatches, right)


@dataclasses.dataclass
class SFTConfig(AlgorithmConfig):
    """Supervised fine-tuning of a token policy on recorded demonstrations; environments are only for evaluation."""

    name: str = setting("sft", required=True)
    demonstrations: str = ""  # directory of launch.collect, or a trajectory.h5 in ManiSkill's layout
    batch_size: int = setting(256, low=1)  # transitions of a gradient step
    steps_per_iteration: int = setting(50, low=1)  # gradient steps between two rows of the log

    def iteration_steps(self, num_envs: int) -> int:
        return self.batch_size * self.steps_per_iteration

    def validate(self, num_envs: int) -> None:
        require(bool(self.demonstrations), "algorithm.demonstrations", self.demonstrations, "a path")


AlgorithmConfig.kinds.update(ppo=PPOConfig, sft=SFTConfig)


def variant_floats(kind: type[AlgorithmConfig]) -> tuple[str, ...]:
    """The fields of a family's settings that a variant may override."""
    return tuple(field.name for field in dataclasses.fields(kind) if field.metadata.get("per_variant"))
