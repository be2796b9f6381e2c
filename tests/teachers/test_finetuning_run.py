"""The loop that both fine-tunings share, with steps that take no time: divergence and runs that are made longer."""

from __future__ import annotations

import contextlib
import json
import math

import pytest

from rpd_jax.runs.interrupt import StopRequest
from teachers.finetuning.run import Diverged, Run
from teachers.finetuning.settings import RunSettings


class Made(Run):
    """Metrics are those of a list; the rate falls linearly to 0; a checkpoint is a file, and the newest alone stays."""

    def __init__(self, settings, metrics=()):
        super().__init__(settings, {})
        self._metrics = metrics

    def save(self):
        for old in self._directory.glob("*.checkpoint"):
            old.unlink()
        (self._directory / f"{self.step}.checkpoint").write_text(json.dumps(self._progress()))

    def restore(self):
        (path,) = self._directory.glob("*.checkpoint")
        self._go_on(json.loads(path.read_text()))

    def _open_checkpoints(self, stack):
        pass

    def _advance(self):
        given = self._metrics[self.step] if self.step < len(self._metrics) else {}
        return {"loss": 1.0, "grad_norm": 1.0, "accuracy": 0.5, "learning_rate": 1.0} | given

    def _learning_rate(self, steps):
        return 1 - self.step / steps

    def _fetch(self, rows):
        return rows

    _validates = False

    def _validate(self):
        return {}

    def _snapshot(self, metrics):
        return self.step


def run(directory, metrics=(), *, resume=False, **values):
    settings = RunSettings(**({"steps": 6, "log_every": 100, "save_every": 2, "tensorboard": False} | values))
    made = Made(settings, metrics)
    with contextlib.ExitStack() as stack:
        made.open(directory, stack, lambda: None, resume=resume)
        made.run(StopRequest(), ())
    return made


@pytest.mark.parametrize("bad", [{"loss": math.nan}, {"loss": math.inf}, {"grad_norm": math.nan}])
@pytest.mark.parametrize(
    ("at", "values", "kept"),
    [
        (3, {}, "the checkpoint of step 2 in {} is left as it was"),  # noticed before step 4 would be saved
        (2, {"log_every": 1}, "the checkpoint of step 2 in {} is left as it was"),
        (5, {}, "the checkpoint of step 4 in {} is left as it was"),  # the last one
        (0, {}, "there is no checkpoint"),
        (5, {"save_every": 0}, "there is no checkpoint"),
    ],
)
def test_nothing_is_saved_after_a_step_that_is_not_finite(tmp_path, bad, at, values, kept):
    with pytest.raises(Diverged) as error:
        run(tmp_path, [{}] * at + [bad], **values)
    (name, value), message = next(iter(bad.items())), str(error.value)
    assert message.startswith(f"{name} is {value} at step {at + 1}: training stopped, {kept.format(tmp_path)}; lower")
    assert "\n" not in message
    steps = [path.name for path in tmp_path.glob("*.checkpoint")]
    assert steps == ([] if "no checkpoint" in kept else [f"{kept.split()[4]}.checkpoint"])


def test_other_metrics_may_be_anything(tmp_path):
    assert run(tmp_path, [{"accuracy": math.nan}] * 6).done


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        (6, None),  # it was done
        (12, "steps=12: the schedule of the run to resume was made for 6; the learning rate of the next step, 6, "),
    ],
)
def test_a_resumed_run_of_more_steps_says_that_its_schedule_is_another(tmp_path, caplog, steps, said):
    run(tmp_path)
    assert run(tmp_path, resume=True, steps=steps).step == steps
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == (said is not None)
    assert said is None or (warnings[0].startswith(said) and "changes from 0 to 0.5" in warnings[0])


def test_a_run_without_that_note_goes_on(tmp_path, caplog):
    """Of an older program."""
    run(tmp_path)
    path = tmp_path / "6.checkpoint"
    path.write_text(json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k != "steps"}))
    assert run(tmp_path, resume=True, steps=12).done and not caplog.records
