"""Windows: parts that compose to the delta, SLERP beside SciPy's, and masks at the ends of episodes."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.transform import Rotation, Slerp

from rpd_jax.actions.windows import hold, part
from rpd_jax.guidance.settings import GuidanceSpec, to_guidance
from rpd_jax.guidance.sparse import targets
from rpd_jax.types import ActionContract, TeacherLabels

EULER = ActionContract(0.1, 0.1, "euler_xyz", -1, "base", -1.0, 1.0)
LARGE = ActionContract(0.1, 1.0, "axis_angle", 1, "base", -1.0, 1.0)  # turns of up to 1.7 rad


def rotation_of(action: np.ndarray, contract: ActionContract) -> Rotation:
    angles = np.asarray(action[3:6], float) * contract.rotation_sign * contract.rotation_scale
    return (
        Rotation.from_rotvec(angles) if contract.rotation_form == "axis_angle" else Rotation.from_euler("XYZ", angles)
    )


@pytest.mark.parametrize("steps", [1, 2, 5, 10])
@pytest.mark.parametrize(
    "contract", [EULER, LARGE, dataclasses.replace(LARGE, rotation_form="euler_xyz")], ids=["euler", "vector", "large"]
)
def test_the_parts_compose_to_the_delta(contract, steps):
    """D times the part: translations add up, rotations in the base's axes follow one another, the gripper is held."""
    rng = np.random.default_rng(steps)
    for action in rng.uniform(-1, 1, (4, 7)).astype(np.float32):
        found = np.asarray(part(jnp.asarray(action), 1 / steps, contract, contract))
        np.testing.assert_allclose(steps * found[:3], action[:3], atol=1e-5)
        turn = Rotation.identity()
        for _ in range(steps):
            turn = rotation_of(found, contract) * turn
        np.testing.assert_allclose(turn.as_matrix(), rotation_of(action, contract).as_matrix(), atol=3e-5)
        assert found[6] == action[6]


@pytest.mark.parametrize("k", range(5))
def test_every_part_is_the_step_of_scipys_slerp(k):
    """slerp((k + 1) / D) slerp(k / D)^-1 does not depend on k, so that one part stands for all."""
    action = np.array([0.0, 0.0, 0.0, 0.9, -0.5, 0.7, 0.0], np.float32)
    path = Slerp([0.0, 1.0], Rotation.concatenate([Rotation.identity(), rotation_of(action, LARGE)]))
    step = path([(k + 1) / 5])[0] * path([k / 5])[0].inv()
    found = rotation_of(np.asarray(part(jnp.asarray(action), 0.2, LARGE, LARGE)), LARGE)
    np.testing.assert_allclose(found.as_matrix(), step.as_matrix(), atol=1e-6)


def test_a_part_in_an_environment_of_smaller_steps():
    """A tenth of a delta, where an action is a tenth as large: the same numbers (rotations about one axis)."""
    tenth = dataclasses.replace(EULER, translation_scale=0.01, rotation_scale=0.01)
    action = jnp.array([0.5, -1.0, 0.25, 0.0, 0.0, 0.8, -1.0])
    np.testing.assert_allclose(part(action, 0.1, EULER, tenth), action, atol=2e-5)
    # over 5 of those steps each would have to be twice as large: limited to the box
    np.testing.assert_allclose(part(action, 0.2, EULER, tenth)[:3], [1.0, -1.0, 0.5], atol=1e-6)


def labels(values: list[float], valid: list[bool] | None = None) -> TeacherLabels:
    x = jnp.asarray(values)[:, None, None]
    known = jnp.ones(len(values), bool) if valid is None else jnp.array(valid)
    return TeacherLabels(x, known[:, None], 0.1 + x)


def held(asked, starts, window, **others):
    n = len(asked)
    found = hold(
        labels([float(i) for i in range(n)], **others), jnp.array(asked, bool), jnp.array(starts, bool), window
    )
    np.testing.assert_array_equal(found.action[~found.valid], 0.0)
    return [int(a) if v else None for a, v in zip(found.action[:, 0], found.valid, strict=True)]


