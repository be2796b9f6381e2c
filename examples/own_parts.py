"""A suite, a teacher, a policy, a loss and an algorithm of one's own: train, resume, evaluate and export with them.

  python examples/own_parts.py --output=runs/own_parts
"""

import argparse
import dataclasses
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import optax

import rpd_jax as rj
from rpd_jax.algorithms.base import apply, freeze, is_finite, iteration_keys, make_optimizer
from rpd_jax.algorithms.ppo_loss import distillation
from rpd_jax.config import AlgorithmConfig, Config, EnvConfig, NetworkConfig, RunConfig, TeacherConfig, choice, setting
from rpd_jax.envs.base import ArraySpec, EnvSpec
from rpd_jax.envs.suite import FunctionalSuite, TaskInfo, task_of
from rpd_jax.policies.base import Policy, make_policy
from rpd_jax.policies.gaussian import Gaussian
from rpd_jax.types import TeacherLabels, TeacherSpec
from teachers.settings import teacher_factory


class Drift:
    """A point on a line is to be brought to 0 against a drift; success within 0.1."""

    def __init__(self, drift: float, steps: int) -> None:
        entries = {"state": ArraySpec((1,), "float32")}
        self.drift = drift
        self.spec = EnvSpec("mylab:Drift-v0", "hold the point", steps, 1, (-1.0,), (1.0,), entries, {"state": {"x": (0, 1)}})

    def reset(self, key):
        x = jax.random.uniform(key, (1,), minval=-1.0, maxval=1.0)
        return x, {"state": x}

    def step(self, x, action):
        x = x + self.drift + 0.5 * action
        no = jnp.zeros((), bool)  # an episode ends with its time alone, which is counted outside
        return x, {"state": x}, 1.0 - jnp.abs(x[0]), no, no, jnp.abs(x[0]) < 0.1


@dataclasses.dataclass
class MyLabConfig(EnvConfig):
    name: str = "mylab:Drift-v0"
    drift: float = setting(0.05, low=0)


class MyLab(FunctionalSuite):
    def tasks(self):
        return ("Drift-v0",)

    def info(self, task, config):
        return TaskInfo(instructions=("hold the point",), max_episode_steps=config.max_episode_steps or 10)

    def check(self, config):
        choice("env.name: task", task_of(config), self.tasks())

    def functional(self, config, *, rgb, end_on_success):
        return Drift(config.drift, config.max_episode_steps or 10)


@dataclasses.dataclass
class SteerSettings(TeacherConfig):
    name: str = "steer"
    gain: float = setting(2.0, above=0)


class Steer:
    def __init__(self, gain: float) -> None:
        self.gain, self.spec = gain, TeacherSpec("steer", ("state",), None, in_graph=True)

    def label(self, observation, instructions, key):
        action = jnp.clip(-self.gain * observation["state"], -1.0, 1.0)
        return TeacherLabels(action, jnp.ones(len(action), bool), jnp.full_like(action, 0.1))


def linear(network, spec, keys, head):
    """A policy: the mean is linear in the state."""

    def run(params, observation):
        mean = observation["state"] @ params["w"] + params["b"]
        return Gaussian(mean, jnp.full_like(mean, network.log_std_init)), None

    return Policy(lambda key: {"w": jnp.zeros((1, 1)), "b": jnp.zeros(1)}, run)


@rj.losses.term("huber")
def huber(student_mean, teacher_action):
    """Quadratic near the teacher's action, linear far from it."""
    return optax.losses.huber_loss(student_mean, teacher_action)


@dataclasses.dataclass
class DAggerConfig(AlgorithmConfig):
    name: str = "dagger"
    rollout_length: int = setting(10, low=1)

    def iteration_steps(self, num_envs):
        return self.rollout_length * num_envs


class DAgger(NamedTuple):
    """Imitates the teacher on the student's own rollouts; knows no reward."""

    policy: Policy
    config: DAggerConfig
    terms: tuple[str, ...]
    plays: ClassVar[bool] = True
    ahead: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def of(cls, setup):
        return cls(make_policy(setup.config.env, setup.config.network, setup.spec), setup.config.algorithm, setup.terms)

    def init_optimizer(self, params):
        return make_optimizer(self.config).init(params)

    def act(self, member, observation, keys):
        policy, _ = apply(self.policy, member, observation)
        return jax.vmap(lambda p, key: p.sample(key))(policy, keys), {}

    def look_ahead(self, member, observation):
        return {}

    def update(self, members, variants, rollout, labels, progress):
        pass
