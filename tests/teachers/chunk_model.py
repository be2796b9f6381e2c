"""A stand-in with chunks for the tests of `teachers.sidecar`: action c is a hundredth of the first pixel, plus c / 10.

A frame whose first pixel is 9 has no number for action 1 of its chunk.
"""

import numpy as np

from rpd_jax.types import TeacherSpec
from teachers.conventions import CONTRACTS
from teachers.sidecar.server import describe, serve_model

CHUNK, DIMS = 3, 7


class ChunkModel:
    def spec(self):
        spec = TeacherSpec("chunks", ("rgb",), contract=CONTRACTS["libero_osc"], chunk=CHUNK)
        return describe(spec, DIMS, {"rgb": ((None, None, 3), "uint8")})

    def label(self, arrays, fields):
        first = arrays["rgb"][:, 0, 0, 0]
        action = np.repeat(first[:, None, None] / 100 + np.arange(CHUNK)[None, :, None] / 10, DIMS, axis=-1)
        action[first == 9, 1, 0] = np.nan
        return {"action": action, "std": np.full_like(action, 0.2), "valid": np.ones(action.shape[:2], bool)}


if __name__ == "__main__":
    serve_model(ChunkModel)
