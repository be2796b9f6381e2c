"""Normalised actions worked out by hand, and statistics that are nested, flat or incomplete."""

from __future__ import annotations

import numpy as np
import pytest

from rpd_jax.types import ActionStatistics
from teachers.octo.statistics import normalize, select_statistics, to_action_statistics, unnormalize

ACTION = {
    "mean": [1.0, -2.0, 0.5],
    "std": [2.0, 0.5, 3.0],
    "min": [-9.0] * 3,
    "max": [9.0] * 3,
    "p01": [-1.0, 0.0, 0.0],
    "p99": [3.0, 4.0, 1.0],
    "mask": [True, True, False],
}
NESTED = {name: {"action": ACTION, "proprio": {}, "num_trajectories": np.asarray(3)} for name in ("bridge", "viola")}
STATS = select_statistics(NESTED, "bridge")


def test_selecting() -> None:
    assert STATS["mean"].dtype == np.float32 and STATS["mask"].dtype == bool
    np.testing.assert_array_equal(STATS["p99"], [3.0, 4.0, 1.0])
    flat = select_statistics(NESTED["bridge"])
    assert flat.keys() == STATS.keys() and all((flat[name] == STATS[name]).all() for name in flat)


@pytest.mark.parametrize(
    ("statistics", "key", "message"),
    [
        (NESTED, "vioola", "statistics_key='vioola' is unknown: choose from bridge, viola; did you mean 'viola'"),
        (NESTED, None, r"statistics_key is missing: name the data set, one of \['bridge', 'viola'\]"),
        (NESTED["bridge"], "bridge", "these statistics are of one data set; leave it out"),
        ({"action": {"mean": [0.0]}}, None, r"have no 'std' of the actions: they have \['mean'\]"),
        ({"action": {"mean": [0.0], "std": [1.0, 1.0]}}, None, r"'std' have shape \(2,\)"),
    ],
)
def test_selecting_in_vain(statistics: dict, key: str | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        select_statistics(statistics, key)


def test_normal_by_hand() -> None:
    # (5 - 1) / 2 = 2; (-3 + 2) / 0.5 = -2; the third is masked.
    normal = normalize(np.asarray([[5.0, -3.0, 7.0]], np.float32), STATS)
    np.testing.assert_allclose(normal, [[2.0, -2.0, 7.0]], rtol=1e-6)
    np.testing.assert_allclose(unnormalize(normal, STATS), [[5.0, -3.0, 7.0]], rtol=1e-6)


def test_a_dimension_that_does_not_vary() -> None:
    """With std 0 the smallest number in the divisor, 1e-8, decides; on the way back nothing is added to the mean."""
    still = select_statistics({"action": {"mean": [1.0], "std": [0.0]}})
    np.testing.assert_allclose(normalize(np.asarray([1.5], np.float32), still), [0.5e8], rtol=1e-6)
    np.testing.assert_array_equal(unnormalize(np.asarray([1000.0], np.float32), still), [1.0])


def test_bounds_by_hand() -> None:
    # 2 (2 + 1) / 4 - 1 = 0.5; 2 * 6 / 4 - 1 = 2, clipped to 1; the third is masked.
    normal = normalize(np.asarray([2.0, 6.0, 7.0], np.float32), STATS, "bounds")
    np.testing.assert_allclose(normal, [0.5, 1.0, 7.0], rtol=1e-6)
    # (0.5 + 1) 4 / 2 - 1 = 2; (1 + 1) 4 / 2 + 0 = 4
    np.testing.assert_allclose(unnormalize(normal, STATS, "bounds"), [2.0, 4.0, 7.0], rtol=1e-6)


def test_predictions_may_have_more_dimensions() -> None:
    wide = np.ones((2, 4, 5), np.float32)
    np.testing.assert_allclose(unnormalize(wide, STATS), np.broadcast_to([3.0, -1.5, 1.0], (2, 4, 3)), rtol=1e-6)
    with pytest.raises(ValueError, match=r"\(2,\) does not fit: the statistics have 3 dimensions"):
        unnormalize(np.ones(2), STATS)
    with pytest.raises(ValueError, match=r"\(2, 4, 5\) does not fit: the statistics have 3 dimensions"):
        normalize(wide, STATS)


def test_older_statistics() -> None:
    old = select_statistics({"action": {"mean": [0.0, 0.0], "std": [2.0, 2.0]}})
    assert old["mask"].tolist() == [True, True]
    np.testing.assert_allclose(unnormalize(np.ones(2, np.float32), old), [2.0, 2.0])
    for call in (normalize, unnormalize):
        with pytest.raises(ValueError, match=r"'bounds' needs \['p01', 'p99'\], which these statistics lack"):
            call(np.ones(2), old, "bounds")
    with pytest.raises(ValueError, match="normalisation 'gaussian' is unknown"):
        normalize(np.ones(2), old, "gaussian")


def test_for_an_action_contract() -> None:
    assert to_action_statistics(STATS) == ActionStatistics(
        "normal", (1.0, -2.0, 0.5), (2.0, 0.5, 3.0), (True, True, False)
    )
    assert to_action_statistics(STATS, "bounds") == ActionStatistics(
        "bounds", (-1.0, 0.0, 0.0), (3.0, 4.0, 1.0), (True, True, False)
    )
