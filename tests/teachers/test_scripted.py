"""Scripted teachers: settings, corruption by hand, sampling. On ManiSkill: test_teachers_on_maniskill.py."""

import dataclasses

import jax
import numpy as np
import pytest
from kinematic_arm import pick_cube_spec, pick_cube_state

from rpd_jax.config import EnvConfig
from rpd_jax.envs.base import ArraySpec, slices
from rpd_jax.envs.registry import make_env
from teachers import scripted
from teachers.base import load
from teachers.scripted import geometry

KEY = jax.random.key(3)


def teacher(spec=None, **settings):
    return load("scripted", spec or pick_cube_spec(), **settings)


def label(states, spec=None, **settings):
    return teacher(spec, **settings).label({"state": np.stack(states)}, "", KEY)


def act(state, spec=None, **settings):
    return np.asarray(label([state], spec, **settings).action[0])


def moved(state, by):
    """The state with the cube elsewhere."""
    state = state.copy()
    state[29:32] += by
    return state


ASIDE = pick_cube_state(tcp=(0.0, 0.0, 0.2), cube=(0.06, -0.05, 0.02))
ABOVE = pick_cube_state(tcp=(0.03, 0.02, 0.1), cube=(0.03, 0.02, 0.02))


def test_heads_for_the_cube_with_open_fingers():
    action = act(ASIDE)
    assert action[0] > 0 > action[1] and action[2] < 0
    assert action[0] / action[1] == pytest.approx(-0.06 / 0.05, rel=1e-4)  # straight, though cut to the box
    np.testing.assert_allclose(action[3:6], 0.0, atol=1e-6)
    assert action[6] == pytest.approx(1.0)
    np.testing.assert_allclose(act(ABOVE)[:2], 0.0, atol=1e-6)
    assert act(ABOVE)[2] == pytest.approx(-0.8, abs=1e-5)  # 8 cm at 0.1 m a unit


def test_carries_a_held_cube_to_the_goal_with_closed_fingers():
    held = pick_cube_state(tcp=(0.0, 0.0, 0.1), cube=(0.005, 0.0, 0.1), goal=(0.03, -0.04, 0.15), grasped=1.0)
    np.testing.assert_allclose(act(held), [0.25, -0.4, 0.5, 0.0, 0.0, 0.0, -1.0], atol=1e-5)


def test_turns_back_to_straight_down_in_the_terms_of_the_contract():
    # tilted by +0.05 rad about x: turn by -0.05 rad; the contract inverts and counts in tenths
    tilted = pick_cube_state(turn=(np.cos(0.025), np.sin(0.025), 0.0, 0.0))
    np.testing.assert_allclose(act(tilted)[3:6], [0.5, 0.0, 0.0], atol=1e-3)
    spec = pick_cube_spec()
    other = dataclasses.replace(
        spec.contract, rotation_sign=1, rotation_scale=0.2, gripper_open=-1.0, gripper_closed=1.0
    )
    action = act(tilted, dataclasses.replace(spec, contract=other))
    np.testing.assert_allclose(action[3:], [-0.25, 0.0, 0.0, -1.0], atol=1e-3)


def test_a_bias_moves_the_aim():
    bias = (0.01, -0.02, 0.03)
    np.testing.assert_allclose(act(ASIDE, bias=bias), act(moved(ASIDE, bias)), atol=1e-5)
    assert np.abs(act(ASIDE, bias=bias) - act(ASIDE)).max() > 0.05
    held = pick_cube_state(cube=(0.0, 0.0, 0.2), goal=(0.02, 0.0, 0.2), grasped=1.0)
    np.testing.assert_allclose(act(held, bias=bias)[:3], [0.3, -0.2, 0.3], atol=1e-5)


def test_an_aim_error_acts_in_a_part_of_the_workspace_until_the_cube_is_held():
    wrong = {"aim_error": 0.045, "aim_error_fraction": 0.25, "aim_direction": (0.0, 2.0, 0.0)}
    # the cube starts within 10 cm of y = 0: a quarter of it lies beyond y = 5 cm
    for y, error in ((-0.1, 0.0), (0.045, 0.0), (0.055, 0.045), (0.1, 0.045)):
        state = pick_cube_state(cube=(0.02, y, 0.02))
        np.testing.assert_allclose(act(state, **wrong), act(moved(state, (0.0, error, 0.0))), atol=1e-5)
    held = pick_cube_state(cube=(0.0, 0.09, 0.1), goal=(0.0, 0.0, 0.2), grasped=1.0)
    np.testing.assert_allclose(act(held, **wrong), act(held), atol=1e-6)
    np.testing.assert_array_equal(act(state, aim_error=0.045, aim_error_fraction=0.0), act(state))


