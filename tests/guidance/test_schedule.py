"""Transitions of the schedule by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rpd_jax.config.validation import ConfigError
from rpd_jax.guidance import schedule
from rpd_jax.guidance.settings import GuidanceSpec, to_guidance

TRANSIENT = GuidanceSpec(queries="even", query_fraction=0.2, min_calls=2, kappa=2.0, shut_off=0.6)


def run(rewards, spec=TRANSIENT, attainable=1.0, windows=3, length=3, rollout_length=50, unsettled=0):
    guidance = to_guidance(spec, rollout_length)
    states = [schedule.begin(guidance, length, unsettled)]
    for reward in rewards:
        states.append(
            schedule.advance(states[-1], guidance, jnp.float32(reward), windows=windows, attainable=attainable)
        )
    return guidance, states[1:]


def calls(states):
    return [int(state.calls) for state in states]


def test_calls_fall_with_the_gain():
    """N_max = 0.2 x 50 = 10. After three rewards .1, .1, .4 the gain is .4 - .1 = .3 and N = floor(10 e^-0.6) = 5
    (e^-0.6 = .549); after .4 once more it is .4 - (.1 + .4) / 2 = .15, N = floor(10 e^-0.3) = 7 (.741); when the
    reward falls to .2 the gain would be negative: 0, N = 10. Until three rewards are known N stays at 10."""
    guidance, states = run([0.1, 0.1, 0.4, 0.4, 0.2])
    assert calls(states) == [10, 10, 5, 7, 10]
    np.testing.assert_allclose([schedule.weight(s, guidance) for s in states], [1.0, 1.0, 0.5, 0.7, 1.0])


def test_never_fewer_than_the_least():
    """A gain of 1 would leave floor(10 e^-2) = 1; two is the least."""
    assert calls(run([0.0, 0.0, 1.0])[1]) == [10, 10, 2]


def test_the_gain_is_relative_to_what_can_be_attained():
    """The same curve in units five times as large."""
    assert calls(run([0.5, 0.5, 2.0, 2.0, 1.0], attainable=5.0)[1]) == [10, 10, 5, 7, 10]


def test_windows_smooth():
    """Two iterations a window, means .1 .2 .5 of (0 .2) (.1 .3) (.6 .4): gain .5 - .15 = .35, floor(10 e^-0.7) = 4."""
    assert calls(run([0.0, 0.2, 0.1, 0.3, 0.6, 0.4], length=6)[1]) == [10] * 5 + [4]


@pytest.mark.parametrize(
    ("rewards", "off"),
    [
        ([0.5, 0.6, 0.7], [False, False, True]),  # rises, and .7 > .6
        ([0.5, 0.55, 0.6], [False, False, False]),  # rises, but .6 is not above the threshold
        ([0.8, 0.7, 0.9], [False, False, False]),  # above, but it fell in between
        ([0.7, 0.8], [False, False]),  # nothing is known of the third window
        ([0.5, 0.6, 0.7, 0.1, 0.0], [False, False, True, True, True]),  # permanently
    ],
)
def test_shut_off(rewards, off):
    guidance, states = run(rewards)
    assert [bool(state.off) for state in states] == off
    for state in states:
        if state.off:
            assert state.calls == 0 and schedule.weight(state, guidance) == 0.0


def test_what_comes_before_episodes_have_settled_does_not_count():
    """The first two rewards rise because all episodes are young: three more are needed."""
    _, states = run([0.5, 0.6, 0.7, 0.65, 0.7, 0.8], unsettled=2)
    assert [bool(state.off) for state in states] == [False] * 5 + [True]  # .5 .6 .7 is left out, .7 .65 .7 falls
    _, states = run([0.5, 0.6, 0.7, 0.75, 0.8], unsettled=2)
    assert [bool(state.off) for state in states] == [False] * 4 + [True]


def test_persistent_guidance_stays():
    guidance, states = run([0.0, 0.5, 1.0, 1.0], GuidanceSpec(queries="even"))
    assert calls(states) == [10] * 4 and not any(state.off for state in states)
    assert all(schedule.weight(state, guidance) == 1.0 for state in states)


def test_dense_guidance_has_full_weight():
    guidance, states = run([0.0, 0.5, 1.0], GuidanceSpec())
    assert all(schedule.weight(state, guidance) == 1.0 for state in states)


def test_members_keep_schedules_of_their_own():
    """Side by side under vmap: the one that rises ends, the one that stays goes on."""
    guidance = jax.tree.map(lambda *x: jnp.stack(x), *[to_guidance(TRANSIENT, 50)] * 2)
    state = jax.vmap(schedule.begin, in_axes=(0, None))(guidance, 3)
    for rewards in ([0.5, 0.5], [0.6, 0.5], [0.7, 0.5]):
        state = jax.vmap(lambda s, g, r: schedule.advance(s, g, r, windows=3, attainable=1.0))(
            state, guidance, jnp.array(rewards)
        )
    assert state.off.tolist() == [True, False]
    assert state.calls.tolist() == [0, 10]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"queries": "evn"}, "did you mean 'even'"),
        ({"queries": "even", "query_fraction": 0.0}, "query_fraction=0.0"),
        ({"queries": "even", "window": 0}, "window=0"),
        ({"queries": "even", "min_calls": 1.5}, "min_calls=1.5"),
        ({"queries": "even", "shut_off": -1.0}, "shut_off=-1.0"),
        ({"queries": "even", "window": np.inf}, "window=inf"),
        ({"queries": "even", "min_calls": np.nan}, "min_calls=nan"),
        ({"queries": "even", "kappa": np.inf}, "kappa=inf"),
        ({"kappa": 1.0}, "kappa cannot work with queries=all"),
        ({"shut_off": 0.6, "window": 3}, "window, shut_off cannot work with queries=all"),
    ],
)
def test_impossible_guidance(settings, message):
    with pytest.raises(ConfigError, match=message):
        GuidanceSpec(**settings)


def test_a_fraction_that_allows_no_call():
    with pytest.raises(ConfigError, match=r"0.01 of algorithm.rollout_length=50 steps are 0 calls"):
        GuidanceSpec(queries="even", query_fraction=0.01).max_calls(50)
    assert GuidanceSpec(queries="even", query_fraction=0.3).max_calls(10) == 3  # 0.3 * 10 is 2.9999999999999996
