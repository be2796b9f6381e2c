"""Optional packages: one table of them, and mistakes that are found before anything is started."""

from __future__ import annotations

import configparser
import sys
from pathlib import Path

import pytest
from children import ROOT

import rpd_jax
from rpd_jax.config import Config, ConfigError, TeacherConfig
from rpd_jax.config import extras as extras_module
from rpd_jax.config.extras import EXTRAS, missing, need
from rpd_jax.presets import get_preset
from rpd_jax.training import trainer
from teachers.settings import teacher_factory


def test_the_table_has_every_extra_that_users_install() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    assert set(EXTRAS) == set(setup["options.extras_require"]) - {"dev", "docs", "gpu"}


def test_a_missing_package_is_named_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert "onnx" in missing("export")
    with pytest.raises(ConfigError, match=r"^exporting needs onnx.*: pip install 'rpd_jax\[export\]'$"):
        need("export", "exporting")


def test_what_a_newer_python_cannot_have(monkeypatch: pytest.MonkeyPatch) -> None:
    """setup.cfg leaves it out there, and the message names a Python instead of a command that would not help."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    extras = dict(setup["options.extras_require"])
    newest = {
        name: f'python_version < "{each.before[0]}.{each.before[1]}"' for name, each in EXTRAS.items() if each.before
    }
    assert newest and all(newest.get(name, "") in extras[name] for name in EXTRAS)
    assert [name for name in extras if "python_version" in extras[name]] == list(newest)
    monkeypatch.setitem(sys.modules, "mani_skill", None)
    monkeypatch.setattr(extras_module.sys, "version_info", (3, 13, 0))
    with pytest.raises(ConfigError, match=r"^x needs mani_skill: .*no release for Python 3\.13, take 3\.12 or older$"):
        need("maniskill", "x")
    monkeypatch.setattr(extras_module.sys, "version_info", (3, 12, 9))
    with pytest.raises(ConfigError, match=r"pip install 'rpd_jax\[maniskill\]'$"):
        need("maniskill", "x")


def refused_early(config: Config, monkeypatch: pytest.MonkeyPatch) -> str:
    """Why `train` refuses a config; nothing may be started before."""

    def start(*_: object, **__: object) -> None:
        raise AssertionError("started")

    monkeypatch.setattr(trainer, "Trainer", start)
    with pytest.raises(ConfigError) as refused:
        rpd_jax.train(config, teacher_factory(config.teacher), directory=None)
    return str(refused.value)


@pytest.mark.parametrize(
    ("teacher", "said"),
    [
        (TeacherConfig(name="scripted"), "task 'Reach-v0' has no scripted teacher"),
        (TeacherConfig(name="policy", path="nowhere"), "nowhere is not a run directory"),
        (TeacherConfig(name="octo", path="nowhere"), "nowhere"),
        (TeacherConfig(name="openvla"), "teacher.path is empty"),
        (TeacherConfig(name="openvla", path="nowhere"), "teacher.path='nowhere' is no directory"),
        (TeacherConfig(name="openvla", path=str(ROOT)), "teacher.contract='' is unknown"),
        (TeacherConfig(name="openvla", path=str(ROOT), contract="environment", python="no-such"), "no program"),
        (TeacherConfig(name="remote", address="ws://127.0.0.1:1"), "teacher.contract='' is unknown"),
    ],
)
def test_mistakes_in_a_teacher_are_found_first(
    teacher: TeacherConfig, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = get_preset("debug")
    config.teacher = teacher
    message = refused_early(config, monkeypatch)
    assert message.startswith(f"teacher.name={teacher.name!r} cannot work: ") and said in message


@pytest.mark.parametrize(
    ("module", "change", "said"),
    [
        ("websockets", {"name": "remote", "contract": "libero_osc"}, "teacher.protocol='openpi' needs websockets"),
        ("huggingface_hub", {"name": "octo", "path": "hf://a/b"}, "teacher.path='hf://a/b' needs huggingface_hub"),
    ],
)
def test_a_teacher_s_missing_package_is_found_first(
    module: str, change: dict[str, str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    config = get_preset("debug")
    config.teacher = TeacherConfig(**change)
    assert said in refused_early(config, monkeypatch)


def test_wandb_is_missed_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    config = get_preset("debug")
    config.run.wandb_project = "p"
    config.run.directory = str(Path("unused"))
    with pytest.raises(ConfigError, match=r"run.wandb_project='p' needs wandb: pip install 'rpd_jax\[wandb\]'"):
        trainer.check(config, teacher_factory(config.teacher))
