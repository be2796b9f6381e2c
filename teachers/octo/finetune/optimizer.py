"""Which parameters are trained, and how: schedules, AdamW, frozen leaves."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import traverse_util

from rpd_jax.config import ConfigError
from teachers.octo.finetune.settings import FinetuneSettings

Params = Mapping[str, Any]

FROZEN_KEYS = ("*hf_model*",)
"""What the official pretraining freezes: T5."""
MODE_PATTERNS: dict[str, tuple[str, ...]] = {
    "full": (),
    "head_only": ("octo_transformer.*",),
    "head_mlp_only": (
        "octo_transformer.*",
        "heads_*.map_head.probe",
        "heads_*.map_head.MultiHeadDotProductAttention_0.*",
    ),
}
"""What each mode freezes: patterns of fnmatch on paths joined by dots."""


def make_schedule(settings: FinetuneSettings) -> optax.Schedule:
    """The learning rate of a step (the first step is 0).

    All rise linearly from 0 at step 0 to the peak at step w = warmup_steps. After that:
      cosine: peak * (1 + cos(pi * (step - w) / (d - w))) / 2 with d = decay_steps, counted from step 0; then 0.
      rsqrt: peak / sqrt((step - w + timescale) / timescale).
      constant: peak.
    """
    optimizer = settings.optimizer
    peak, warmup = optimizer.learning_rate, optimizer.warmup_steps
    if optimizer.schedule == "cosine":
        after = optax.cosine_decay_schedule(peak, (optimizer.decay_steps or settings.steps) - warmup)
    elif optimizer.schedule == "rsqrt":

        def after(step: jax.typing.ArrayLike) -> jax.Array:
            return peak / jnp.sqrt((step + optimizer.timescale) / optimizer.timescale)

    else:
        after = optax.constant_schedule(peak)
    return optax.join_schedules([optax.linear_schedule(0.0, peak, warmup), after], [warmup])


def frozen_patterns(settings: FinetuneSettings, config: Mapping[str, Any]) -> tuple[str, ...]:
    """Patterns of the parameters that are not trained: the settings', the mode's and those of the model's training.

    Args:
      settings: of the run.
      config: the model's official configuration; where its optimizer says nothing, T5 is frozen.
    """
    pretrained = config.get("optimizer", {}).get("frozen_keys", FROZEN_KEYS)
    return (*(pretrained or ()), *MODE_PATTERNS[settings.mode], *settings.optimizer.frozen)


def is_frozen(path: str, patterns: Sequence[str]) -> bool:
    """Whether a parameter ("heads_action/diffusion_model/...") is frozen by one of the patterns."""
    return any(fnmatch.fnmatchcase(path.replace("/", "."), pattern) for pattern in patterns)


def partition(params: Params, patterns: Sequence[str]) -> tuple[Params, Params]:
    """Splits parameters into trainable and frozen ones; raises ConfigError if nothing is left to train."""
    flat = traverse_util.flatten_dict(params, sep="/")
    frozen = {path: leaf for path, leaf in flat.items() if is_frozen(path, patterns)}
    trainable = {path: leaf for path, leaf in flat.items() if path not in frozen}
    if not trainable:
        raise ConfigError(f"optimizer.frozen and mode leave no parameter to train: {tuple(patterns)} are frozen")
    return traverse_util.unflatten_dict(trainable, sep="/"), traverse_util.unflatten_dict(frozen, sep="/")


def combine(trainable: Params, frozen: Params) -> Params:
    """Inverse of `partition`."""
    flat = traverse_util.flatten_dict(trainable) | traverse_util.flatten_dict(frozen)
    return traverse_util.unflatten_dict(flat)


def make_optimizer(
    settings: FinetuneSettings, params: Params, frozen: Sequence[str] = ()
) -> optax.GradientTransformation:
    """AdamW on the leaves of `params` that no pattern of `frozen` matches; the updates of the others are zero.

    The gradient is clipped before Adam, by the global norm of the trainable leaves. Weight decay applies to leaves
    whose path contains "kernel". No moments are kept for frozen leaves.
    """
    optimizer = settings.optimizer

    def decayed(tree: Params) -> Params:
        # Leaves that multi_transform masks out are no arrays, but keep their place in the tree.
        return traverse_util.path_aware_map(lambda path, _: any("kernel" in str(part) for part in path), tree)

    adamw = optax.adamw(
        make_schedule(settings),
        b1=optimizer.b1,
        b2=optimizer.b2,
        eps=optimizer.eps,
        mu_dtype=jnp.dtype(optimizer.mu_dtype),
        weight_decay=optimizer.weight_decay,
        mask=decayed,
    )
    clip = optax.clip_by_global_norm(optimizer.clip) if optimizer.clip else optax.identity()
    labels = traverse_util.path_aware_map(
        lambda path, _: "frozen" if is_frozen("/".join(map(str, path)), frozen) else "trainable", params
    )
    return optax.multi_transform({"trainable": optax.chain(clip, adamw), "frozen": optax.set_to_zero()}, labels)
