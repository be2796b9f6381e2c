"""A small Octo for the tests of this folder; its weights are random."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

if TYPE_CHECKING:
    from teachers.octo.model import Octo

STATISTICS = {
    "action": {
        "mean": np.array([0.1, -0.2, 0.3, 0.0, 0.0, 0.0, 0.5], np.float32),
        "std": np.array([0.5, 0.4, 0.3, 0.2, 0.2, 0.2, 0.9], np.float32),
        "mask": np.array([True] * 6 + [False]),
    }
}
INSTRUCTIONS = ("pick up the cube", "push the ball")


@pytest.fixture(scope="session")
def octo() -> Octo:
    """octo-nano, untrained: frames of 32 pixels, a window of 2, and Octo's own head."""
    import jax  # not above: the settings of tests/conftest.py must come first

    from teachers.octo.fresh import init_nano

    head = "DiffusionActionHead"
    return init_nano(INSTRUCTIONS, STATISTICS, jax.random.key(0), image_size=32, window=2, head=head)


@pytest.fixture(scope="session")
def observation() -> dict:
    """Three observations of two frames each."""
    rng = np.random.default_rng(0)
    return {
        "image_primary": rng.integers(0, 256, (3, 2, 32, 32, 3)).astype(np.uint8),
        "timestep_pad_mask": np.ones((3, 2), bool),
    }
