"""One iteration of VLA-OPD against an eager torch program, and the exact against the sampled reverse KL.

    python -m benchmarks.opd [--quick] [--json=FILE]

One member, MLP 2 x 256 with 256 bins, 32 environments x 50 steps, 16 minibatches, in tabletop:PushCube-v1 (sparse) and
in an environment in which nothing happens. The teacher is another network of that kind. Programs take turns, each in a
process of its own; figures are medians, of wall time and of CPU time (`cpu_`: what a busy machine disturbs less).

ratio_ENV, ratio_cpu_ENV   torch's seconds of an iteration / ours, which are one program (aim: 3)
ratio_ENV_PART             of its rollout, its scoring and its update alone
ratio_sampled              seconds of an iteration of the sampled reverse KL / of the exact one
variance_exact, _sampled   of the gradient of a rollout's batch, over rollouts: trace of the covariance / squared norm
                           of the exact mean
ratio_variance             sampled / exact: how many times as many tokens the sampled one needs
cosine_of_means            between both means: they estimate the same gradient

On a machine that others use too, `taskset -c 0` before the command: torch's threads spin while they wait for each
other, which costs it several times its CPU time. With a GPU all of it runs there. A 7 B student's tokens per second are
another program's (`teachers.openvla`).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import turns
from benchmarks.common import median, parse_args, write
from rpd_jax.algorithms.base import MemberState
from rpd_jax.algorithms.opd import OPD
from rpd_jax.algorithms.opd_loss import Rollout, loss, make_batch
from rpd_jax.algorithms.variants import at
from rpd_jax.config import Config, EnvConfig, NetworkConfig
from rpd_jax.config.algorithm import OPDConfig
from rpd_jax.envs.base import EnvSpec, FunctionalEnv
from rpd_jax.envs.functional import FunctionalVectorEnv
from rpd_jax.envs.registry import make_functional
from rpd_jax.guidance.scores import score_member
from rpd_jax.training import rollout_traced
from rpd_jax.training.loops import GraphLoop
from rpd_jax.training.population import Population
from rpd_jax.training.setup import env_base_seeds
from rpd_jax.types import Array, Observation, TeacherSpec, TokenScores

ENVS, PARTS = ("push", "null"), ("rollout", "score", "update")
STEPS, NUM_ENVS, GROUP, MINIBATCHES = 50, 32, 8, 16
SHARPER = 100.0  # factor of fresh output layers: distributions that differ from each other and from uniform ones


class Null:
    """Nothing happens."""

    def __init__(self, spec: EnvSpec) -> None:
        self.spec = spec

    def reset(self, key: Array) -> tuple[Any, Observation]:
        state = jax.random.normal(key, self.spec.observation["state"].shape)
        return state, {"state": state}

    def step(self, state: Any, action: Array) -> tuple[Any, Observation, Array, Array, Array, Array]:
        never = jnp.zeros((), bool)
        return state, {"state": state}, jnp.zeros(()), never, never, never


class NetworkTeacher:
    """A network like the student's."""

    def __init__(self, population: Population) -> None:
        policy = population.algorithm.policy
        assert policy.tokens is not None
        self._policy, self._params = policy, sharpened(policy.init(jax.random.key(1)))
        bins = policy.tokens.bins
        self.spec = TeacherSpec("network", ("state",), None, token_bins=bins, tokens=policy.tokens, in_graph=True)

    def label(self, *arguments: Any) -> Any:
        raise NotImplementedError("it gives scores alone")

    def score(self, observation: Observation, instructions: Any, tokens: Array) -> TokenScores:
        logits = self._policy.apply(self._params, observation)[0].logits
        return TokenScores(logits, jax.nn.logsumexp(logits, axis=-1))


def sharpened(params: Any) -> Any:
    return params | {"actor_out": jax.tree.map(lambda x: SHARPER * x, params["actor_out"])}


def environment(name: str) -> FunctionalEnv:
    """ "push" or "null"."""
    config = EnvConfig(name="tabletop:PushCube-v1", reward="sparse")
    env = make_functional(config, rgb=False, end_on_success=False)
    assert env is not None
    return env if name == "push" else Null(env.spec)


