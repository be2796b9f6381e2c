"""Evaluates students or a teacher on every task of a set, such as "libero:Spatial", shard by shard.

A shard is one round of one task: an episode in each of `eval.num_envs` environments. It is a file, and what it holds
depends on nothing but the config, the task and the round, so that an evaluation which was killed and is gone on with
ends in the same table.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from rpd_jax import runtime
from rpd_jax.algorithms.base import MemberState
from rpd_jax.algorithms.variants import resolved
from rpd_jax.config import Config, ConfigError
from rpd_jax.envs.base import VectorEnv, begin_episode
from rpd_jax.envs.registry import check_env, make_env, tasks_of
from rpd_jax.keys import stream
from rpd_jax.report.results import FILES
from rpd_jax.report.table import Table
from rpd_jax.report.video import Clip, Column, write_grid
from rpd_jax.runs.checkpoint import load_checkpoint
from rpd_jax.runs.files import read_json, write_json
from rpd_jax.runs.output_directory import Claim, Kind, check_path
from rpd_jax.runs.progress import ProgressBar
from rpd_jax.training import summary
from rpd_jax.training.assessment import teacher_label
from rpd_jax.training.evaluation import (
    Episodes,
    Film,
    StudentPolicy,
    TeacherPolicy,
    concatenate,
    evaluation_seeds,
    run_episodes,
)
from rpd_jax.training.population import Population
from rpd_jax.training.setup import TeacherFactory, look, make_teacher
from rpd_jax.training.student import restore_members
from rpd_jax.types import Teacher

PROTOCOL_FILE, SHARDS, VIDEOS = "protocol.json", "shards", "videos"
KIND = Kind(
    field="output",
    what="an evaluation of several tasks",
    file=PROTOCOL_FILE,
    keys=frozenset({"tasks", "rounds", "config", "checkpoint"}),
    entries=(*FILES, SHARDS, VIDEOS),
)


class Shard(NamedTuple):
    """What a file of `SHARDS` holds."""

    players: Mapping[str, Mapping[str, Sequence[float]]]  # "teacher:NAME" or "VARIANT/SEED" -> fields of `Episodes`
    note: str  # what a reader must know of the task: its cap, and versions
    teacher_checkpoint: str = ""


def evaluate_suite(
    config: Config,
    teacher: Teacher | TeacherFactory | None,
    output: Path | str,
    *,
    run: Path | str = "",
    iteration: int | None = None,
    resume: bool = False,
    overwrite: bool = False,
) -> Table:
    """Evaluates on all tasks that `config.env.name` means, and writes table, results and a video of each task.

    Episodes end at success, as in the published protocols of such sets. Each task's row is followed by one over all.

    Args:
      config: of the run, or for a teacher alone; `eval.episodes` of each task, at least, `eval.num_envs` at a time.
      teacher: evaluated if given; a teacher, or a function that makes one for an environment.
      output: directory for the results.
      run: directory whose members are evaluated; empty: the teacher alone.
      iteration: of the run's checkpoint; None: the newest.
      resume: go on with an evaluation that is there, of the same protocol.
      overwrite: replace it.

    Raises:
      CheckpointError: no run or checkpoint, or it does not fit a task.
      ConfigError: unknown tasks, another protocol in `output`, or it is in use.
    """
    runtime.configure()
    target, names = Path(output), tasks_of(config.env)
    for name in names:
        each = _of_task(config, name)
        check_env(each.env)
        look(teacher, each)
    rounds = math.ceil(config.eval.episodes / config.eval.num_envs)
    checkpoint = load_checkpoint(run, iteration)[1] if run else None
    protocol = {
        "tasks": list(names),
        "rounds": rounds,
        "config": resolved(config).to_dict(),
        "checkpoint": f"{Path(run).resolve()} at {checkpoint.host['iteration']}" if checkpoint else "",
    }
    with contextlib.ExitStack() as stack:
        stack.enter_context(jax.enable_x64(False))
        claim = Claim(target, KIND, lambda: check_path(target, KIND, resume=resume, overwrite=overwrite))
        stack.enter_context(claim)
        if overwrite:
            claim.clear()
        _agree(target / PROTOCOL_FILE, protocol)
        (target / SHARDS).mkdir(exist_ok=True)
        progress = stack.enter_context(ProgressBar(len(names) * rounds, description="evaluating"))
        for name in names:
            missing = [each for each in range(rounds) if not _file(target, name, each).exists()]
            progress.update(rounds - len(missing))
            if not missing:
                continue
            with Players(_of_task(config, name), teacher, checkpoint) as players:
                for number in missing:
                    shard, films = players.play(number)
                    if films:
                        (target / VIDEOS).mkdir(exist_ok=True)
                        write_grid(target / VIDEOS / f"{_plain(name)}.mp4", films)
                    write_json(_file(target, name, number), shard._asdict())
                    progress.update(1, {who: float(np.mean(x["success_once"])) for who, x in shard.players.items()})
        table, digest = _table(target, config, names, rounds)
        summary.write(target, config, table, [], {}, checkpoint=digest)
    return table


class Players:
    """Everybody who is evaluated, in one task's environments: member p has rows p * N to p * N + N - 1."""

    def __init__(self, config: Config, teacher: Teacher | TeacherFactory | None, checkpoint: Any) -> None:
        self._config, self._stack = config, contextlib.ExitStack()
        members = len(config.variants) * len(config.seeds) if checkpoint else 1
        seeds = evaluation_seeds(config.eval, members)
        try:
            self._env: VectorEnv = make_env(
                config.env, seeds, rgb=bool(checkpoint) and config.env.sees_frames, end_on_success=True
            )
            self._stack.callback(self._env.close)
            self._teacher = make_teacher(teacher, config, self._env, self._stack)
            self._population: Population | None = None
            self._members: MemberState | None = None
            if checkpoint:
                self._population = Population(config, self._env.spec)
                self._members = restore_members(self._population, checkpoint)
        except BaseException:
            self._stack.close()
            raise

    def __enter__(self) -> Players:
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def play(self, number: int) -> tuple[Shard, list[Column]]:
        """Episode `number` of every environment, for everybody; of the first ones videos, where they are wanted."""
        settings, players, columns = self._config.eval, {}, []
        filmed = min(settings.videos, settings.num_envs) if number == 0 and self._env.spec.frame_shape else 0
        if self._teacher is not None:
            key = jax.random.fold_in(stream(settings.seed, "teacher"), number)
            policy = TeacherPolicy(self._teacher, self._env, key, settings.num_envs, self._config.teacher.acting)
            episodes, films = self._episodes(policy, number, range(filmed))
            name = self._teacher.spec.name.removesuffix(f":{self._env.spec.task}")  # alike in all tasks
            players[f"teacher:{name}"] = _lists(concatenate(episodes[: settings.num_envs]))
            columns += _column(teacher_label(self._teacher.spec), films)
        if self._population is not None and self._members is not None:
            names = [f"{member.variant.name}/{member.seed}" for member in self._population.members]
            starts = [p * settings.num_envs for p in range(len(names))]
            film = [start + n for start in starts for n in range(filmed)]
            episodes, films = self._episodes(StudentPolicy(self._population, self._members), number, film)
            for p, (name, start) in enumerate(zip(names, starts, strict=True)):
                players[name] = _lists(concatenate(episodes[start : start + settings.num_envs]))
                columns += _column(name, films[p * filmed : (p + 1) * filmed])
        digest = self._teacher.spec.checkpoint if self._teacher else ""
        return Shard(players, summary.protocol_note(self._env.spec), digest), columns

    def _episodes(self, policy: Any, number: int, film: Iterable[int]) -> tuple[list[Episodes], list[Film]]:
        return run_episodes(self._env, policy, 1, list(film), begin=lambda: begin_episode(self._env, number))


