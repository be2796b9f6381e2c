"""The ManiSkill worker with toy environments instead of simulators, for tests of everything around them.

An environment's state is its joint positions, velocities and tool pose (zeros), its reset seed and its steps.
It succeeds where action[1] > 0.5, gives action[2] as reward, raises where action[0] > 0.5, hangs where
action[0] < -0.5, gives NaN (a tool pose) where it is 0.25, pays infinitely where it is -0.25, and draws its seed's
remainder and its steps as grey values.
"""

import os
import time
from types import SimpleNamespace

import numpy as np

from rpd_jax.envs.maniskill.worker import Worker
from rpd_jax.envs.process_worker import main


class Tensor(np.ndarray):
    def numpy(self):
        return np.asarray(self)


def tensor(values):
    return np.asarray(values, np.float32).view(Tensor)


class Env:
    single_action_space = SimpleNamespace(low=np.full(3, -1.0, np.float32), high=np.full(3, 1.0, np.float32))
    agent = SimpleNamespace(uid="panda")

    def __init__(self, image_size):
        self.size = image_size
        self.seed = self.steps = 0

    def get_obs(self, unflattened):
        sizes = {"agent": {"qpos": 9, "qvel": 9}, "extra": {"tcp_pose": 7, "seed": 1, "steps": 1}}
        return {group: {name: np.zeros((1, n)) for name, n in entries.items()} for group, entries in sizes.items()}

    def observation(self):
        return tensor([[0.0] * 25 + [self.seed % 1000, self.steps]])

    def get_state_dict(self):
        return {"actors": {"cube": tensor([[self.seed % 1000, self.steps]])}, "articulations": {"a": tensor([[1.0]])}}

    def reset(self, seed):
        self.seed, self.steps = seed, 0
        if os.environ.get("FAKE_BAD_RESET") == "1" and not os.path.exists(os.environ["FAKE_MARK"]):
            open(os.environ["FAKE_MARK"], "w").close()
            os._exit(1)
        observation = self.observation()
        if os.environ.get("FAKE_NAN_RESET") == str(seed):
            observation[0, 0] = np.nan
        return observation, {}

    def step(self, action):
        self.steps += 1
        if action[0] > 0.5:
            raise ArithmeticError("the simulation exploded")
        if action[0] < -0.5:
            time.sleep(1000)
        success = tensor([action[1] > 0.5])
        observation = self.observation()
        if action[0] == 0.25:
            observation[0, 20] = np.nan
        reward = np.inf if action[0] == -0.25 else action[2]
        return observation, tensor([reward]), success, None, {"success": success}

    def render(self):
        frame = np.full((1, self.size, self.size, 3), self.seed % 200, np.uint8)
        frame[:, 0] = self.steps
        return frame.view(Tensor)


class FakeWorker(Worker):
    def _create(self, fields):
        return [Env(fields["image_size"]) for _ in range(fields["count"])]


if __name__ == "__main__":
    main(FakeWorker())
