"""The faster functions give what ManiSkill's own give, to the last bit. Runs in a process of its own."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

PROGRAM = """
    import mani_skill.envs, sapien, torch
    from mani_skill.utils.geometry import rotation_conversions as plain
    from mani_skill.utils.structs.pose import Pose
    from rpd_jax.envs.maniskill import fast

    slow = plain.quaternion_raw_multiply, plain.quaternion_to_matrix
    create = Pose.create
    generator = torch.Generator().manual_seed(0)
    for n in range(1500):
        a, b = torch.nn.functional.normalize(torch.randn(2, 4, generator=generator)).split(1)
        if n == 0:
            a = torch.tensor([[1.0, 0.0, 0.0, 0.0]])
        assert torch.equal(fast.quaternion_raw_multiply(a, b), slow[0](a, b))
        assert torch.equal(fast.quaternion_to_matrix(a), slow[1](a))
        pose = sapien.Pose(a[0, 1:].numpy(), b[0].numpy())
        for value in (pose, [pose]):
            assert torch.equal(fast.create_pose(Pose, value).raw_pose, create(value).raw_pose)

    many = torch.nn.functional.normalize(torch.randn(5, 4, generator=generator))
    assert torch.equal(fast.quaternion_raw_multiply(many, many[:1]), slow[0](many, many[:1]))
    assert torch.equal(fast.quaternion_to_matrix(many), slow[1](many))
    double = many[:1].double()
    assert fast.quaternion_raw_multiply(double, double).dtype == torch.float64
    assert torch.equal(fast.create_pose(Pose, [pose, pose]).raw_pose, create([pose, pose]).raw_pose)
    assert torch.equal(fast.create_pose(Pose, torch.ones(3)).raw_pose, create(torch.ones(3)).raw_pose)

    assert fast.install()
    assert plain.quaternion_raw_multiply is fast.quaternion_raw_multiply
    assert Pose.create(pose).raw_pose.shape == (1, 7)
    print("the same")
"""

UNKNOWN_VERSION = """
    from importlib import metadata
    metadata.version = lambda name: "3.1.0"
    import mani_skill.envs
    from mani_skill.utils.geometry import rotation_conversions as plain
    from rpd_jax.envs.maniskill import fast
    before = plain.quaternion_raw_multiply
    assert not fast.install()
    assert plain.quaternion_raw_multiply is before
    print("the same")
"""


@pytest.mark.vulkan
@pytest.mark.parametrize("program", [PROGRAM, UNKNOWN_VERSION])
def test_equal_to_the_last_bit_and_only_for_the_version_that_was_read(program):
    command = [sys.executable, "-c", textwrap.dedent(program)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip().endswith("the same"), done.stderr
