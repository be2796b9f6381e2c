"""What a policy is, and policies by name.

def linear(network, spec, keys, head):
    def init(key):
        return {"w": jnp.zeros((spec.observation["state"].shape[0], spec.action_dim))}

    def apply(params, observation):
        mean = observation["state"] @ params["w"]
        return Gaussian(mean, jnp.full_like(mean, -1.0)), jnp.zeros(len(mean))

    return Policy(init, apply)

register_policy("linear", linear)      # then network.name="linear" trains it
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import chex
import jax
import jax.numpy as jnp
import numpy as np

from rpd_jax.config import EnvConfig, NetworkConfig
from rpd_jax.config.env import is_frames
from rpd_jax.config.tagged import imported
from rpd_jax.config.validation import ConfigError, choice, require
from rpd_jax.envs.base import INSTRUCTION, EnvSpec
from rpd_jax.policies.gaussian import Gaussian as Gaussian  # what most policies give
from rpd_jax.policies.mlp import MLPActorCritic, MLPTokens
from rpd_jax.policies.nature_cnn import NatureActorCritic, NatureTokens
from rpd_jax.policies.tokens import Tokens, drawn
from rpd_jax.types import Observation, TokenContract

Params = Any

HEADS = ("gaussian", "tokens")

Choose = Callable[[int, chex.Array], chex.Array]
"""(dimension k, its logits [B, bins]) -> tokens int [B]: what the next dimension's distribution is given."""


class Distribution(Protocol):
    """Over one action [A]; a pytree, so that leaves may carry leading batch axes and the caller vmaps."""

    def mode(self) -> chex.Array: ...

    def sample(self, key: chex.PRNGKey) -> chex.Array: ...

    def log_prob(self, action: chex.Array) -> chex.Array: ...

    def entropy(self) -> chex.Array: ...


class Policy(NamedTuple):
    """One member's network as pure functions."""

    init: Callable[[chex.PRNGKey], Params]
    # (params, observations [B, ...]) -> (distributions with leaves [B, ...], values [B] or None without a critic)
    apply: Callable[[Params, Observation], tuple[Any, chex.Array | None]]
    # `jax.vmap`, or a map that runs one member after the other.
    over_members: Callable[..., Callable[..., Any]] = jax.vmap
    # (params, a variant's floats) -> params back where that variant's may be; after every step.
    project: Callable[[Params, Mapping[str, chex.Array]], Params] = lambda params, floats: params
    tokens: TokenContract | None = None  # what its tokens mean, if it is over tokens
    # The environment's tasks in words, if it heeds them; of several, an observation's "instruction" says which it is.
    instructions: tuple[str, ...] = ()
    # Of autoregressive tokens, whose `apply` is along the most likely ones: distributions along those that `choose`
    # says, and these [B, A]. None: tokens are independent of each other.
    chain: Callable[[Params, Observation, Choose], tuple[Tokens, chex.Array]] | None = None

    def given(self, params: Params, observation: Observation, tokens: chex.Array) -> Tokens:
        """Distributions with leaves [B, ...], each given those of the tokens int [B, A] before it."""
        if self.chain is None:
            return self.apply(params, observation)[0]
        return self.chain(params, observation, lambda k, _: tokens[:, k])[0]

    def shown(self, params: Params, observation: Observation, action: chex.Array) -> tuple[Tokens, chex.Array]:
        """`given` the tokens int [B, A] of actions [B, A], and these."""
        policy = self.apply(params, observation)[0]
        tokens = jax.vmap(lambda p, action: p.encode(action))(policy, action)
        return policy if self.chain is None else self.given(params, observation, tokens), tokens

    def draw(
        self, params: Params, observation: Observation, keys: chex.Array, temperature: float = 1.0
    ) -> tuple[Tokens, chex.Array]:
        """Draws tokens int32 [B, A], with a key for each row; the distributions are at the temperature, too."""
        if self.chain is None:
            hot = self.apply(params, observation)[0].tempered(temperature)
            return hot, jax.vmap(lambda p, key: p.draw(key))(hot, keys)
        assert self.tokens is not None, "chains are of tokens"
        shape = (len(self.tokens.low),)
        uniform = jax.vmap(lambda key: jax.random.uniform(key, shape))(keys)
        policy, tokens = self.chain(params, observation, lambda k, logits: drawn(logits / temperature, uniform[:, k]))
        return policy.tempered(temperature), tokens

    def sample(self, params: Params, observation: Observation, keys: chex.Array) -> chex.Array:
        """Draws actions [B, A], with a key for each row."""
        if self.chain is None:
            return jax.vmap(lambda p, key: p.sample(key))(self.apply(params, observation)[0], keys)
        policy, tokens = self.draw(params, observation, keys)
        return jax.vmap(lambda p, tokens: p.decode(tokens))(policy, tokens)


PolicyFactory = Callable[[NetworkConfig, EnvSpec, Sequence[str], str], Policy]
"""(settings, environment, entries of an observation that the student sees, one of HEADS) -> Policy."""

POLICIES: dict[str, PolicyFactory | str] = {
    "autoregressive": "rpd_jax.policies.chained:make",
    "octo": "teachers.octo.policy:make",
}
"""Policy by `network.name`: its factory, or "module:function", which is imported when asked for."""


def register_policy(name: str, factory: PolicyFactory) -> PolicyFactory:
    """Makes a policy available as `network.name`; raises ConfigError if the name is taken by another."""
    if POLICIES.setdefault(name, factory) is not factory:
        raise ConfigError(f"policy {name!r} is already registered: choose another name")
    return factory


