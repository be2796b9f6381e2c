"""README tells the truth: its Python runs, its commands name what exists."""

import re
import shlex
from pathlib import Path

from rpd_jax.algorithms import variants
from rpd_jax.launch.flags import requested_preset
from rpd_jax.launch.overrides import override
from teachers.octo.finetune.settings import FinetuneSettings as OctoSettings
from teachers.openvla.finetune.settings import FinetuneSettings as OpenVLASettings
from teachers.openvla.opd.settings import DistillSettings

ROOT = Path(__file__).parents[1]
SETTINGS = {
    "launch.distill_openvla": DistillSettings,
    "launch.finetune_octo": OctoSettings,
    "launch.finetune_openvla": OpenVLASettings,
}
README = (ROOT / "README.md").read_text()


def test_the_library_example_runs_and_the_variant_can_be_added(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(variants, "VARIANTS", dict(variants.VARIANTS))
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(blocks) == 4
    names: dict = {}
    for block in blocks:
        exec(block, names)
    assert names["envs"].num_envs == 16 and names["picture"].shape == (128, 128, 3)
    assert [row.variant for row in names["result"].table] == ["teacher:toy:Reach-v0", "ppo", "rpd-mse"]
    assert names["action"].shape == (7,) and names["loss"].shape == () and names["advantage"].shape == (50,)
    assert names["metrics"]["success_once"].shape == (2, 4, 2)  # keys, iterations, variants
    assert names["config"].validate().variants == ("ppo", "rpd-mse", "mine")
    assert variants.resolve_variants(names["config"])[2].terms == {"mse": 1.0, "kl": 0.1}
    assert variants.VARIANTS["both"].every_phase[1].terms == {"grpo": 1.0}


def test_commands_name_existing_modules_presets_and_fields():
    commands = re.findall(r"python -m ([\w.]+)((?:\\\n|[^`\n])*)", README)
    assert commands
    for module, rest in commands:
        assert (ROOT / f"{re.sub('^launch', 'rpd_jax.launch', module).replace('.', '/')}.py").exists(), module
        arguments = shlex.split(rest.replace("\\\n", " "), comments=True)
        override(SETTINGS[module]() if module in SETTINGS else requested_preset(arguments, "quickstart"), arguments)
        for text in re.findall(r"--config\.variants=(\S+)", rest):
            for variant in text.split(","):
                variants.parse_variant(variant)


def test_links_point_to_files():
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target
    makefile = (ROOT / "Makefile").read_text()
    for command in re.findall(r"^make ([\w-]+)", README, re.MULTILINE):
        assert re.search(rf"^([\w-]+ )*{command}( [\w-]+)*:", makefile, re.MULTILINE), command
