"""What a registered variant meant travels with its run: nobody else needs, or can change, the definition."""

import subprocess
import sys
from pathlib import Path

import pytest

import rpd_jax
from rpd_jax.algorithms import variants
from rpd_jax.algorithms.variants import VariantSpec, register_variant
from rpd_jax.config import ConfigError
from teachers.settings import teacher_factory

ROOT = Path(__file__).resolve().parent.parent


def settings(directory):
    config = rpd_jax.get_preset("debug")
    config.variants, config.seeds, config.algorithm.total_steps = ("travelling",), (0,), 320
    config.run.directory, config.run.tensorboard = str(directory), False
    return config


def define(monkeypatch, coefficient):
    monkeypatch.delitem(variants.VARIANTS, "travelling", raising=False)
    register_variant(VariantSpec("travelling", {"mse": coefficient}, anneal="cosine"))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    directory = tmp_path_factory.mktemp("definitions") / "run"
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(variants, "VARIANTS", dict(variants.VARIANTS))
        define(monkeypatch, 0.5)
        config = settings(directory)
        rpd_jax.train(config, teacher_factory(config.teacher))
    return directory


def test_another_definition_is_not_gone_on_with(run, monkeypatch):
    monkeypatch.setattr(variants, "VARIANTS", dict(variants.VARIANTS))
    define(monkeypatch, 0.6)
    config = settings(run)
    with pytest.raises(ConfigError, match=r"variants.travelling.terms.mse=0.6 cannot work: the run to resume has 0.5"):
        rpd_jax.train(config, teacher_factory(config.teacher), resume=True)


def test_other_variants_are_not_gone_on_with(run, monkeypatch):
    monkeypatch.setattr(variants, "VARIANTS", dict(variants.VARIANTS))
    define(monkeypatch, 0.5)
    config = settings(run)
    config.variants = ("travelling", "ppo")
    with pytest.raises(ConfigError, match="names of variants"):
        rpd_jax.train(config, teacher_factory(config.teacher), resume=True)


def test_another_process_evaluates_it_without_the_definition(run, tmp_path):
    command = [sys.executable, "-m", "launch.evaluate", f"--run={run}", f"--output={tmp_path / 'out'}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "travelling" in (tmp_path / "out" / "table.md").read_text()