def _agree(path: Path, protocol: Mapping[str, Any]) -> None:
    """Writes the protocol, or raises ConfigError where another one is there."""
    if not path.exists():
        write_json(path, protocol)
        return
    there = read_json(path)
    here = json.loads(json.dumps(protocol))
    differing = [name for name in here if there.get(name) != here[name]]
    if differing:
        right = "use overwrite=True or another path"
        raise ConfigError(f"output={str(path.parent)!r} holds an evaluation with another {differing[0]}: {right}")


def _table(target: Path, config: Config, names: Sequence[str], rounds: int) -> tuple[Table, str]:
    """A row for each task and player, then for all tasks together; and the digest of the teacher's checkpoint."""
    table, everything, digest = Table(), [], ""
    for name in names:
        shards = [Shard(**read_json(_file(target, name, number))) for number in range(rounds)]
        digest = shards[0].teacher_checkpoint
        played = {who: concatenate([_episodes(shard.players[who]) for shard in shards]) for who in shards[0].players}
        everything.append(played)
        table += _rows(name, played, shards[0].note)
    if len(names) > 1:
        pooled = {who: concatenate([played[who] for played in everything]) for who in everything[0]}
        table += _rows(config.env.name, pooled, f"{len(names)} tasks")
    return table, digest


def _rows(env: str, played: Mapping[str, Episodes], note: str) -> list[summary.ResultRow]:
    """A row for the teacher, and one for each variant over its seeds."""
    rows, cost = [], summary.Cost(0, [], 0.0)
    variants = dict.fromkeys(who if who.startswith("teacher:") else who.rpartition("/")[0] for who in played)
    for variant in variants:
        mine = [x for who, x in played.items() if variant in (who, who.rpartition("/")[0])]
        seeds = 0 if variant.startswith("teacher:") else len(mine)
        rows.append(dataclasses.replace(summary.row(env, variant, mine, seeds, cost), note=note))
    return rows


def _of_task(config: Config, name: str) -> Config:
    return dataclasses.replace(config, env=dataclasses.replace(config.env, name=name))


def _file(target: Path, task: str, number: int) -> Path:
    return target / SHARDS / f"{_plain(task)}.{number}.json"


def _plain(task: str) -> str:
    """As a file's name; distinct tasks have distinct ones."""
    plain = "".join(c if c.isalnum() or c in "-_" else "-" for c in task)
    return (
        plain
        if plain == task.replace(":", "-").replace("/", "-")
        else plain + hashlib.sha256(task.encode()).hexdigest()[:6]
    )


def _lists(episodes: Episodes) -> dict[str, list[float]]:
    return {name: np.asarray(x).tolist() for name, x in episodes._asdict().items()}


def _episodes(lists: Mapping[str, Sequence[float]]) -> Episodes:
    return Episodes(**{name: np.asarray(x) for name, x in lists.items()})


def _column(name: str, films: Sequence[Film]) -> list[Column]:
    return [Column(name, [Clip(*film) for film in films])] if films else []
