"""brax's own PPO training without physics, in a thread that waits at its callback for its turn."""

from __future__ import annotations

import functools
import queue
import threading
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from brax.envs.base import Env as BraxEnv
from brax.envs.base import State
from brax.training.agents.ppo import networks, train

from benchmarks.peers.work import CLIP, DECAY, GAMMA, GRAD_NORM, LAMBDA, PUSH, RATE, Work

TURNS = 10_000  # more than anybody takes

if not hasattr(jax, "device_put_replicated"):  # brax 0.14.2 wants what JAX 0.10 no longer has; for one device, this

    def device_put_replicated(tree: Any, devices: Sequence[jax.Device]) -> Any:
        """Leaves with a leading axis of devices."""
        (device,) = devices
        return jax.device_put(jax.tree.map(lambda x: jnp.asarray(x)[None], tree), device)

    jax.device_put_replicated = device_put_replicated


class Env(BraxEnv):
    """As brax wants it; its wrappers count steps and reset."""

    def __init__(self, work: Work) -> None:
        self._work = work

    def reset(self, rng: jax.Array) -> State:
        zero = jnp.zeros(())
        return State(None, jax.random.normal(rng, (self._work.observation,)), zero, zero)

    def step(self, state: State, action: jax.Array) -> State:
        x = (DECAY * state.obs).at[: self._work.action].add(PUSH * jnp.clip(action, -1, 1))
        return state.replace(obs=x, reward=-jnp.mean(jnp.square(x)))

    @property
    def observation_size(self) -> int:
        return self._work.observation

    @property
    def action_size(self) -> int:
        return self._work.action

    @property
    def backend(self) -> str:
        return "none"


def make(work: Work) -> dict[str, Any]:
    """The parts that `turns.serve` times."""
    begin: queue.SimpleQueue[None] = queue.SimpleQueue()
    done: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()

    def wait_for_turn(*_: Any) -> None:
        done.put(None)
        begin.get()

    def run() -> None:
        try:
            train.train(
                Env(work),
                num_timesteps=TURNS * work.iterations * work.batch,
                num_evals=TURNS + 1,
                run_evals=False,
                policy_params_fn=wait_for_turn,
                num_envs=work.envs,
                episode_length=work.episode,
                unroll_length=work.steps,
                num_minibatches=work.minibatches,
                batch_size=work.envs // work.minibatches,  # whole unrolls
                num_updates_per_batch=work.epochs,
                learning_rate=RATE,
                entropy_cost=0.0,
                discounting=GAMMA,
                gae_lambda=LAMBDA,
                clipping_epsilon=CLIP,
                max_grad_norm=GRAD_NORM,
                network_factory=functools.partial(
                    networks.make_ppo_networks,
                    policy_hidden_layer_sizes=work.hidden,
                    value_hidden_layer_sizes=work.hidden,
                    activation=jnp.tanh,
                    distribution_type="normal",
                ),
            )
        except BaseException as error:
            done.put(error)

    def wait() -> None:
        if (error := done.get()) is not None:
            raise error

    threading.Thread(target=run, daemon=True).start()
    wait()

    def iterations() -> None:
        begin.put(None)
        wait()

    return {"iterations": iterations}
