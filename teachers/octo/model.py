"""A loaded Octo: its network, weights and what a checkpoint says about its data."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from flax import traverse_util

from rpd_jax.types import Array
from teachers.octo.checkpoint import check_params, read_checkpoint, write_checkpoint
from teachers.octo.config import HeadConfig, ModelConfig
from teachers.octo.heads import HEADS
from teachers.octo.network import OctoModule, applied
from teachers.octo.statistics import select_statistics, unnormalize
from teachers.octo.t5 import T5Config
from teachers.octo.text import TextProcessor, make_text_processor

LANGUAGE = "language_instruction"
SHIPPED: Mapping[str, Path] = {"octo-nano": Path(__file__).parent / "nano"}
"""Checkpoints that come with this package."""


@dataclasses.dataclass(frozen=True, eq=False)
class Octo:
    """A model that can be asked for actions; nothing in it changes."""

    module: OctoModule
    params: Mapping[str, Any]
    config: Mapping[str, Any]  # the whole official configuration
    example_batch: Mapping[str, Any]
    statistics: Mapping[str, Any]  # of the data: by data set, or of one
    text: TextProcessor | None = None
    directory: Path | None = None  # where it was loaded from
    step: int = 0

    @property
    def window(self) -> int:
        """Frames that it was trained to see."""
        return self.example_batch["observation"]["timestep_pad_mask"].shape[1]

    def head(self, name: str = "action") -> HeadConfig:
        return dict(self.module.config.heads)[name]

    def image_size(self, camera: str = "primary") -> int:
        """Pixels of a camera's square frames."""
        return self.example_batch["observation"][f"image_{camera}"].shape[2]

    def create_task(
        self, texts: Sequence[str] | None = None, goals: Mapping[str, Array] | None = None
    ) -> dict[str, Any]:
        """A batch of tasks, in words, as goal images, or both.

        Args:
          texts: B instructions.
          goals: images uint8 [B, H, W, 3] by name ("image_primary").
        Raises:
          ValueError: neither is given, a goal has another size, or there is no text processor for instructions.
        """
        if texts is None and not goals:
            raise ValueError("a task needs texts or goals: both are missing")
        if texts is not None and self.text is None:
            raise ValueError("texts cannot be used: this checkpoint has no text processor; give goals")
        goals = {} if goals is None else {name: jnp.asarray(image) for name, image in goals.items()}
        batch = len(texts) if texts is not None else len(next(iter(goals.values())))
        example = self.example_batch["task"]
        for name, image in goals.items():
            wanted = (batch, *example[name].shape[1:]) if name in example else None
            if image.shape != wanted:
                raise ValueError(f"goals[{name!r}] has the shape {image.shape}: the model takes {wanted}")
        present = {name: name in goals for name in example if name not in ("pad_mask_dict", LANGUAGE)}
        task: dict[str, Any] = dict(goals)
        if texts is not None and not goals:  # as in training: a goal that is not there is black
            task |= {name: jnp.zeros((batch, *x.shape[1:]), x.dtype) for name, x in example.items() if name in present}
        if self.text is not None:
            task[LANGUAGE] = dict(self.text.encode([""] * batch if texts is None else list(texts)))
        masks = {name: is_given for name, is_given in present.items() if name in task} | {LANGUAGE: texts is not None}
        task["pad_mask_dict"] = {name: jnp.full(batch, is_given) for name, is_given in masks.items()}
        return task

    def encode_task(self, task: Mapping[str, Any]) -> dict[str, Any]:
        """The task with its instruction's ids replaced by their encoding, which then need not be computed again."""
        if not isinstance(task.get(LANGUAGE), Mapping):
            return dict(task)
        return {**task, LANGUAGE: _encode_language(self.module, self.params, task[LANGUAGE])}

    def embed(self, observation: Mapping[str, Any], task: Mapping[str, Any], head: str = "action") -> Array:
        """What an action head reads, [B, W, D]: one pass of the transformer.

        Raises ValueError, see `check_observation`.
        """
        self.check_observation(observation)
        return _embed(self.module, self.params, dict(observation), dict(task), head)

    def sample_actions(
        self,
        observation: Mapping[str, Any],
        task: Mapping[str, Any],
        key: Array,
        *,
        samples: int = 1,
        statistics_key: str | None = None,
        statistics: Mapping[str, Any] | None = None,
        normalization: str = "normal",
        head: str = "action",
    ) -> Array:
        """Action chunks for the newest frame; the transformer runs once, however many samples are drawn.

        Args:
          observation: images uint8 [B, W, H, W', 3] and `timestep_pad_mask` [B, W]; leave absent cameras out.
          task: from `create_task` or `encode_task`.
          key: of the samples.
          samples: chunks drawn per observation.
          statistics_key: name of the data set in whose units actions are to be; None for a fine-tuned model.
          statistics: these instead; an empty dict leaves actions normalised.
          normalization: how the data were normalised, "normal" or "bounds".
          head: name of the action head.
        Returns:
          [samples, B, action horizon, A]
        Raises:
          ValueError: an impossible observation or an unknown data set.
        """
        chosen = select_statistics(self.statistics, statistics_key) if statistics is None else statistics
        used_dims = len(chosen["mean"]) if chosen else None
        embedding = self.embed(observation, task, head)
        chunks = _sample(self.module, self.params, embedding[:, -1], key, samples, used_dims, head)
        return unnormalize(chunks, chosen, normalization) if chosen else chunks

    def check_observation(self, observation: Mapping[str, Any]) -> None:
        """Raises ValueError for what the model cannot take, by name; warns of entries that it was not trained with."""
        example = self.example_batch["observation"]
        if "timestep_pad_mask" not in observation:
            raise ValueError("observation lacks timestep_pad_mask: bool [B, W], True for every real frame")
        batch, window = observation["timestep_pad_mask"].shape
        longest = self.module.config.max_horizon
        if window > longest:
            raise ValueError(f"the window of {window} frames is longer than the model's max_horizon={longest}")
        if window > self.window:
            logging.log_first_n(logging.WARNING, "window %d: the model was trained with %d", 1, window, self.window)
        for name, x in traverse_util.flatten_dict(dict(observation), sep="/").items():
            known = traverse_util.flatten_dict(dict(example), sep="/").get(name)
            if known is None:
                logging.log_first_n(logging.WARNING, "the model has not been trained with observation %s", 1, name)
                continue
            wanted = (batch, window, *known.shape[2:])
            if tuple(x.shape) != wanted:
                raise ValueError(f"observation {name} has the shape {tuple(x.shape)}: the model takes {wanted}")
        if not any(name.startswith("image_") for name in observation):
            raise ValueError(f"observation has no image: the model knows {sorted(k for k in example if 'image' in k)}")

    def save(self, directory: str | Path, step: int, extra_files: Mapping[str, bytes] | None = None) -> Path:
        """Writes an official checkpoint directory; see `checkpoint.write_checkpoint`."""
        return write_checkpoint(
            directory,
            step,
            params=self.params,
            config=self.config,
            example_batch=self.example_batch,
            statistics=self.statistics,
            extra_files=extra_files or {},
        )


