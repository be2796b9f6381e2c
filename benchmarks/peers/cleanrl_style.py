"""PPO in the style of CleanRL: one file of eager torch, here with the update that `benchmarks.update` has."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch.distributions import Normal

from benchmarks.peers.work import GAMMA, LAMBDA, RATE, NumpyEnvs, Work
from benchmarks.torch_baseline import Batch, Sizes, StateAgent, learn


def make(work: Work) -> dict[str, Any]:
    """The parts that `turns.serve` times."""
    torch.set_num_threads(1)  # small networks: more threads only wait for each other
    torch.manual_seed(0)
    sizes = Sizes(
        batch=work.batch,
        minibatch=work.batch // work.minibatches,
        minibatches=work.minibatches,
        epochs=work.epochs,
        observation=work.observation,
        action=work.action,
        hidden=work.hidden,
    )
    agent, generator, envs = StateAgent(sizes), np.random.default_rng(0), NumpyEnvs(work)
    optimizer = torch.optim.Adam(agent.parameters(), lr=RATE, eps=1e-5)
    observations, actions = (torch.zeros(work.steps, work.envs, d) for d in (work.observation, work.action))
    log_probs, rewards, values, dones = (torch.zeros(work.steps, work.envs) for _ in range(4))
    state = {"observation": torch.from_numpy(envs.reset())}

    def rollout() -> Batch:
        observation = state["observation"]
        for t in range(work.steps):
            observations[t] = observation
            mean, value = agent(observation)
            distribution = Normal(mean, agent.log_std.exp().expand_as(mean))
            actions[t] = distribution.sample()
            log_probs[t], values[t] = distribution.log_prob(actions[t]).sum(1), value.flatten()
            following, _, reward, ended = envs.step(actions[t].numpy())
            observation, rewards[t], dones[t] = torch.from_numpy(following), torch.from_numpy(reward), float(ended)
        state["observation"] = observation
        following, advantage, advantages = agent(observation)[1].flatten(), torch.zeros(()), torch.zeros_like(rewards)
        for t in reversed(range(work.steps)):
            delta = rewards[t] + GAMMA * following * (1 - dones[t]) - values[t]
            advantage = delta + GAMMA * LAMBDA * (1 - dones[t]) * advantage
            advantages[t], following = advantage, values[t]
        flat = (observations.flatten(0, 1), actions.flatten(0, 1), log_probs.flatten(), advantages.flatten())
        return Batch(*flat, returns=(advantages + values).flatten(), labels=None)

    def iterations() -> None:
        for _ in range(work.iterations):
            with torch.no_grad():
                batch = rollout()
            learn(agent, optimizer, batch, sizes, generator)

    return {"iterations": iterations}
