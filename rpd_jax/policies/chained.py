"""Autoregressive students of tokens: `network.name="autoregressive"`, trained by sft and opd.

Each dimension's distribution depends on the tokens of the dimensions before it, as OpenVLA's does. Objectives take
these for a part of the observation: all distributions, a teacher's too, are along the student's own tokens, and no
gradient flows through what these were. The trunks are those of "standard"; on top of them

    h_k = activation(z + sum_{j < k} E_j[token_j])        p(token_k | observation, tokens before) = softmax(V_k h_k)

(NADE: arXiv 1605.02226): the trunk is computed once, and all heads cost as much as those of independent tokens. E
begins at zero: a fresh student's tokens are independent.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from rpd_jax.config import NetworkConfig
from rpd_jax.config.validation import require
from rpd_jax.envs.base import EnvSpec
from rpd_jax.policies.base import (
    Choose,
    Params,
    Policy,
    cameras_of,
    example,
    one_by_one,
    token_contract,
)
from rpd_jax.policies.dense import Dense
from rpd_jax.policies.mlp import mlp
from rpd_jax.policies.nature_cnn import encoded
from rpd_jax.policies.tokens import Tokens
from rpd_jax.types import Observation


class ChainedTokens(nn.Module):
    """Distributions over `bins` tokens, each given those chosen before, and these tokens int [B, A]; no critic.

    `low` and `high` [A] are the ends of the range that the bins divide. An observation without `cameras` has one entry.
    """

    low: Sequence[float]
    high: Sequence[float]
    bins: int
    hidden: Sequence[int]
    cameras: Sequence[str]
    with_proprio: bool

    @nn.compact
    def __call__(self, observation: Observation, choose: Choose) -> tuple[Tokens, chex.Array]:
        activation = nn.relu if self.cameras else nn.tanh
        hidden = (512,) if self.cameras else tuple(self.hidden)
        if self.cameras:
            seen = encoded(self, observation, self.cameras, self.with_proprio)
        else:
            (seen,) = observation.values()
        z = mlp(seen, hidden[:-1], hidden[-1], activation, math.sqrt(2), "actor")
        logits: list[chex.Array] = []
        tokens: list[chex.Array] = []
        for k in range(len(self.low)):
            head = Dense(self.bins, 0.01 * math.sqrt(2), name=f"token_{k}")
            logits.append(head(activation(z)))
            tokens.append(choose(k, logits[-1]))
            if k + 1 < len(self.low):
                z += self.param(f"after_{k}", nn.initializers.zeros, (self.bins, hidden[-1]))[tokens[-1]]
        return Tokens.of(jnp.stack(logits, axis=1), self.low, self.high), jnp.stack(tokens, axis=1)


def most_likely(k: int, logits: chex.Array) -> chex.Array:
    """Greedy decoding, a `Choose`."""
    return jnp.argmax(logits, axis=-1).astype(jnp.int32)


def make(network: NetworkConfig, spec: EnvSpec, keys: Sequence[str], head: str) -> Policy:
    """A `policies.base.PolicyFactory`.

    Raises:
      ConfigError: the family has no token policies, or the environment's action box is not bounded.
    """
    right = "'standard' in this family: it gives tokens, as sft and opd use"
    require(head == "tokens", "network.name", network.name, right)
    contract, cameras = token_contract(network, spec), cameras_of(spec, keys)
    box = (contract.low, contract.high, contract.bins)
    module = ChainedTokens(*box, tuple(network.hidden), cameras, "proprio" in keys)

    def chain(params: Params, observation: Observation, choose: Choose) -> tuple[Tokens, chex.Array]:
        return module.apply({"params": params}, {k: observation[k] for k in keys}, choose)

    return Policy(
        init=lambda key: module.init(key, example(spec, keys), most_likely)["params"],
        apply=lambda params, observation: (chain(params, observation, most_likely)[0], None),
        over_members=one_by_one if cameras else jax.vmap,
        tokens=contract,
        chain=chain,
    )
