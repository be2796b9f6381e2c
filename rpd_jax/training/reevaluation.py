"""Evaluates a saved run again: more episodes, another environment, another teacher beside it."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable
from pathlib import Path

import jax

from rpd_jax import runtime
from rpd_jax.actions.contracts import check_convertible, clip, convert
from rpd_jax.algorithms.base import MemberState
from rpd_jax.config import Config, ConfigError
from rpd_jax.envs.registry import check_env, make_env, task_info
from rpd_jax.report.results import FILES, RESULTS_FILE, TEACHER_PREFIX, read_results
from rpd_jax.report.table import Table
from rpd_jax.runs.checkpoint import Checkpoint, CheckpointError, load_checkpoint
from rpd_jax.runs.directory import EVALUATION
from rpd_jax.runs.output_directory import Claim, Kind, check_path
from rpd_jax.students import results_directory
from rpd_jax.training import summary
from rpd_jax.training.alarms import Alarms
from rpd_jax.training.assessment import assess, teacher_label
from rpd_jax.training.evaluation import Evaluator, evaluation_seeds, teacher_episodes
from rpd_jax.training.population import Population
from rpd_jax.training.setup import TeacherFactory, look, make_teacher
from rpd_jax.training.student import restore_members
from rpd_jax.types import ActionContract, Array, Teacher

KIND = Kind(
    field="output",
    what="an evaluation",
    file=RESULTS_FILE,
    keys=frozenset({"rows", "fingerprint", "versions", "config"}),
    entries=FILES,
)


def evaluate(
    directory: Path | str,
    teacher: Teacher | TeacherFactory | None = None,
    *,
    env: str = "",
    episodes: int = 0,
    videos: int | None = None,
    iteration: int | None = None,
    output: Path | str = "",
    overwrite: bool = False,
) -> Table:
    """Evaluates every member of a saved run, deterministically, and writes table, results and video.

    In another suite the students' actions are converted into its action contract.

    Args:
      directory: of the run.
      teacher: evaluated under the same protocol if given; a teacher, or a function that makes one for the environment.
      env: another environment's name ("suite:task"); observations must have the run's shapes, as "ee" has in every
        suite that knows the task.
      episodes: per member; 0: as the run's config says.
      videos: episodes recorded per variant; None: as the run's config says.
      iteration: of the checkpoint; None: the newest.
      output: directory for the results; empty: "evaluation" within the run.
      overwrite: replace the results that it holds.

    Returns:
      the table.

    Raises:
      CheckpointError: no run or checkpoint there, or it does not fit the environment.
      ConfigError: unknown environment, actions that cannot be converted, or the output directory holds something,
        or is in use.
    """
    runtime.configure()
    trained, checkpoint = load_checkpoint(directory, iteration)
    config = adapted(trained, env, episodes, videos)
    check_env(config.env)
    look(teacher, config)
    convert_action = action_converter(task_info(trained.env).contract, task_info(config.env).contract)
    target = Path(output) if output else results_directory(directory, EVALUATION)
    with contextlib.ExitStack() as stack:
        stack.enter_context(jax.enable_x64(False))
        claim = _claim(target, overwrite)
        stack.enter_context(claim)
        num_members = len(config.variants) * len(config.seeds)
        seeds = evaluation_seeds(config.eval, num_members)
        rgb = config.env.sees_frames
        eval_env = make_env(config.env, seeds, rgb=rgb, end_on_success=False)
        stack.callback(eval_env.close)
        population = Population(config, eval_env.spec)
        members = _restore(population, checkpoint, trained)
        evaluator = Evaluator(eval_env, population, convert_action)
        assessment = assess(evaluator, members, make_teacher(teacher, config, eval_env, stack), config.eval)
        env_steps = checkpoint.host["iteration"] * config.algorithm.iteration_steps(config.env.num_envs)
        labels = [ledger["labels"] for ledger in checkpoint.host["ledgers"]]
        cost = summary.Cost(env_steps, labels, checkpoint.host["seconds"])
        spec = assessment.teacher_spec
        alarms = Alarms(population, spec.name if spec else "")
        alarms.load_state_dict(checkpoint.host.get("alarms", {}))  # runs of earlier versions have none
        if spec is not None and assessment.teacher is not None:
            stated = _previous(Path(directory), config.env.name, spec.name) if spec.success is None else spec.success
            alarms.look_at_teacher(assessment.teacher.success_once, stated)
        table = summary.rows(config.env.name, population, assessment, cost, alarms.notes())
        claim.clear()
        summary.write(target, config, table, [], assessment.films, assessment.teacher_spec)
    return table


def _previous(directory: Path, env: str, teacher: str) -> float | None:
    """Success rate of a run's teacher in the run's own evaluation; None: it was another one, or had another task."""
    try:
        rows = read_results(directory / RESULTS_FILE).rows
    except ConfigError:  # interrupted runs have none
        return None
    found = (row.success_once for row in rows if (row.env, row.variant) == (env, TEACHER_PREFIX + teacher))
    return next(found, None)


def evaluate_teacher(
    config: Config, teacher: Teacher | TeacherFactory, output: Path | str, *, overwrite: bool = False
) -> Table:
    """Evaluates a teacher by itself, under the protocol of `evaluate`, and writes table, results and video.

    Args:
      config: names the environment; `eval` says how many episodes are played and recorded.
      teacher: a teacher, or a function that makes one for the environment.
      output: directory for the results.
      overwrite: replace the results that it holds.

    Returns:
      the table, of one row.

    Raises:
      ConfigError: unknown environment, a teacher that does not fit it, or the output directory holds something.
    """
    runtime.configure()
    check_env(config.env)
    look(teacher, config)
    target = Path(output)
    with contextlib.ExitStack() as stack:
        stack.enter_context(jax.enable_x64(False))
        claim = _claim(target, overwrite)
        stack.enter_context(claim)
        env = make_env(config.env, evaluation_seeds(config.eval, 1), rgb=False, end_on_success=False)
        stack.callback(env.close)
        made = make_teacher(teacher, config, env, stack)
        assert made is not None
        videos = min(config.eval.videos, env.num_envs) if env.spec.frame_shape is not None else 0
        acting = config.teacher.acting
        episodes, films = teacher_episodes(env, made, config.eval, videos, acting)
        protocol = summary.protocol_note(env.spec) if env.spec.versions else ""
        table = Table([summary.teacher_row(config.env.name, made.spec.name, episodes, acting.note, protocol)])
        claim.clear()
        shown = {teacher_label(made.spec): films} if films else {}
        summary.write(target, config, table, [], shown, made.spec)
    return table


def action_converter(source: ActionContract | None, target: ActionContract | None) -> Callable[[Array], Array] | None:
    """Turns actions [..., 7] of `source`, limited to its box, into those of `target`; None where both are the same.

    Raises ConfigError where they cannot be converted.
    """
    if source == target:
        return None
    try:
        check_convertible(source, target)
    except ValueError as error:
        raise ConfigError(f"the run's actions do not fit the environment: {error}") from error
    assert source is not None and target is not None
    return jax.jit(lambda action: convert(clip(action, source), source, target))


def _restore(population: Population, checkpoint: Checkpoint, trained: Config) -> MemberState:
    """`restore_members`, with a word on what would fit another suite's environment."""
    try:
        return restore_members(population, checkpoint)
    except CheckpointError as error:
        there, here = (config.env.name.split(":")[0] for config in (trained, population.config))
        if there == here:
            raise
        raise CheckpointError(
            f"{error}; {trained.env.observation!r} of {there} is not that of {here}: "
            "train with --config.env.observation=ee, which both suites can give"
        ) from error


def _claim(target: Path, overwrite: bool) -> Claim:
    return Claim(target, KIND, lambda: check_path(target, KIND, resume=None, overwrite=overwrite))


def adapted(config: Config, env: str, episodes: int, videos: int | None) -> Config:
    """The config with another environment, number of episodes and of videos, where they are given."""
    moved = dataclasses.replace(config.env)
    moved.name = env or moved.name  # in another suite: with the settings that both have
    return dataclasses.replace(
        config,
        env=moved,
        eval=dataclasses.replace(
            config.eval,
            episodes=episodes or config.eval.episodes,
            videos=config.eval.videos if videos is None else videos,
        ),
    ).validate()