def test_a_gripper_shift_closes_late_or_early():
    near = pick_cube_state(tcp=(0.0, 0.0, 0.04), cube=(0.0, 0.0, 0.02))  # 2 cm apart; closes within 3
    far = pick_cube_state(tcp=(0.0, 0.0, 0.06), cube=(0.0, 0.0, 0.02))
    assert act(near)[6] < 0 < act(near, gripper_shift=0.02)[6]
    assert act(far, gripper_shift=-0.02)[6] < 0 < act(far)[6]


def test_a_lag_uses_the_old_observation():
    slow = teacher(lag=2)
    assert slow.spec.history == 3
    past = np.stack([[ASIDE, ABOVE, ABOVE], [ABOVE, ASIDE, ASIDE]])
    action = slow.label({"state": past}, "", KEY).action
    np.testing.assert_allclose(action, label([ASIDE, ABOVE]).action, atol=1e-6)
    with pytest.raises(ValueError, match=r"shape \(2, 36\): scripted:PickCube-v1 takes \[B, 3, 36\]"):
        slow.label({"state": past[:, 0]}, "", KEY)


def test_memoryless_and_deterministic():
    noisy = teacher(noise=0.3)
    first = noisy.label({"state": np.stack([ASIDE, ABOVE])}, "", KEY)
    noisy.label({"state": np.stack([ABOVE, ABOVE])}, "", jax.random.key(9))
    again = noisy.label({"state": np.stack([ASIDE, ABOVE])}, "other words", KEY)
    np.testing.assert_array_equal(first.action, again.action)
    other = noisy.label({"state": np.stack([ASIDE, ABOVE])}, "", jax.random.key(4))
    assert np.abs(other.action - first.action).max() > 0.01
    together = label([ASIDE, ABOVE, ASIDE]).action  # a state's label does not depend on its neighbours
    np.testing.assert_array_equal(together[0], together[2])
    np.testing.assert_allclose(together[1], act(ABOVE), atol=1e-6)


def test_noise_is_drawn_on_all_seven_dimensions():
    clean = pick_cube_state(tcp=(0.0, 0.0, 0.05), cube=(0.0, 0.0, 0.02))  # all but the grip far from the box
    actions = np.asarray(label([clean] * 4096, noise=0.1).action)
    np.testing.assert_allclose(actions[:, :6].std(axis=0), 0.1, rtol=0.05)
    np.testing.assert_allclose(actions[:, :6].mean(axis=0), act(clean)[:6], atol=0.008)
    assert len(np.unique(actions[:, 6])) > 1000


def test_several_draws_are_averaged_and_give_a_std():
    clean = pick_cube_state(tcp=(0.0, 0.0, 0.05), cube=(0.0, 0.0, 0.02))
    labels = label([clean] * 1024, noise=0.2, samples=16)
    np.testing.assert_allclose(np.asarray(labels.action[:, :6]).std(axis=0), 0.2 / 4, rtol=0.1)
    # the sample std of 16 draws is 1.7 % below the true one on average
    np.testing.assert_allclose(np.asarray(labels.std[:, :6]).mean(axis=0), 0.2, rtol=0.05)
    assert np.asarray(labels.std).std() > 0.01


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, 0.05),
        ({"noise": 0.3}, 0.3),
        ({"noise": 0.3, "std": 0.7}, 0.7),
        ({"min_std": 0.2, "noise": 0.1}, 0.2),
        ({"samples": 4, "min_std": 0.1}, 0.1),
        ({"samples": 4, "noise": 0.01, "min_std": 0.4}, 0.4),
    ],
)
def test_the_std_of_a_label(settings, expected):
    labels = label([ASIDE, ABOVE], **settings)
    np.testing.assert_allclose(labels.std, np.full((2, 7), expected), rtol=1e-6)
    assert labels.valid.dtype == bool and labels.valid.all() and labels.valid.shape == (2,)


@pytest.mark.parametrize("task", sorted(scripted.TASKS))
def test_actions_stay_in_the_box_wherever_the_state_is(task):
    script = scripted.load_task(task)
    layout = slices({name: n or 9 for name, n in script.fields.items()})
    size = max(stop for _, stop in layout.values())
    spec = pick_cube_spec(
        name=f"maniskill:{task}",
        layout={"state": layout},
        observation={"state": ArraySpec((size,), "float32")},
    )
    rng = np.random.default_rng(0)
    states = np.concatenate([s * rng.normal(size=(64, size)) for s in (0.0, 0.05, 1.0)]).astype(np.float32)
    everything = {
        "noise": 0.5,
        "bias": (0.1, 0.0, 0.0),
        "aim_error": 0.1,
        "aim_error_fraction": 0.5,
        "gripper_shift": 0.1,
    }
    for settings in ({}, everything):
        labels = label(states, spec, **settings)
        assert np.isfinite(labels.action).all()
        assert np.abs(labels.action).max() <= 1.0
        assert labels.action.shape == (192, 7)


