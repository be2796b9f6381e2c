"""One student of a run as a run of its own: what acting and teaching need, and nothing of the machine that made it."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import logging

from rpd_jax.algorithms.base import learned
from rpd_jax.algorithms.variants import resolve_variants
from rpd_jax.config import Config, ConfigError
from rpd_jax.config.experiment import RunConfig
from rpd_jax.export.manifest import make_manifest
from rpd_jax.hub import card as cards
from rpd_jax.hub.bundle import Bundle, Choice
from rpd_jax.hub.card import Card
from rpd_jax.hub.evidence import member_points, success_section
from rpd_jax.report.results import POINTS_FILE, RESULTS_FILE, SCRIPTED, read_results
from rpd_jax.runs.checkpoint import (
    CHECKPOINT_DIRECTORY,
    CONFIG_FILE,
    Checkpoint,
    CheckpointError,
    CheckpointStore,
    forget_places,
    read_checkpoint,
    to_paths,
)
from rpd_jax.runs.files import read_json, write_json
from rpd_jax.training.student import Student, load_student

HUB = "hf://"
_OF_THIS_MACHINE = {"teacher": ("address", "python", "socket", "log", "placement", "ray"), "env": ("python",)}
_INWARD: Mapping[str, Mapping[str, Any]] = {
    "run": {
        "directory": RunConfig().directory,
        "distributed": False,
        "coordinator_address": None,
        "wandb_project": "",
    },
    "teacher": {"address": "", "python": "", "socket": "", "log": "", "placement": "local"},
    "env": {"python": ""},
}
"""Settings by which a run would start, connect to or write something, and their values by which it does not."""
_MAY_NAME_PATHS = ("teacher", "algorithm", "env")  # sections of a config


def student_bundle(path: Path, choice: Choice, scratch: Path) -> Bundle | None:
    """See `bundle.Maker`: a run directory, of which one student is pushed."""
    if not ((path / CONFIG_FILE).is_file() and (path / CHECKPOINT_DIRECTORY).is_dir()):
        return None
    student = load_student(path, choice.variant, choice.seed, choice.iteration)
    host = read_checkpoint(path, student.iteration).host
    name = f"{student.variant}, seed {student.seed}, of {student.spec.name}"
    files = _as_a_run(path, student, host, scratch)
    return Bundle("student", name, files, _card(path, student, name))


def public(student: Student) -> Config:
    """The config of the student's run as if it had trained alone, without paths and addresses of this machine.

    Raises ConfigError where the student could not be loaded elsewhere.
    """
    config, network = student.config, student.config.network
    if network.name != "standard" and not network.path.startswith(HUB) and Path(network.path).exists():
        raise ConfigError(
            f"network.path={network.path!r} is a directory of this machine, which the student is loaded with: "
            "push that checkpoint first, and train with network.path=hf://USER/NAME"
        )
    spec = next(spec for spec in resolve_variants(config) if spec.name == student.variant)
    values = dataclasses.replace(config, variants=(spec,), seeds=(student.seed,), run=RunConfig()).to_dict()
    for section, names in _OF_THIS_MACHINE.items():
        for name in names:
            values[section].pop(name, None)  # what is left out has its default
    for section in _MAY_NAME_PATHS:
        values[section] = _without_folders(values[section])
    return Config.from_dict(values).validate()


def check_pulled(directory: Path, where: str) -> None:
    """Raises ConfigError where a student's config would start, connect to or write what its user did not name."""
    stored = read_json(directory / CONFIG_FILE)
    for section, defaults in _INWARD.items():
        values = stored.get(section)
        for name, harmless in defaults.items():
            found = values.get(name, harmless) if isinstance(values, dict) else values
            if found != harmless:
                raise ConfigError(
                    f"{where}: {CONFIG_FILE} has {section}.{name}={found!r}, which rpd-jax push never writes: it "
                    "would start, connect to or write something; nothing was pulled"
                )


