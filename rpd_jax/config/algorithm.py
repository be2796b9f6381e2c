"""Settings of the algorithm families. `algorithm.name` chooses the family, which brings settings of its own.

A float marked `per_variant` is a leaf of the learner's variants: each variant of a run may override it.
"""

# No `from __future__ import annotations` here: config flags of ml_collections, in others' programs, read field types.
import dataclasses
import math
from typing import Any

from rpd_jax.config.tagged import Tagged
from rpd_jax.config.validation import bounds, require, setting

ADVANTAGES = ("gae", "finite_horizon")
KL_STOPS = ("update", "surrogate")
NORMALIZATIONS = ("token", "trajectory", "sum")


def per_variant(default: Any, unset: float = math.inf, **bound: Any) -> Any:
    """A `setting` that each variant may override; the learner sees None as the number `unset`."""
    return dataclasses.field(default=default, metadata=bounds(**bound) | {"per_variant": True, "unset": unset})


@dataclasses.dataclass
class AlgorithmConfig(Tagged, section="algorithm"):
    """What every family has."""

    name: str = setting("ppo", required=True)  # the family, which decides what further settings there are
    total_steps: int = setting(  # per member: of the environment, or of recorded demonstrations where nothing is played
        1_000_000, low=1, high=2**53, right="a whole number, at least 1 and at most 2**53"
    )
    learning_rate: float = per_variant(
        3e-4, above=0, high=1e38, right="a positive number"
    )  # at the start; one too large is seen to diverge
    learning_rate_end: float = per_variant(1.0, low=0, high=1)  # fraction of learning_rate at the end (linear)
    adam_eps: float = setting(1e-5, above=0)  # of Adam, added to the root of the second moment
    weight_decay: float = setting(0.0, low=0)  # decoupled from the gradient, as in AdamW
    max_grad_norm: float = setting(0.5, above=0)  # of a member's gradient, over all its parameters
    # Directory of a run whose students, of the same policy, members begin from; empty: from fresh parameters. A member
    # begins from the student of its own seed, or from the only one that there is.
    start: str = ""
    start_variant: str = ""  # of that run; empty: its only one

    def iteration_steps(self, num_envs: int) -> int:
        """Steps of `total_steps` that a member makes in one iteration; `num_envs` are its environments."""
        raise NotImplementedError(f"{type(self).__name__} does not say how many steps an iteration has")

    def validate(self, num_envs: int) -> None:
        """Raises ConfigError where settings contradict each other, or the number of a member's environments."""


@dataclasses.dataclass
class RolloutConfig(AlgorithmConfig):
    """What families have that play: a rollout of every environment in each iteration."""

    rollout_length: int = setting(50, low=1)  # T, steps of every environment in a rollout

    def iteration_steps(self, num_envs: int) -> int:
        return self.rollout_length * num_envs


