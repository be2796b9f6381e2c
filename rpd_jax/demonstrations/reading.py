"""Reading ManiSkill's trajectory files: our own, and those that ManiSkill publishes."""

from __future__ import annotations

import functools
import json
from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np

from rpd_jax.config.validation import ConfigError
from rpd_jax.demonstrations.checks import first_not_finite, one_line, open_hdf5
from rpd_jax.demonstrations.episode import DatasetInfo, Episode, camera_entry
from rpd_jax.demonstrations.hdf5 import OWN_KEY, RGB
from rpd_jax.demonstrations.sets import DemonstrationSet
from rpd_jax.envs.maniskill.tasks import TASKS

TRAJECTORY_FILE = "trajectory.h5"


class Demonstrations(DemonstrationSet):
    """The episodes of a ManiSkill trajectory file, read when asked for.

    Observations are named as the simulators name them here ("state", "proprio", "ee", "rgb", "rgb_wrist"); what else a
    published file has goes by its path, e.g. "agent/qpos". A file may lack observations, rewards and success.

      with Demonstrations("demos/pick") as demonstrations:
          episode = demonstrations[0]

    Args:
      path: of the .h5, beside which the .json lies, or of a directory that holds "trajectory.h5".

    Raises:
      ConfigError: a file is missing, damaged, of another layout, refers to other files, or its episodes were recorded
        in different control modes; it is named.
    """

    def __init__(self, path: Path | str) -> None:
        path = Path(path)
        self.path = path / TRAJECTORY_FILE if path.is_dir() else path
        self.metadata = _read_json(self.path.with_suffix(".json"))
        self.info = _info(self.metadata, self.path)
        self._listed = _listed(self.metadata["episodes"], self.path.with_suffix(".json"))
        self._file = open_hdf5(self.path)
        self._names = [each.name for each in self._listed]
        for name in self._names:
            if not isinstance(self._file.get(name), h5py.Group):
                self.close()
                raise ConfigError(f"{self.path}: {name} is missing, which {self.path.stem}.json lists")

    def __len__(self) -> int:
        return len(self._names)

    def close(self) -> None:
        self._file.close()

    @property
    def env_name(self) -> str:
        return self.info.env_name if self.info else f"maniskill:{self.metadata['env_info']['env_id']}"

    @property
    def control_mode(self) -> str:
        return self._listed[0].control_mode if self._listed else ""

    @functools.cached_property
    def camera_name(self) -> str:
        found = (self._paths(self._file[name]).get("rgb") for name in self._names)
        return next((path.split("/")[1] for path in found if path), "")

    @property
    def instruction(self) -> str:
        """The task in words; empty for tasks unknown here."""
        if self.info:
            return self.info.instruction
        task = TASKS.get(self.metadata["env_info"]["env_id"])
        return task.instruction if task else ""

    def episode(self, index: int, keys: Collection[str] | None = None) -> Episode:
        name = self._names[self._position(index)]
        group = self._file[name]
        try:
            action = self._read(group, "actions")
            required = {key: self._read(group, key) for key in ("terminated", "truncated")}
            optional = {key: self._read(group, key) if key in group else None for key in ("rewards", "success")}
            paths = self._paths(group)
            observation = {key: group["obs"][at][()] for key, at in paths.items() if keys is None or key in keys}
        except OSError as error:
            raise ConfigError(f"{self.path}: {name} cannot be read, the file is damaged: {one_line(error)}") from error
        lengths = {key: len(x) for key, x in (required | optional).items() if x is not None}
        lengths |= {f"obs {key}": len(x) - 1 for key, x in observation.items()}
        for key, length in lengths.items():
            if length != len(action):
                raise ConfigError(f"{self.path}: {name} has {len(action)} actions and {key} for {length} steps")
        if "rgb" in observation and f"sensor_data/{self.camera_name}/rgb" != paths["rgb"]:
            raise ConfigError(
                f"{self.path}: {name} has frames at {paths['rgb']}, episodes before it at "
                f"sensor_data/{self.camera_name}/rgb: all of a file must be of one camera"
            )
        with np.errstate(over="ignore"):  # what float32 cannot hold is refused below
            action = action.astype(np.float32, copy=False)
        episode = Episode(
            observation=observation,
            action=action,
            reward=optional["rewards"],
            terminated=required["terminated"],
            truncated=required["truncated"],
            success=optional["success"],
            seed=self._listed[index].seed,
            instruction=self.instruction,
            env_name=self.env_name,
        )
        if episode.not_finite:
            raise ConfigError(f"{self.path}: {name}/{episode.not_finite} is no finite number")
        return episode

    def env_states(self, index: int) -> dict[str, np.ndarray]:
        """States of the simulator by path ("actors/cube" [T + 1, 13]), as published files have; else empty."""
        group = self._file[self._names[index]]
        if "env_states" not in group:
            return {}
        states = {at: group["env_states"][at][()] for at in _leaves(group["env_states"])}
        if where := first_not_finite(states):
            raise ConfigError(f"{self.path}: {self._names[index]}/env_states/{where} is no finite number")
        return states

    def _read(self, group: h5py.Group, key: str) -> np.ndarray:
        if not isinstance(group.get(key), h5py.Dataset):
            raise ConfigError(f"{self.path}: {group.name[1:]}/{key} is missing: this is no ManiSkill 3 trajectory")
        values, wanted = group[key][()], 2 if key == "actions" else 1
        if values.ndim != wanted or values.dtype.kind not in "biuf":
            raise ConfigError(
                f"{self.path}: {group.name[1:]}/{key} holds {values.dtype} of shape {values.shape}: it must be numbers "
                f"with {wanted} axes"
            )
        return values

    def _paths(self, group: h5py.Group) -> dict[str, str | tuple[()]]:
        return _observation_paths(group["obs"], own=self.info is not None) if "obs" in group else {}


