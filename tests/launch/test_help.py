"""--help: everything that a program takes, from where it is defined."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from children import ROOT, launch, refusal

from rpd_jax.config import Config, ConfigError, TeacherConfig, setting
from rpd_jax.config.validation import allowed, field_types
from rpd_jax.demonstrations.collect import Settings as CollectSettings
from rpd_jax.launch import help, preset_table
from rpd_jax.launch.comments import comments
from rpd_jax.launch.flags import saved_settings
from rpd_jax.presets import PRESETS, SECONDS, get_preset
from teachers.octo.finetune.settings import FinetuneSettings as OctoSettings
from teachers.openvla.finetune.settings import FinetuneSettings as OpenVLASettings
from teachers.openvla.opd.settings import DistillSettings


@dataclasses.dataclass
class Base:
    inherited: int = setting(1, low=1)  # of the base
    replaced: str = "a"  # of the base too


@dataclasses.dataclass
class Example(Base):
    # Above it,
    # in two lines.
    above: float | None = setting(None, above=0)
    both: str = setting("x", choices=("x", "y"))  # beside it
    several: int = setting(  # in the middle
        3, low=0
    )
    silent: int = 0

    replaced: str = "b"


def test_comments_are_read_from_the_source() -> None:
    assert comments(Example) == {
        "inherited": "of the base",
        "replaced": "of the base too",
        "above": "Above it, in two lines",
        "both": "beside it",
        "several": "in the middle",
    }


def test_a_dataclass_without_source_has_no_comments() -> None:
    assert comments(dataclasses.make_dataclass("Made", [("x", int, 1)])) == {}


def test_what_a_field_may_be_is_said_in_words() -> None:
    assert allowed(Example, "above") == "a positive number, or None"
    assert allowed(Example, "both") == "one of x, y"
    assert allowed(Example, "inherited") == "a whole number, at least 1"
    assert allowed(Example, "silent") == ""
    assert help.explained("None: off", "a number, or None") == "None: off | a number"


def dataclasses_of(cls: Any) -> Iterator[type]:
    """A dataclass of settings, those in it, and all of their kinds."""
    kinds = [cls._kind(tag) for tag in cls.kinds] if hasattr(cls, "kinds") else []
    for kind in (cls, *kinds):
        yield kind
        for annotation in field_types(kind).values():
            if dataclasses.is_dataclass(annotation):
                yield from dataclasses_of(annotation)


@pytest.mark.parametrize("settings", [Config, CollectSettings, OctoSettings, OpenVLASettings, DistillSettings])
def test_every_field_has_a_comment(settings: type) -> None:
    for cls in dataclasses_of(settings):
        plain = {name for name, kind in field_types(cls).items() if not dataclasses.is_dataclass(kind)}
        assert not plain - comments(cls).keys(), cls


def test_all_of_training_is_listed_with_the_values_that_it_would_use() -> None:
    done = launch("train", "--preset=debug", "--config.seeds=4..6", "--config.teacher.name=octo", "--help")
    assert done.returncode == 0 and not done.stderr, done.stderr
    for words in (
        "usage: python -m launch.train",
        "--config.seeds=4,5,6",
        "--config.teacher.path=",  # only Octo's
        "one of: scripted, octo",
        "known: ppo, rpd-mse",
        "--config.algorithm.rollout_length=20",
        "--resume",
        *PRESETS,
        preset_table.size("rpd-paper"),
    ):
        assert words in " ".join(done.stdout.split()), words  # wherever lines are broken


@pytest.mark.parametrize("program", ["collect", "evaluate", "export", "finetune_octo", "serve_teacher", "doctor"])
def test_every_program_has_help(program: str) -> None:
    done = launch(program, "--help", COLUMNS="60")
    assert done.returncode == 0 and "FLAGS" in done.stdout, done.stderr
    assert "Traceback" not in done.stderr


def test_lines_fit_a_narrow_terminal() -> None:
    width = 50
    said = [*help.fields(get_preset("debug"), width), *preset_table.preset_lines(width)]
    texts = [line for line in said if not line.lstrip().startswith("--")]  # a flag's name cannot be broken
    assert max(map(len, texts)) <= width


def test_durations_are_those_that_were_measured() -> None:
    assert set(SECONDS) <= set(PRESETS)
    for name in SECONDS:
        file = ROOT / "benchmarks" / "results" / f"{name}.json"
        if file.is_file():
            rows = json.loads(file.read_text())["rows"]
            assert SECONDS[name] in {round(row["seconds"]) for row in rows}, name


def test_a_saved_config_is_a_starting_point(tmp_path: Path) -> None:
    config = get_preset("debug")
    config.seeds, config.teacher = (7,), TeacherConfig(name="toy", noise=0.25)
    (tmp_path / "config.json").write_text(config.to_json())
    assert saved_settings(Config, str(tmp_path)) == saved_settings(Config, str(tmp_path / "config.json")) == config
    done = launch("train", f"--config_file={tmp_path}", "--config.algorithm.total_steps=1e3", "--help")
    assert "--config.seeds=7 " in done.stdout and "--config.teacher.noise=0.25" in done.stdout, done.stderr
    assert "--config.algorithm.total_steps=1000" in done.stdout
    assert "give one of them" in refusal("train", f"--config_file={tmp_path}", "--preset=debug")
    (tmp_path / "config.json").write_text('{"seeds": [-1]}')
    with pytest.raises(ConfigError, match=r"--config_file=.* cannot work: seeds\[0\]=-1"):
        saved_settings(Config, str(tmp_path))
    with pytest.raises(ConfigError, match="must be a file of settings"):
        saved_settings(Config, "nowhere")
