"""Settings that only LIBERO's tasks have."""

# No `from __future__ import annotations` here: config flags of ml_collections, in others' programs, read field types.
import dataclasses

from rpd_jax.config.env import EnvConfig
from rpd_jax.config.validation import setting


@dataclasses.dataclass
class LiberoConfig(EnvConfig):
    """Beside the fields of `EnvConfig`, whose `max_episode_steps` is by default that of OpenVLA's evaluation."""

    reward: str = setting("sparse", choices=("sparse",))  # LIBERO's own: 1 at success
    python: str = ""  # interpreter of the simulators' virtual environment; empty: .venv-libero, or else this one
    # Numbers of the official initial states that are played, in this order, by all environments together; empty: each
    # episode's seed chooses one of the 50.
    initial_states: tuple[int, ...] = setting((), low=0, high=49)
    settle_steps: int = setting(10, low=0)  # steps without motion before an episode, in which objects come to rest
    processes: int | None = setting(None, low=1)  # simulator processes, 1 to 2 GB each; None: one per CPU core
    deadline_seconds: float = setting(120.0, above=0)  # a simulator process that needs longer for a step is restarted
