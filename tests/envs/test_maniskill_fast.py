"""The faster functions give what ManiSkill's own give, to the last bit. Runs in processes of its own."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from rpd_jax.envs.maniskill.tasks import CONTROL_MODES, TASKS

ROOT = Path(__file__).parents[2]

FUNCTIONS = """
    import mani_skill.envs, sapien, torch
    from mani_skill.utils import common, gym_utils
    from mani_skill.utils.geometry import rotation_conversions as plain
    from mani_skill.utils.structs.pose import Pose
    from rpd_jax.envs.maniskill import fast, fast_control, fast_observation, fast_pose

    normalize, generator = torch.nn.functional.normalize, torch.Generator().manual_seed(0)
    slow = {name: getattr(plain, name) for _, name, _ in fast_pose.REPLACED if hasattr(plain, name)}
    create, create_from_pq, times, inverse = Pose.create, Pose.create_from_pq, Pose.__mul__, Pose.inv
    matrix_of, flatten = Pose.to_transformation_matrix, common.flatten_state_dict
    scale = gym_utils.clip_and_scale_action

    def same(name, *arguments):
        assert torch.equal(getattr(fast_pose, name)(*arguments), slow[name](*arguments)), (name, arguments)

    def same_poses(one, other):
        assert torch.equal(one.raw_pose, other.raw_pose), (one, other)

    for n in range(1500):
        a, b = normalize(torch.randn(2, 4, generator=generator)).split(1)
        v, w = torch.randn(2, 3, generator=generator).split(1)
        if n == 0:
            a = torch.tensor([[1.0, 0.0, 0.0, 0.0]])
        for name in ("quaternion_raw_multiply", "quaternion_multiply"):
            same(name, a, b)
        same("quaternion_to_matrix", a)
        same("matrix_to_quaternion", plain.quaternion_to_matrix(a))
        same("euler_angles_to_matrix", v * (0.1 if n % 2 else 10.0), "XYZ")
        one, other = create_from_pq(v, a), create_from_pq(w, b)
        same_poses(fast_pose.create_from_pq(Pose, v, a), one)
        same_poses(fast_pose.times(one, other), times(one, other))
        same_poses(fast_pose.times(one, other.sp), times(one, other.sp))
        same_poses(fast_pose.inv(one), inverse(one))
        assert torch.equal(fast_pose.to_transformation_matrix(one), matrix_of(one))
        for value in (one.sp, [one.sp]):
            same_poses(fast_pose.create_pose(Pose, value), create(value))
        low, high = -w.abs()[0], v.abs()[0]
        assert torch.equal(fast_control.clip_and_scale_action(v, low, high), scale(v, low, high))

    # What is not single goes the old way.
    many = normalize(torch.randn(5, 4, generator=generator))
    matrices, angles = plain.quaternion_to_matrix(many), many[:, 1:]
    same("quaternion_raw_multiply", many, many[:1])
    same("quaternion_multiply", many, many[:1])
    same("quaternion_to_matrix", many)
    same("matrix_to_quaternion", matrices)
    same("euler_angles_to_matrix", angles, "XYZ")
    same("euler_angles_to_matrix", angles[:1], "ZYX")
    double = many[:1].double()
    assert fast_pose.quaternion_raw_multiply(double, double).dtype == torch.float64
    poses = create_from_pq(angles, many)
    same_poses(fast_pose.times(one, poses), times(one, poses))
    same_poses(fast_pose.inv(poses), inverse(poses))
    assert torch.equal(fast_pose.to_transformation_matrix(poses), matrix_of(poses))
    same_poses(fast_pose.create_pose(Pose, [one.sp, one.sp]), create([one.sp, one.sp]))
    same_poses(fast_pose.create_pose(Pose, torch.ones(3)), create(torch.ones(3)))
    same_poses(fast_pose.create_from_pq(Pose, p=[1, 2, 3]), create_from_pq(p=[1, 2, 3]))
    assert torch.equal(fast_control.clip_and_scale_action(angles, low, high), scale(angles, low, high))
    for tree in (
        {"a": {"b": v, "c": torch.tensor([True])}, "d": torch.ones(1), "e": {}},
        {"a": {"b": v, "c": torch.tensor([True])}, "d": torch.ones(1)},
        {"a": many, "b": {"c": many.sum(1)}},
        {"a": torch.tensor([3]), "b": v},
    ):
        assert torch.equal(fast_observation.flatten_state_dict(tree, True), flatten(tree, True)), tree

    assert fast.install()
    assert plain.quaternion_raw_multiply is fast_pose.quaternion_raw_multiply
    assert Pose.create(one.sp).raw_pose.shape == (1, 7)
    print("the same")
