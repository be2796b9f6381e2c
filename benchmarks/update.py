"""One PPO + RPD-MSE update, jitted, against an eager torch program, and eight members against one.

  python -m benchmarks.update [--quick] [--json=FILE]

State student: batch 6,400, 8 epochs, 48 minibatches of 133, MLP 3 x 256. RGB student: 128 x 128 pixels, one epoch.
The programs take turns, so that a drift of the machine's speed meets them alike; figures are medians.

ratio_one_member    torch's seconds / ours, one member (higher is better)
ratio_eight_members our seconds for eight members / for one (lower is better)
ratio_rgb           torch's seconds / ours, RGB student (on CPU one epoch of a smaller batch)
Each also with the suffix _cpu, of the CPU seconds of all threads. With a GPU the same three are measured on it, both
programs there.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import numpy as np
import torch

from benchmarks import turns
from benchmarks.common import median, parse_args, spread, write
from benchmarks.torch_baseline import Sizes, make_torch_update
from rpd_jax.config import Config, EnvConfig, PPOConfig
from rpd_jax.envs.base import ArraySpec, EnvSpec
from rpd_jax.training.population import Population
from rpd_jax.types import TeacherLabels, Transition

STATE, ACTION = 42, 7


def make_update(sizes: Sizes, members: int, pixels: int = 0) -> Callable[[], None]:
    """The library's update of `members` RPD-MSE students, to be timed."""
    length = 50 if sizes.batch % 50 == 0 else 1
    num_envs = sizes.batch // length
    spec = EnvSpec(
        name="benchmark:none",
        instruction="",
        max_episode_steps=length,
        action_dim=ACTION,
        action_low=(-1.0,) * ACTION,
        action_high=(1.0,) * ACTION,
        observation={
            "state": ArraySpec((STATE,), "float32"),
            "rgb": ArraySpec((pixels, pixels, 3), "uint8"),
        },
        layout={},
    )
    config = Config(
        variants=("rpd-mse",),
        seeds=tuple(range(members)),
        env=EnvConfig(num_envs=num_envs, observation="rgb" if pixels else "state", image_size=pixels or 128),
        algorithm=PPOConfig(rollout_length=length, epochs=sizes.epochs, minibatches=sizes.minibatches, target_kl=None),
    ).validate()
    population = Population(config, spec)
    rng = np.random.default_rng(0)
    shape = (length, members, num_envs)

    def normal(*dims: int) -> np.ndarray:
        return rng.normal(size=(*shape, *dims)).astype(np.float32)

    if pixels:
        observation = {"rgb": rng.integers(0, 256, (*shape, pixels, pixels, 3), dtype=np.uint8)}
    else:
        observation = {"state": normal(STATE)}
    no_end = np.zeros(shape, bool)
    extras = {"log_prob": normal() - 9, "value": normal(), "next_value": normal()}
    rollout = jax.device_put(Transition(observation, normal(ACTION), normal(), no_end, no_end, extras))
    labels = jax.device_put(TeacherLabels(normal(ACTION), ~no_end, np.ones((*shape, ACTION), np.float32)))
    state = [population.init()]

    def update() -> None:
        state[0], metrics = population.update(state[0], rollout, labels, 0.0)
        jax.block_until_ready((state[0].params, metrics))

    return update


def program(name: str, quick: bool) -> Callable[[], object]:
    """What a process of this benchmark times: "torch", "jax_1", "jax_8", "torch_rgb" or "jax_rgb"."""
    on_gpu = torch.cuda.is_available() and jax.default_backend() == "gpu"
    sizes, pixels = Sizes(), 128
    if name.endswith("rgb") and not on_gpu:  # the whole RGB batch would take minutes on a CPU
        sizes = Sizes(batch=266, minibatches=2, epochs=1) if quick else Sizes(batch=532, minibatches=4, epochs=1)
    if name.startswith("torch"):
        kind = f"rgb{pixels}" if name.endswith("rgb") else "state"
        return make_torch_update(kind, sizes, device="cuda" if on_gpu else "cpu")
    return make_update(sizes, 8 if name == "jax_8" else 1, pixels if name.endswith("rgb") else 0)


def main() -> None:
    if (asked := turns.serving()) is not None:
        turns.serve({"update": program(*asked)})
        return
    args = parse_args("update")
    rounds = 3 if args.quick else 7
    found = turns.compare("benchmarks.update", ("torch", "jax_1", "jax_8"), rounds, args.quick)
    found |= turns.compare("benchmarks.update", ("torch_rgb", "jax_rgb"), rounds, args.quick)
    figures = {}
    for kind, suffix in (("wall", ""), ("cpu", "_cpu")):
        seconds = {name.removesuffix("/update"): [getattr(each, kind) for each in found[name]] for name in found}
        figures |= {f"seconds_{name}{suffix}": median(values) for name, values in seconds.items()}
        figures |= {f"spread_{name}{suffix}": spread(values) for name, values in seconds.items()}
        ratio = functools.partial(_ratio, seconds)
        figures |= {
            f"ratio_one_member{suffix}": ratio("torch", "jax_1"),
            f"ratio_eight_members{suffix}": ratio("jax_8", "jax_1"),
            f"ratio_rgb{suffix}": ratio("torch_rgb", "jax_rgb"),
        }
    write("update", figures, args.json)


def _ratio(seconds: dict[str, list[float]], above: str, below: str) -> float:
    """Median of the ratios round by round."""
    return median([a / b for a, b in zip(seconds[above], seconds[below], strict=True)])


if __name__ == "__main__":
    main()
