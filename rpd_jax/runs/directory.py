"""The directory of a run: claimed by one process, never overwritten unless asked, every file written atomically."""

from __future__ import annotations

from pathlib import Path

from rpd_jax.algorithms.variants import resolved
from rpd_jax.config import Config
from rpd_jax.config.validation import require
from rpd_jax.report import results
from rpd_jax.runs.checkpoint import CHECKPOINT_DIRECTORY, CONFIG_FILE, check_resumable, check_saved, load_config
from rpd_jax.runs.files import atomic_path
from rpd_jax.runs.lock import LOCK_FILE, DirectoryLock
from rpd_jax.runs.metrics import METRICS_FILE, TENSORBOARD_DIRECTORY, WANDB_DIRECTORY
from rpd_jax.runs.output_directory import Claim, Kind, check_path, refuse_difference
from rpd_jax.students import PREFIX

MAY_CHANGE = ("preset", "run", "eval", "alarms")
"""Parts of the config that a resumed run may set anew; `algorithm.total_steps` and `teacher.ray` may change too."""
EVALUATION, EXPORT = "evaluation", "export"
"""Where `evaluate` and `export_student` write unless told otherwise."""
KIND = Kind(
    field="run.directory",
    what="a run",
    file=CONFIG_FILE,
    keys=frozenset({"variants", "seeds", "env", "eval", "run"}),
    entries=(
        CHECKPOINT_DIRECTORY,
        METRICS_FILE,
        TENSORBOARD_DIRECTORY,
        WANDB_DIRECTORY,
        *results.FILES,
        EVALUATION,
        EXPORT,
    ),
    leftovers=(METRICS_FILE, results.POINTS_FILE, f"{CHECKPOINT_DIRECTORY}/*/train_state"),
)


def check(config: Config, resume: bool | int, overwrite: bool) -> None:
    """Raises ConfigError where `claim` would; touches nothing.

    That is: the directory exists and neither `resume` nor `overwrite` is set, both are set, it is to be resumed
    with another experiment's configuration, or what is to be overwritten is not a run. CheckpointError: `resume`
    names an iteration that was not saved, or what is there is a student alone, see `check_resumable`.
    """
    path = Path(config.run.directory)
    shipped = config.run.directory.startswith(PREFIX)
    require(not shipped, "run.directory", config.run.directory, "a path: what is shipped is never written to")
    if check_path(path, KIND, resume, overwrite):
        check_resumable(path, None if isinstance(resume, bool) else resume)
        _check_same_experiment(load_config(path), config)
    if resume and not isinstance(resume, bool):
        check_saved(path, resume)


def check_free(config: Config) -> None:
    """Raises ConfigError where another process has the run directory now, before anything is started for nothing."""
    path = Path(config.run.directory)
    if (path / LOCK_FILE).is_file():
        DirectoryLock(path, KIND.field, KIND.what).close()


def claim(config: Config, resume: bool | int, overwrite: bool) -> Claim:
    """Takes the run directory, empty unless it is resumed, and writes the config into it, variants as whole specs.

    Nobody else can until the claim, a context manager of the directory's path, is closed. Raises ConfigError as
    `check` does, and if another process has the directory.
    """
    path = Path(config.run.directory)
    claimed = Claim(path, KIND, lambda: check(config, resume, overwrite))
    try:
        if not (resume and (path / CONFIG_FILE).is_file()):
            claimed.clear()
        with atomic_path(path / CONFIG_FILE) as temporary:
            temporary.write_text(resolved(config).to_json() + "\n")
    except BaseException:
        claimed.close()
        raise
    return claimed


def _check_same_experiment(stored: Config, given: Config) -> None:
    before, now = (resolved(config).to_dict() for config in (stored, given))
    for settings in (before, now):
        settings["names of variants"] = [spec["name"] for spec in settings["variants"]]
        settings["variants"] = {spec["name"]: spec for spec in settings["variants"]}
        for part in MAY_CHANGE:
            settings.pop(part)
        settings["algorithm"].pop("total_steps")
        settings["teacher"].pop("ray")  # another cluster, or another number of replicas
    refuse_difference(before, now, "run.directory")
