"""Sets of demonstrations that are mixed: what they disagree about is refused, whichever comes first."""

import dataclasses

import numpy as np
import pytest
from recorded_sets import write_set

from rpd_jax.config.validation import ConfigError
from rpd_jax.envs.tabletop import hand
from teachers.finetuning.settings import RecordedData
from teachers.recordings import load

OTHER_SIGN = dataclasses.replace(hand.CONTRACT, rotation_sign=-1)
SETS = {
    "own": {"info": {}},
    "published": {},
    "other sign": {"info": {"contract": OTHER_SIGN}},
    "target": {"mode": "pd_ee_target_delta_pose"},
    "no mode": {"mode": ""},
    "hand": {"camera": "hand_camera"},
}


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize(
    ("one", "other", "words"),
    [
        ("own", "published", ("contract of", "known", "not said")),
        ("own", "other sign", ("contract of", "rotation_sign=1", "rotation_sign=-1")),
        ("published", "target", ("control_mode of", "'pd_ee_delta_pose'", "'pd_ee_target_delta_pose'")),
        ("published", "no mode", ("control_mode of", "'pd_ee_delta_pose'", "not said")),
        ("published", "hand", ('camera "rgb" of', "base_camera", "hand_camera")),
    ],
)
def test_sets_that_disagree_are_refused_by_name(tmp_path, one, other, words, swapped):
    sets = [write_set(tmp_path / name, **SETS[name]) for name in (one, other)]
    with pytest.raises(ConfigError, match="data cannot be mixed") as error:
        load(sets[::-1] if swapped else sets, RecordedData(), {"image_primary": 8})
    for word in (*words, str(tmp_path / one), str(tmp_path / other)):
        assert word in str(error.value)
    assert "\n" not in str(error.value)
    for number, each in enumerate(sets):  # each by itself is fine
        found = load([each], RecordedData(), {"image_primary": 8})
        assert found.contract == SETS[(one, other)[number]].get("info", {"contract": None}).get(
            "contract", hand.CONTRACT
        )


def test_sets_that_agree_are_mixed(tmp_path):
    found = load([write_set(tmp_path / name, info={}) for name in "ab"], RecordedData(), {"image_primary": 8})
    assert found.contract == hand.CONTRACT and len(found.length) == 4
    assert found.statistics["action"]["mask"] == [True] * 6 + [False]


@pytest.mark.parametrize("swapped", [False, True])
def test_frames_as_recorded_must_be_of_one_size(tmp_path, swapped):
    sets = [write_set(tmp_path / "small", info={}), write_set(tmp_path / "large", size=16, info={})]
    sets = sets[::-1] if swapped else sets
    with pytest.raises(
        ConfigError, match=r"data.image_size=0 cannot work: .* has frames of \d+ pixels, episodes before"
    ):
        load(sets, RecordedData(), {"image_primary": 0})
    found = load(sets, RecordedData(), {"image_primary": 8})
    assert found.trained_on.image_sizes == (8, 16)


def test_numbers_that_are_not_finite_are_refused_in_lists_too(tmp_path):
    (good, bad) = write_set(tmp_path / "own", info={})
    bad.action[1, 2] = np.nan
    with pytest.raises(ConfigError, match=r"set 2, episode 1: actions\[1\] is no finite number"):
        load([[good], [good, bad]], RecordedData(), {"image_primary": 8})
