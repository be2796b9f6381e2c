"""Octo as a student of tokens: `network.name="octo"`, a vision-language-action policy that is trained by sft and opd.

The transformer begins from a checkpoint, `network.path`; the head is new: `bins` logits for each dimension of one
action, from the readout's embedding, all at once. Instructions are encoded once, by the checkpoint's text encoder,
which is no part of what is trained. Octo's own head, of chunks, is left out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import chex
import jax
import jax.numpy as jnp

from rpd_jax.config import NetworkConfig
from rpd_jax.config.validation import ConfigError, require
from rpd_jax.envs.base import INSTRUCTION, EnvSpec
from rpd_jax.policies.base import Params, Policy, one_by_one, token_contract
from rpd_jax.policies.tokens import Tokens
from rpd_jax.types import Observation
from teachers.octo.config import HeadConfig, ImageTokenizerConfig
from teachers.octo.heads import make_head
from teachers.octo.model import LANGUAGE, load_octo
from teachers.octo.network import OctoModule, applied
from teachers.octo.teacher import resized

HEAD, CAMERA = "action", "primary"
TEXT_ENCODER = "task_tokenizers_"  # how its entry among the transformer's parameters begins
SMALL = 0.01  # of the head's first weights, so that all tokens are about as likely


def make(network: NetworkConfig, spec: EnvSpec, keys: Sequence[str], head: str) -> Policy:
    """A `policies.base.PolicyFactory`.

    Raises:
      ConfigError: the family has no token policies, the student is to see anything but frames, or `network.path` is no
        checkpoint, or that of a model that cannot be told the environment's tasks in words.
    """
    require(
        head == "tokens", "network.name", "octo", "'standard' in this family: octo gives tokens, as sft and opd use"
    )
    require(tuple(keys) == ("rgb",), "env.observation", "+".join(keys), "'rgb' with network.name='octo'")
    contract = token_contract(network, spec)
    texts = spec.instructions or (spec.instruction,)
    try:
        octo = load_octo(network.path)
        told = jnp.concatenate([octo.encode_task(octo.create_task([text]))[LANGUAGE] for text in texts])  # [K, L, D]
    except ValueError as error:
        raise ConfigError(f"network.path={network.path!r} cannot work: {error}") from error
    model = octo.module.config
    new = HeadConfig(
        "DiscreteActionHead", octo.head().readout_key, action_dim=spec.action_dim, vocab_size=contract.bins
    )
    cameras = tuple((name, _for_loops(camera)) for name, camera in model.observation_tokenizers)
    module = OctoModule(dataclasses.replace(model, observation_tokenizers=cameras, heads=((HEAD, new),)))
    trained = {k: x for k, x in octo.params["octo_transformer"].items() if not k.startswith(TEXT_ENCODER)}
    size = octo.image_size(CAMERA)

    def init(key: chex.PRNGKey) -> Params:
        fresh = make_head(new).init(key, jnp.zeros((1, model.token_embedding_size)))["params"]
        return {"octo_transformer": trained, f"heads_{HEAD}": jax.tree.map(lambda x: SMALL * x, fresh)}

    def apply(params: Params, observation: Observation) -> tuple[Any, None]:
        frames = resized(jnp.asarray(observation["rgb"])[:, None], size)  # [B, 1, H, W, 3]: a window of one
        seen = {f"image_{CAMERA}": frames, "timestep_pad_mask": jnp.ones(frames.shape[:2], bool)}
        task = told if len(texts) == 1 else told[observation[INSTRUCTION]]
        embedding = applied(module, params, seen, {LANGUAGE: task}, HEAD, method="embed_newest")
        logits = applied(module, params, HEAD, "__call__", embedding, method="apply_head")  # [B, 1, A, bins]
        return Tokens.of(logits[:, 0], spec.action_low, spec.action_high), None

    # One member after the other: under a vmap over kernels a convolution becomes a grouped one.
    return Policy(init, apply, one_by_one, tokens=contract, instructions=texts)


def _for_loops(camera: ImageTokenizerConfig) -> ImageTokenizerConfig:
    """With convolutions whose gradients are fast in a loop over minibatches."""
    return dataclasses.replace(camera, stem=dataclasses.replace(camera.stem, by_matmul=True))