def load_octo(path: str | Path, step: int | None = None, *, dtype: Any = jnp.float32) -> Octo:
    """Loads an official checkpoint directory.

    Args:
      path: the directory, "hf://org/name" (cached, so that the second time needs no network), or a name of `SHIPPED`.
      step: which parameters; None: the latest.
      dtype: in which the transformer computes, float32 or bfloat16; parameters and the action head stay float32.
    Raises:
      CheckpointError: something is missing or broken.
      ValueError: a configuration that this network does not have, or parameters that do not fit it, by name.
    """
    files = read_checkpoint(SHIPPED.get(str(path), path), step)
    module = OctoModule(ModelConfig.from_dict(files.config["model"], _text_encoder(files.params)), dtype)
    example = files.example_batch
    expected = jax.eval_shape(module.init, jax.random.key(0), example["observation"], example["task"])["params"]
    check_params(files.params, expected)
    return Octo(
        module=module,
        params=jax.tree.map(jnp.asarray, files.params),
        config=files.config,
        example_batch=example,
        statistics=files.statistics,
        text=make_text_processor(files.config.get("text_processor"), files.directory),
        directory=files.directory,
        step=files.step,
    )


def sample_chunks(
    module: OctoModule,
    params: Mapping[str, Any],
    embedding: Array,
    key: Array,
    count: int = 1,
    used_dims: int | None = None,
    head: str = "action",
) -> Array:
    """Normalised action chunks [count, ..., H, A] from embeddings [..., D]; can be traced.

    `used_dims`: entries from there on are not part of the embodiment; they come out as noise.
    """
    config = dict(module.config.heads)[head]

    def call(method: str, *arguments: Array) -> Array:
        return applied(module, params, head, method, *arguments, method="apply_head")

    return HEADS[config.kind].sample(config, call, embedding, key, count, used_dims)


_sample = jax.jit(sample_chunks, static_argnums=(0, 4, 5, 6))


@functools.partial(jax.jit, static_argnums=(0, 4))
def _embed(module: OctoModule, params: Any, observation: Any, task: Any, head: str) -> Array:
    return applied(module, params, observation, task, head, method="embed")


@functools.partial(jax.jit, static_argnums=0)
def _encode_language(module: OctoModule, params: Any, instruction: Any) -> Array:
    return applied(module, params, instruction, method="encode_language")


def _text_encoder(params: Mapping[str, Any]) -> T5Config | None:
    """The constants of a text encoder that the parameters hold, None where they hold none."""
    for name, tree in params["octo_transformer"].items():
        if name.startswith("task_tokenizers_") and "hf_model" in tree:
            return T5Config.from_params(jax.tree.map(np.asarray, tree["hf_model"]))
    return None
