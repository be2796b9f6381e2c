"""rejax's PPO, PureJaxRL's design as a package, in an environment of gymnax: a scan of its own iterations."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from gymnax.environments import environment, spaces
from rejax import PPO

from benchmarks.peers.work import CLIP, DECAY, GAMMA, GRAD_NORM, LAMBDA, PUSH, RATE, Work


@struct.dataclass
class State(environment.EnvState):
    """`time`, and where it is."""

    x: jax.Array


@struct.dataclass
class Params(environment.EnvParams):
    """How long an episode is."""

    max_steps_in_episode: int = 100


class Env(environment.Environment[State, Params]):
    """As gymnax wants it, which resets by itself."""

    def __init__(self, work: Work) -> None:
        super().__init__()
        self._work = work

    @property
    def default_params(self) -> Params:
        return Params(max_steps_in_episode=self._work.episode)

    def reset_env(self, key: jax.Array, params: Params) -> tuple[jax.Array, State]:
        x = jax.random.normal(key, (self._work.observation,))
        return x, State(time=0, x=x)

    def step_env(self, key: jax.Array, state: State, action: jax.Array, params: Params) -> tuple:
        x = (DECAY * state.x).at[: self._work.action].add(PUSH * action)
        done = state.time + 1 >= params.max_steps_in_episode
        return x, State(time=state.time + 1, x=x), -jnp.mean(jnp.square(x)), done, {}

    def action_space(self, params: Params | None = None) -> spaces.Box:
        return spaces.Box(-1.0, 1.0, (self._work.action,))

    def observation_space(self, params: Params) -> spaces.Box:
        return spaces.Box(-jnp.inf, jnp.inf, (self._work.observation,))


def make(work: Work) -> dict[str, Any]:
    """The parts that `turns.serve` times."""
    env = Env(work)
    algorithm = PPO.create(
        env=env,
        env_params=env.default_params,
        agent_kwargs={"activation": "tanh", "hidden_layer_sizes": work.hidden},
        num_envs=work.envs,
        num_steps=work.steps,
        num_epochs=work.epochs,
        num_minibatches=work.minibatches,
        learning_rate=RATE,
        max_grad_norm=GRAD_NORM,
        gamma=GAMMA,
        gae_lambda=LAMBDA,
        clip_eps=CLIP,
        ent_coef=0.0,
    )
    state = [algorithm.init_state(jax.random.key(0))]

    @jax.jit
    def train(state: Any) -> Any:
        return jax.lax.scan(lambda state, _: (algorithm.train_iteration(state), None), state, None, work.iterations)[0]

    def iterations() -> None:
        state[0] = jax.block_until_ready(train(state[0]))

    return {"iterations": iterations}
