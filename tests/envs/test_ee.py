"""The end-effector observation by hand."""

import jax.numpy as jnp
import numpy as np

from rpd_jax.envs import ee

HALF = np.sqrt(0.5)
DOWN = (0.0, 1.0, 0.0, 0.0)  # half a turn about x: x stays, y turns to -y
QUARTER = (HALF, 0.0, 0.0, HALF)  # a quarter turn about z: x turns to y, y to -x


def entries():
    return {
        "tcp_pose": jnp.array([0.1, 0.2, 0.3, *DOWN]),
        "cube_pose": jnp.array([0.4, 0.2, 0.0, *QUARTER]),
        "peg_pose": jnp.array([0.1, 0.1, 0.1, 1.0, 0.0, 0.0, 0.0]),
        "goal_pos": jnp.array([0.5, 0.0, 0.1]),
    }


EXPECTED = {
    "tcp_pos": [0.1, 0.2, 0.3],
    "tcp_rotation": [1, 0, 0, 0, -1, 0],
    "width": [0.05],
    "cube_pose_position": [0.4, 0.2, 0.0],
    "cube_pose_rotation": [0, 1, 0, -1, 0, 0],
    "tcp_to_cube_pose": [0.3, 0.0, -0.3],
    "peg_pose_position": [0.1, 0.1, 0.1],
    "peg_pose_rotation": [1, 0, 0, 0, 1, 0],
    "tcp_to_peg_pose": [0.0, -0.1, -0.2],
    "goal_pos": [0.5, 0.0, 0.1],
    "cube_pose_to_goal_pos": [0.1, -0.2, 0.1],  # from the first object
}
OBJECTS, GOALS = ("cube_pose", "peg_pose"), ("goal_pos",)


def test_every_part_by_hand():
    observed = ee.observe(entries(), jnp.array(0.05), OBJECTS, GOALS)
    assert ee.sizes(OBJECTS, GOALS) == {name: len(part) for name, part in EXPECTED.items()}
    np.testing.assert_allclose(observed, np.concatenate(list(EXPECTED.values())), atol=1e-6)


def test_opposite_quaternions_look_the_same():
    there = entries()
    there["cube_pose"] = jnp.concatenate([there["cube_pose"][:3], -there["cube_pose"][3:]])
    width = jnp.array(0.05)
    np.testing.assert_allclose(
        ee.observe(there, width, OBJECTS, GOALS), ee.observe(entries(), width, OBJECTS, GOALS), atol=1e-7
    )


def test_batches_are_rows():
    batch = {name: jnp.stack([x, x + 0.0]) for name, x in entries().items()}
    observed = ee.observe(batch, jnp.array([0.05, 0.08]), OBJECTS, GOALS)
    single = ee.observe(entries(), jnp.array(0.05), OBJECTS, GOALS)
    np.testing.assert_allclose(observed[0], single, atol=1e-7)
    assert observed[1, 9] == jnp.float32(0.08)
