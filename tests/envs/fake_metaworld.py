"""Meta-World's worker with a toy instead of its tasks and scripts.

Its 39 numbers are zeros but for the hand's position, (seed % 1000, steps, sum of the actions' first numbers). It
succeeds where action[1] > 0.5, pays action[2], and gives NaN where action[1] < -0.5. Its script would do
(steps / 10, 2, 0, seed % 2), which leaves the box.
"""

from types import SimpleNamespace

import numpy as np

from rpd_jax.envs.metaworld.worker import Worker
from rpd_jax.envs.process_worker import main


class Env:
    def seed(self, seed):
        self.now = [seed % 1000, 0, 0.0]

    def reset(self):
        return self.observation(), {}

    def step(self, action):
        self.now = [self.now[0], self.now[1] + 1, self.now[2] + float(action[0])]
        observation = self.observation()
        if action[1] < -0.5:
            observation[5] = np.nan
        return observation, float(action[2]), False, False, {"success": float(action[1] > 0.5)}

    def observation(self):
        return np.array(self.now + [0.0] * 36)


def answer(observation):
    return np.array([observation[1] / 10, 2.0, 0.0, observation[0] % 2]) + observation[5]


class FakeWorker(Worker):
    def _make_expert(self, task):
        return SimpleNamespace(get_action=answer)

    def _make_env(self, task, max_episode_steps):
        return Env()

    def _versions(self):
        return {"metaworld": "0"}


if __name__ == "__main__":
    main(FakeWorker())
