"""Which setting is taken, when a curve rises, when a level is reached: against numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from rpd_jax.comparison.selection import ended_alike, first_reaching, is_rising, not_begun, select


def curve(*seeds: list[float]) -> np.ndarray:
    return np.array(seeds)


def test_the_setting_that_ends_highest_is_taken() -> None:
    assert select([curve([0.9, 0.5]), curve([0.1, 0.6]), curve([0.9, 0.4])]) == 1


def test_of_settings_that_end_alike_the_faster_one_is_taken() -> None:
    """.61 and .60 are within .02 of each other; means of the curves are .355 and .55."""
    assert select([curve([0.1, 0.61]), curve([0.5, 0.60]), curve([0.9, 0.5])]) == 1


def test_of_equal_settings_the_first_is_taken() -> None:
    assert select([curve([0.2, 0.6]), curve([0.2, 0.6])]) == 0


def test_a_choice_is_by_the_mean_over_seeds() -> None:
    assert select([curve([0, 1.0], [0, 0.0]), curve([0, 0.6], [0, 0.6])]) == 1


@pytest.mark.parametrize(
    ("values", "rises"),
    [
        ([0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7], True),  # .65 - .45
        ([0.0, 0.5, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9], False),
        ([0.0, 0.0, 0.5, 0.6, 0.70, 0.72, 0.74, 0.74], False),  # .74 - .71 = .03
        ([0.0, 0.2, 0.9], False),  # too few evaluations to say
    ],
)
def test_a_curve_rises_by_its_last_two_quarters(values: list[float], rises: bool) -> None:
    assert is_rising(curve(values)) is rises


def test_settings_that_end_within_a_tie_are_alike() -> None:
    assert ended_alike([[0.01, 0.02], [0.0, 0.0]])
    assert not ended_alike([[0.01, 0.02], [0.5, 0.0]])
    assert not ended_alike([[0.5, 0.5]])  # there was nothing to choose


def test_a_level_is_reached_between_two_evaluations() -> None:
    """The mean goes .2, .4, .8: .5 is a quarter of the way from the second evaluation to the third."""
    steps, values = np.array([100.0, 200.0, 400.0]), curve([0.1, 0.4, 0.8], [0.3, 0.4, 0.8])
    assert first_reaching(steps, values, 0.5) == pytest.approx(250.0)
    assert first_reaching(steps, values, 0.1) == 100.0
    assert first_reaching(steps, values, 0.9) is None


def test_what_hardly_ever_succeeds_is_told_from_what_is_flat() -> None:
    assert not_begun([0.0, 0.1, 0.0]) and not not_begun([0.0, 0.0, 0.2])
