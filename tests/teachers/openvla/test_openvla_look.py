"""A checkpoint is looked over in the learner's process, and a serving file is obeyed by the server."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import pytest
from arm_spec import arm_spec
from children import launch, refusal
from pictured import made_adapter

from rpd_jax.envs.base import EnvSpec
from teachers.base import load
from teachers.digest import digest
from teachers.serving import Serving

LOOK = ("check_teacher", "--teacher=openvla")


@pytest.fixture
def copied(checkpoint: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(checkpoint, tmp_path / "model"))


def _edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("break_it", "values", "message"),
    [
        (lambda place: None, {}, "statistics_key is missing: name the data set, one of"),
        (lambda place: None, {"key": "bridge"}, "statistics_key='bridge' is unknown: .*did you mean 'bridge_orig'"),
        (lambda place: (place / "model-00002-of-00003.safetensors").unlink(), {}, "incomplete: it has no model-00002"),
        (
            lambda place: (place / "model-00002-of-00003.safetensors").write_bytes(b"12345678abc"),
            {"key": "bridge_orig"},
            "model-00002-of-00003.safetensors: damaged or incomplete",
        ),
        (lambda place: (place / "tokenizer.json").unlink(), {"key": "bridge_orig"}, "model has no tokenizer.json"),
        (
            lambda place: _edit(place / "preprocessor_config.json", input_sizes=[[3, 224, 224]] * 2),
            {"key": "bridge_orig"},
            r"preprocessor_config.json has input_sizes \[\(224, 224\)\], config.json \d+",
        ),
        (
            lambda place: (place / "action_head--5_checkpoint.pt").write_bytes(b""),
            {"key": "bridge_orig"},
            "action_head--5_checkpoint.pt: it is OpenVLA-OFT's, say what it was trained for",
        ),
        (lambda place: None, {"key": "bridge_orig", "oft": "libero"}, "need one action_head--<step>_checkpoint.pt"),
        (
            lambda place: None,
            {"key": "bridge_orig", "oft": "action_dim=6"},
            "oft: 6 numbers of action are named, the checkpoint's statistics have 7",
        ),
        (lambda place: None, {"key": "bridge_orig", "base": "x"}, "base='x' cannot be given: .* is no adapter"),
    ],
)
def test_what_is_wrong_with_a_checkpoint(copied: Path, break_it, values: dict, message: str) -> None:
    from teachers.openvla.server.look import look
    from teachers.openvla.server.oft.settings import oft_settings

    break_it(copied)
    given = values | ({"oft": oft_settings(values["oft"])} if "oft" in values else {})
    with pytest.raises(ValueError, match=message) as error:
        look(copied, **({"key": "bridge_orig"} if "incomplete" in message else {}) | given)
    assert "\n" not in str(error.value)


def test_what_it_needs_is_that_of_the_network(checkpoint: Path) -> None:
    from teachers.openvla.server.checkpoint import empty_model
    from teachers.openvla.server.look import look

    found = look(checkpoint, key="bridge_orig")
    model = empty_model(found.config)
    unused = sum(math.prod(shape) for shape in model.unused_shapes().values())
    used = sum(each.numel() for each in model.state_dict().values())
    assert used <= found.parameters <= used + unused and found.weight_bytes == 2 * found.parameters
    assert look(checkpoint, key="bridge_orig", dtype="nf4").weight_bytes < found.weight_bytes


def test_the_program_says_what_is_there(checkpoint: Path) -> None:
    done = launch(*LOOK, f"--checkpoint={checkpoint}", "--statistics_key=bridge_orig")
    assert done.returncode == 0, done.stderr
    assert "its files are whole" in done.stdout and "GiB in bf16" in done.stdout
    assert "--checkpoint='nowhere' cannot be used: nowhere is no directory" in refusal(*LOOK, "--checkpoint=nowhere")
    done = launch("check_teacher", "--teacher=octo", "--checkpoint=octo-nano")
    assert done.returncode == 0 and "image_primary of" in done.stdout, done.stderr


def test_a_hub_adapter_is_served_as_its_file_says(checkpoint: Path, tmp_path: Path, monkeypatch) -> None:
    """Its config names a repository, teacher.base the checkpoint; crop, prompt and statistics are the file's."""
    from teachers import hub
    from teachers.openvla.server.main import load as load_model
    from teachers.openvla.server.main import parse

    adapter = made_adapter(checkpoint, tmp_path / "adapter", seed=1)
    _edit(adapter / "adapter_config.json", base_model_name_or_path="openvla/openvla-7b")
    Serving(
        steps=1, planned=2, statistics_key="bridge_orig", prompt="v01", center_crop=True, base="b", base_digest="0" * 16
    ).write(adapter)
    flags = ["--dtype=f32", "--device=cpu", f"--checkpoint={adapter}"]
    with pytest.raises(ValueError, match=r"base_model_name_or_path='openvla/openvla-7b' is no directory.*teacher.base"):
        load_model(parse(flags))
    model = load_model(parse([*flags, f"--base={checkpoint}"]))
    parts = model._policy.parts
    assert parts.preprocessor.center_crop and parts.directories == (checkpoint, adapter)
    assert parts.prompter.text("push").startswith("A chat between")
    unfinished, another = model.spec()["remarks"][-2:]
    assert unfinished == "its fine-tuning is unfinished: 1 of 2 steps" and digest(checkpoint) in another

    places = {"me/adapter": adapter, "openvla/openvla-7b": checkpoint}
    monkeypatch.setattr(hub, "fetch", lambda repository, revision, name, cached: places[repository])
    found = []
    monkeypatch.setattr("teachers.sidecar.teacher.SidecarTeacher", lambda env, servers, **_: found.extend(servers))
    addresses = {"path": "hf://me/adapter@main", "base": "hf://openvla/openvla-7b"}
    load("openvla", _spec(), **addresses, devices=("cpu",))
    assert {f"--checkpoint={adapter}", f"--base={checkpoint}"} <= set(found[0].arguments)


def test_a_mistake_is_said_before_a_process_is_started(copied: Path) -> None:
    (copied / "tokenizer.json").unlink()
    with pytest.raises(ValueError, match=r"model has no tokenizer.json"):
        load("openvla", _spec(), path=str(copied), contract="maniskill", statistics_key="bridge_orig")


def _spec() -> EnvSpec:
    return arm_spec(frame_shape=(64, 64, 3))
