"""Octos that begin untrained: octo-nano, and whatever else a configuration describes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rpd_jax.types import Array
from teachers.octo.config import ModelConfig, part
from teachers.octo.model import LANGUAGE, Octo
from teachers.octo.network import OctoModule
from teachers.octo.pretrained_configs import camera
from teachers.octo.text import TextProcessor, WordTokenizer

TEXT_LENGTH = 12


def nano_config(text: WordTokenizer, horizon: int = 4, head: str = "L1ActionHead") -> dict[str, Any]:
    """octo-nano: an official configuration of about 1.1 M parameters, with one camera and a text encoder of its own.

    The text encoder starts from nothing like the rest, so it is trained (`finetune_encoder`) and not frozen. The head
    regresses actions: with as little training, a diffusion head still predicts its noise too coarsely for the first
    reverse step, which multiplies errors by 31.6.
    """
    return {
        "model": {
            "observation_tokenizers": {
                "primary": camera("image_primary", features=[32, 64, 96, 128], num_features=128)
            },
            "task_tokenizers": {
                "language": part(
                    "octo.model.components.tokenizers", "LanguageTokenizer", encoder="t5-nano", finetune_encoder=True
                )
            },
            "heads": {
                "action": part(
                    "octo.model.components.action_heads",
                    head,
                    readout_key="readout_action",
                    action_horizon=horizon,
                    action_dim=7,
                    use_map=False,
                )
            },
            "readouts": {"action": 1},
            "token_embedding_size": 128,
            "transformer_kwargs": {
                "num_layers": 4,
                "mlp_dim": 512,
                "num_attention_heads": 4,
                "dropout_rate": 0.0,
                "attention_dropout_rate": 0.0,
                "add_position_embedding": False,
            },
            "max_horizon": 10,
            "repeat_task_tokens": False,
            "use_correct_attention": True,
        },
        "text_processor": text.spec(),
        "optimizer": {"frozen_keys": []},
        "window_size": 1,
    }


def example_batch(
    config: Mapping[str, Any], text: TextProcessor, image_size: int, window: int = 1, instruction: str = ""
) -> dict[str, Any]:
    """A batch of one example, all zeros but for the instruction, that says what the model is fed with.

    For configurations whose cameras have one image each of `image_size` pixels, square.
    """
    cameras = [f"image_{name}" for name in config["model"]["observation_tokenizers"]]
    head = next(iter(config["model"]["heads"].values()))["kwargs"]
    pictures = {name: np.zeros((1, window, image_size, image_size, 3), np.uint8) for name in cameras}
    chunk = (1, window, head["action_horizon"], head["action_dim"])
    ones = np.ones((1, window), bool)
    return {
        "observation": {
            **pictures,
            "timestep_pad_mask": ones,
            "timestep": np.zeros((1, window), np.int32),
            "pad_mask_dict": dict.fromkeys((*cameras, "timestep"), ones),
        },
        "task": {
            **{name: x[:, 0] for name, x in pictures.items()},
            LANGUAGE: text.encode([instruction]),
            "timestep": np.zeros(1, np.int32),
            "pad_mask_dict": dict.fromkeys((*cameras, "timestep", LANGUAGE), ones[:, 0]),
        },
        "action": np.zeros(chunk, np.float32),
        "action_pad_mask": np.ones(chunk, bool),
    }


def init_octo(
    config: Mapping[str, Any],
    example: Mapping[str, Any],
    statistics: Mapping[str, Any],
    text: TextProcessor | None,
    key: Array,
    dtype: Any = jnp.float32,
) -> Octo:
    """A model with parameters drawn from `key`, shaped by an official configuration and an example batch.

    Raises ValueError for a configuration that the network does not have.
    """
    module = OctoModule(ModelConfig.from_dict(config["model"]), dtype)
    params = jax.jit(module.init)(key, example["observation"], example["task"])["params"]
    return Octo(module, params, config, example, statistics, text)


def init_nano(
    instructions: Sequence[str],
    statistics: Mapping[str, Any],
    key: Array,
    *,
    image_size: int = 64,
    window: int = 1,
    head: str = "L1ActionHead",
) -> Octo:
    """An untrained octo-nano whose vocabulary is that of some instructions."""
    text = WordTokenizer.build(instructions, TEXT_LENGTH)
    config = {**nano_config(text, head=head), "window_size": window}
    example = example_batch(config, text, image_size, window, instructions[0])
    return init_octo(config, example, statistics, text, key)
