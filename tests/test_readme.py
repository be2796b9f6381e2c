"""README and docs tell the truth: their Python runs, their commands name what exists, their links lead somewhere."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import rpd_jax as rj
from rpd_jax import experiments
from rpd_jax.algorithms import base as algorithms
from rpd_jax.algorithms import variants
from rpd_jax.config import AlgorithmConfig, EnvConfig, TeacherConfig
from rpd_jax.envs import registry
from rpd_jax.launch.flags import requested_preset
from rpd_jax.launch.main import VERBS
from rpd_jax.launch.overrides import override
from teachers.octo.finetune.settings import FinetuneSettings as OctoSettings
from teachers.openvla.finetune.settings import FinetuneSettings as OpenVLASettings
from teachers.openvla.opd.settings import DistillSettings

ROOT = Path(__file__).parents[1]
SETTINGS = {"distill_openvla": DistillSettings, "finetune_octo": OctoSettings, "finetune_openvla": OpenVLASettings}
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text() for path in [ROOT / "README.md", *ROOT.glob("docs/**/*.md")]
}
BLOCK = re.compile(r"(<!-- not run: .+ -->\n\n)?```python\n(.*?)```", re.DOTALL)
REGISTRIES: list[dict[str, Any]] = [variants.VARIANTS, rj.losses.TERMS, experiments.EXPERIMENTS, algorithms.ALGORITHMS]
REGISTRIES += [registry.SUITES, EnvConfig.kinds, TeacherConfig.kinds, AlgorithmConfig.kinds]


@pytest.fixture(autouse=True)
def registries_as_before() -> Iterator[None]:
    before = [dict(each) for each in REGISTRIES]
    yield
    for each, entries in zip(REGISTRIES, before, strict=True):
        each.clear()
        each.update(entries)


def run(page: str) -> dict[str, Any]:
    """The names that a page's blocks define, one after the other."""
    names: dict[str, Any] = {}
    for not_run, block in BLOCK.findall(PAGES[page]):
        if not not_run:
            exec(compile(block, page, "exec"), names)
    return names


def test_every_page_with_python_is_run_here() -> None:
    with_python = {page for page, text in PAGES.items() if any(not why for why, _ in BLOCK.findall(text))}
    ran = {"README.md", *(f"docs/{name}.md" for name in ("comparisons", "extend", "library", "opd", "tabletop"))}
    assert with_python == ran


def test_readme_learns_something(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    teacher, ppo, student = run("README.md")["result"].table
    assert teacher.variant == "teacher:toy:Reach-v0" and teacher.success_once < 0.6
    assert student.success_once > max(0.85, teacher.success_once, ppo.success_once)
    block = next(block for _, block in BLOCK.findall(PAGES["README.md"]))
    assert len(block.splitlines()) <= 16 and not list(tmp_path.iterdir())


def test_library() -> None:
    names = run("docs/library.md")
    assert [row.variant for row in names["result"].table] == ["teacher:toy:Reach-v0", "ppo", "rpd-mse"]
    assert names["action"].shape == (7,) and names["loss"].shape == () and names["advantage"].shape == (50,)
    assert names["metrics"]["success_once"].shape == (2, 4, 2)  # keys, iterations, variants
    assert names["config"].validate().variants == ("ppo", "rpd-mse", "mine")
    assert variants.resolve_variants(names["config"])[2].terms == {"mse": 1.0, "kl": 0.1}


def test_tabletop() -> None:
    names = run("docs/tabletop.md")
    assert names["envs"].num_envs == 16 and names["picture"].shape == (128, 128, 3)


def test_parts_of_ones_own_can_be_registered() -> None:
    assert run("docs/opd.md") and variants.VARIANTS["both"].every_phase[1].terms == {"grpo": 1.0}
    run("docs/comparisons.md")
    assert [len(arm.settings) for arm in experiments.get_experiment("mine").arms] == [4, 4]
    config = run("docs/extend.md")["config"]
    config.algorithm.total_steps = 640
    config.eval.videos, config.eval.episodes = 0, 4
    assert [row.variant for row in rj.train(config, directory=None).table] == ["nothing"]


def test_commands_name_existing_programs_presets_and_fields() -> None:
    commands = [  # "launch.VERB", in words, is none
        (page, *found)
        for page, text in PAGES.items()
        for found in re.findall(r"(python -m|rpd-jax) ([a-z][a-z_.-]*[a-z_])(?![\w.])((?:\\\n|[^`\n])*)", text)
    ]
    assert len(commands) > 30
    for page, how, name, rest in commands:
        module = f"rpd_jax.launch.{VERBS[name]}" if how == "rpd-jax" else re.sub("^launch", "rpd_jax.launch", name)
        file = ROOT / f"{module.replace('.', '/')}.py"
        assert file.exists(), (page, name)
        arguments = shlex.split(rest.replace("\\\n", " "), comments=True)
        launcher = file.stem
        settings = SETTINGS[launcher]() if launcher in SETTINGS else requested_preset(arguments, "quickstart")
        override(settings, arguments)
        for text in re.findall(r"--config\.variants=(\S+)", rest):
            for variant in text.split(","):
                variants.parse_variant(variant)


def test_links_point_to_files_and_headings() -> None:
    for page, text in PAGES.items():
        for target, anchor in re.findall(r"\]\((?!\w+:)([^)#\s]*)(?:#([^)]+))?\)", text):
            path = (ROOT / page).parent / target if target else ROOT / page
            assert path.exists(), (page, target)
            headings = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE) if anchor else []
            assert not anchor or anchor in [re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in headings]
    makefile = (ROOT / "Makefile").read_text()
    for command in re.findall(r"(?:^|`)make ([\w-]+)", "\n".join(PAGES.values()), re.MULTILINE):
        assert re.search(rf"^([\w-]+ )*{command}( [\w-]+)*:", makefile, re.MULTILINE), command


def test_readme_is_one_screen_of_short_sentences() -> None:
    prose = re.sub(r"```.*?```|^\|.*?$|^#.*?$|^!.*?$", "", PAGES["README.md"], flags=re.DOTALL | re.MULTILINE)
    words = re.sub(r"\]\([^)]*\)", "]", prose)
    for sentence in re.split(r"(?<=[.:;])\s|\n\s*\n|^\* | · ", words, flags=re.MULTILINE):
        assert len(sentence.split()) <= 30, sentence
    assert len(PAGES["README.md"].splitlines()) < 100
