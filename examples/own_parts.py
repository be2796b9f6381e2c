"""Own suite, teacher, policy, loss and algorithm: trains, resumes, evaluates, exports. Argument: the run directory."""

import dataclasses
import sys

import jax
import jax.numpy as jnp

import rpd_jax as rj
from rpd_jax.algorithms.base import descend, settle
from rpd_jax.config import EnvConfig, RolloutConfig, TeacherConfig, setting
from rpd_jax.envs.base import ArraySpec, EnvSpec
from rpd_jax.envs.suite import FunctionalSuite
from rpd_jax.export.files import export_student
from rpd_jax.policies.base import Gaussian, Policy
from teachers.settings import teacher_factory


class Hold:
    """A suite's one task: a point on a line is to be held at 0 against a drift; success within 0.1."""

    def __init__(self, drift, steps):
        self.drift, state = drift, {"state": ArraySpec((1,), "float32")}
        self.spec = EnvSpec("mylab:Hold-v0", "hold the point", steps, 1, (-1.0,), (1.0,), state, {})

    def reset(self, key):
        return (x := jax.random.uniform(key, (1,), minval=-1.0, maxval=1.0)), {"state": x}

    def step(self, x, action):
        x, no = x + self.drift + 0.5 * action, jnp.zeros((), bool)
        return x, {"state": x}, 1.0 - jnp.abs(x[0]), no, no, jnp.abs(x[0]) < 0.1


@dataclasses.dataclass
class MyLabConfig(EnvConfig):
    name: str = "mylab:Hold-v0"
    drift: float = setting(0.05, low=0)


class MyLab(FunctionalSuite):
    def tasks(self):
        return ("Hold-v0",)

    def functional(self, config, *, rgb, end_on_success):
        return Hold(config.drift, config.max_episode_steps or 10)


@dataclasses.dataclass
class SteerSettings(TeacherConfig):
    name: str = "steer"
    gain: float = setting(1.0, above=0)


class Steer:
    """A teacher that steers towards 0, and does not know of the drift."""

    def __init__(self, env_spec, settings):
        self.gain, self.spec = settings.gain, rj.TeacherSpec("steer", ("state",), None, in_graph=True)

    def label(self, observation, instructions, key):
        action = jnp.clip(-self.gain * observation["state"], -1.0, 1.0)
        return rj.TeacherLabels(action, jnp.ones(len(action), bool), jnp.full_like(action, 0.1))


def linear(network, spec, keys, head):
    def apply(params, observation):
        mean = observation["state"] @ params["w"] + params["b"]
        return Gaussian(mean, jnp.full_like(mean, network.log_std_init)), None

    return Policy(lambda key: {"w": jnp.zeros((1, 1)), "b": jnp.zeros((1, 1))}, apply)


@rj.losses.term("huber")
def huber(student_mean, teacher_action):
    """Quadratic near the teacher's action, linear far from it."""
    return jnp.where((d := jnp.abs(student_mean - teacher_action)) < 1.0, 0.5 * d**2, d - 0.5)


@dataclasses.dataclass
class ImitateConfig(RolloutConfig):
    name: str = "imitate"


class Imitate(rj.Algorithm):
    """Learns from the teacher's labels of the student's own rollouts; knows no reward (DAgger)."""

    def update(self, members, variants, rollout, labels, progress):
        def learn(member, variant, rollout, labels):  # of one member, leaves [T, N, ...]
            def loss(params):
                policy, _ = self.policy.apply(params, {"state": rollout.observation["state"].reshape(-1, 1)})
                return variant.coefficients[0] * jnp.mean(huber(policy.mean, labels.action.reshape(-1, 1)))

            value, grads = jax.value_and_grad(loss)(member.params)
            return descend(self, member, grads, variant, progress), {"loss": value}

        learnt, metrics = jax.vmap(learn, in_axes=(0, 0, 1, 1))(members, variants, rollout, labels)
        return settle(learnt, members, metrics)


rj.register_suite("mylab", MyLab(), MyLabConfig)
rj.register_teacher("steer", SteerSettings, Steer)
rj.register_policy("linear", linear)
rj.register_algorithm("imitate", ImitateConfig, Imitate.of)
rj.register_variant(rj.VariantSpec("imitate-huber", {"huber": 1.0}, algorithm="imitate"))


def main(directory):
    config = rj.Config(variants=("imitate-huber",), seeds=(0, 1), env=MyLabConfig(), teacher=SteerSettings(gain=2.0))
    config.algorithm = ImitateConfig(rollout_length=10, learning_rate=0.1)
    config.network.name, config.eval.every, config.run.directory = "linear", 5, directory
    for steps in (6400, 12800):  # the second call resumes the first
        config.algorithm.total_steps = steps
        result = rj.train(config, teacher_factory(config.teacher), resume=True)
    exported = export_student(result.student(seed=0), f"{directory}/export/0")
    return result, rj.evaluate(directory, episodes=50), exported


if __name__ == "__main__":
    print(main(sys.argv[1])[0].table)
