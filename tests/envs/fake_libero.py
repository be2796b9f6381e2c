"""LIBERO's worker with a toy instead of its simulator, which as the real one is in one episode at a time.

State: entries of zeros but for "eef_pos", (initial state, steps, sum of the actions' first numbers). An episode
succeeds where action[1] > 0.5. A camera's frames are grey: the initial state in "agentview", the steps in the other.
"""

import numpy as np

from rpd_jax.envs.libero.worker import Worker
from rpd_jax.envs.process_worker import main

SIZES = {
    "qpos": 9,
    "qvel": 9,
    "tcp_pose": 7,
    "eef_pos": 3,
    "eef_axis_angle": 3,
    "gripper_qpos": 2,
    "target_pose": 7,
    "goal_pos": 3,
    "soup_1": 7,
}


class Simulator:
    def __init__(self, fields):
        self.size = fields["image_size"]
        self.now = None
        self.description = {
            "instruction": f"do {fields['benchmark']} {fields['number']}",
            "state": [[name, size] for name, size in SIZES.items()],
            "versions": {"mujoco": "3.4.0"},
        }

    def begin(self, seed):
        self.now = [seed % 50, 0, 0.0]

    def step(self, action):
        self.now = [self.now[0], self.now[1] + 1, self.now[2] + float(action[0])]
        return bool(action[1] > 0.5)

    def state(self):
        parts = {name: np.zeros(size) for name, size in SIZES.items()}
        parts["eef_pos"][:] = self.now
        return np.concatenate(list(parts.values())).astype(np.float32)

    def picture(self, camera):
        return np.full((self.size, self.size, 3), self.now[0 if camera == "agentview" else 1], np.uint8)

    def take_out(self):
        return self.now

    def put_in(self, moment):
        self.now = moment


class FakeWorker(Worker):
    def _make_simulator(self, fields):
        return Simulator(fields)


if __name__ == "__main__":
    main(FakeWorker())
