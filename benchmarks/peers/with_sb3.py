"""stable-baselines3's PPO on one vectorised environment, which spares it a Python loop over environments."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gymnasium.spaces import Box
from stable_baselines3 import PPO

from benchmarks.peers.work import CLIP, GAMMA, GRAD_NORM, LAMBDA, LOG_STD, RATE, NumpyEnvs, Work
from benchmarks.sb3_vector import PlainVecEnv


class Envs(PlainVecEnv):
    """As stable-baselines3 wants them."""

    def __init__(self, work: Work) -> None:
        self._envs = NumpyEnvs(work)
        observation = Box(-np.inf, np.inf, (work.observation,), np.float32)
        super().__init__(work.envs, observation, Box(-1.0, 1.0, (work.action,), np.float32))

    def reset(self) -> np.ndarray:
        return self._envs.reset()

    def step_async(self, actions: np.ndarray) -> None:
        self._actions = actions

    def step_wait(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        observation, last, reward, ended = self._envs.step(self._actions)
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        if ended:
            infos = [{"terminal_observation": each, "TimeLimit.truncated": True} for each in last]
        return observation, reward, np.full(self.num_envs, ended), infos

    def close(self) -> None:
        pass


def make(work: Work) -> dict[str, Any]:
    """The parts that `turns.serve` times."""
    torch.set_num_threads(1)  # small networks: more threads only wait for each other
    model = PPO(
        "MlpPolicy",
        Envs(work),
        learning_rate=RATE,
        n_steps=work.steps,
        batch_size=work.batch // work.minibatches,
        n_epochs=work.epochs,
        gamma=GAMMA,
        gae_lambda=LAMBDA,
        clip_range=CLIP,
        max_grad_norm=GRAD_NORM,
        policy_kwargs={
            "net_arch": {"pi": list(work.hidden), "vf": list(work.hidden)},
            "activation_fn": torch.nn.Tanh,
            "log_std_init": LOG_STD,
        },
        seed=0,
        device="cpu",
    )

    def iterations() -> None:
        model.learn(work.iterations * work.batch, reset_num_timesteps=False)

    return {"iterations": iterations}
