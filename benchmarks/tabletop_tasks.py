"""Are the tabletop tasks what they are said to be? Scripted teachers on all of them, and contacts beside ManiSkill's.

    python -m benchmarks.tabletop_tasks                 # two minutes
    python -m benchmarks.tabletop_tasks --no-maniskill  # without ManiSkill's side of the comparison

`success_TASK`: share of 200 episodes in which the uncorrupted scripted teacher succeeds, C engine.
`success_quickstart_*`: of 1000 episodes, of the quickstart's teacher in PickCube, with its noise and without (the
ceiling that its systematic error leaves).

`grope_SUITE_*`: PickCube, 64 hands that aim at the cube with the noise of an exploring policy (standard deviation
0.22), open for 15 steps, then closing. Of the last 24 of 49 steps: `hold`, the share in which the cube is grasped, and
`centimetres`, the mean distance from tool to cube. Contacts that fling cubes away show here, long before they do in
the success of a careful teacher, and they keep PPO and its students from learning.
"""

from __future__ import annotations

import contextlib

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import common
from rpd_jax.config import EnvConfig
from rpd_jax.envs.functional import play
from rpd_jax.envs.registry import make_env
from rpd_jax.envs.tabletop.env import TabletopEnv
from rpd_jax.presets import quickstart
from teachers.base import acting, load
from teachers.scripted import TASKS

STEPS, OPEN_STEPS, COUNTED = 49, 15, 24
NOISE = 0.22  # action units


def success(task: str, corruption: dict[str, float], episodes: int) -> float:
    """Share of episodes in which the scripted teacher succeeds at any step."""
    env = TabletopEnv(task, end_on_success=False)
    act, steps = acting(load("scripted", env.spec, **corruption)), env.spec.max_episode_steps
    run = jax.jit(lambda seeds: play(env, act, seeds, steps, jax.random.key(0)).success)
    return int(run(jnp.arange(episodes, dtype=jnp.uint32)).any(axis=0).sum()) / episodes


def grope(suite: str, num_envs: int) -> dict[str, float]:
    """The two figures of a suite."""
    rng = np.random.default_rng(0)
    config = EnvConfig(name=f"{suite}:PickCube-v1")
    held, distance = [], []
    with contextlib.closing(make_env(config, range(num_envs), rgb=False, end_on_success=False)) as env:
        layout = env.spec.layout["state"]
        state = np.asarray(env.reset()["state"])
        for step in range(STEPS):
            action = rng.normal(0.0, NOISE, (num_envs, 7))
            action[:, :3] += np.clip(7.0 * state[:, slice(*layout["tcp_to_obj_pos"])], -1.0, 1.0)
            action[:, 6] += 1.0 if step < OPEN_STEPS else -1.0
            state = np.asarray(env.step(action).observation["state"])
            held.append(state[:, layout["is_grasped"][0]])
            distance.append(np.linalg.norm(state[:, slice(*layout["tcp_to_obj_pos"])], axis=1))
    return {
        f"grope_{suite}_hold": float(np.mean(held[-COUNTED:])),
        f"grope_{suite}_centimetres": 100.0 * float(np.mean(distance[-COUNTED:])),
    }


def main() -> None:
    parser = common.make_parser("tabletop_tasks")
    parser.add_argument("--no-maniskill", action="store_true", help="leave ManiSkill out")
    arguments = parser.parse_args()
    episodes = 50 if arguments.quick else 200
    figures = {f"success_{task}": success(task, {}, episodes) for task in TASKS}
    teacher = quickstart().teacher
    error = {"aim_error": teacher.aim_error, "aim_error_fraction": teacher.aim_error_fraction}
    figures["success_quickstart_teacher"] = success("PickCube-v1", {**error, "noise": teacher.noise}, 5 * episodes)
    figures["success_quickstart_teacher_without_noise"] = success("PickCube-v1", error, 5 * episodes)
    for suite in ("tabletop",) if arguments.no_maniskill else ("tabletop", "maniskill"):
        figures |= grope(suite, 64)
    common.write("tabletop_tasks", figures, arguments.json)


if __name__ == "__main__":
    main()
