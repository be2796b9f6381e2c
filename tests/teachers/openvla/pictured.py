"""A small suite with frames, written in JAX: a point that has to leave its place, and students and teachers for it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from rpd_jax.config import EnvConfig
from rpd_jax.envs.base import ArraySpec, EnvSpec
from rpd_jax.envs.registry import register_suite
from rpd_jax.envs.suite import FunctionalSuite
from rpd_jax.envs.toy.reach import TOY_CONTRACT
from rpd_jax.types import Array, Observation
from teachers.openvla.finetune.settings import LoraSettings, OptimizerSettings
from teachers.openvla.opd.settings import DistillSettings, EvaluationSettings

SIZE = 16


class Leave:
    """Starts at x in [-1, 1] and moves by the first action; success further than 0.9 from there. The frame shows x."""

    def __init__(self, config: EnvConfig, end_on_success: bool) -> None:
        self._end = end_on_success
        self.spec = EnvSpec(
            name="pictured:Leave-v0",
            instruction=config.instruction or "leave your place",
            max_episode_steps=config.max_episode_steps or 4,
            action_dim=7,
            action_low=(-1.0,) * 7,
            action_high=(1.0,) * 7,
            observation={"state": ArraySpec((1,), "float32"), "rgb": ArraySpec((SIZE, SIZE, 3), "uint8")},
            layout={"state": {"x": (0, 1)}},
            contract=TOY_CONTRACT,
            frame_shape=(SIZE, SIZE, 3),
        )

    def reset(self, key: Array) -> tuple[Any, Observation]:
        x = jax.random.uniform(key, (), minval=-1.0, maxval=1.0)
        return (x, x), self._seen(x)

    def step(self, state: Any, action: Array) -> tuple[Any, Observation, Array, Array, Array, Array]:
        x, start = state[0] + action[0], state[1]
        success = jnp.abs(x - start) > 0.9
        return (x, start), self._seen(x), -jnp.abs(x), success & self._end, jnp.zeros((), bool), success

    def _seen(self, x: Array) -> Observation:
        shade = jnp.linspace(0.0, 3.0, SIZE * SIZE * 3).reshape(SIZE, SIZE, 3) + 4.0 * x
        return {"state": x[None], "rgb": (127.5 + 127.5 * jnp.sin(shade)).astype(jnp.uint8)}


class _Suite(FunctionalSuite):
    def tasks(self) -> tuple[str, ...]:
        return ("Leave-v0",)

    def functional(self, config: EnvConfig, *, rgb: bool, end_on_success: bool) -> Leave:
        return Leave(config, end_on_success)


register_suite("pictured", _Suite())


def settings(**values: Any) -> DistillSettings:
    """Two initial states, two trajectories of four steps each; no evaluation."""
    made = DistillSettings(
        seed=3,
        steps=4,
        validate_every=0,
        env=EnvConfig(name="pictured:Leave-v0", reward="sparse"),
        groups=2,
        group_size=2,
        temperature=1.3,
        statistics_key="bridge_orig",
        contract="oxe_metric",
        dtype="f32",
        device="cpu",
        max_batch=3,
        micro_batch=3,
        lora=LoraSettings(rank=4, targets=("language_model",)),
        optimizer=OptimizerSettings(learning_rate=2e-3, clip=1.0),
        evaluation=EvaluationSettings(episodes=2),
    )
    return dataclasses.replace(made, **values)


def made_adapter(checkpoint: Path, directory: Path, seed: int, targets: tuple[str, ...] = ("language_model",)) -> Path:
    """A directory with matrices that change what the checkpoint gives."""
    import torch

    from teachers.conventions import CONTRACTS
    from teachers.openvla.finetune.adapter import adapter_config, add_lora, write_description, write_weights
    from teachers.openvla.server.loading import load_parts

    parts = load_parts(checkpoint, dtype="f32", device="cpu", statistics_key="bridge_orig")
    lora = LoraSettings(rank=3, targets=targets)
    matrices = add_lora(parts.model, lora, seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for matrix in matrices.values():
            matrix.copy_(0.08 * torch.randn(matrix.shape, generator=generator))
    directory.mkdir(parents=True)
    described = adapter_config(matrices, lora, checkpoint)
    write_description(directory, described, {"bridge_orig": parts.statistics}, CONTRACTS["oxe_metric"])
    write_weights(directory, matrices)
    return directory
