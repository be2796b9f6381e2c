"""The model that is fine-tuned: a pretrained one fitted to the data, or a new one."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from flax import traverse_util

from rpd_jax.config import ConfigError, require
from teachers.octo.config import ModelConfig
from teachers.octo.finetune.settings import FinetuneSettings
from teachers.octo.fresh import TEXT_LENGTH, example_batch, init_octo, nano_config
from teachers.octo.model import Octo
from teachers.octo.network import OctoModule
from teachers.octo.text import TOKENIZER_FILE, VOCABULARY_FILE, T5Tokenizer, WordTokenizer
from teachers.recordings import Recordings


def merge_params(pretrained: Mapping[str, Any], fresh: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Takes from `pretrained` every parameter whose path and shape `fresh` has too, the others from `fresh`.

    Returns:
      The parameters, with the structure of `fresh`; and the paths of those that are fresh, sorted.
    """
    have = traverse_util.flatten_dict(dict(pretrained), sep="/")
    want = traverse_util.flatten_dict(dict(fresh), sep="/")
    new = sorted(path for path, leaf in want.items() if path not in have or np.shape(have[path]) != np.shape(leaf))
    merged = {path: leaf if path in set(new) else have[path] for path, leaf in want.items()}
    return traverse_util.unflatten_dict(merged, sep="/"), new


def image_sizes(octo: Octo) -> dict[str, int]:
    """Camera image -> pixels, of what a model was trained with."""
    observation = octo.example_batch["observation"]
    return {name: x.shape[2] for name, x in observation.items() if name.startswith("image_")}


def adapt(octo: Octo, recordings: Recordings, settings: FinetuneSettings) -> Octo:
    """A pretrained model for other data: its window, action horizon and, where it has fewer, action dimensions.

    Every parameter that still fits is kept; the others are initialised.

    Raises:
      ConfigError: the window is longer than the model can see.
    """
    change = {
        "action_horizon": settings.data.horizon,
        "action_dim": max(recordings.action.shape[1], octo.head().action_dim),
    }
    model = octo.module.config
    heads = tuple((name, dataclasses.replace(head, **change)) for name, head in model.heads)
    module = OctoModule(dataclasses.replace(model, heads=heads), jnp.dtype(settings.dtype))
    _check_window(settings, model.max_horizon)
    example = _refitted(octo.example_batch, settings.data.window, **change)

    def init(key: jax.Array) -> Any:
        return module.init(key, example["observation"], example["task"])["params"]

    key = jax.random.key(settings.seed)
    params, new = merge_params(octo.params, jax.eval_shape(init, key))
    if new:  # otherwise there is nothing to initialise, which takes seconds where the model has T5
        params, new = merge_params(octo.params, jax.jit(init)(key))
        logging.info("%d parameters do not fit and start anew: %s", len(new), ", ".join(new))
    return dataclasses.replace(
        octo,
        module=module,
        params=params,
        config=_with_actions(octo.config, settings.data.window, change),
        example_batch=example,
        statistics=recordings.statistics,
    )


def new_octo(config: Mapping[str, Any] | None, recordings: Recordings, settings: FinetuneSettings) -> Octo:
    """A model of random parameters; its words are those of the recordings.

    Args:
      config: official configuration, of which "model" counts; None: octo-nano.

    Raises:
      ConfigError: the window is longer than the model can see, or it cannot tell so many words apart.
      ValueError: the configuration names what this network does not have.
    """
    text = WordTokenizer.build(recordings.instructions, TEXT_LENGTH)
    config = nano_config(text) if config is None else config
    _check_window(settings, config["model"]["max_horizon"])
    for _, tokenizer in ModelConfig.from_dict(config["model"]).task_tokenizers:
        if tokenizer.t5 is not None and tokenizer.t5.vocab_size < len(text.vocabulary):
            raise ConfigError(
                f"the model's text encoder knows {tokenizer.t5.vocab_size} words: the instructions of the data need "
                f"{len(text.vocabulary)}"
            )
    change = {"action_horizon": settings.data.horizon, "action_dim": recordings.action.shape[1]}
    config = {**_with_actions(config, settings.data.window, change), "text_processor": text.spec()}
    size = next(iter(recordings.images.values())).shape[1]
    example = example_batch(config, text, size, settings.data.window)
    key = jax.random.key(settings.seed)
    return init_octo(config, example, recordings.statistics, text, key, jnp.dtype(settings.dtype))


def text_files(octo: Octo) -> dict[str, bytes]:
    """The files that a checkpoint needs for its text processor."""
    if isinstance(octo.text, WordTokenizer):
        return {VOCABULARY_FILE: octo.text.to_json().encode()}
    if isinstance(octo.text, T5Tokenizer):
        return {TOKENIZER_FILE: octo.text.tokenizer.to_str().encode()}
    return {}


def _check_window(settings: FinetuneSettings, longest: int) -> None:
    right = f"at most the {longest} frames that the model can see"
    require(settings.data.window <= longest, "data.window", settings.data.window, right)


def _with_actions(config: Mapping[str, Any], window: int, change: Mapping[str, int]) -> dict[str, Any]:
    """An official configuration with another window, action horizon and number of action dimensions."""
    changed = copy.deepcopy(dict(config))
    for head in changed["model"]["heads"].values():
        head["kwargs"] |= change
    return changed | {"window_size": window}


def _refitted(example: Mapping[str, Any], window: int, action_horizon: int, action_dim: int) -> dict[str, Any]:
    """An example batch with another window and other actions."""
    observation = {name: x for name, x in example["observation"].items() if name != "task_completed"}
    frames = jax.tree.map(lambda x: np.repeat(np.asarray(x)[:, -1:], window, axis=1), observation)
    chunk = (1, window, action_horizon, action_dim)
    actions = {"action": np.zeros(chunk, np.float32), "action_pad_mask": np.ones(chunk, bool)}
    return {**example, "observation": frames, **actions}
