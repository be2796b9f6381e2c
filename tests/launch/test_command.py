"""The console command: verbs, completion, and what a wheel installs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import setuptools
from children import ROOT, run

from rpd_jax.config import Config, ConfigError
from rpd_jax.launch import main, program
from rpd_jax.launch.completion import script
from rpd_jax.launch.suggestions import suggestion

BASH = shutil.which("bash")


def test_verbs_are_listed_and_run() -> None:
    done = run("-m", "rpd_jax.launch")
    assert done.returncode == 0
    for verb in main.VERBS:
        assert f"  {verb} " in done.stdout
    listed = run("-m", "rpd_jax.launch", "presets")
    assert listed.returncode == 0 and "rpd-paper" in listed.stdout, listed.stderr
    one = run("-m", "rpd_jax.launch", "presets", "debug")
    assert "4 x 640 steps" in one.stdout and "toy" in one.stdout
    assert "did you mean 'debug'" in run("-m", "rpd_jax.launch", "presets", "debgu").stderr
    mistaken = run("-m", "rpd_jax.launch", "tran")
    assert mistaken.returncode == 2 and "did you mean train?" in mistaken.stderr


def test_the_wheel_has_no_package_that_is_called_launch() -> None:
    named = setuptools.find_packages(str(ROOT), include=["rpd_jax*", "teachers*"])
    setup = (ROOT / "setup.cfg").read_text()
    assert "rpd_jax.launch" in named and "    launch*" not in setup


@pytest.mark.parametrize(
    ("argv", "command"),
    [
        (["python3", "-m", "launch.train", "--preset=x"], "python -m launch.train --preset=x --resume"),
        (["python3", "-m", "rpd_jax.launch", "train", "--resume"], "python -m rpd_jax.launch train --resume"),
        (["/v/python", "/v/bin/rpd-jax", "train", "--resume=4", "--x=a b"], "rpd-jax train '--x=a b' --resume"),
        (["/v/python", "-X", "dev", "-m", "launch.train", "--overwrite"], "python -X dev -m launch.train --resume"),
    ],
)
def test_the_command_that_goes_on(argv: list[str], command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "orig_argv", argv)
    assert program.again("--resume", without=["--overwrite"]) == command


@pytest.mark.parametrize(
    ("flag", "hint"),
    [
        ("seeds", "did you mean --config.seeds?"),
        ("algorithm.gamma", "did you mean --config.algorithm.gamma?"),
        ("num_envs", "did you mean --config.env.num_envs or --config.eval.num_envs?"),
        ("lerning_rate", "did you mean --config.algorithm.learning_rate"),
        ("resum", "did you mean --resume?"),
        ("qqq", "see --help"),
    ],
)
def test_unknown_flags_point_to_what_was_meant(flag: str, hint: str) -> None:
    assert hint in suggestion(flag, ["resume", "preset"], Config())


def completed(*words: str) -> list[str]:
    """What bash offers for the last of the words."""
    setup = f'rpd-jax() {{ {sys.executable} -m rpd_jax.launch "$@"; }}\ncompopt() {{ :; }}\n'
    line = f"COMP_WORDS=({' '.join(map(repr, words))}); COMP_CWORD={len(words) - 1}; _rpd_jax"
    command = [str(BASH), "-c", f'{setup}{script("bash")}\n{line}\nprintf "%s\\n" "${{COMPREPLY[@]}}"']
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=100).stdout.split()


@pytest.mark.skipif(BASH is None, reason="there is no bash")
def test_completion() -> None:
    assert completed("rpd-jax", "tra") == ["train"]
    assert completed("rpd-jax", "train", "--preset", "=", "rpd-p") == ["rpd-paper"]
    assert "rpd-paper" in completed("rpd-jax", "train", "--preset", "=")
    assert completed("rpd-jax", "train", "--config.algorithm.gam") == ["--config.algorithm.gamma="]
    assert script("zsh").startswith("autoload")
    with pytest.raises(ConfigError, match="choose from bash, zsh"):
        script("fish")


@pytest.mark.slow
def test_a_wheel_works_beside_another_package_that_is_called_launch(tmp_path: Path) -> None:
    """As in ROS 2, whose launch system has that name; from a directory that is no checkout."""
    source, wheels, site, ros = (tmp_path / name for name in ("source", "wheels", "site", "ros"))
    for name in ("rpd_jax", "teachers", "launch"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.cfg", "setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    build = f"import setuptools.build_meta as b; b.build_wheel({str(wheels)!r})"
    subprocess.run([sys.executable, "-c", build], cwd=source, check=True, capture_output=True, timeout=200)
    (wheel,) = wheels.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(site)
    assert {path.name for path in site.iterdir() if path.suffix == ""} == {"rpd_jax", "teachers"}
    (ros / "launch").mkdir(parents=True)
    (ros / "launch" / "__init__.py").write_text("WHOSE = 'of ROS 2'")
    script = "import launch, sys\nassert launch.WHOSE == 'of ROS 2'\nfrom rpd_jax.launch.main import main\nmain()"
    (tmp_path / "rpd-jax").write_text(script)  # as pip writes it, and with the other package at hand
    environment = {**os.environ, "PYTHONPATH": f"{ros}{os.pathsep}{site}"}

    def command(*arguments: str) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, str(tmp_path / "rpd-jax"), *arguments]
        return subprocess.run(line, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=250)

    done = command("train", "--preset=debug")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "runs" / "debug" / "results.json").is_file()
    assert "use --resume" in command("train", "--preset=debug").stderr
    assert command("evaluate", "--run=runs/debug", "--episodes=8").returncode == 0
    assert command("evaluate", "--run=shipped:PushCube-v1", "--episodes=8").returncode == 0
    assert (tmp_path / "runs" / "shipped" / "PushCube-v1" / "evaluation" / "results.json").is_file()
    assert "rpd-jax train --preset=quickstart" in command("train", "--help").stdout
    entries = next(site.glob("*.dist-info/entry_points.txt")).read_text()
    assert "rpd-jax = rpd_jax.launch.main:main" in entries
