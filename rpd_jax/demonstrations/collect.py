"""Collecting demonstrations into a directory: in rounds, resumable, and there whole or not at all.

While a collection is under way, its rounds lie as files of their own in "<output>.partial"; each appears whole or not
at all. Since a round is a function of its number, a collection that was interrupted and resumed gives the same files as
one that was not. At the end the data are put together there and the directory is renamed to <output>, which holds
collection.json and, as HDF5, trajectory.h5, trajectory.json (ManiSkill's layout) and dataset_statistics.json, or, as
LeRobot's format, its data, meta and videos.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
from absl import logging

from rpd_jax.config import Config, ConfigError
from rpd_jax.config.validation import check, setting
from rpd_jax.demonstrations.checks import one_line, open_hdf5
from rpd_jax.demonstrations.episode import DatasetInfo, Episode
from rpd_jax.demonstrations.hdf5 import merge_shards, write_shard
from rpd_jax.demonstrations.reading import TRAJECTORY_FILE, Demonstrations
from rpd_jax.demonstrations.record import record
from rpd_jax.demonstrations.statistics import STATISTICS_FILE
from rpd_jax.envs.base import VectorEnv
from rpd_jax.envs.registry import check_env, env_seeds, make_env, task_info
from rpd_jax.runs.files import write_json
from rpd_jax.runs.interrupt import stop_on_signal
from rpd_jax.runs.metrics import ProgressBar
from rpd_jax.runs.output_directory import Claim, Kind, check_path, remove, remove_temporaries, set_aside
from rpd_jax.training.evaluation import TeacherPolicy
from rpd_jax.types import Teacher

COLLECTION_FILE = "collection.json"
ROUNDS = "rounds"
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
FORMATS = ("hdf5", "lerobot")
NOT_OF_THE_DATA = ("num_envs", "processes", "deadline_seconds")  # fields of an EnvConfig


@dataclasses.dataclass(frozen=True)
class Settings:
    """What to collect.

    Attributes:
      episodes: how many to keep.
      successful_only: keep only those whose last state counts as success.
      images: record frames, of `env.image_size` pixels; toy tasks have none.
      perturb: see `record.record`.
      hold_steps: see `record.record`.
      seed: all episodes follow from it.
      num_envs: environments side by side.
      format: one of FORMATS.
      attempts: episodes to try at most, for each one to keep.
    """

    episodes: int = setting(100, low=1)
    successful_only: bool = True
    images: bool = True
    perturb: float = setting(0.0, low=0)
    hold_steps: int = setting(0, low=0)
    seed: int = setting(0, low=0)
    num_envs: int = setting(8, low=1)
    format: str = setting("hdf5", choices=FORMATS)
    attempts: int = setting(20, low=1)

    def validate(self) -> Settings:
        """Raises ConfigError for the first impossible value; returns self."""
        check(self)
        return self


class Collected(NamedTuple):
    """What a collection came to."""

    directory: Path
    kept: int
    attempted: int
    succeeded: int  # of those attempted
    signal: int | None = None  # that stopped it; `resume=True` goes on

    @property
    def interrupted(self) -> bool:
        return self.signal is not None


def collect(
    config: Config,
    make_teacher: Callable[[VectorEnv], Teacher],
    settings: Settings,
    output: Path | str,
    *,
    resume: bool = False,
    overwrite: bool = False,
) -> Collected:
    """Records episodes of a teacher in `config.env`.

    Args:
      config: its `env` and `teacher` are used.
      make_teacher: makes the teacher for an environment; anything that labels observations will do.
      settings: what to record.
      output: directory of the data; it must not exist.
      resume: go on with a collection that was interrupted; one that is complete is left as it is.
      overwrite: delete what was collected there before.

    Raises:
      ConfigError: a setting cannot work, `output` is taken, it was begun with other settings, or the teacher
        succeeds too rarely.
      RuntimeError: simulator processes kept failing.
    """
    settings.validate()
    config.validate()
    check_env(config.env)
    if (scale := task_info(config.env).horizon_scale) > 1:  # what is learnt from parts would be taken for whole deltas
        raise ConfigError(f"env.horizon_scale={scale} cannot work here: record with 1")
    if settings.format == "lerobot":
        _check_lerobot(config, settings)
    output = Path(output)
    partial = output.with_name(f"{output.name}.partial")
    check = functools.partial(_check_output, output, partial, resume, overwrite)
    check()
    replace = output.exists()  # where that is allowed; what appears there later is not touched
    if resume and (output / COLLECTION_FILE).is_file() and not partial.exists():
        return _complete(output, config, settings)
    with contextlib.ExitStack() as stack:
        stop = stack.enter_context(stop_on_signal())
        seeds = env_seeds(settings.seed, settings.num_envs)
        env = make_env(config.env, seeds, rgb=settings.images, end_on_success=settings.hold_steps == 0)
        stack.callback(env.close)
        teacher = make_teacher(env)
        claim = Claim(partial, KIND, check)
        stack.enter_context(claim)
        if overwrite or not (partial / COLLECTION_FILE).is_file():
            claim.clear()
        work = _Work(partial, describe(config, env, teacher, settings))
        keys = jax.random.key(settings.seed)
        rounds = record(
            env,
            lambda number: TeacherPolicy(teacher, env, jax.random.fold_in(keys, number)),
            settings.seed,
            perturb=settings.perturb,
            hold_steps=settings.hold_steps,
            first_round=len(work.shards),
        )
        initial = min(work.kept, settings.episodes)
        with ProgressBar(settings.episodes, initial=initial, description="collecting") as progress:
            while work.kept < settings.episodes and not stop:
                if work.attempted >= settings.attempts * settings.episodes:
                    raise ConfigError(
                        f"successful_only={settings.successful_only} cannot work: {teacher.spec.name} succeeded in "
                        f"{work.succeeded} of {work.attempted} episodes, and {settings.episodes} are wanted"
                    )
                before = work.kept
                work.add(next(rounds), settings.successful_only)
                new = min(work.kept, settings.episodes) - before
                progress.update(new, {"success": work.succeeded / work.attempted})
        if work.kept < settings.episodes:
            return Collected(partial, work.kept, work.attempted, work.succeeded, stop.signal)
        work.finish(output, settings, replace)
        claim.close()
        with contextlib.suppress(OSError):  # something was set aside there
            partial.rmdir()
    return Collected(output, settings.episodes, work.attempted, work.succeeded)


def describe(config: Config, env: VectorEnv, teacher: Teacher, settings: Settings) -> DatasetInfo:
    """What holds for all episodes that would be collected."""
    frames = env.spec.observation.get("rgb")
    return DatasetInfo(
        env_name=env.spec.name,
        instruction=env.spec.instruction,
        max_episode_steps=env.spec.max_episode_steps,
        contract=env.spec.contract,
        layout={name: {part: list(at) for part, at in parts.items()} for name, parts in env.spec.layout.items()},
        image_size=frames.shape[0] if frames else None,
        teacher=teacher.spec.name,
        is_scripted=teacher.spec.is_scripted,
        seed=settings.seed,
        num_envs=settings.num_envs,
        perturb=settings.perturb,
        hold_steps=settings.hold_steps,
        successful_only=settings.successful_only,
        camera=env.spec.camera if frames else None,
        **_config_of(config),
    )


def _config_of(config: Config) -> dict[str, Any]:
    """The parts of a config that make a difference to the data, as JSON has them."""
    env = {name: value for name, value in dataclasses.asdict(config.env).items() if name not in NOT_OF_THE_DATA}
    env["control_mode"] = task_info(config.env).control_mode
    return json.loads(json.dumps({"env_settings": env, "teacher_settings": dataclasses.asdict(config.teacher)}))


class _Work:
    """The directory of a collection under way."""

    def __init__(self, path: Path, info: DatasetInfo) -> None:
        self.path, self.info = path, info
        (path / ROUNDS).mkdir(exist_ok=True)
        remove_temporaries(path / ROUNDS)
        described = path / COLLECTION_FILE
        if described.is_file():
            _check_same(_read_description(path)["info"], info.to_dict(), described)
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

    def finish(self, output: Path, settings: Settings, replace: bool) -> None:
        """Puts the data together and renames them to `output`."""
        whole = self.path / "whole"
        if whole.exists():  # of a run that was killed here
            shutil.rmtree(whole)
        whole.mkdir()
        counts = {"attempted": self.attempted, "succeeded": self.succeeded}
        as_hdf5 = settings.format == "hdf5"
        trajectory = (whole if as_hdf5 else self.path) / TRAJECTORY_FILE
        merge_shards(self.shards, trajectory, settings.episodes, self.info, counts)
        with Demonstrations(trajectory) as demonstrations:
            if as_hdf5:
                write_json(whole / STATISTICS_FILE, demonstrations.statistics)
            else:
                from rpd_jax.demonstrations import lerobot

                lerobot.export(demonstrations, whole)
        described = {"info": self.info.to_dict(), "episodes": settings.episodes, "format": settings.format}
        write_json(whole / COLLECTION_FILE, described | counts)
        if replace:
            remove(output)
        output.parent.mkdir(parents=True, exist_ok=True)
        os.replace(whole, output)
        for name in KIND.content(self.path):
            remove(self.path / name)


def _check_output(output: Path, partial: Path, resume: bool, overwrite: bool) -> None:
    if resume and overwrite:
        raise ConfigError("resume=True and overwrite=True contradict each other: choose one")
    for path in (output, partial):
        check_path(path, KIND, resume, overwrite)
    foreign = [name for name in KIND.content(output) if not KIND.writes(name)]
    if overwrite and foreign:  # what is collected replaces the whole directory
        raise ConfigError(f"output={str(output)!r} will not be overwritten: it holds {foreign[0]!r}, which is not ours")


def _check_lerobot(config: Config, settings: Settings) -> None:
    from rpd_jax.demonstrations import lerobot

    try:
        lerobot.require()
    except ImportError as error:
        raise ConfigError(f"format='lerobot' cannot work: {error}") from error
    if settings.images and config.env.image_size % 2:
        raise ConfigError(f"env.image_size={config.env.image_size!r} cannot work in a LeRobot video: it must be even")


def _complete(output: Path, config: Config, settings: Settings) -> Collected:
    found = _read_description(output)
    names = ("seed", "num_envs", "perturb", "hold_steps", "successful_only")
    wanted = {name: getattr(settings, name) for name in names} | _config_of(config)
    _check_same(found.get("info"), wanted, output)
    _check_same(found, {"episodes": settings.episodes, "format": settings.format}, output)
    return Collected(output, found["episodes"], found.get("attempted", 0), found.get("succeeded", 0))


def _read_description(directory: Path) -> dict[str, Any]:
    """What COLLECTION_FILE holds, with "info" as `DatasetInfo.to_dict` has it."""
    path = directory / COLLECTION_FILE
    try:
        found = json.loads(path.read_text())
        return {**found, "info": DatasetInfo.from_dict(found["info"]).to_dict()}
    except (OSError, RecursionError, ValueError, TypeError, KeyError) as error:
        raise ConfigError(f"{path} cannot be read: it describes no collection ({one_line(error)})") from error


def _check_same(before: Any, now: dict[str, Any], path: Path) -> None:
    if not isinstance(before, dict):
        raise ConfigError(f"{path} describes no collection of demonstrations: it is damaged")
    for name, value in now.items():
        if isinstance(value, dict) and isinstance(before.get(name), dict):
            _check_same(before[name], value, path)
        elif before.get(name) != value and not (name == "camera" and before.get(name) is None):  # not noted formerly
            raise ConfigError(
                f"{name}={value!r} cannot work: {path}, to be resumed, was begun with {before.get(name)!r}"
            )