def set_up(env: FunctionalEnv, variant: str = "reverse-kl") -> tuple[Population, MemberState, np.ndarray]:
    """One member with its environments' seeds."""
    config = Config(
        variants=(variant,),
        seeds=(0,),
        env=EnvConfig(name="tabletop:PushCube-v1", reward="sparse", num_envs=NUM_ENVS),
        network=NetworkConfig(hidden=(256, 256)),
        algorithm=OPDConfig(
            total_steps=10**6,
            rollout_length=STEPS,
            learning_rate=1e-3,
            max_grad_norm=1.0,
            group_size=GROUP,
            minibatches=MINIBATCHES,
        ),
    ).validate()
    config.teacher.batch_size = STEPS * NUM_ENVS
    population = Population(config, env.spec)
    members = population.init()
    return (
        population,
        members._replace(params=sharpened(members.params)),
        np.array(env_base_seeds(population, NUM_ENVS)),
    )


def ours(name: str, variant: str = "reverse-kl") -> turns.Parts:
    """The library's iteration as the one program that it is, and its parts as programs of their own."""
    env = environment(name)
    population, members, seeds = set_up(env, variant)
    teacher = NetworkTeacher(population)
    loop = GraphLoop(population.config, env, seeds.tolist(), population, teacher)
    state = {"members": members, "whole": jax.tree.map(jnp.copy, members)}
    state["running"] = rollout_traced.begin(env, seeds.astype(np.uint32), np.zeros(NUM_ENVS, np.int32))

    @jax.jit
    def roll(members: MemberState, running: Any, number: Array) -> Any:
        running = rollout_traced.begin_episodes(env, running, number)
        return rollout_traced.collect(env, population, STEPS, members, running, ("state",))

    @jax.jit
    def grade(seen: Any) -> TokenScores:
        one = jax.tree.map(lambda x: x[:, 0], (seen.observation, seen.starts, seen.tokens))
        found = score_member(teacher, "", *one, STEPS * NUM_ENVS)
        return jax.tree.map(lambda x: x[:, None], found)

    counts = dict.fromkeys(("iteration", "rollout"), 0)

    def iteration() -> None:
        state["whole"], _ = loop.run(state["whole"], counts["iteration"], 1)
        counts["iteration"] += 1

    def rollout() -> None:
        counts["rollout"] += 1
        found = roll(state["members"], state["running"], np.int32(counts["rollout"]))
        state["running"], state["rollout"] = jax.block_until_ready(found)

    def score() -> None:
        state["scores"] = jax.block_until_ready(grade(state["rollout"].seen))

    def update() -> None:
        found = population.update(state["members"], state["rollout"].transition, state["scores"], 0.0)
        state["members"], _ = jax.block_until_ready(found)

    return {"iteration": iteration, "rollout": rollout, "score": score, "update": update}


def torchs(name: str) -> turns.Parts:
    """The eager program's, around the same environment; of nothing around its own."""
    import torch

    from benchmarks.torch_opd import Iteration, Null, Sizes

    env = environment(name)
    sizes = Sizes(env.spec.observation["state"].shape[0], NUM_ENVS, STEPS, minibatches=MINIBATCHES)
    device = "cuda" if torch.cuda.is_available() and jax.default_backend() == "gpu" else "cpu"
    mine = Iteration(sizes, Null(sizes) if name == "null" else _OnHost(env), device)

    def waiting(part: Callable[[], object]) -> Callable[[], None]:
        def call() -> None:
            part()
            if device == "cuda":
                torch.cuda.synchronize()

        return call

    return {part: waiting(getattr(mine, part)) for part in PARTS}


