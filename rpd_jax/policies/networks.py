"""Actor-critic networks of the student (the only file of the library that knows Flax's linen)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from rpd_jax.config import EnvConfig, NetworkConfig
from rpd_jax.config.validation import require
from rpd_jax.policies.gaussian import Gaussian
from rpd_jax.types import Observation

Params = Any

STUDENT_KEYS = {"state": ("state",), "ee": ("ee",), "rgb": ("rgb",), "rgb+proprio": ("rgb", "proprio")}
"""Which entries of an observation each `env.observation` lets the student see."""


class ActorCritic(NamedTuple):
    """A network as two pure functions."""

    init: Callable[[chex.PRNGKey], Params]
    apply: Callable[[Params, Observation], tuple[Gaussian, chex.Array]]  # (params, [B, ...]) -> ([B, A], [B])
    over_members: Callable[..., Callable[..., Any]]  # `jax.vmap`, or a map that runs one member after the other
    project: Callable[[Params], Params] = lambda params: params  # back to where parameters may be, after every step


def make_actor_critic(
    env: EnvConfig, network: NetworkConfig, shapes: dict[str, tuple[int, ...]], action_dim: int
) -> ActorCritic:
    """Builds the student for observations of the given shapes (without batch axes).

    Raises:
      ConfigError: `log_std_init_each` or `mean_init` has not as many numbers as there are action dimensions.
    """
    keys = STUDENT_KEYS[env.observation]
    log_std = _each("log_std_init_each", network.log_std_init_each, network.log_std_init, action_dim)
    mean = _each("mean_init", network.mean_init, 0.0, action_dim)
    module: nn.Module
    if "rgb" in keys:
        module = NatureActorCritic(action_dim, with_proprio="proprio" in keys)
    else:
        module = MLPActorCritic(action_dim, tuple(network.hidden))

    def init(key: chex.PRNGKey) -> Params:
        example = {k: jnp.zeros((1, *shapes[k]), jnp.uint8 if k == "rgb" else jnp.float32) for k in keys}
        params = module.init(key, example)["params"]
        last = params["actor_out"]
        return params | {"log_std": jnp.asarray(log_std), "actor_out": last | {"bias": jnp.asarray(mean)}}

    def project(params: Params) -> Params:
        """Bounds after the step, not in the network: a log-std at its bound still has a gradient to leave it."""
        return params | {"log_std": jnp.clip(params["log_std"], network.log_std_min, network.log_std_max)}

    def apply(params: Params, observation: Observation) -> tuple[Gaussian, chex.Array]:
        visible = {k: observation[k] for k in keys}
        return module.apply({"params": params}, visible)

    # Under a vmap over kernels a convolution becomes a grouped one, which is many times slower.
    return ActorCritic(init, apply, one_by_one if "rgb" in keys else jax.vmap, project)


def _each(field: str, given: Sequence[float], default: float, action_dim: int) -> np.ndarray:
    """One number for each action dimension, float32 [A]."""
    require(len(given) in (0, action_dim), f"network.{field}", given, f"empty, or {action_dim} numbers")
    return np.asarray(given or [default] * action_dim, np.float32)


def one_by_one(function: Callable[..., Any]) -> Callable[..., Any]:
    """Like `jax.vmap(function)`, but a loop over the leading axis of all arguments."""
    return lambda *args: jax.lax.map(lambda each: function(*each), args)


class MLPActorCritic(nn.Module):
    """Separate tanh trunks for actor and critic, orthogonal initialisation (ManiSkill's state PPO).

    The observation has one entry, whatever its name.
    """

    action_dim: int
    hidden: Sequence[int]

    @nn.compact
    def __call__(self, observation: Observation) -> tuple[Gaussian, chex.Array]:
        (x,) = observation.values()
        chex.assert_rank(x, 2)
        mean = _mlp(x, self.hidden, self.action_dim, nn.tanh, 0.01 * math.sqrt(2), "actor")
        value = _mlp(x, self.hidden, 1, nn.tanh, math.sqrt(2), "critic")
        return _policy(self, mean), value[:, 0]


class NatureActorCritic(nn.Module):
    """NatureCNN shared by actor and critic (methods of RPD, arXiv 2503.05833), with an optional proprioceptive input.

    Convolutions 32/8s4, 64/4s2, 64/3s1 and a layer of 256 with torch's default initialisation; actor
    256-512-A and critic 256-512-1, orthogonal.
    """

    action_dim: int
    with_proprio: bool

    @nn.compact
    def __call__(self, observation: Observation) -> tuple[Gaussian, chex.Array]:
        x = observation["rgb"]
        chex.assert_rank(x, 4)
        x = x.astype(jnp.float32) / 255.0
        for i, (features, kernel, stride) in enumerate(((32, 8, 4), (64, 4, 2), (64, 3, 1))):
            x = _conv(self, x, features, kernel, stride, f"conv_{i}")
            x = nn.relu(x)
        features = [nn.relu(_torch_dense(x.reshape(x.shape[0], -1), 256, "encoder"))]
        if self.with_proprio:
            features.append(nn.relu(_torch_dense(observation["proprio"], 256, "proprio")))
        z = jnp.concatenate(features, axis=-1)
        mean = _mlp(z, (512,), self.action_dim, nn.relu, 0.01 * math.sqrt(2), "actor")
        value = _mlp(z, (512,), 1, nn.relu, math.sqrt(2), "critic")
        return _policy(self, mean), value[:, 0]


def _mlp(
    x: chex.Array,
    hidden: Sequence[int],
    out: int,
    activation: Callable[[chex.Array], chex.Array],
    last_scale: float,
    name: str,
) -> chex.Array:
    for i, width in enumerate(hidden):
        x = nn.Dense(width, kernel_init=nn.initializers.orthogonal(math.sqrt(2)), name=f"{name}_{i}")(x)
        x = activation(x)
    return nn.Dense(out, kernel_init=nn.initializers.orthogonal(last_scale), name=f"{name}_out")(x)


def _conv(module: nn.Module, x: chex.Array, features: int, size: int, stride: int, name: str) -> chex.Array:
    """An unpadded convolution with torch's default initialisation, [B, H, W, C] -> [B, H', W', features]."""
    channels = x.shape[-1]
    init = _torch_uniform(size * size * channels)
    kernel = module.param(f"{name}_kernel", init, (size, size, channels, features))
    bias = module.param(f"{name}_bias", init, (features,))
    convolve = convolve_by_matmul if jax.default_backend() == "cpu" else convolve_natively
    return convolve(x, kernel, stride) + bias.reshape(1, 1, 1, -1)


def convolve_natively(x: chex.Array, kernel: chex.Array, stride: int) -> chex.Array:
    """XLA's convolution without padding."""
    return jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def convolve_by_matmul(x: chex.Array, kernel: chex.Array, stride: int) -> chex.Array:
    """The same as slices and one matrix product: XLA's CPU backend is some 40 times slower at strided gradients.

    Where the stride divides the kernel, blocks of stride x stride pixels become channels first, so that only
    (size / stride)^2 slices are left.
    """
    size, _, channels, features = kernel.shape
    if stride > 1 and size % stride == 0:
        batch, height, width, _ = x.shape
        rows, columns, taps = height // stride, width // stride, size // stride
        x = x[:, : rows * stride, : columns * stride].reshape(batch, rows, stride, columns, stride, channels)
        x = x.transpose(0, 1, 3, 2, 4, 5).reshape(batch, rows, columns, stride * stride * channels)
        kernel = kernel.reshape(taps, stride, taps, stride, channels, features).transpose(0, 2, 1, 3, 4, 5)
        return convolve_by_matmul(x, kernel.reshape(taps, taps, stride * stride * channels, features), 1)
    out_rows, out_columns = (x.shape[1] - size) // stride + 1, (x.shape[2] - size) // stride + 1
    patches = [
        x[:, i : i + stride * (out_rows - 1) + 1 : stride, j : j + stride * (out_columns - 1) + 1 : stride]
        for i in range(size)
        for j in range(size)
    ]
    return jnp.concatenate(patches, axis=-1) @ kernel.reshape(-1, features)


def _policy(module: nn.Module, mean: chex.Array) -> Gaussian:
    """A Gaussian whose log standard deviation does not depend on the state."""
    shape = (mean.shape[-1],)
    log_std = module.param("log_std", nn.initializers.zeros, shape)  # `make_actor_critic` has the values
    return Gaussian(mean, jnp.broadcast_to(log_std, mean.shape))


def _torch_uniform(fan_in: int) -> Callable[..., chex.Array]:
    """torch's default for weights and biases: uniform in +-1 / sqrt(fan_in)."""
    bound = 1.0 / math.sqrt(fan_in)

    def init(key: chex.PRNGKey, shape: Sequence[int], dtype: Any = jnp.float32) -> chex.Array:
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return init


def _torch_dense(x: chex.Array, width: int, name: str) -> chex.Array:
    init = _torch_uniform(x.shape[-1])
    return nn.Dense(width, kernel_init=init, bias_init=init, name=name)(x)
