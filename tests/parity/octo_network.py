"""The network as golden data see it: with the results of all its modules, and with given random numbers."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from parity import octo_files

from rpd_jax.types import Array
from teachers.octo.checkpoint import flatten
from teachers.octo.config import HeadConfig
from teachers.octo.diffusion import Noise, cosine_schedule, draw_noise, reverse
from teachers.octo.losses import loss_with_draws
from teachers.octo.network import OctoModule

_CALLS = ("__call__", "eps")  # methods whose results are recorded


class Network(NamedTuple):
    """A network with parameters, and its only action head's name."""

    module: OctoModule
    params: Mapping[str, Any]
    head: str

    @property
    def head_config(self) -> HeadConfig:
        return dict(self.module.config.heads)[self.head]

    def reverse(self, embedding: Array, noise: Noise, dims: int | None = None) -> Array:
        """Flat chunks after every step from given noise; of `dims` action dimensions if the embodiment has fewer."""
        head = self.head_config
        used = jnp.tile(jnp.arange(head.action_dim) < (dims or head.action_dim), head.action_horizon)
        return _reverse(*self, embedding, noise, jnp.broadcast_to(used, noise.start.shape))

    def newest(self, chunk: Array) -> Array:
        """The last frame's actions [..., H, A] of flat chunks [..., W, H * A]."""
        head = self.head_config
        return chunk[..., -1, :].reshape(*chunk.shape[:-2], head.action_horizon, head.action_dim)

    def loss(self, given: Mapping[str, Any], time: Array, noise: Array) -> tuple[Array, dict[str, np.ndarray]]:
        """The loss of a case with given random numbers, and its gradients by path."""
        batch = {"observation": given["observation"], "task": given["task"]}
        batch |= {name: given["loss"][name] for name in ("action", "action_pad_mask")}
        value, gradients = _value_and_gradients(*self, batch, {self.head: {"time": time, "noise": noise}})
        return value, jax.tree.map(np.asarray, flatten(gradients))


def eps_of(module: OctoModule, params: Any, head: str, embedding: Array, chunk: Array, time: Array) -> Array:
    """The predicted noise; see `ScoreNetwork`."""
    return module.apply({"params": params}, head, "eps", embedding, chunk, time, method="apply_head")


@functools.partial(jax.jit, static_argnums=(0, 2))
def _reverse(module: OctoModule, params: Any, head: str, embedding: Array, noise: Noise, used: Array) -> Array:
    config = dict(module.config.heads)[head]
    return reverse(
        lambda x, t: eps_of(module, params, head, embedding, x, t),
        noise,
        cosine_schedule(config.diffusion_steps),
        config.max_action,
        used,
        trajectory=True,
    )


@functools.partial(jax.jit, static_argnums=(0, 2))
def _value_and_gradients(module: OctoModule, params: Any, head: str, batch: Any, draws: Any) -> tuple[Array, Any]:
    del head
    return jax.value_and_grad(lambda params: loss_with_draws(module, params, batch, draws)[0])(params)


@functools.partial(jax.jit, static_argnums=(0, 2))
def _run(
    module: OctoModule, params: Any, head: str, observation: Any, task: Any, time: Array, chunk: Array
) -> tuple[Any, ...]:
    recording: dict[str, Any] = {
        "capture_intermediates": lambda _, method: method in _CALLS,
        "mutable": ["intermediates"],
    }
    variables = {"params": params}
    embedding, inside = module.apply(variables, observation, task, head, method="embed", **recording)
    eps, below = module.apply(variables, head, "eps", embedding, chunk, time, method="apply_head", **recording)
    return embedding, eps, inside["intermediates"], below["intermediates"]


def record_of(network: Network, given: Mapping[str, Any]) -> dict[str, Any]:
    """What every module of the network gives for a case, sorted as golden arrays are.

    `given`: nested arrays "observation", "task" and "head" (what its score network is called with).
    """
    head = given["head"]
    embedding, eps, inside, below = _run(
        *network, given["observation"], given["task"], head["time"], head["noisy_actions"]
    )
    modules = _results(inside["octo_transformer"])
    blocks = "BlockTransformer_0/Transformer_0"
    tokenizers = {}
    stems = {}
    for name in modules:
        top, _, rest = name.partition("/")
        for kind in ("observation_tokenizers_", "task_tokenizers_"):
            if name.startswith(kind) and not rest:
                tokenizers[name.removeprefix(kind)] = modules[name]
            elif name.startswith(kind):
                stems[f"{top.removeprefix(kind)}/{rest.partition('/')[2]}"] = modules[name]
    text = next((name for name in modules if name.endswith("/hf_model")), "")
    return {
        "tokenizer": tokenizers,
        "stems": stems,
        "t5": octo_files.below(modules, text) if text else {},
        "projection": modules,
        "sequence": {name: inside["octo_transformer"][name][0] for name in ("input_tokens", "attention_mask")},
        "transformer": octo_files.below(modules, blocks),
        "encoderblock_0": octo_files.below(modules, f"{blocks}/encoderblock_0"),
        "out": inside["octo_transformer"]["__call__"][0],
        "head": {"embedding": embedding, "eps": eps},
        "head_parts": {
            name if name.startswith("heads_") and "/" not in name else name.partition("/")[2]: value
            for name, value in _results(below).items()
        },
    }


def _results(tree: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    """Module path -> what its call gave."""
    found: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            found |= _results(value, f"{path}/{name}" if path else name)
        elif name in _CALLS and path:
            found[path] = value[0]
    return found


_draw_noise = jax.jit(draw_noise, static_argnums=(1, 2))


def official_noise(steps: int, shape: tuple[int, ...], seed: int) -> Noise:
    """What the official sampler draws with `PRNGKey(seed)`: in the stream that was jax's until its version 0.5."""
    with jax.threefry_partitionable(False):
        return _draw_noise(jax.random.PRNGKey(seed), steps, shape)
