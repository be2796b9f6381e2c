"""TensorBoard's event files: a directory per member with the same tags in all, so that its charts lay them over."""

from __future__ import annotations

import importlib
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from PIL import Image

from rpd_jax.runs.series import WHOLE, About, Learner, Outcome, Series, by_learner, by_variant, flat

PICTURES = (".png", ".gif")
NOT_COMPARED = ("variants", "seeds", "run", "eval", "alarms")  # parts of a config that are no hyper-parameters


class TensorBoardWriter:
    """Writes below a directory, in TensorBoard's words its runs:

    * VARIANT/seed-N: a member's metrics, its variant's and the run's settings as hyper-parameters;
    * VARIANT/mean, VARIANT/low, VARIANT/high: of variants with several seeds;
    * the directory itself: what concerns all members, the config as text; at the end the table and the pictures.
    """

    def __init__(self, directory: Path | str, about: About | None = None) -> None:
        self._directory, self._about = Path(directory), about or About()
        self._module = _import_tensorboardx()
        self._owners = {learner.series: learner for learner in self._about.learners}
        self._files: dict[str, _EventFile] = {}
        self._purge_step: int | None = None

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        self._write(step, metrics, self._about.episodes)

    def finish(self, step: int, outcome: Outcome) -> None:
        self._write(step, outcome.metrics, outcome.episodes)
        whole = self._file(WHOLE)
        if outcome.table:
            whole.add(self._module.summary.text("results", outcome.table), step)
        for path in outcome.files:
            if path.suffix in PICTURES:
                whole.add(self._picture(path), step)
        for series in self._owners:
            self._file(series).add(self._module.summary.hparams({}, {})[2], step)  # ended, with success

    def rewind(self, step: int) -> None:
        """TensorBoard hides the events of earlier files after `step` once a new file says so."""
        self.close()
        self._purge_step = step + 1

    def flush(self) -> None:
        for file in self._files.values():
            file.flush()

    def close(self) -> None:
        for file in self._files.values():
            file.close()
        self._files = {}

    def _write(self, step: int, metrics: Mapping[str, float], episodes: int) -> None:
        learners = self._about.learners
        members = by_learner(learners, metrics)
        shown: Series = {**members, **by_variant(learners, members, episodes)}
        for series, values in shown.items():
            scalars = [self._module.summary.scalar(name, value).value[0] for name, value in values.items()]
            self._file(series).add(self._module.proto.summary_pb2.Summary(value=scalars), step)

    def _file(self, series: str) -> _EventFile:
        """The file of a series, opened when there is something to write."""
        if series not in self._files:
            file = self._files[series] = _EventFile(self._module, self._directory / series, self._purge_step)
            if series in self._owners:
                file.add(self._module.summary.hparams(self._settings(self._owners[series]), {})[1], 0)
            if series == WHOLE and self._about.config:
                text = json.dumps(self._about.config, indent=2, default=str)
                file.add(self._module.summary.text("config", f"```json\n{text}\n```"), self._purge_step or 0)
        return self._files[series]

    def _settings(self, learner: Learner) -> dict[str, Any]:
        """A member's hyper-parameters: texts, numbers and truth values."""
        config = {name: value for name, value in self._about.config.items() if name not in NOT_COMPARED}
        own = {"variant": learner.variant, "seed": learner.seed}
        settings = flat(config) | flat(learner.settings, "variant.") | own
        plain = {name: str(value) if isinstance(value, list | tuple) else value for name, value in settings.items()}
        return {name: value for name, value in plain.items() if value is not None and value != ""}

    def _picture(self, path: Path) -> Any:
        with Image.open(path) as image:
            width, height = image.size
        proto = self._module.proto.summary_pb2.Summary
        picture = proto.Image(height=height, width=width, colorspace=3, encoded_image_string=path.read_bytes())
        return proto(value=[proto.Value(tag=path.stem, image=picture)])


class _EventFile:
    """One event file, written at once.

    Not through SummaryWriter, whose queue `flush` does not wait for: a kill would lose rows before a checkpoint.
    """

    def __init__(self, module: ModuleType, directory: Path, purge_step: int | None) -> None:
        self._event = module.proto.event_pb2.Event
        directory.mkdir(parents=True, exist_ok=True)
        suffix = "" if purge_step is None else f".from{purge_step}"
        self._writer: Any = module.event_file_writer.EventsWriter(str(directory / "events"), suffix)
        self.flush, self.close = self._writer.flush, self._writer.close
        if purge_step is not None:
            session_log = module.proto.event_pb2.SessionLog
            self._write(step=purge_step, session_log=session_log(status=session_log.START))

    def add(self, summary: Any, step: int) -> None:
        self._write(step=step, summary=summary)

    def _write(self, **fields: Any) -> None:
        self._writer.write_event(self._event(wall_time=time.time(), **fields))


def _import_tensorboardx() -> ModuleType:
    """Imports tensorboardX, but not the torch that it would bring along: the learner stays free of it."""
    if "torch" in sys.modules:
        return importlib.import_module("tensorboardX")
    sys.modules["torch"] = None  # type: ignore[assignment]  # makes `import torch` raise ImportError
    try:
        return importlib.import_module("tensorboardX")
    finally:
        del sys.modules["torch"]
