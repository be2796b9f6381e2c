"""Action tokens, statistics, prompts: from numbers and words to ids and back."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest


def test_action_tokens_by_hand() -> None:
    from teachers.openvla.server.action_tokens import ActionTokens

    tokens = ActionTokens()
    # Edges are -1 + 2 i / 255: -1 is in the first interval (d = 1), 0 is in the 128th (edges 127 and 128 are
    # -1/255 and 1/255), 1 - 1/255 in the 255th, 1 beyond it (d = 256).
    ids = tokens.encode(np.array([-1.0, -7.0, 0.0, 1 - 1 / 255, 1.0]))
    np.testing.assert_array_equal(ids, [31999, 31999, 32000 - 128, 32000 - 255, 31744])
    np.testing.assert_allclose(tokens.decode(ids), [-254 / 255, -254 / 255, 0, 254 / 255, 254 / 255], atol=1e-15)
    assert tokens.columns == slice(31744, 32000)
    assert len(set(tokens.column_values)) == 255 and tokens.column_values[0] == tokens.column_values[1]


def test_other_tokens_are_no_actions() -> None:
    from teachers.openvla.server.action_tokens import ActionTokens

    for wrong in (2, 31743, 32000):
        with pytest.raises(ValueError, match=rf"1 of 3 tokens are no action tokens, the first is {wrong} at \[1\]"):
            ActionTokens().decode(np.array([31744, wrong, 31999]))


def test_moments_of_the_token_distribution() -> None:
    import torch

    from teachers.openvla.server.action_tokens import ActionTokens

    tokens = ActionTokens()
    logits = torch.full((2, 256), -torch.inf, dtype=torch.float64)
    logits[0, [0, 1, 255]] = torch.tensor(
        [0.25, 0.25, 0.5], dtype=torch.float64
    ).log()  # the first two stand for the same value
    logits[1, 128] = 0.0  # id 31872: zero
    mean, variance = tokens.moments(logits)
    top = 254 / 255  # half of the mass at +top, half at -top
    np.testing.assert_allclose(mean, [0.0, 0.0], atol=1e-12)
    np.testing.assert_allclose(variance, [top**2, 0.0], atol=1e-12)


def test_token_statistics_by_hand() -> None:
    import torch

    from teachers.openvla.server.action_tokens import token_statistics

    # Temperature 2 takes the square root of odds 9 : 1.
    logprob, entropy = token_statistics(torch.tensor([[math.log(9.0), 0.0]]), torch.tensor([1]), 2.0)
    assert logprob.item() == pytest.approx(math.log(1 / 4), abs=1e-6)
    assert entropy.item() == pytest.approx(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25)), abs=1e-6)


ACTION = {"q01": [-2.0, 0.0], "q99": [4.0, 1.0], "min": [-10.0, 0.0], "max": [10.0, 1.0], "mask": [True, False]}


def test_unnormalising() -> None:
    from teachers.openvla.server.statistics import Bounds

    quantiles, extremes = Bounds.of(ACTION), Bounds.of(ACTION, "range")
    np.testing.assert_allclose(quantiles.unnormalize(np.array([[0.0, 0.3], [1.0, -1.0]])), [[1.0, 0.3], [4.0, -1.0]])
    np.testing.assert_allclose(extremes.unnormalize(np.array([0.5, 0.3])), [5.0, 0.3])
    np.testing.assert_allclose(quantiles.half_width, [3.0, 1.0])
    np.testing.assert_allclose(
        quantiles.normalize(np.array([[1.0, 0.5], [40.0, 2.0]])), [[0.0, 0.5], [1.0, 1.0]], atol=1e-8
    )
    assert Bounds.of({**ACTION, "mask": [True, True]}).unnormalize(np.array([0.0, 0.0]))[1] == 0.5
    with pytest.raises(ValueError, match=r"no \['q01', 'q99'\], which normalisation by quantiles needs"):
        Bounds.of({"mean": [0.0]})


def test_which_statistics_count(tmp_path: Path) -> None:
    from teachers.openvla.server.statistics import read_statistics, select_statistics

    base = {"bridge_orig": {"action": {"q01": [1]}}, "viola": {"action": {"q01": [2]}}}
    assert select_statistics(*read_statistics(tmp_path, {"viola": base["viola"]}), None) == base["viola"]
    with pytest.raises(ValueError, match=r"is missing: name the data set, one of \['bridge_orig', 'viola'\]"):
        select_statistics(*read_statistics(tmp_path, base), None)
    own = {"bridge_orig": {"action": {"q01": [3]}}}
    (tmp_path / "dataset_statistics.json").write_text(json.dumps(own))
    found = read_statistics(tmp_path, base)
    assert select_statistics(*found, None) == own["bridge_orig"]  # the file's only one
    assert select_statistics(*found, "bridge_orig") == own["bridge_orig"]  # the file wins
    assert select_statistics(*found, "viola") == base["viola"]
    with pytest.raises(
        ValueError, match=r"'bridge' is unknown: choose from bridge_orig, viola; did you mean 'bridge_orig'"
    ):
        select_statistics(*found, "bridge")


def test_prompts(checkpoint: Path) -> None:
    from teachers.openvla.server.prompts import SPACE, Prompter

    prompter = Prompter(checkpoint)
    assert prompter.text("Lift the PEG") == "In: What action should the robot take to lift the peg?\nOut:"
    ids = prompter("Lift the PEG")
    assert ids == prompter("lift the peg")
    assert ids[0] == 1 and ids[-1] == SPACE and ids[-2] != SPACE
    assert Prompter(checkpoint, "v01").text("Go").endswith("USER: What action should the robot take to go? ASSISTANT:")
    with pytest.raises(ValueError, match="the instruction is empty"):
        prompter("  ")
    with pytest.raises(ValueError, match=r"template='v02' is unknown"):
        Prompter(checkpoint, "v02")


@pytest.mark.parametrize(
    ("names", "asked", "template", "why"),
    [
        (
            {"llm_backbone_id": "llama2-7b-pure", "hf_llm_id": "x"},
            None,
            "openvla",
            "the language model 'llama2-7b-pure'",
        ),
        ({"llm_backbone_id": "vicuna-v15-7b"}, None, "v01", "the language model 'vicuna-v15-7b'"),
        ({"hf_llm_id": "lmsys/Vicuna-7b-v1.5"}, None, "v01", "the language model 'lmsys/Vicuna-7b-v1.5'"),
        ({}, None, "openvla", "does not name its language model"),
        ({"llm_backbone_id": "vicuna-v15-7b"}, "openvla", "openvla", "as it was told to"),
    ],
)
def test_the_style_of_prompts_follows_from_the_configuration(
    checkpoint: Path, tmp_path: Path, names: dict, asked: str | None, template: str, why: str
) -> None:
    """Not from where the checkpoint lies."""
    from teachers.openvla.server.loading import load_parts
    from teachers.openvla.server.prompts import Prompter

    place = tmp_path / "openvla-v01-7b"
    shutil.copytree(checkpoint, place)
    config = json.loads((place / "config.json").read_text())
    config = {name: value for name, value in config.items() if name not in ("llm_backbone_id", "hf_llm_id")}
    (place / "config.json").write_text(json.dumps({**config, **names}))
    parts = load_parts(place, dtype="f32", device="cpu", statistics_key="bridge_orig", template=asked)
    assert parts.prompter.text("go") == Prompter(place, template).text("go")
    (remark,) = parts.remarks
    assert f"of the style '{template}'" in remark and why in remark


def test_tokenizers_that_do_not_fit_are_refused(checkpoint: Path, tmp_path: Path) -> None:
    from teachers.openvla.server.prompts import Prompter

    place = tmp_path / "checkpoint"
    place.mkdir()
    with pytest.raises(ValueError, match=r"has no tokenizer\.json"):
        Prompter(place)
    shutil.copy(checkpoint / "tokenizer.json", place)
    content = (place / "tokenizer.json").read_text()
    (place / "tokenizer.json").write_text(content.replace('"</s>"', '"<end>"'))
    with pytest.raises(ValueError, match="are not those of Llama-2's tokenizer"):
        Prompter(place)
