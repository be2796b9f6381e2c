"""Plays given actions in plain ManiSkill environments, in the way its documentation shows.

Usage: maniskill_reference.py IN.npz OUT.npz, with task, mode, seeds [N, K] (of consecutive episodes) and
actions [T, N, A] in, and what each step gave, plus the first states, out.
"""

import sys

import gymnasium
import mani_skill.envs  # noqa: F401
import numpy as np
import torch

torch.set_num_threads(1)
given = np.load(sys.argv[1])
actions, seeds = given["actions"], given["seeds"]
steps, num_envs = actions.shape[:2]
names = ("state", "final_state", "reward", "terminated", "truncated", "success")
result = {name: [[None] * num_envs for _ in range(steps)] for name in names}
first = []
for n in range(num_envs):
    env = gymnasium.make(
        str(given["task"]),
        num_envs=1,
        obs_mode="state",
        control_mode=str(given["mode"]),
        reward_mode="normalized_dense",
        sim_backend="physx_cpu",
        render_backend="sapien_cpu",
    )
    episode = 0
    state, _ = env.reset(seed=int(seeds[n, 0]))
    first.append(state[0].numpy())
    for t in range(steps):
        state, reward, terminated, truncated, info = env.step(actions[t, n])
        result["final_state"][t][n] = state[0].numpy()
        result["reward"][t][n] = reward.item()
        result["terminated"][t][n] = terminated.item()
        result["truncated"][t][n] = truncated.item()
        result["success"][t][n] = info["success"].item()
        if terminated or truncated:
            episode += 1
            state, _ = env.reset(seed=int(seeds[n, episode]))
        result["state"][t][n] = state[0].numpy()
np.savez(sys.argv[2], first=first, **result)
