"""The directory of a collection under way: rounds as files of their own, put together at the end."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from absl import logging

from rpd_jax.config import ConfigError
from rpd_jax.demonstrations.checks import one_line, open_hdf5
from rpd_jax.demonstrations.episode import DatasetInfo, Episode
from rpd_jax.demonstrations.hdf5 import merge_shards, write_shard
from rpd_jax.demonstrations.reading import TRAJECTORY_FILE, Demonstrations
from rpd_jax.demonstrations.statistics import STATISTICS_FILE
from rpd_jax.runs.files import write_json
from rpd_jax.runs.output_directory import Kind, remove, remove_temporaries, set_aside

COLLECTION_FILE = "collection.json"
ROUNDS = "rounds"
FORMERLY = {"replan_every": 1, "clipped_share": 0.05}  # what held where older collections note nothing
NOT_NOTED = ("camera", "cameras", "robot", "control_hz")  # in older collections
KIND = Kind(
    field="output",
    what="a collection of demonstrations",
    file=COLLECTION_FILE,
    keys=frozenset({"info"}),
    entries=(
        *(ROUNDS, "whole"),  # of one under way
        *(TRAJECTORY_FILE, "trajectory.json", STATISTICS_FILE),
        *("data", "meta", "videos"),  # LeRobot's
    ),
    leftovers=(ROUNDS,),
)


class Work:
    """The directory of a collection under way."""

    def __init__(self, path: Path, info: DatasetInfo) -> None:
        self.path, self.info = path, info
        (path / ROUNDS).mkdir(exist_ok=True)
        remove_temporaries(path / ROUNDS)
        described = path / COLLECTION_FILE
        if described.is_file():
            check_same(read_description(path)["info"], info.to_dict(), described)
        else:
            write_json(described, {"info": info.to_dict()})
        self.shards: list[Path] = []
        self.kept = self.attempted = self.succeeded = 0
        while self._next().is_file():
            try:
                with open_hdf5(self._next()) as file:
                    self._count(len(file), int(file.attrs["attempted"]), int(file.attrs["succeeded"]))
            except (ConfigError, OSError, KeyError, TypeError, ValueError) as error:
                # It and those after it are recorded again: they must be without gaps.
                names = sorted(os.listdir(path / ROUNDS))[len(self.shards) :]
                place = set_aside(path, [f"{ROUNDS}/{name}" for name in names])
                logging.warning("%s is damaged (%s); rounds from there on: %s", self._next(), one_line(error), place)

    def _next(self) -> Path:
        return self.path / ROUNDS / f"{len(self.shards):06d}.h5"

    def _count(self, kept: int, attempted: int, succeeded: int) -> None:
        self.shards.append(self._next())
        self.kept, self.attempted = self.kept + kept, self.attempted + attempted
        self.succeeded += succeeded

    def add(self, episodes: list[Episode], successful_only: bool) -> None:
        """Saves a round, or its successful episodes; those with numbers that are not finite are left out."""
        sound = [episode for episode in episodes if not episode.not_finite]
        for episode in episodes:
            if episode.not_finite:
                where = f"{episode.env_name}, episode of seed {episode.seed}"
                logging.warning("%s: %s is no finite number; the episode is left out", where, episode.not_finite)
        successful = [episode for episode in sound if episode.succeeded]
        kept = successful if successful_only else sound
        write_shard(self._next(), kept, len(episodes), len(successful))
        self._count(len(kept), len(episodes), len(successful))

    def finish(self, output: Path, episodes: int, format: str, replace: bool, privileged: bool = False) -> None:
        """Puts the data together and renames them to `output`."""
        whole = self.path / "whole"
        if whole.exists():  # of a run that was killed here
            shutil.rmtree(whole)
        whole.mkdir()
        counts = {"attempted": self.attempted, "succeeded": self.succeeded}
        as_hdf5 = format == "hdf5"
        trajectory = (whole if as_hdf5 else self.path) / TRAJECTORY_FILE
        merge_shards(self.shards, trajectory, episodes, self.info, counts)
        with Demonstrations(trajectory) as demonstrations:
            if as_hdf5:
                write_json(whole / STATISTICS_FILE, demonstrations.statistics)
            else:
                from rpd_jax.demonstrations import lerobot

                lerobot.export(demonstrations, whole, privileged=privileged)
        described = {"info": self.info.to_dict(), "episodes": episodes, "format": format}
        write_json(whole / COLLECTION_FILE, described | counts)
        if replace:
            remove(output)
        output.parent.mkdir(parents=True, exist_ok=True)
        os.replace(whole, output)
        for name in KIND.content(self.path):
            remove(self.path / name)


def read_description(directory: Path) -> dict[str, Any]:
    """What COLLECTION_FILE holds, with "info" as `DatasetInfo.to_dict` has it."""
    path = directory / COLLECTION_FILE
    try:
        found = json.loads(path.read_text())
        return {**found, "info": DatasetInfo.from_dict(found["info"]).to_dict()}
    except (OSError, RecursionError, ValueError, TypeError, KeyError) as error:
        raise ConfigError(f"{path} cannot be read: it describes no collection ({one_line(error)})") from error


def check_same(before: Any, now: dict[str, Any], path: Path) -> None:
    if not isinstance(before, dict):
        raise ConfigError(f"{path} describes no collection of demonstrations: it is damaged")
    for name, value in now.items():
        if isinstance(value, dict) and isinstance(before.get(name), dict):
            check_same(before[name], value, path)
            continue
        was = before.get(name, FORMERLY.get(name))
        if was != value and not (name in NOT_NOTED and was in (None, "")):
            raise ConfigError(f"{name}={value!r} cannot work: {path}, to be resumed, was begun with {was!r}")
