"""Student policies: distributions over actions (`gaussian.py`, `tokens.py`), networks (`mlp.py`, `nature_cnn.py`), what
makes a policy of them and how to register one's own (`base.py`), and the normalisation of observations."""

from rpd_jax.policies.gaussian import Gaussian
from rpd_jax.policies.tokens import Tokens

__all__ = ["Gaussian", "Tokens"]
