"""From where on a run says that something looks wrong."""

# No `from __future__ import annotations` here: config flags of ml_collections, in others' programs, read field types.
import dataclasses

from rpd_jax.config.validation import Settings, setting


@dataclasses.dataclass
class AlarmConfig(Settings):
    """Thresholds of alarms, see `training/alarm_rules.py`; None: that alarm is off. What is learned depends on none.

    The defaults are silent in the presets' own runs and ring in those that are known to have gone wrong.
    """

    std_growth: float | None = setting(2.0, above=1)  # times the std that a member began with
    std_shrink: float | None = setting(0.1, above=0, below=1)  # likewise
    token_entropy: float | None = setting(0.05, above=0)  # of token policies that play, nats a token (of p = 0.99)
    # Approximate KL of an update in nats, and the share of its ratios beyond PPO's clip, both means over its
    # minibatches, in so many iterations in a row: students that begin to imitate are beyond both for a few.
    kl: float | None = setting(0.5, above=0)
    clip_fraction: float | None = setting(0.75, above=0, below=1)  # the share of ratios beyond the clip
    patience: int = setting(20, low=1)  # iterations in a row that kl and clip_fraction must be exceeded for
    value_loss_growth: float | None = setting(1000.0, above=1)  # times the first one, or 1 where that was less
    # Success rate of the teacher's own evaluation; None: as the teacher knows it, if it does.
    teacher_success: float | None = setting(None, low=0, high=1)
    # How far from it the success measured in a run may be; what its 95 % interval contains is near enough.
    teacher_gap: float | None = setting(0.2, above=0, below=1)