@pytest.mark.parametrize("arm", [7, 6])
def test_fingers_are_the_last_joints_of_any_arm(arm):
    """StackCube over the cube, 1 cm up: it closes from open fingers, and lifts with the cube between closed ones."""
    layout = slices({"qpos": arm + 2, "tcp_pose": 7, "cubeA_pose": 7, "cubeB_pose": 7})
    spec = pick_cube_spec(
        name="maniskill:StackCube-v1",
        layout={"state": layout},
        observation={"state": ArraySpec((arm + 23,), "float32")},
    )
    state = np.zeros(arm + 23, np.float32)
    state[:arm] = 1.0  # joints of the arm say nothing about the fingers
    for name, position in (("tcp_pose", (0, 0, 0.03)), ("cubeA_pose", (0, 0, 0.02)), ("cubeB_pose", (0.1, 0, 0.02))):
        low, _ = layout[name]
        state[low : low + 4] = (*position, 1.0)
    state[layout["tcp_pose"][0] + 3 : layout["tcp_pose"][1]] = (0, 1, 0, 0)
    opened, closed = state.copy(), state.copy()
    opened[arm : arm + 2], closed[arm : arm + 2] = 0.04, 0.02
    assert act(opened, spec)[2] < 0 < act(closed, spec)[2]
    assert act(opened, spec)[6] < 0 and act(closed, spec)[6] == pytest.approx(-1.0)


def test_quantiles_of_starting_positions():
    # U(-1, 1) + U(-2, 2): density 1/4 within 1, falling to 0 at 3; so 1/8 below -1 and 1/2 below 0
    values = [float(geometry.sum_of_uniforms_quantile(x, 1.0, 2.0)) for x in (-4, -3, -2, -1, 0, 1, 3, 9)]
    np.testing.assert_allclose(values, [0, 0, 1 / 16, 1 / 4, 1 / 2, 3 / 4, 1, 1], atol=1e-6)
    assert float(geometry.uniform_quantile(0.05, -0.1, 0.1)) == pytest.approx(0.75)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"noise": -0.1}, "teacher.noise=-0.1 cannot work: it must be at least 0"),
        ({"noise": float("nan")}, "noise=nan cannot work: it must be a number, at least 0 and finite"),
        ({"aim_error": -1.0}, "aim_error=-1.0"),
        ({"aim_error_fraction": 1.5}, r"aim_error_fraction=1.5 cannot work: it must be a number in \[0, 1\]"),
        ({"bias": (0.1, 0.2)}, r"bias=\(0.1, 0.2\) cannot work: it must be three numbers"),
        ({"bias": 0.1}, "bias=0.1 cannot work: it must be three numbers"),
        ({"aim_direction": (0.0, 0.0, 0.0)}, "aim_direction=.*not zero"),
        ({"lag": -1}, "lag=-1 cannot work: it must be at least 0"),
        ({"lag": 1.5}, "lag=1.5"),
        ({"samples": 0}, "samples=0"),
        ({"std": 0.0}, "std=0.0 cannot work: it must be None or a positive number"),
        ({"min_std": -1.0}, "min_std=-1.0"),
        ({"biass": 0.1}, "'biass' is unknown: .*did you mean 'bias'"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        teacher(**settings)


def test_unsuitable_environments_are_refused():
    with pytest.raises(ValueError, match=r"'PlugCharger-v1' has no scripted teacher: .*'PickCube-v1'"):
        teacher(pick_cube_spec(name="maniskill:PlugCharger-v1"))
    with pytest.raises(ValueError, match="contract=None of maniskill:PickCube-v1"):
        teacher(pick_cube_spec(contract=None))
    with pytest.raises(ValueError, match="has no 'cubeA_pose': it names"):
        teacher(pick_cube_spec(name="maniskill:StackCube-v1"))
    with pytest.raises(ValueError, match=r"\['goal_pos'\]=\(0, 2\) .*3 numbers are needed"):
        layout = {**pick_cube_spec().layout["state"], "goal_pos": (0, 2)}
        teacher(pick_cube_spec(layout={"state": layout}))


def test_of_several_tasks_each_row_is_labelled_by_its_own_script():
    names = ("PushCube-v1", "PullCube-v1")
    env = make_env(EnvConfig(name=f"tabletop:{','.join(names)}"), [0, 1, 2, 3], rgb=False, end_on_success=False)
    observation = env.reset()
    both = teacher(env.spec)
    singles = [teacher(dataclasses.replace(env.spec, name=f"tabletop:{name}")) for name in names]
    answers = [np.asarray(each.label(observation, "", KEY).action) for each in singles]
    assert np.abs(answers[0] - answers[1]).max() > 0.1
    together = np.asarray(both.label(observation, "", KEY).action)
    np.testing.assert_array_equal(together[0::2], answers[0][0::2])
    np.testing.assert_array_equal(together[1::2], answers[1][1::2])
    assert both.spec.is_scripted and both.spec.observation_keys == ("state", "instruction")
