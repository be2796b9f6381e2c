"""What an arm's environment says of itself, for tests that need no environment."""

from __future__ import annotations

from typing import Any

from rpd_jax.envs.base import ArraySpec, EnvSpec


def arm_spec(**values: Any) -> EnvSpec:
    """Seven actions between -1 and 1, a state of three numbers and no frames, unless `values` say otherwise."""
    plain = {
        "name": "test:Frames-v1",
        "instruction": "",
        "max_episode_steps": 10,
        "action_dim": 7,
        "action_low": (-1.0,) * 7,
        "action_high": (1.0,) * 7,
        "observation": {"state": ArraySpec((3,), "float32")},
        "layout": {},
    }
    return EnvSpec(**(plain | values))
