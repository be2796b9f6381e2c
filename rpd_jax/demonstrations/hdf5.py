"""Episodes in the layout of ManiSkill 3's trajectory files: one .h5 and one .json of the same name.

The .h5 holds a group "traj_<episode_id>" per episode: `actions` [T, A]; `terminated`, `truncated`, `success` and
`rewards` [T]; `obs` [T + 1]: "state", "proprio" and "ee" under their names, frames as
"sensor_data/base_camera/rgb", where readers of ManiSkill's files look for them; `env_states`, each [T + 1, ...], where
the simulator tells its state: ManiSkill's `replay_trajectory` takes them with --use-env-states and
--use-first-env-state. The .json names the environment and lists the episodes. What ManiSkill's layout has no place for
is under its key "rpd_jax".

Source: the docstring of `RecordEpisode` and `ManiSkillTrajectoryDataset` of ManiSkill 3.0.1.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from rpd_jax.demonstrations.episode import FIRST_CAMERA, DatasetInfo, Episode, camera_name, is_frames
from rpd_jax.runs.files import atomic_path, write_json

RGB = f"sensor_data/{FIRST_CAMERA}/rgb"
GZIP = 1  # of frames; higher levels take longer and rendered frames come out no smaller
OWN_KEY = "rpd_jax"


def write_episode(parent: h5py.Group, name: str, episode: Episode) -> None:
    """Writes an episode as the group `name`; its seed is an attribute of the group."""
    group = parent.create_group(name, track_order=True)
    observations = group.create_group("obs", track_order=True)
    for key, values in episode.observation.items():
        if is_frames(values):  # a chunk is a frame: single ones can be read
            chunks = (1, *values.shape[1:])
            at = f"sensor_data/{camera_name(key)}/rgb"
            observations.create_dataset(at, data=values, chunks=chunks, compression="gzip", compression_opts=GZIP)
        else:
            observations.create_dataset(key, data=values)
    for path, states in (episode.env_states or {}).items():
        group.create_dataset(f"env_states/{path}", data=states)
    group.create_dataset("actions", data=np.asarray(episode.action, np.float32))
    group.create_dataset("terminated", data=np.asarray(episode.terminated, bool))
    group.create_dataset("truncated", data=np.asarray(episode.truncated, bool))
    if episode.success is not None:
        group.create_dataset("success", data=np.asarray(episode.success, bool))
    if episode.reward is not None:
        group.create_dataset("rewards", data=np.asarray(episode.reward, np.float32))
    if episode.seed is not None:
        group.attrs["seed"] = episode.seed


def write_shard(path: Path, episodes: Sequence[Episode], attempted: int, succeeded: int) -> None:
    """Writes some episodes (traj_0 ...) and the counts of the round that they are from, atomically."""
    with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
        file.attrs.update({"attempted": attempted, "succeeded": succeeded})
        for index, episode in enumerate(episodes):
            write_episode(file, f"traj_{index}", episode)


def merge_shards(
    shards: Iterable[Path], path: Path, episodes: int, info: DatasetInfo, counts: Mapping[str, int]
) -> None:
    """Writes the first `episodes` episodes of shards as one .h5 and .json, the latter last; both atomically.

    Args:
      shards: in their order.
      path: of the .h5.
      episodes: how many; the shards hold at least as many.
      info: goes into the .json.
      counts: of attempted and succeeded episodes, for the .json.
    """
    listed: list[dict[str, Any]] = []
    with atomic_path(path) as temporary, h5py.File(temporary, "w") as merged:
        for shard in shards:
            with h5py.File(shard, "r") as file:
                for index in range(min(len(file), episodes - len(listed))):
                    group = file[f"traj_{index}"]
                    file.copy(group, merged, name=f"traj_{len(listed)}")
                    listed.append(_describe(group, len(listed), info))
    write_json(path.with_suffix(".json"), metadata(info, listed, counts))


def metadata(info: DatasetInfo, episodes: Sequence[Mapping[str, Any]], counts: Mapping[str, int]) -> dict[str, Any]:
    """The content of the .json."""
    suite, _, task = info.env_name.partition(":")
    mode, kwargs = info.env_settings["control_mode"], {}
    if suite == "maniskill":  # what `gymnasium.make` needs for the same simulation
        kwargs = {
            "obs_mode": "state",
            "control_mode": mode,
            "reward_mode": info.env_settings["reward"],
            "sim_backend": "physx_cpu",
            "render_mode": "rgb_array",
        }
        if info.image_size is not None:
            size = {"width": info.image_size, "height": info.image_size}
            kwargs |= {"render_backend": "sapien_cpu", "human_render_camera_configs": size}
    who = f"{'scripted teacher' if info.is_scripted else 'policy'} {info.teacher}"
    noise = f", executed actions perturbed with std {info.perturb:g}" if info.perturb else ""
    return {
        "env_info": {
            "env_id": task if suite == "maniskill" else f"rpd_jax/{task}",
            "env_kwargs": kwargs,
            "max_episode_steps": info.max_episode_steps,
        },
        "episodes": [dict(episode) for episode in episodes],
        "source_type": "scripted" if info.is_scripted else "policy",
        "source_desc": f"{who} in {info.env_name}, recorded by rpd_jax{noise}",
        OWN_KEY: {"info": info.to_dict(), **counts},
    }


def _describe(group: h5py.Group, episode_id: int, info: DatasetInfo) -> dict[str, Any]:
    seed = int(group.attrs["seed"])
    return {
        "episode_id": episode_id,
        "episode_seed": seed,
        "control_mode": info.env_settings["control_mode"],
        "elapsed_steps": len(group["actions"]),
        "reset_kwargs": {"options": {}, "seed": seed},
        "success": bool(group["success"][-1]),
    }
