"""Octo as a teacher: one label per frame, in batches, inside or outside the learner's program."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from rpd_jax.envs.base import EnvSpec
from rpd_jax.instructions import Instructions, as_instructions
from rpd_jax.types import Array, Observation, TeacherLabels, TeacherSpec
from teachers.conventions import contract_of
from teachers.octo.checkpoint import digest_checkpoint
from teachers.octo.heads import HEADS
from teachers.octo.model import Octo, load_octo, sample_chunks
from teachers.octo.network import applied
from teachers.octo.settings import OctoSettings
from teachers.octo.statistics import select_statistics, unnormalize
from teachers.sampling import Sampling
from teachers.trained_on import say_differences

FRAMES_AT_ONCE = 128  # in one pass of the transformer, for the sake of memory


class OctoTeacher:
    """Labels frames with the chunk of actions that Octo predicts for them, or with its first action.

    Args:
      octo: the model.
      env_spec: of the environment whose transitions it labels; its observations must hold "rgb". None: not known.
      sampling: draws per label; the transformer runs once for all of them.
      contract: name of the action contract of the data that the model was trained on; empty: the one that the
        checkpoint brings.
      statistics_key: the data set in whose units actions are, where the model knows several.
      camera: which of the model's cameras the environment's frames stand for.
    Raises:
      ValueError: an unknown contract, data set or camera, an environment without frames, or a model without a text
        processor.
    """

    def __init__(
        self,
        octo: Octo,
        env_spec: EnvSpec | None,
        *,
        sampling: Sampling | None = None,
        contract: str = "",
        statistics_key: str = "",
        camera: str = "primary",
    ) -> None:
        if env_spec is not None and env_spec.frame_shape is None:
            raise ValueError(f"{env_spec.name} has no frames: Octo sees nothing else")
        self._key = f"image_{camera}"
        if self._key not in octo.example_batch["observation"]:
            known = sorted(name for name in octo.example_batch["observation"] if name.startswith("image_"))
            raise ValueError(f"camera={camera!r} is unknown: the model has {', '.join(known)}")
        self._octo = octo
        self._size = octo.image_size(camera)
        self._sampling = sampling or Sampling()
        self._statistics = select_statistics(octo.statistics, statistics_key or None)
        self._tasks: dict[str, Array] = {}
        self._label = jax.jit(self._label_frames)
        name = octo.directory.name if octo.directory else "unnamed"
        self.spec = TeacherSpec(
            name=f"octo:{name}",
            observation_keys=("rgb",),
            contract=contract_of(octo.directory, contract),
            history=octo.window,
            chunk=octo.head().action_horizon,
            samples_actions=HEADS[octo.head().kind].is_stochastic,
            in_graph=True,
            checkpoint=digest_checkpoint(octo.directory, octo.step) if octo.directory else "",
        )
        if env_spec is not None:
            say_differences(self.spec.name, octo.directory, env_spec)
        octo.create_task([env_spec.instruction if env_spec else ""])  # which says at once what it cannot read

    def label(self, observation: Observation, instructions: Instructions | str, key: Array) -> TeacherLabels:
        """The first actions of `label_chunk`."""
        return self.label_chunk(observation, instructions, key).first()

    def label_chunk(self, observation: Observation, instructions: Instructions | str, key: Array) -> TeacherLabels:
        """Labels frames uint8 [B, H, W, 3], or [B, window, H, W, 3] (newest last) where the model sees several.

        Frames of another size are resized (Lanczos, antialiased). Where a window begins
        with frames that are equal in every pixel, all but the last of them count as padding: so histories look at the
        beginning of an episode.
        """
        frames = jnp.asarray(observation["rgb"])
        if self._octo.window == 1:
            frames = frames[:, None]
        if frames.ndim != 5 or frames.shape[1] != self._octo.window:
            raise ValueError(f'observation["rgb"] of shape {observation["rgb"].shape}: {self._octo.window} frames each')
        instructions = as_instructions(instructions, len(frames))
        tasks = jnp.concatenate([self._task(text) for text in instructions.texts])
        return self._label(self._octo.params, frames, tasks, jnp.asarray(instructions.index), key)

    def _label_frames(self, params: Any, frames: Array, tasks: Array, index: Array, key: Array) -> TeacherLabels:
        """Chunks for frames [B, W, H, W', 3], of which each has the task [L, d_model] that its index says."""
        module, used_dims = self._octo.module, len(self._statistics["mean"])
        at_once = min(FRAMES_AT_ONCE, len(frames))

        def embed(row: tuple[Array, Array]) -> Array:
            frame, which = row  # one task for all is no matter of rows: it is projected once
            return self._embed(params, frame[None], tasks if len(tasks) == 1 else tasks[which][None])[0]

        # A loop over passes: one pass of all frames would need too much memory.
        embedding = jax.lax.map(embed, (frames, index), batch_size=at_once)
        chunks = sample_chunks(module, params, embedding, key, self._sampling.samples, used_dims)
        return self._sampling.labels(unnormalize(chunks, self._statistics), ddof=0)

    def _embed(self, params: Any, frames: Array, task: Array) -> Array:
        """The newest readout [B, D] of frames [B, W, H, W', 3]."""
        same = jnp.all(frames[:, 1:] == frames[:, :-1], axis=(2, 3, 4))
        padding = jnp.cumprod(same.astype(jnp.int32), axis=1) > 0  # it can only stand at the beginning
        newest = jnp.ones((len(frames), 1), bool)
        observation = {
            self._key: resized(frames, self._size),
            "timestep_pad_mask": jnp.concatenate([~padding, newest], axis=1),
        }
        tasks = {"language_instruction": task}
        return applied(self._octo.module, params, observation, tasks, method="embed_newest")

    def _task(self, instruction: str) -> Array:
        """The encoded instruction [1, L, d_model], computed once."""
        if instruction not in self._tasks:
            with jax.ensure_compile_time_eval():  # a constant of the learner's program
                task = self._octo.encode_task(self._octo.create_task([instruction]))
            self._tasks[instruction] = task["language_instruction"]
        return self._tasks[instruction]


def make(env_spec: EnvSpec | None, settings: OctoSettings) -> OctoTeacher:
    """The factory of `OctoSettings`. Raises ValueError, as `OctoTeacher`, and CheckpointError, as `load_octo`."""
    if not settings.path:
        raise ValueError("teacher.path is empty: name a checkpoint directory, or hf://org/name")
    return OctoTeacher(
        load_octo(settings.path),
        env_spec,
        sampling=settings,
        contract=settings.contract,
        statistics_key=settings.statistics_key,
    )


def resized(frames: Array, size: int) -> Array:
    """Frames uint8 [B, W, H, W', 3] -> uint8 [B, W, size, size, 3]."""
    if frames.shape[2:4] == (size, size):
        return frames
    shape = (*frames.shape[:2], size, size, frames.shape[-1])
    resized = jax.image.resize(frames.astype(jnp.float32), shape, "lanczos3")
    return jnp.clip(jnp.round(resized), 0, 255).astype(jnp.uint8)
