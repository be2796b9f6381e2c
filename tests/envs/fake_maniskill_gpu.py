"""The batched ManiSkill worker with a toy environment in torch instead of the simulator.

An environment's state is its joint positions, velocities and tool pose (zeros), the seed of its episode (-1 where a
partial reset drew it), its steps, and its number of resets. It succeeds where action[1] > 0.5, gives action[2] as
reward; the whole raises where any action[0] > 0.5, and hangs where any action[0] < -0.5. It gives NaN (a tool pose)
where action[0] is 0.25, and pays infinitely where it is -0.25. It draws its steps as grey.
"""

import time
from types import SimpleNamespace

import numpy as np
import torch

from rpd_jax.envs.maniskill.gpu_worker import BatchWorker
from rpd_jax.envs.process_worker import main


class Env:
    single_action_space = SimpleNamespace(low=np.full(3, -1.0, np.float32), high=np.full(3, 1.0, np.float32))
    agent = SimpleNamespace(uid="panda")

    def __init__(self, count, size, device):
        self.size = size
        self.seed, self.steps, self.resets = (torch.zeros(count, device=device) for _ in range(3))

    def get_obs(self, unflattened):
        sizes = {"agent": {"qpos": 9, "qvel": 9}, "extra": {"tcp_pose": 7, "seed": 1, "steps": 1, "resets": 1}}
        return {group: {name: torch.zeros(1, n) for name, n in entries.items()} for group, entries in sizes.items()}

    def observation(self):
        known = torch.stack([self.seed, self.steps, self.resets], 1)
        return torch.cat([torch.zeros(len(known), 25, device=known.device), known], 1)

    def reset(self, seed=None, options=None):
        rows = (options or {}).get("env_idx", slice(None))
        if seed is None:
            self.seed[rows] = -1
        else:
            self.seed[:] = torch.tensor([each % 1000 for each in seed], dtype=torch.float32)
        self.steps[rows] = 0
        self.resets[rows] += 1
        return self.observation(), {}

    def step(self, action):
        self.steps += 1
        if (action[:, 0] > 0.5).any():
            raise ArithmeticError("the simulation exploded")
        if (action[:, 0] < -0.5).any():
            time.sleep(1000)
        success = action[:, 1] > 0.5
        observation = self.observation()
        observation[action[:, 0] == 0.25, 20] = torch.nan
        return (
            observation,
            torch.where(action[:, 0] == -0.25, torch.inf, action[:, 2]),
            success.clone(),
            torch.zeros_like(success),
            {"success": success},
        )

    def render(self):
        grey = self.steps.to(torch.uint8)[:, None, None, None]
        return grey.expand(-1, self.size, self.size, 3)


class FakeBatchWorker(BatchWorker):
    def _create(self, fields):
        torch.inference_mode().__enter__()
        return Env(fields["count"], fields["image_size"], fields["device"])


if __name__ == "__main__":
    main(FakeBatchWorker())
