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
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax

from rpd_jax.config import Config, ConfigError, EnvConfig
from rpd_jax.config.validation import check, require, setting
from rpd_jax.demonstrations.episode import DatasetInfo
from rpd_jax.demonstrations.partial import COLLECTION_FILE, KIND, Work, check_same, read_description
from rpd_jax.demonstrations.record import frame_entries, record
from rpd_jax.envs.base import EnvSpec, VectorEnv
from rpd_jax.envs.registry import check_env, env_seeds, make_env, task_info
from rpd_jax.runs.interrupt import stop_on_signal
from rpd_jax.runs.output_directory import Claim, check_path
from rpd_jax.runs.progress import ProgressBar
from rpd_jax.training.evaluation import TeacherPolicy
from rpd_jax.training.guidance_check import check_acting
from rpd_jax.types import Teacher

FORMATS = ("hdf5", "lerobot")
NOT_OF_THE_DATA = ("num_envs", "processes", "deadline_seconds")  # fields of an EnvConfig


@dataclasses.dataclass(frozen=True)
class Settings:
    """What to collect."""

    episodes: int = setting(100, low=1)  # to keep
    successful_only: bool = True  # keep only those whose last state counts as success
    images: bool = True  # record frames, of env.image_size pixels; toy tasks have none
    # Entries of observations to record them as, e.g. rgb,rgb_wrist; empty: all that the task has.
    cameras: tuple[str, ...] = ()
    perturb: float = setting(0.0, low=0)  # std of the noise on executed, not on recorded actions
    hold_steps: int = setting(0, low=0)  # steps to record after the first success
    seed: int = setting(0, low=0)  # all episodes follow from it
    num_envs: int = setting(8, low=1)  # environments side by side
    format: str = setting("hdf5", choices=FORMATS)  # hdf5: in ManiSkill's layout; lerobot: LeRobot v3
    # As LeRobot's format, also store what only the simulator knows ("simulator.state"); HDF5 has it anyway.
    privileged: bool = False
    attempts: int = setting(20, low=1)  # episodes to try at most, for each one to keep

    def validate(self) -> Settings:
        """Raises ConfigError for the first impossible value; returns self."""
        check(self)
        require(self.images or not self.cameras, "cameras", self.cameras, "empty with images=False")
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
        drawing = _drawing(config.env, settings)
        env = make_env(drawing, seeds, rgb=settings.images, end_on_success=settings.hold_steps == 0)
        stack.callback(env.close)
        cameras = cameras_of(env.spec, settings)
        if settings.format == "lerobot" and not (cameras or settings.privileged or "proprio" in env.spec.observation):
            raise ConfigError(
                f"format='lerobot' cannot work in {env.spec.name}: it has neither frames nor proprioception, and a "
                "policy is to see nothing else; set privileged=True or format='hdf5'"
            )
        teacher, acting = make_teacher(env), config.teacher.acting
        check_acting(teacher, acting, env.spec)
        claim = Claim(partial, KIND, check)
        stack.enter_context(claim)
        if overwrite or not (partial / COLLECTION_FILE).is_file():
            claim.clear()
        work = Work(partial, describe(config, env, teacher, settings))
        keys = jax.random.key(settings.seed)
        rounds = record(
            env,
            lambda number: TeacherPolicy(teacher, env, jax.random.fold_in(keys, number), acting=acting),
            settings.seed,
            perturb=settings.perturb,
            hold_steps=settings.hold_steps,
            first_round=len(work.shards),
            cameras=cameras,
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
        work.finish(output, settings.episodes, settings.format, replace, settings.privileged)
        claim.close()
        with contextlib.suppress(OSError):  # something was set aside there
            partial.rmdir()
    return Collected(output, settings.episodes, work.attempted, work.succeeded)


def describe(config: Config, env: VectorEnv, teacher: Teacher, settings: Settings) -> DatasetInfo:
    """What holds for all episodes that would be collected."""
    cameras = cameras_of(env.spec, settings)
    return DatasetInfo(
        env_name=env.spec.name,
        instruction=env.spec.instruction,
        max_episode_steps=env.spec.max_episode_steps,
        contract=env.spec.contract,
        layout={name: {part: list(at) for part, at in parts.items()} for name, parts in env.spec.layout.items()},
        image_size=env.spec.observation[cameras[0]].shape[0] if cameras else None,
        teacher=teacher.spec.name,
        is_scripted=teacher.spec.is_scripted,
        seed=settings.seed,
        num_envs=settings.num_envs,
        perturb=settings.perturb,
        hold_steps=settings.hold_steps,
        successful_only=settings.successful_only,
        camera=env.spec.camera if "rgb" in cameras else None,
        cameras=cameras,
        robot=env.spec.robot,
        control_hz=task_info(config.env).control_hz,
        **_config_of(config),
    )


def cameras_of(spec: EnvSpec, settings: Settings) -> tuple[str, ...]:
    """The entries of frames that are recorded; raises ConfigError for one that observations do not hold."""
    held = frame_entries(spec)
    for entry in settings.cameras:
        require(entry in held, "cameras", settings.cameras, f"of {held}, which {spec.name} draws")
    return tuple(entry for entry in held if entry in (settings.cameras or held)) if settings.images else ()


def _drawing(config: EnvConfig, settings: Settings) -> EnvConfig:
    """The environment, drawing at every step what is to be recorded of it."""
    entries = settings.cameras or task_info(config).frames
    if not settings.images or set(entries) <= {"rgb"} or config.observation == "ee":
        return config
    return dataclasses.replace(config, observation="+".join(entries))


def _config_of(config: Config) -> dict[str, Any]:
    """The parts of a config that make a difference to the data, as JSON has them."""
    env = {name: value for name, value in dataclasses.asdict(config.env).items() if name not in NOT_OF_THE_DATA}
    env["control_mode"] = task_info(config.env).control_mode
    return json.loads(json.dumps({"env_settings": env, "teacher_settings": dataclasses.asdict(config.teacher)}))


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
    found = read_description(output)
    names = ("seed", "num_envs", "perturb", "hold_steps", "successful_only")
    wanted = {name: getattr(settings, name) for name in names} | _config_of(config)
    check_same(found.get("info"), wanted, output)
    check_same(found, {"episodes": settings.episodes, "format": settings.format}, output)
    return Collected(output, found["episodes"], found.get("attempted", 0), found.get("succeeded", 0))