class _OnHost:
    """`FunctionalVectorEnv` with numpy's arrays, as torch's program wants them."""

    def __init__(self, env: FunctionalEnv) -> None:
        seeds = set_up(env)[2]
        self._env = FunctionalVectorEnv(env, NUM_ENVS, seeds.tolist())

    def begin(self, number: int) -> np.ndarray:
        return np.array(self._env.begin_episode(number)["state"])

    def step(self, action: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        result = self._env.step(action)
        return np.array(result.observation["state"]), np.asarray(result.success)


def gradients(rollouts: int) -> dict[str, float]:
    """Variance of the exact and the sampled reverse KL's gradient, each of the same rollouts' whole batches."""
    env = environment("push")
    population, members, seeds = set_up(env, f"reverse-kl-sampled:token_reverse_kl=1:accumulate={MINIBATCHES}")
    algorithm, teacher = population.algorithm, NetworkTeacher(population)
    assert isinstance(algorithm, OPD)
    member, variant = jax.tree.map(lambda x: x[0], (members, at(population.variants, 0.0)))
    running = rollout_traced.begin(env, seeds.astype(np.uint32), np.zeros(NUM_ENVS, np.int32))

    @jax.jit
    def both(number: Array) -> Array:
        fresh = members._replace(key=jax.vmap(functools.partial(jax.random.fold_in, data=number))(members.key))
        begun = rollout_traced.begin_episodes(env, running, number)
        _, rollout = rollout_traced.collect(env, population, STEPS, fresh, begun, ("state",))
        seen, flags = rollout.seen, rollout.transition
        one = (seen.observation, flags.extras, flags.success, flags.terminated, flags.truncated)
        played = Rollout(*jax.tree.map(lambda x: x[:, 0], one))
        scores = score_member(teacher, "", played.observation, seen.starts[:, 0], played.extras["tokens"], 10**6)
        group = jnp.asarray(algorithm.groups(NUM_ENVS, GROUP))
        batch, _ = make_batch(algorithm.config, variant, played, scores, group)

        def of(name: str) -> Array:
            alone = variant._replace(coefficients=jnp.asarray([float(term == name) for term in population.terms]))
            given = (algorithm.policy, algorithm.config, population.terms, alone, jnp.float32(1.0), batch, None)
            grads = jax.grad(lambda params: loss(params, *given)[0])(member.params)
            return jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(grads)])

        return jnp.stack([of("token_reverse_kl"), of("reverse_kl_sampled")])

    found = np.stack([np.asarray(both(np.int32(number)), np.float64) for number in range(rollouts)])  # [R, 2, M]
    means = found.mean(axis=0)
    exact, sampled = found.var(axis=0, ddof=1).sum(axis=-1) / np.sum(means[0] ** 2)
    cosine = means[0] @ means[1] / np.prod(np.linalg.norm(means, axis=-1))
    return {
        "variance_exact": float(exact),
        "variance_sampled": float(sampled),
        "ratio_variance": float(sampled / exact),
        "cosine_of_means": float(cosine),
    }


def main() -> None:
    if (asked := turns.serving()) is not None:
        program, _, env = asked[0].partition("_")
        sampled = f"reverse-kl-sampled:accumulate={MINIBATCHES}"
        turns.serve(torchs(env) if program == "torch" else ours(env, "reverse-kl" if program == "jax" else sampled))
        return
    args = parse_args("opd")
    rounds = 5 if args.quick else 15
    figures: dict[str, float] = {}
    for env in ENVS:
        names = [f"jax_{env}", f"torch_{env}"] + (["sampled_push"] if env == "push" else [])
        found = turns.compare("benchmarks.opd", names, rounds, args.quick)
        figures |= compared(found, env)
        for name, seconds in found.items():
            label = name.replace("/", "_")
            figures |= {f"seconds_{label}": median([each.wall for each in seconds])}
            figures |= {f"cpu_{label}": median([each.cpu for each in seconds])}
    figures["ratio_sampled"] = figures["seconds_sampled_push_iteration"] / figures["seconds_jax_push_iteration"]
    figures["ratio_cpu_sampled"] = figures["cpu_sampled_push_iteration"] / figures["cpu_jax_push_iteration"]
    figures |= gradients(8 if args.quick else 32)
    write("opd", figures, args.json)


def compared(found: dict[str, list[turns.Seconds]], env: str) -> dict[str, float]:
    """Torch's seconds over ours, medians of the rounds' ratios."""
    figures = {}
    for kind, prefix in ((0, "ratio"), (1, "ratio_cpu")):
        theirs = [[each[kind] for each in found[f"torch_{env}/{part}"]] for part in PARTS]
        for part, mine in zip(PARTS, theirs, strict=True):
            own = [each[kind] for each in found[f"jax_{env}/{part}"]]
            figures[f"{prefix}_{env}_{part}"] = median([a / b for a, b in zip(mine, own, strict=True)])
        own = [each[kind] for each in found[f"jax_{env}/iteration"]]
        whole = [sum(each) for each in zip(*theirs, strict=True)]
        figures[f"{prefix}_{env}"] = median([a / b for a, b in zip(whole, own, strict=True)])
    return figures


if __name__ == "__main__":
    main()
