"""Batches of training windows, shuffled by grain: the same batch for the same number, so that a run can be resumed.

A batch is what `losses.batch_loss` takes, but for one thing: `task.language_instruction` holds positions [B] in a table
of the instructions, whose rows `with_instructions` puts in their place (on the device, where they may be encodings).
"""

from __future__ import annotations

from typing import Any

import grain
import jax
import numpy as np

from rpd_jax.config import ConfigError
from teachers.octo.finetune.settings import DataSettings
from teachers.octo.finetune.windows import actions, completed, draw_goals, history
from teachers.octo.statistics import normalize, select_statistics
from teachers.recordings import Recordings

Batch = dict[str, Any]


class Windows:
    """The windows of some episodes, one for each action.

    Args:
      recordings: the episodes.
      episodes: numbers of those that are used.
      settings: window, horizon, modality.
      action_dim: of the model; where the data has fewer, the rest is zero and masked.
      language: whether the model reads instructions.
      modality: in place of the settings'.
    """

    def __init__(
        self,
        recordings: Recordings,
        episodes: np.ndarray,
        settings: DataSettings,
        *,
        action_dim: int,
        language: bool = True,
        modality: str = "",
    ) -> None:
        self._recordings, self._settings, self._language = recordings, settings, language
        self.modality = modality or settings.modality
        if self.modality == "language_conditioned" and not (language and recordings.instruction.all()):
            missing = "some episodes have no instruction" if language else "the model reads no instructions"
            raise ConfigError(f"data.modality={self.modality!r} cannot work: {missing}")
        length = recordings.length[episodes]
        self._episode = np.repeat(episodes, length)
        self._t = np.concatenate([np.arange(n) for n in length]) if len(length) else np.zeros(0, int)
        stats = select_statistics(recordings.statistics)
        normal = np.asarray(normalize(recordings.action, stats, settings.normalization))
        self._action = np.pad(normal, ((0, 0), (0, action_dim - normal.shape[1])))
        self._used = np.arange(action_dim) < normal.shape[1]

    def __len__(self) -> int:
        return len(self._t)

    def batch(self, index: np.ndarray, rng: np.random.Generator) -> Batch:
        """The windows of these numbers [B]: images uint8 [B, W, S, S, 3], action [B, W, H, A]; goals from `rng`."""
        recordings, settings = self._recordings, self._settings
        window, horizon = settings.window, settings.horizon
        t, episode = self._t[index], self._episode[index]
        length = recordings.length[episode]
        instructed = self._language & (recordings.instruction[episode] > 0)
        goals = draw_goals(rng, t, length, instructed, self.modality, settings.keep_image)
        frames, real = history(t, window)
        past = completed(t, goals.frame, window, horizon, settings.official_goal_mask)
        observation: Batch = {"timestep": frames.astype(np.int32), "timestep_pad_mask": real, "task_completed": past}
        present = np.ones_like(real)
        observation["pad_mask_dict"] = {"timestep": present}
        task: Batch = {"timestep": goals.frame.astype(np.int32)}
        task["pad_mask_dict"] = {"timestep": np.ones(len(t), bool)}
        first = recordings.first_frame[episode]
        for name, images in recordings.images.items():
            observation[name] = np.asarray(images[first[:, None] + frames])
            observation["pad_mask_dict"][name] = present
            if self.modality != "language_conditioned":  # a goal that is not there counts as black
                goal = np.asarray(images[first + goals.frame])
                goal[~goals.is_image] = 0
                task[name] = goal
                task["pad_mask_dict"][name] = goals.is_image
        if self._language:
            kept = instructed & ~goals.is_image
            task["language_instruction"] = np.where(kept, recordings.instruction[episode], 0)
            task["pad_mask_dict"]["language_instruction"] = kept
        chosen = recordings.first_action[episode][:, None, None] + actions(t, length, window, horizon)
        mask = ~past[..., None] & np.broadcast_to(self._used, (*past.shape, len(self._used)))
        return {"observation": observation, "task": task, "action": self._action[chosen], "action_pad_mask": mask}

    def shuffled(self, batch_size: int, seed: int) -> grain.MapDataset:
        """Endless batches in an order that follows from the seed, every window once an epoch; number i is `[i]`."""
        order = grain.MapDataset.range(len(self)).seed(seed).shuffle().repeat()
        return order.batch(batch_size).random_map(self.batch)


def iterate(batches: grain.MapDataset) -> grain.DatasetIterator:
    """An iterator that prepares the next batches in a thread; its `get_state` and `set_state` take it up again."""
    return iter(batches.to_iter_dataset(grain.ReadOptions(num_threads=1, prefetch_buffer_size=4)))


def with_instructions(batch: Batch, table: Any) -> Batch:
    """Puts the rows of `table` in the place of their positions.

    Args:
      batch: from `Windows.batch`.
      table: a pytree of arrays with a leading axis for the instructions: ids and mask, or encodings.
    """
    task = batch["task"]
    if "language_instruction" not in task:
        return batch
    index = task["language_instruction"]
    return batch | {"task": task | {"language_instruction": jax.tree.map(lambda rows: rows[index], table)}}
