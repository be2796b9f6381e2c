"""Reading demonstrations: our own files and those that ManiSkill publishes."""

from __future__ import annotations

import functools
import json
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from rpd_jax.demonstrations.episode import DatasetInfo, Episode
from rpd_jax.demonstrations.hdf5 import OWN_KEY, RGB
from rpd_jax.demonstrations.statistics import action_mask, action_statistics
from rpd_jax.envs.maniskill_tasks import TASKS

TRAJECTORY_FILE = "trajectory.h5"


class Demonstrations:
    """The episodes of a ManiSkill trajectory file, read when asked for.

    Observations are named as the simulators name them here ("state", "proprio", "ee", "rgb"); what else a published
    file has goes by its path, e.g. "agent/qpos". A file may lack observations, rewards and success.

      with Demonstrations("demos/pick") as demonstrations:
          episode = demonstrations[0]

    Args:
      path: of the .h5, beside which the .json lies, or of a directory that holds "trajectory.h5".

    Raises:
      ValueError: a file is missing, cut off, or of another layout; it is named.
    """

    def __init__(self, path: Path | str) -> None:
        path = Path(path)
        self.path = path / TRAJECTORY_FILE if path.is_dir() else path
        self.metadata = _read_json(self.path.with_suffix(".json"))
        self.info = _info(self.metadata, self.path)
        self._file = _open(self.path)
        self._names = []
        for position, listed in enumerate(self.metadata["episodes"]):
            name = f"traj_{listed.get('episode_id', position)}"
            if name not in self._file:
                self.close()
                raise ValueError(f"{self.path}: {name} is missing, which {self.path.stem}.json lists")
            self._names.append(name)

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index: int) -> Episode:
        return self.episode(index)

    def __iter__(self) -> Iterator[Episode]:
        return (self.episode(index) for index in range(len(self)))

    def __enter__(self) -> Demonstrations:
        return self

    def __exit__(self, *unused: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the file. Idempotent."""
        self._file.close()

    @property
    def env_name(self) -> str:
        """As "suite:task"."""
        return self.info.env_name if self.info else f"maniskill:{self.metadata['env_info']['env_id']}"

    @property
    def control_mode(self) -> str:
        """Of the first episode; empty where the file does not say."""
        listed = self.metadata["episodes"]
        return str(listed[0].get("control_mode", "")) if listed else ""

    @property
    def instruction(self) -> str:
        """The task in words; empty for tasks unknown here."""
        if self.info:
            return self.info.instruction
        task = TASKS.get(self.metadata["env_info"]["env_id"])
        return task.instruction if task else ""

    def episode(self, index: int, keys: Collection[str] | None = None) -> Episode:
        """Reads an episode, of its observations only `keys` if given.

        Raises:
          IndexError: there is none of that index; negative ones count from the end.
          ValueError: something is missing, has another length than the rest, or cannot be read.
        """
        if not -len(self) <= index < len(self):
            raise IndexError(f"index {index} is out of range: {self.path} has {len(self)} episodes")
        name, listed = self._names[index], self.metadata["episodes"][index]
        group = self._file[name]
        try:
            action = self._read(group, "actions")
            required = {key: self._read(group, key) for key in ("terminated", "truncated")}
            optional = {key: self._read(group, key) if key in group else None for key in ("rewards", "success")}
            paths = observation_paths(group["obs"]) if "obs" in group else {}
            observation = {key: group["obs"][at][()] for key, at in paths.items() if keys is None or key in keys}
        except OSError as error:
            raise ValueError(f"{self.path}: {name} cannot be read, the file is damaged: {error}") from error
        lengths = {key: len(x) for key, x in (required | optional).items() if x is not None}
        lengths |= {f"obs {key}": len(x) - 1 for key, x in observation.items()}
        for key, length in lengths.items():
            if length != len(action):
                raise ValueError(f"{self.path}: {name} has {len(action)} actions and {key} for {length} steps")
        return Episode(
            observation=observation,
            action=action.astype(np.float32, copy=False),
            reward=optional["rewards"],
            terminated=required["terminated"],
            truncated=required["truncated"],
            success=optional["success"],
            seed=_seed(listed),
            instruction=self.instruction,
            env_name=self.env_name,
        )

    def env_states(self, index: int) -> dict[str, np.ndarray]:
        """States of the simulator by path ("actors/cube" [T + 1, 13]), as published files have; else empty."""
        group = self._file[self._names[index]]
        return {at: group["env_states"][at][()] for at in _leaves(group["env_states"])} if "env_states" in group else {}

    @functools.cached_property
    def statistics(self) -> dict[str, Any]:
        """Of actions and, where it was recorded, proprioception; see `statistics.action_statistics`."""
        episodes = [self.episode(index, keys=("proprio",)) for index in range(len(self))]
        actions = [episode.action for episode in episodes]
        if not actions:
            raise ValueError(f"{self.path} holds no episodes: there are no statistics of it")
        proprio = None
        if all("proprio" in episode.observation for episode in episodes):
            proprio = [episode.observation["proprio"][:-1] for episode in episodes]
        return action_statistics(actions, action_mask(self.control_mode, actions[0].shape[1]), proprio)

    def _read(self, group: h5py.Group, key: str) -> np.ndarray:
        if not isinstance(group.get(key), h5py.Dataset):
            raise ValueError(f"{self.path}: {group.name[1:]}/{key} is missing: this is no ManiSkill 3 trajectory")
        return group[key][()]


def observation_paths(obs: h5py.Group | h5py.Dataset) -> dict[str, str | tuple[()]]:
    """Name of each observation -> where it is in an episode's "obs", which may be one array: the state."""
    if isinstance(obs, h5py.Dataset):
        return {"state": ()}
    leaves = _leaves(obs)
    frames = [at for at in leaves if at.startswith("sensor_data/") and at.endswith("/rgb")]
    camera = RGB if RGB in frames else frames[0] if len(frames) == 1 else None
    return {"rgb" if at == camera else at: at for at in leaves}


def _leaves(group: h5py.Group) -> list[str]:
    found: list[str] = []
    group.visititems(lambda at, item: found.append(at) if isinstance(item, h5py.Dataset) else None)
    return found


def _open(path: Path) -> h5py.File:
    if not path.is_file():
        raise ValueError(f"{path} is missing")
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise ValueError(f"{path} cannot be read: it is cut off or not HDF5 ({error})") from error


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ValueError(f"{path} is missing: a trajectory file is a .h5 and a .json of the same name")
    try:
        values = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path} cannot be read: it is cut off or not JSON ({error})") from error
    env_info = values.get("env_info") if isinstance(values, dict) else None
    if not isinstance(env_info, dict) or "env_id" not in env_info or not isinstance(values.get("episodes"), list):
        raise ValueError(f"{path} is no description of trajectories: it must have env_info.env_id and episodes")
    return values


def _info(metadata: dict[str, Any], path: Path) -> DatasetInfo | None:
    if OWN_KEY not in metadata:
        return None
    try:
        return DatasetInfo.from_dict(metadata[OWN_KEY]["info"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path.with_suffix('.json')}: {OWN_KEY}.info cannot be read: {error}") from error


def _seed(listed: dict[str, Any]) -> int | None:
    seed = listed.get("episode_seed")
    if seed is None:
        seed = listed.get("reset_kwargs", {}).get("seed")
    if isinstance(seed, list):  # published files have both forms
        seed = seed[0] if len(seed) == 1 else None
    return None if seed is None else int(seed)
