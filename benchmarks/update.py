"""One PPO + RPD-MSE update, jitted, against an eager torch program, and eight members against one.

  python -m benchmarks.update [--quick] [--json=FILE]

State student: batch 6,400, 8 epochs, 48 minibatches of 133, MLP 3 x 256. RGB student: 128 x 128 pixels, one epoch.
The programs take turns, so that a drift of the machine's speed meets them alike; figures are medians.

ratio_one_member    torch's seconds / ours, one member (higher is better)
ratio_eight_members our seconds for eight vmapped members / for one (lower is better)
ratio_rgb           torch's seconds / ours, RGB student (on CPU one epoch of a smaller batch)
With a GPU the same three are measured on it, both programs there.
"""

from __future__ import annotations

import functools
import subprocess
import sys
from collections.abc import Callable, Sequence

import jax
import numpy as np
import torch

from benchmarks.common import median, parse_args, spread, timed, write
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


def serve(name: str, quick: bool) -> None:
    """Times one call of a program, after a warm-up, for every line that comes in."""
    call = program(name, quick)
    call()
    for _ in sys.stdin:
        print(timed(call, repeats=1, warmup=0)[0], flush=True)


def compare(names: Sequence[str], rounds: int, quick: bool) -> dict[str, list[float]]:
    """Seconds of each program over rounds in which all take their turn.

    Each runs in a process of its own: the thread pools of torch and XLA get into each other's way in one.
    """
    command = [sys.executable, "-m", "benchmarks.update", "quick" if quick else "full"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "bufsize": 1}
    processes = {name: subprocess.Popen([*command, name], **pipes) for name in names}  # type: ignore[call-overload]
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for round_ in range(rounds + 1):
        for name, process in processes.items():
            process.stdin.write("go\n")
            answer = float(process.stdout.readline())
            if round_:  # in the first, the others were still warming up
                seconds[name].append(answer)
    for process in processes.values():
        process.stdin.close()
        process.wait()
    return seconds


def main() -> None:
    if len(sys.argv) == 3 and sys.argv[1] in ("quick", "full"):
        serve(sys.argv[2], sys.argv[1] == "quick")
        return
    args = parse_args("update")
    rounds = 3 if args.quick else 7
    seconds = compare(("torch", "jax_1", "jax_8"), rounds, args.quick)
    seconds |= compare(("torch_rgb", "jax_rgb"), rounds, args.quick)
    figures = {f"seconds_{name}": median(values) for name, values in seconds.items()}
    figures |= {f"spread_{name}": spread(values) for name, values in seconds.items()}
    ratio = functools.partial(_ratio, seconds)
    figures |= {
        "ratio_one_member": ratio("torch", "jax_1"),
        "ratio_eight_members": ratio("jax_8", "jax_1"),
        "ratio_rgb": ratio("torch_rgb", "jax_rgb"),
    }
    write("update", figures, args.json)


def _ratio(seconds: dict[str, list[float]], above: str, below: str) -> float:
    """Median of the ratios round by round."""
    return median([a / b for a, b in zip(seconds[above], seconds[below], strict=True)])


if __name__ == "__main__":
    main()