def make_policy(env: EnvConfig, network: NetworkConfig, spec: EnvSpec, head: str = "gaussian") -> Policy:
    """The student that `network.name` names, for an environment's observations and actions.

    Raises:
      ConfigError: unknown policy, or one that cannot be built with these settings.
    """
    choice("network.name", network.name, POLICIES)
    factory = POLICIES[network.name]
    if isinstance(factory, str):
        factory = POLICIES[network.name] = imported(factory)
    return factory(network, spec, env.entries, head)


def student_keys(env: EnvConfig, policy: Policy) -> tuple[str, ...]:
    """The entries of an observation that a policy reads."""
    return (*env.entries, *([INSTRUCTION] if len(policy.instructions) > 1 else []))


def standard(network: NetworkConfig, spec: EnvSpec, keys: Sequence[str], head: str) -> Policy:
    """An MLP of state observations, NatureCNN of frames, as RPD's students are.

    Raises:
      ConfigError: `log_std_init_each` or `mean_init` has not as many numbers as there are action dimensions, or the
        action box of a token policy is not bounded.
    """
    if head == "tokens":
        return _tokens(network, spec, keys)
    log_std = _each("log_std_init_each", network.log_std_init_each, network.log_std_init, spec.action_dim)
    mean = _each("mean_init", network.mean_init, 0.0, spec.action_dim)
    cameras = cameras_of(spec, keys)
    module = (
        NatureActorCritic(spec.action_dim, cameras, with_proprio="proprio" in keys)
        if cameras
        else MLPActorCritic(spec.action_dim, tuple(network.hidden))
    )

    def init(key: chex.PRNGKey) -> Params:
        params = module.init(key, example(spec, keys))["params"]
        last = params["actor_out"]
        return params | {"log_std": jnp.asarray(log_std), "actor_out": last | {"bias": jnp.asarray(mean)}}

    def project(params: Params, floats: Mapping[str, chex.Array]) -> Params:
        """Bounds after the step, not in the network: a log-std at its bound still has a gradient to leave it."""
        bounded = jnp.clip(params["log_std"], floats.get("log_std_min"), floats.get("log_std_max"))
        return params | {"log_std": bounded}

    def apply(params: Params, observation: Observation) -> tuple[Any, chex.Array | None]:
        return module.apply({"params": params}, {k: observation[k] for k in keys})

    # Under a vmap over kernels a convolution becomes a grouped one, which is many times slower.
    return Policy(init, apply, one_by_one if cameras else jax.vmap, project)


def token_contract(network: NetworkConfig, spec: EnvSpec) -> TokenContract:
    """Of a student whose bins divide the environment's action box; ConfigError where that is not bounded."""
    finite = all(np.isfinite((*spec.action_low, *spec.action_high)))
    require(finite, "env.control_mode", spec.name, "one with a bounded action box, which the bins divide")
    return TokenContract(network.bins, spec.action_low, spec.action_high)


def _tokens(network: NetworkConfig, spec: EnvSpec, keys: Sequence[str]) -> Policy:
    contract = token_contract(network, spec)
    box = (contract.low, contract.high, contract.bins)
    cameras = cameras_of(spec, keys)
    module = NatureTokens(*box, cameras, "proprio" in keys) if cameras else MLPTokens(*box, tuple(network.hidden))
    return Policy(
        init=lambda key: module.init(key, example(spec, keys))["params"],
        apply=lambda params, observation: module.apply({"params": params}, {k: observation[k] for k in keys}),
        over_members=one_by_one if cameras else jax.vmap,
        tokens=contract,
    )


register_policy("standard", standard)


def cameras_of(spec: EnvSpec, keys: Sequence[str]) -> tuple[str, ...]:
    """The entries that are frames; ConfigError where they are not of one size: NatureCNN stacks their channels."""
    cameras = tuple(filter(is_frames, keys))
    sizes = {spec.observation[camera].shape for camera in cameras}
    right = f"of cameras whose frames have one size, not {', '.join(map(str, sorted(sizes)))}"
    require(len(sizes) < 2, "env.observation", "+".join(keys), right)
    return cameras


def has_critic(policy: Policy, spec: EnvSpec, keys: Sequence[str]) -> bool:
    """Whether a policy gives values too; computes nothing."""

    def value(key: chex.PRNGKey) -> chex.Array | None:
        return policy.apply(policy.init(key), example(spec, keys))[1]

    return jax.eval_shape(value, jax.random.key(0)) is not None


def example(spec: EnvSpec, keys: Sequence[str]) -> Observation:
    """What a policy is given, one row of zeros."""
    return {k: jnp.zeros((1, *spec.observation[k].shape), jnp.uint8 if is_frames(k) else jnp.float32) for k in keys}


def _each(field: str, given: Sequence[float], default: float, action_dim: int) -> np.ndarray:
    """One number for each action dimension, float32 [A]."""
    require(len(given) in (0, action_dim), f"network.{field}", given, f"empty, or {action_dim} numbers")
    return np.asarray(given or [default] * action_dim, np.float32)


def in_turn(policy: Policy) -> Callable[..., Callable[..., Any]]:
    """How members go through a loop of their own, such as an update's minibatches.

    On a CPU one after the other: a vmapped loop multiplies batches of small matrices, which XLA is slow at there, and
    goes on until the last member's end. Other devices need all members at once to be busy.
    """
    return one_by_one if jax.default_backend() == "cpu" else policy.over_members


def one_by_one(function: Callable[..., Any]) -> Callable[..., Any]:
    """Like `jax.vmap(function)`, but a loop over the leading axis of all arguments."""
    return lambda *args: jax.lax.map(lambda each: function(*each), args)