"""

OTHER_CODE = """
    import mani_skill.envs
    from mani_skill.utils.geometry import rotation_conversions as plain
    from rpd_jax.envs.maniskill import fast
    before = plain.quaternion_raw_multiply
    for name, read in ((next(iter(fast.READ)), "0"), ("mani_skill.none.such", "1")):
        fast.READ, known = fast.READ | {name: read}, fast.READ
        assert not fast.install()
        fast.READ = known
    assert plain.quaternion_raw_multiply is before
    print("the same")
"""

# The same actions with ManiSkill's functions and with the faster ones.
EPISODES = """
    import sys
    import numpy as np, torch
    import mani_skill.envs
    from rpd_jax.envs.maniskill import fast, fast_contacts, fast_control, fast_observation, fast_pose
    from rpd_jax.envs.maniskill.worker import make_envs

    fast.install = lambda: None  # done and undone here
    modules = (fast_contacts, fast_control, fast_observation, fast_pose)
    ours = [row for module in modules for row in module.REPLACED]
    plain = [(owner, name, owner.__dict__[name]) for owner, name, _ in ours]

    def play(env, act, steps=40):
        observation, _ = env.reset(seed=3)
        told = [observation.numpy()]
        for step in range(steps):
            action = act(step, observation.numpy()[0])
            observation, reward, ended, _, info = env.step(action)
            told.append(np.concatenate([observation.numpy()[0], [reward.item(), ended.item()]]))
            told += [info[name].numpy() for name in sorted(info)]
        return told

    for task, mode in (word.split(":") for word in sys.argv[1:]):
        fields = {"task": task, "control_mode": mode, "reward_mode": "normalized_dense"}
        fields |= {"image_size": 64, "camera": None}
        chosen = np.random.default_rng(0).uniform(0, 1, (40, 16)).astype(np.float32)

        def flail(step, state):
            low, high = env.single_action_space.low, env.single_action_space.high
            return low + (high - low) * chosen[step, : len(low)]

        def grasp(step, state):
            # Over the cube, down with open fingers, closed from step 20 on, then up.
            tool, cube = state[19:22], state[29:32]
            down = np.linalg.norm((tool - cube)[:2]) < 0.01 or step > 15
            target = cube + [0, 0, 0 if down else 0.1] if step < 28 else tool + [0, 0, 0.05]
            move = np.clip((target - tool) / 0.1, -1, 1)
            return np.array([*move, 0, 0, 0, 1 if step < 20 else -1], np.float32)

        plays = [flail, grasp] if (task, mode) == ("PickCube-v1", "pd_ee_delta_pose") else [flail]
        for act in plays:
            found = []
            for functions in (plain, ours):
                for owner, name, function in functions:
                    setattr(owner, name, function)
                env = make_envs(fields, 1)[0]  # a new one: contacts outlive an episode
                found.append(play(env, act))
                env.close()
            for a, b in zip(*found, strict=True):
                np.testing.assert_array_equal(a, b, err_msg=f"{task} {mode}")
            if act is grasp:
                grasped = [row.ravel()[18] for row in found[0] if row.size > 40]
                assert 0 < sum(grasped) < len(grasped)
    print("the same")
"""


def run(program, *arguments):
    command = [sys.executable, "-c", textwrap.dedent(program), *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.stdout.strip().endswith("the same"), done.stderr


@pytest.mark.vulkan
@pytest.mark.parametrize("program", [FUNCTIONS, OTHER_CODE])
def test_equal_to_the_last_bit_and_only_for_the_code_that_was_read(program):
    run(program)


@pytest.mark.vulkan
def test_episodes_of_every_task_and_control_mode_are_those_of_plain_functions():
    modes = [f"PickCube-v1:{mode}" for mode in CONTROL_MODES if mode != "pd_ee_delta_pose"]
    run(EPISODES, *(f"{task}:pd_ee_delta_pose" for task in TASKS), *modes)
