"""PPO of stable-baselines3 with the settings of one of our configs, on our environments: what to learn as well as.

It has its own observation normaliser, `VecNormalize`, whose moments it renews with every step.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from gymnasium.spaces import Box
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from benchmarks.sb3_vector import PlainVecEnv
from rpd_jax.config import Config
from rpd_jax.envs.base import VectorEnv
from rpd_jax.envs.registry import env_seeds, make_env
from rpd_jax.policies.normalization import CLIP
from rpd_jax.training.evaluation import run_episodes
from rpd_jax.types import Observation

Points = list[tuple[int, float]]
"""A learning curve: environment steps so far, success once in an episode."""


class Environments(PlainVecEnv):
    """Our vector environment as stable-baselines3 wants it; observations are the entry `key`."""

    def __init__(self, env: VectorEnv, key: str, bootstrap_terminated: bool) -> None:
        """`bootstrap_terminated` reports success as a time limit: SB3 bootstraps the value of nothing else."""
        self._env, self._key, self._bootstrap = env, key, bootstrap_terminated
        spec = env.spec
        super().__init__(
            env.num_envs,
            Box(-np.inf, np.inf, spec.observation[key].shape, np.float32),
            Box(np.float32(spec.action_low), np.float32(spec.action_high)),
        )

    def reset(self) -> np.ndarray:
        return np.array(self._env.reset()[self._key])

    def step_async(self, actions: np.ndarray) -> None:
        self._actions = actions

    def step_wait(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        result = self._env.step(self._actions)
        terminated, truncated = np.asarray(result.terminated), np.asarray(result.truncated)
        final = np.asarray(result.final_observation[self._key])
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        for i in np.flatnonzero(terminated | truncated):
            limit = bool(self._bootstrap or not terminated[i])
            infos[i] = {"terminal_observation": final[i], "TimeLimit.truncated": limit}
        # copies: SB3 adds to rewards in place
        return np.array(result.observation[self._key]), np.array(result.reward), terminated | truncated, infos

    def close(self) -> None:
        self._env.close()


class _Evaluations(BaseCallback):
    """Evaluates before a rollout where so many steps are done, as our trainer does after an iteration."""

    def __init__(self, every: int, evaluate: Callable[[], float]) -> None:
        super().__init__()
        self._every, self._evaluate, self.points = every, evaluate, Points()

    def _on_rollout_start(self) -> None:
        if self.num_timesteps > 0 and self.num_timesteps % self._every == 0:
            self.points.append((self.num_timesteps, self._evaluate()))

    def _on_step(self) -> bool:
        return True


def make_model(config: Config, env: VecEnv, seed: int) -> PPO:
    """PPO with a config's settings; `env` normalises its observations."""
    ppo, network = config.algorithm, config.network
    batch = ppo.iteration_steps(config.env.num_envs)
    assert batch % ppo.minibatches == 0, "SB3 would make another minibatch of the remainder"
    assert ppo.advantage == "gae" and ppo.value_clip is None and ppo.target_kl is None, "not compared here"

    def rate(remaining: float) -> float:
        """Ours is the rate of an iteration's beginning; SB3 counts the rollout that it has just collected."""
        progress = 1.0 - remaining - 1.0 / config.iterations
        return ppo.learning_rate * (1.0 + (ppo.learning_rate_end - 1.0) * progress)

    return PPO(
        "MlpPolicy",
        env,
        learning_rate=rate,
        n_steps=ppo.rollout_length,
        batch_size=batch // ppo.minibatches,
        n_epochs=ppo.epochs,
        gamma=ppo.gamma,
        gae_lambda=ppo.gae_lambda,
        clip_range=ppo.clip_ratio,
        normalize_advantage=ppo.normalize_advantage,
        ent_coef=ppo.entropy_coef,
        vf_coef=0.5 * ppo.value_coef,  # our value loss is half the squared error
        max_grad_norm=ppo.max_grad_norm,
        policy_kwargs={
            "net_arch": {"pi": list(network.hidden), "vf": list(network.hidden)},
            "activation_fn": torch.nn.Tanh,
            "log_std_init": network.log_std_init,
            "optimizer_kwargs": {"eps": ppo.adam_eps},
        },
        seed=seed,
        device="cpu",
    )


def learn(config: Config, seed: int) -> Points:
    """Trains one seed, in the environments that our member of that seed has; the last point is the final evaluation.

    Points are as far apart as `config.eval` says, all of deterministic episodes that run to their time limit.
    """
    torch.set_num_threads(1)  # small networks: more threads only wait for each other
    key, settings, envs = config.env.observation, config.eval, config.env
    assert key in ("state", "ee"), "SB3's MLP reads one flat entry"
    train_env = make_env(envs, env_seeds(seed, envs.num_envs), rgb=False, end_on_success=envs.end_on_success)
    eval_env = make_env(envs, env_seeds(settings.seed, settings.num_envs), rgb=False, end_on_success=False)
    with contextlib.closing(train_env), contextlib.closing(eval_env):
        adapted = Environments(train_env, key, config.algorithm.bootstrap_terminated)
        normalised = VecNormalize(
            adapted, norm_obs=config.network.normalize_observations, norm_reward=False, clip_obs=CLIP
        )
        model = make_model(config, normalised, seed)
        first = eval_env.state_dict()

        def act(observation: Observation, starts: np.ndarray) -> np.ndarray:
            seen = normalised.normalize_obs(np.asarray(observation[key]))
            return model.predict(seen, deterministic=True)[0]

        def evaluate(episodes: int) -> float:
            eval_env.load_state_dict(first)
            played, _ = run_episodes(eval_env, act, math.ceil(episodes / settings.num_envs))
            return float(np.mean([e.success_once for e in played]))

        batch = config.algorithm.iteration_steps(envs.num_envs)
        total = config.iterations * batch
        curve = _Evaluations(settings.every * batch, lambda: evaluate(settings.curve_episodes))
        model.learn(total, callback=curve)
        return [*curve.points, (total, evaluate(settings.episodes))]