def _as_a_run(path: Path, student: Student, host: dict[str, Any], scratch: Path) -> dict[str, Path]:
    """Writes the student's run into `scratch`, reads it back, and returns its files by name."""
    (scratch / CONFIG_FILE).write_text(public(student).to_json() + "\n")
    row = [(member.variant.name, member.seed) for member in student.population.members].index(
        (student.variant, student.seed)
    )
    kept = {"iteration": student.iteration, "seconds": host.get("seconds", 0.0)}
    kept["ledgers"] = [host["ledgers"][row]] if "ledgers" in host else []
    params = {name: np.asarray(leaf)[None] for name, leaf in to_paths(learned(student.member)).items()}
    logger = logging.get_absl_logger()
    level = logger.level  # not the verbosity: to set that again would set a level where there was none
    store = CheckpointStore(scratch)
    try:
        logger.setLevel("WARNING")  # a checkpoint in a temporary directory is no news
        store.save(student.iteration, Checkpoint(params, {"none": np.zeros(1)}, kept))
    finally:
        logger.setLevel(level)
        store.close()
    if points := member_points(path, student.variant, student.seed, student.env_steps):
        write_json(scratch / POINTS_FILE, points)
    forget_places(scratch)
    alone = load_student(scratch, spec=student.spec)
    if not jax.tree.all(jax.tree.map(np.array_equal, learned(alone.member), learned(student.member))):
        raise CheckpointError(f"{path}: {student.variant}/{student.seed} is another by itself than in its run")
    return {file.relative_to(scratch).as_posix(): file for file in sorted(scratch.rglob("*")) if file.is_file()}


def _card(path: Path, student: Student, name: str) -> Card:
    manifest = make_manifest(student, {})
    task = [f"`{manifest.env}`: {manifest.instruction or 'no instruction'}."]
    task.append(f"Episodes last {manifest.max_episode_steps} steps.")
    return Card(
        title=f"{student.variant}, a student for {manifest.env}",
        summary=f"A small policy, {name}, trained with rpd_jax. It acts by itself, and can be the teacher of other "
        "students.",
        tags=("reinforcement-learning", "policy-distillation", manifest.env.replace(":", "-")),
        sections={
            "Task": " ".join(task),
            "What it sees": cards.observations(manifest),
            "What its actions mean": cards.actions(manifest),
            "Success": success_section(path, student.variant, student.seed, student.env_steps),
            "How it was trained": _training(path, student),
        },
        use=_use(student),
    )


def _training(path: Path, student: Student) -> str:
    config = student.config
    spec = next(spec for spec in resolve_variants(config) if spec.name == student.variant)
    terms = ", ".join(f"{name} {value:g}" for name, value in spec.terms.items()) or "none"
    toy = f", {cards.TOY}" if config.teacher.name in SCRIPTED else ""
    teacher = f"`{config.teacher.name}`{toy}" if spec.terms else "none, it queries no teacher"
    lines = [
        f"* preset `{config.preset or 'none'}`, algorithm `{spec.algorithm}`",
        f"* variant `{spec.name}`, loss terms: {terms}",
        f"* teacher: {teacher}",
        f"* {student.env_steps:,} environment steps, {student.iteration:,} iterations, seed {student.seed}",
    ]
    if (path / RESULTS_FILE).is_file():
        versions = read_results(path / RESULTS_FILE).versions
        lines.append("* versions: " + ", ".join(f"{name} {version}" for name, version in versions.items()))
    lines.append(f"* every setting: `{CONFIG_FILE}`, without paths and addresses of the machine that it was trained on")
    return "\n".join(lines)


def _use(student: Student) -> str:
    directory, env = cards.DIRECTORY, student.spec.name
    entries = "\n".join(f"#   {name}: {spec.dtype} {list(spec.shape)}" for name, spec in student.observation.items())
    return f"""```bash
rpd-jax evaluate --run={directory} --noteacher                 # its success in {env}
rpd-jax train --config_file={directory} --config.teacher.name=policy --config.teacher.path={directory} \\
    --config.run.directory=runs/next                  # as the teacher of another student
```

```python
import rpd_jax

student = rpd_jax.load_student("{directory}")  # makes the environment once, for its specification
action = student.act(observation)  # a dictionary, with or without a batch axis:
{entries}
```"""


def _without_folders(value: Any) -> Any:
    """Paths of this machine by their last part alone."""
    if isinstance(value, dict):
        return {key: _without_folders(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_without_folders(each) for each in value]
    local = isinstance(value, str) and "/" in value and "://" not in value
    return Path(value).name if local and (value[0] in "/~." or os.path.exists(value)) else value
