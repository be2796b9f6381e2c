"""Weights & Biases: one run there per member, with the same names in all, and one of what concerns them together.

So its charts lay members over, and its own grouping (by variant, which is the job type) draws means and intervals over
seeds. In a single run every member's metrics would be panels of their own.
"""

from __future__ import annotations

import importlib
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rpd_jax.config import ConfigError
from rpd_jax.runs.files import read_json, write_json
from rpd_jax.runs.series import WHOLE, About, Learner, Outcome, Series, by_learner

WANDB_DIRECTORY = "wandb"  # W&B names its own
IDS_FILE = "rpd_jax_ids.json"  # in it: series -> id of the run there
PICTURES, VIDEOS = (".png",), (".mp4",)
TAG_LENGTH = 64  # W&B takes no longer ones


class WandbWriter:
    """The runs of a project there; a resumed run goes on with them, by the ids that its directory keeps.

    Raises:
      ConfigError: wandb is not installed, or refuses to begin.
    """

    def __init__(self, directory: Path | str, project: str, about: About | None = None) -> None:
        try:
            self._wandb: Any = importlib.import_module("wandb")
        except ImportError as error:
            raise ConfigError(
                f"run.wandb_project={project!r} needs wandb: pip install 'rpd_jax[wandb]', or leave it empty"
            ) from error
        self._directory, self._project, self._about = Path(directory), project, about or About()
        owners: dict[str, Learner | None] = {WHOLE: None} | {each.series: each for each in self._about.learners}
        path = self._directory / WANDB_DIRECTORY / IDS_FILE
        self._ids: dict[str, str] = read_json(path) if path.is_file() else {}
        self._ids = {name: self._ids.get(name) or secrets.token_hex(4) for name in owners}
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, self._ids)
        self._runs: dict[str, Any] = {}
        try:
            for name, owner in owners.items():
                self._runs[name] = self._begin(name, owner)
        except self._wandb.Error as error:
            self.close()
            raise ConfigError(
                f"run.wandb_project={project!r} cannot work: {error}; `wandb login` once, or set WANDB_MODE=offline"
            ) from error

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        self._log(step, by_learner(self._about.learners, metrics))

    def finish(self, step: int, outcome: Outcome) -> None:
        self.write(step, outcome.metrics)
        media: dict[str, Any] = {}
        for path in outcome.files:
            if path.suffix in PICTURES:
                media[path.stem] = self._wandb.Image(str(path))
            elif path.suffix in VIDEOS:
                media[path.stem] = self._wandb.Video(str(path), format=path.suffix[1:])
        run = self._runs[WHOLE]
        if media:
            run.log(media, step=max(step, run.step))

    def rewind(self, step: int) -> None:
        """Does nothing: W&B cannot forget. What it has of steps that are repeated stays, and `_log` leaves them out."""

    def flush(self) -> None: ...

    def close(self) -> None:
        for run in self._runs.values():
            run.finish()

    def _log(self, step: int, series: Series) -> None:
        for name, metrics in series.items():
            if step >= self._runs[name].step:
                self._runs[name].log(metrics, step=step)

    def _begin(self, series: str, owner: Learner | None) -> Any:
        """Begins the run there of a member, or that of the whole."""
        about = self._about
        config, variants = dict(about.config), list(dict.fromkeys(each.variant for each in about.learners))
        settings: dict[str, Any] = {}
        if owner is not None:
            config |= {"variant": owner.variant, "seed": owner.seed, "variant_settings": dict(owner.settings)}
            variants = [owner.variant]
            settings = {"console": "off", "x_disable_stats": True}  # of the process: once is enough
        return self._wandb.init(
            project=self._project,
            id=self._ids[series],
            resume="allow",
            name=series or about.name,
            group=about.name,
            job_type="run" if owner is None else owner.variant,
            tags=[tag[:TAG_LENGTH] for tag in (*about.tags, *variants) if tag],
            config=config,
            dir=str(self._directory),
            reinit="create_new",
            settings=self._wandb.Settings(**settings),
        )
