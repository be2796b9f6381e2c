"""A stand-in with action tokens for the tests of `teachers.sidecar`: logits are a function of frames and tokens."""

import numpy as np

from rpd_jax.types import TeacherSpec, TokenContract
from teachers.sidecar.server import describe, serve_model

DIMS, BINS = 7, 5


def logits_of(frames, tokens):
    """[B, A, BINS] float32: the token given before a dimension shifts its logits; the first has 0 before it."""
    before = np.concatenate([np.zeros_like(tokens[:, :1]), tokens[:, :-1]], 1)
    wanted = frames[:, 0, 0].sum(-1, dtype=np.int64)[:, None] + np.arange(DIMS) + before
    return -np.abs(np.arange(BINS) - (wanted % BINS)[..., None]).astype(np.float32)


class TokenModel:
    def spec(self):
        tokens = TokenContract(BINS, (-1.0,) * DIMS, (1.0,) * DIMS)
        spec = TeacherSpec("tokens", ("rgb",), contract=None, token_bins=BINS, tokens=tokens)
        return describe(spec, DIMS, {"rgb": ((None, None, 3), "uint8")})

    def label(self, arrays, fields):
        tokens = arrays["tokens"].copy()
        if not fields["score"]:
            for step in range(DIMS):
                tokens[:, step] = logits_of(arrays["rgb"], tokens)[:, step].argmax(-1)
        logits = logits_of(arrays["rgb"], tokens)
        label = {"action": tokens / 4, "std": np.ones(tokens.shape), "valid": np.full(len(tokens), not fields["score"])}
        if not fields["tokens_wanted"]:
            return label
        return {**label, "tokens": tokens, "logits": logits, "logsumexp": np.log(np.exp(logits).sum(-1))}


if __name__ == "__main__":
    serve_model(TokenModel)
