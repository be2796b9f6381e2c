"""Settings that only LIBERO's tasks have."""

# No `from __future__ import annotations` here: config flags of ml_collections, in others' programs, read field types.
import dataclasses

from rpd_jax.config.validation import setting
from rpd_jax.envs.venv import VenvConfig


@dataclasses.dataclass
class LiberoConfig(VenvConfig):
    """Beside the fields of `VenvConfig`, whose `max_episode_steps` is by default that of OpenVLA's evaluation.

    Each of the `processes` takes 1 to 2 GB.
    """

    reward: str = setting("sparse", choices=("sparse",))  # LIBERO's own: 1 at success
    # Numbers of the official initial states that are played, in this order, by all environments together; empty: each
    # episode's seed chooses one of the 50.
    initial_states: tuple[int, ...] = setting((), low=0, high=49)
    settle_steps: int = setting(10, low=0)  # steps without motion before an episode, in which objects come to rest