@dataclasses.dataclass
class PPOConfig(RolloutConfig):
    """Proximal policy optimisation, with distillation terms or without."""

    epochs: int = setting(8, low=1)  # passes over each rollout
    minibatches: int = setting(32, low=1)  # of equal size; a remainder is left out, another one each epoch
    gamma: float = per_variant(0.8, low=0, high=1)  # discount of a step
    gae_lambda: float = per_variant(0.9, low=0, high=1)  # of generalised advantage estimation
    advantage: str = setting("gae", choices=ADVANTAGES)  # finite_horizon: as ManiSkill's PPO option
    bootstrap_terminated: bool = True  # also bootstrap a success with V(final observation), as ManiSkill's recipe
    normalize_advantage: bool = True  # per minibatch
    clip_ratio: float = per_variant(0.2, above=0)  # how far the probability ratio counts, from 1
    value_clip: float | None = setting(None, above=0, infinity="none")  # None: no clipping of the value loss
    value_coef: float = per_variant(0.5, low=0)  # weight of the value loss
    entropy_coef: float = per_variant(0.0, low=0)  # weight of the entropy bonus
    entropy_coef_end: float = per_variant(1.0, low=0, high=1)  # fraction of entropy_coef at the end (linear)
    # How far a member's approximate KL may go in an update; None: as far as it will.
    target_kl: float | None = per_variant(0.1, above=0, infinity="none")
    # What a member whose KL exceeds target_kl leaves out until the next rollout. update: everything. surrogate: PPO's
    # terms of the policy alone; value function and distillation go on, however far the teacher's pull moves the mean.
    kl_stop: str = setting("update", choices=KL_STOPS)
    # Bounds of a Gaussian policy's log-std, None: none. It is put back between them after every step of the optimizer,
    # and not cut off in the network, where a log-std beyond its bound would have no gradient to come back by.
    log_std_min: float | None = per_variant(None, unset=-math.inf, low=-20, high=20)
    log_std_max: float | None = per_variant(None, low=-20, high=20)  # likewise; None: no bound

    def validate(self, num_envs: int) -> None:
        minibatches, batch = self.minibatches, self.iteration_steps(num_envs)
        right = f"at most the batch of {batch} (algorithm.rollout_length x env.num_envs)"
        require(minibatches <= batch, "algorithm.minibatches", minibatches, right)
        if self.normalize_advantage:  # of one transition it is 0
            right = f"at most half the batch of {batch}: advantages are normalised over each minibatch"
            require(minibatches <= batch // 2, "algorithm.minibatches", minibatches, right)


@dataclasses.dataclass
class OPDConfig(RolloutConfig):
    """On-policy distillation of token policies, GRPO, and mixtures and phases of both (VLA-OPD: arXiv 2603.26666).

    In an iteration every environment plays one whole episode: `rollout_length` is the most steps of one.
    """

    name: str = setting("opd", required=True)
    adam_eps: float = setting(1e-8, above=0)  # gradients of means over tokens are small
    group_size: int = per_variant(8, low=1)  # G: trajectories from each initial state
    temperature: float = setting(1.0, above=0)  # of sampling, and of every probability in losses and metrics
    epochs: int = setting(1, low=1)  # passes over each rollout
    minibatches: int = setting(16, low=1)  # of equal size; a remainder is left out, another one each epoch
    # Minibatches whose gradients are averaged for one step of the optimizer; divides epochs x minibatches.
    accumulate: int = per_variant(1, low=1)
    # How losses of tokens become one number. token: their mean over all tokens. trajectory: over each trajectory's,
    # then over trajectories (SimpleVLA-RL). sum: their sum over time, its mean over trajectories (VLA-OPD). They weigh
    # long failures against short successes differently.
    normalize: str = setting("token", choices=NORMALIZATIONS)
    clip_low: float = per_variant(0.2, above=0, high=1)  # of the ratio, below 1: of grpo and reverse_kl_clipped
    clip_high: float = per_variant(0.28, above=0)  # of the ratio, above 1
    # Success rates of the groups that grpo learns from; others say little.
    group_success_low: float = per_variant(0.1, low=0, high=1)
    group_success_high: float = per_variant(0.9, low=0, high=1)  # likewise
    # Of the term "imitation": as SFTConfig's.
    demonstrations: tuple[str, ...] = ()
    episodes: int | None = per_variant(None, low=1, infinity="none")  # likewise
    batch_size: int = setting(256, low=1)  # demonstrated transitions beside each minibatch

    def validate(self, num_envs: int) -> None:
        minibatches, batch = self.minibatches, self.iteration_steps(num_envs)
        right = f"at most the batch of {batch} (algorithm.rollout_length x env.num_envs)"
        require(minibatches <= batch, "algorithm.minibatches", minibatches, right)


@dataclasses.dataclass
class SFTConfig(AlgorithmConfig):
    """Supervised fine-tuning of a token policy on recorded demonstrations; environments are only for evaluation."""

    name: str = setting("sft", required=True)
    # Directories of launch.collect, or files trajectory.h5 in ManiSkill's layout; of several tasks, one of each.
    demonstrations: tuple[str, ...] = ()
    # The first so many of them, where several directories take turns; None: all.
    episodes: int | None = per_variant(None, low=1, infinity="none")
    batch_size: int = setting(256, low=1)  # transitions of a gradient step
    steps_per_iteration: int = setting(50, low=1)  # gradient steps between two rows of the log

    def iteration_steps(self, num_envs: int) -> int:
        return self.batch_size * self.steps_per_iteration

    def validate(self, num_envs: int) -> None:
        require(bool(self.demonstrations), "algorithm.demonstrations", self.demonstrations, "a path")


AlgorithmConfig.kinds.update(ppo=PPOConfig, sft=SFTConfig, opd=OPDConfig)


def variant_floats(kind: type[AlgorithmConfig]) -> dict[str, float]:
    """The fields of a family's settings that a variant may override, and the number that the learner sees None as."""
    found = (field for field in dataclasses.fields(kind) if field.metadata.get("per_variant"))
    return {field.name: field.metadata["unset"] for field in found}