def test_answers_hold_for_a_window():
    #         t     0  1  2  3  4  5  6
    assert held([0, 1, 0, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0, 0], 3) == [None, 1, 1, 1, None, None, None]
    assert held([0, 1, 0, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0, 0], 1) == [None, 1, None, None, None, None, None]


def test_a_window_stops_where_its_episode_ends():
    """A new episode begins at 3: the answer at 1 must not reach into it. One at the first observation counts there."""
    assert held([0, 1, 0, 0, 0, 0], [1, 0, 0, 1, 0, 0], 5) == [None, 1, 1, None, None, None]
    assert held([0, 1, 0, 1, 0, 0], [1, 0, 0, 1, 0, 0], 5) == [None, 1, 1, 3, 3, 3]


def test_the_next_answer_takes_over():
    assert held([1, 0, 1, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0, 0], 3) == [0, 0, 2, 2, 2, None, None]


def test_invalid_answers_cover_their_window_with_nothing():
    """The answer at 2 cannot be used, but it is the newest: the older one must not outlive it."""
    valid = [True, True, False, True, True]
    assert held([1, 0, 1, 0, 0], [1, 0, 0, 0, 0], 4, valid=valid) == [0, 0, None, None, None]


def test_without_queries_nothing_is_valid():
    assert held([0, 0, 0], [1, 0, 1], 5) == [None, None, None]


def test_targets_divide_deltas_and_their_deviations_alike():
    """Five steps: a fifth of means and deviations of translation and rotation; the gripper as it is."""
    guidance = to_guidance(GuidanceSpec(queries="even", window=5), 10)
    shape = (4, 1)
    answers = TeacherLabels(jnp.full((*shape, 1, 7), 0.5), jnp.ones((*shape, 1), bool), jnp.full((*shape, 1, 7), 0.3))
    where = jnp.array([True, False, False, False])[:, None]
    axis = dataclasses.replace(EULER, rotation_form="axis_angle")
    found = targets(answers, where, jnp.zeros(shape, bool), guidance, (axis, axis))
    np.testing.assert_allclose(found.action[2, 0], [0.1] * 6 + [0.5], atol=1e-5)
    np.testing.assert_allclose(found.std[2, 0], [0.06] * 6 + [0.3], atol=1e-6)
    tenth = dataclasses.replace(axis, translation_scale=0.01, rotation_scale=0.01)
    guidance = guidance._replace(window=jnp.int32(10))
    found = targets(answers, where, jnp.zeros(shape, bool), guidance, (axis, tenth))
    np.testing.assert_allclose(found.action[2, 0], [0.5] * 7, atol=1e-4)
    np.testing.assert_allclose(found.std[2, 0], [0.3] * 7, atol=1e-6)


def test_a_chunk_labels_the_steps_of_its_window():
    """Queries at 0, 2 and 5, an episode that begins at 4; action c answered at t is 10 t + c. The chunk of 0 ends where
    the next query is, that of 2 with its episode, and step 4 has no target, since nobody asked there. The answer at 5
    has no usable action for one step later."""
    T, S = 8, 3
    action = jnp.asarray(10.0 * np.arange(T)[:, None, None, None] + np.arange(S)[:, None] + np.zeros(7))
    valid = jnp.ones((T, 1, S), bool).at[5, 0, 1].set(False)
    answers = TeacherLabels(action, valid, jnp.full((T, 1, S, 7), 0.2))
    where = jnp.zeros((T, 1), bool).at[jnp.array([0, 2, 5])].set(True)
    starts = jnp.zeros((T, 1), bool).at[4].set(True)
    guidance = to_guidance(GuidanceSpec(queries="even", window=3, targets="chunk"), 10)
    found = targets(answers, where, starts, guidance, None)
    values = [int(a) if v else None for a, v in zip(found.action[:, 0, 6], found.valid[:, 0], strict=True)]
    assert values == [0, 1, 20, 21, None, 50, None, 52]
    np.testing.assert_array_equal(found.std[:, 0, 0], np.where(found.valid[:, 0], np.float32(0.2), 1.0))