def _observation_paths(obs: h5py.Group | h5py.Dataset, own: bool) -> dict[str, str | tuple[()]]:
    """Name of each observation -> where it is in an episode's "obs", which may be one array: the state.

    Cameras of `own` files go by the names that they were recorded as.
    """
    if isinstance(obs, h5py.Dataset):
        return {"state": ()}
    leaves = _leaves(obs)
    frames = [at for at in leaves if at.startswith("sensor_data/") and at.endswith("/rgb")]
    if own:
        names = {at: camera_entry(at.split("/")[1]) for at in frames}
    else:
        names = {at: "rgb" for at in frames if at == RGB or len(frames) == 1}
    return {names.get(at, at): at for at in leaves}


def _leaves(group: h5py.Group) -> list[str]:
    found: list[str] = []
    group.visititems(lambda at, item: found.append(at) if isinstance(item, h5py.Dataset) else None)
    return found


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ConfigError(f"{path} is missing: a trajectory file is a .h5 and a .json of the same name")
    try:
        values = json.loads(path.read_text())
    except (ValueError, RecursionError, OSError) as error:
        raise ConfigError(f"{path} cannot be read: it is cut off or not JSON ({one_line(error)})") from error
    env_info = values.get("env_info") if isinstance(values, dict) else None
    env_id = env_info.get("env_id") if isinstance(env_info, dict) else None
    if not isinstance(env_id, str) or not isinstance(values.get("episodes"), list):
        raise ConfigError(f"{path} is no description of trajectories: it must have env_info.env_id and episodes")
    return values


def _info(metadata: dict[str, Any], path: Path) -> DatasetInfo | None:
    if OWN_KEY not in metadata:
        return None
    own = metadata[OWN_KEY]
    try:
        return DatasetInfo.from_dict(own.get("info") if isinstance(own, dict) else own)
    except ConfigError as error:
        raise ConfigError(f"{path.with_suffix('.json')}: {OWN_KEY}.info cannot be read: {error}") from error


class _Listed(NamedTuple):
    """What the .json says of an episode."""

    name: str  # of its group
    control_mode: str  # empty where it does not say
    seed: int | None


def _listed(episodes: list[Any], path: Path) -> list[_Listed]:
    """All of them, checked; ConfigError for what cannot be, and for control modes that differ."""
    found: list[_Listed] = []
    for position, each in enumerate(episodes):
        each = each if isinstance(each, dict) else {"episode_id": each}
        number, mode, kwargs = each.get("episode_id", position), each.get("control_mode", ""), each.get("reset_kwargs")
        seed = each.get("episode_seed")
        if seed is None and isinstance(kwargs, dict):
            seed = kwargs.get("seed")
        if isinstance(seed, list):  # published files have both forms
            seed = seed[0] if len(seed) == 1 else None
        for field, value, kinds in (
            ("episode_id", number, int),
            ("control_mode", mode, str),
            ("reset_kwargs", kwargs, dict | None),
            ("episode_seed", seed, int | None),
        ):
            if not isinstance(value, kinds):
                raise ConfigError(f"{path}: episodes[{position}].{field}={value!r} is of the wrong type")
        if found and mode != found[0].control_mode:
            raise ConfigError(
                f"{path}: control_mode is {found[0].control_mode!r} in episodes[0] and {mode!r} in "
                f"episodes[{position}]: their actions mean different things and cannot be read as one set"
            )
        found.append(_Listed(f"traj_{number}", mode, seed))
    return found
