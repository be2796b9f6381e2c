"""PPO alone, ours beside stable-baselines3's on the same tasks with the same settings: does ours learn as well?

    pip install 'rpd_jax[parity]'
    python -m benchmarks.ppo_parity --json=parity.json --plot=parity.png

Settings are those of preset `tabletop-ppo`, shortened: network, learning rate and its fall, gamma, lambda, minibatches,
epochs, environments and their seeds, bootstrap at success, evaluation. Not equal: random numbers; the scale of the last
layers' first weights (ours is sqrt(2) times SB3's); and when moments of observations are renewed (SB3: at every step).

  TASK/SIDE/SEED          success once in an episode at the end, deterministic, 128 episodes
  TASK/SIDE               its mean over seeds
  TASK/SIDE/area          mean over training and seeds of the learning curve, 32 episodes a point
  TASK/difference         ours minus SB3's mean at the end

Read all seeds: they differ much, and means of five differ by chance. `--json` also has the learning curves.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from benchmarks import common
from rpd_jax.config import Config
from rpd_jax.presets import get_preset
from rpd_jax.report.results import POINTS_FILE
from rpd_jax.report.styles import PALETTE
from rpd_jax.runs.files import atomic_path
from rpd_jax.training.trainer import train

STEPS = {"PickCube-v1": 400_000, "PushCube-v1": 200_000}
LABELS = {"ours": "rpd_jax", "sb3": "stable-baselines3"}
SIDES = tuple(LABELS)

Points = list[tuple[int, float]]
Runs = Mapping[tuple[str, str, int], Points]
"""(task, side, seed) -> its learning curve; the last point is the evaluation at the end."""


def settings(task: str, steps: int, seeds: Sequence[int], quick: bool = False) -> Config:
    """What both sides learn with; `quick`: three small iterations, to see that they run."""
    config = get_preset("tabletop-ppo")
    config.env.name, config.seeds, config.algorithm.total_steps = f"tabletop:{task}", tuple(seeds), steps
    config.eval.every, config.eval.curve_episodes, config.eval.num_envs = 10, 32, 32
    config.eval.episodes, config.eval.videos, config.run.tensorboard = 128, 0, False
    if quick:
        config.env.num_envs, config.eval.num_envs, config.eval.every = 8, 4, 1
        config.eval.episodes = config.eval.curve_episodes = 4
        config.algorithm.total_steps = 3 * config.algorithm.iteration_steps(config.env.num_envs)
    return config


def ours(config: Config) -> dict[int, Points]:
    """Trains all seeds as one population."""
    with tempfile.TemporaryDirectory() as directory:
        config.run.directory = str(Path(directory) / "run")
        points = json.loads((train(config).directory / POINTS_FILE).read_text())
    return {
        seed: [(point["env_steps"], point["success_once"]) for point in points if point["seed"] == seed]
        for seed in config.seeds
    }


def run(configs: Mapping[str, Config], sides: Sequence[str]) -> Iterator[tuple[tuple[str, str, int], Points]]:
    """Learning curves as they are done; SB3's seeds one after the other. Raises ModuleNotFoundError without SB3."""
    if "sb3" in sides:
        from benchmarks import sb3_baseline
    for task, config in configs.items():
        if "ours" in sides:
            yield from (((task, "ours", seed), points) for seed, points in ours(config).items())
        if "sb3" in sides:
            yield from (((task, "sb3", seed), sb3_baseline.learn(config, seed)) for seed in config.seeds)


def figures_of(runs: Runs) -> dict[str, float]:
    """The figures that the head of this file lists."""
    figures: dict[str, float] = {f"{task}/{side}/{seed}": points[-1][1] for (task, side, seed), points in runs.items()}
    for task, side in groups(runs):
        _, success = curves(runs, task, side)
        figures[f"{task}/{side}"] = float(success[:, -1].mean())
        figures[f"{task}/{side}/area"] = float(success.mean())
    for task in dict.fromkeys(task for task, _, _ in runs):
        with contextlib.suppress(KeyError):  # of one side only
            figures[f"{task}/difference"] = figures[f"{task}/ours"] - figures[f"{task}/sb3"]
    return figures


def groups(runs: Runs) -> list[tuple[str, str]]:
    """(task, side) of the runs, each once."""
    return list(dict.fromkeys((task, side) for task, side, _ in runs))


def curves(runs: Runs, task: str, side: str) -> tuple[np.ndarray, np.ndarray]:
    """(steps [K], success [seeds, K])."""
    points = np.array([points for name, points in runs.items() if name[:2] == (task, side)])
    return points[0, :, 0], points[:, :, 1]


def draw(path: Path, runs: Runs) -> None:
    """A panel for each task: every seed as a thin line, and means."""
    tasks = list(dict.fromkeys(task for task, _ in groups(runs)))
    figure = Figure(figsize=(4.8 * len(tasks), 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    panels = dict(zip(tasks, figure.subplots(1, len(tasks), sharey=True, squeeze=False)[0], strict=True))
    for task, side in groups(runs):
        steps, success = curves(runs, task, side)
        axes, colour = panels[task], PALETTE[SIDES.index(side)]
        axes.plot(steps, success.T, color=colour, linewidth=0.8, alpha=0.5)
        label = f"{LABELS[side]}, mean of {len(success)} seeds"
        axes.plot(steps, success.mean(0), color=colour, linewidth=2.5, label=label)
        axes.set_title(f"PPO alone, {task}", loc="left", fontsize=11)
        axes.set_xlabel("environment steps of a seed")
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.set_xlim(left=0)
        axes.set_ylim(-0.02, 1.02)
        axes.grid(alpha=0.3)
        axes.legend(frameon=False, fontsize=8)
    panels[tasks[0]].set_ylabel("success rate (deterministic)")
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=120)


def main() -> None:
    parser = common.make_parser("ppo_parity")
    parser.add_argument("--only", choices=SIDES, default=None, help="leave the other side out")
    parser.add_argument("--task", choices=STEPS, default=None, help="leave the other task out")
    parser.add_argument("--seeds", type=int, nargs="+", default=[10, 11, 12, 13, 14])
    parser.add_argument("--steps", type=int, default=None, help=f"environment steps of a seed; by default {STEPS}")
    parser.add_argument("--plot", type=Path, default=None, help="draw the learning curves into this png file")
    options = parser.parse_args()
    tasks, seeds = [options.task] if options.task else list(STEPS), options.seeds
    if options.quick:
        tasks, seeds = tasks[:1], seeds[:1]
    configs = {task: settings(task, options.steps or STEPS[task], seeds, options.quick) for task in tasks}
    runs: dict[tuple[str, str, int], Points] = {}
    try:
        for name, points in run(configs, [options.only] if options.only else SIDES):
            print(*name, *(f"{success:.2f}" for _, success in points), flush=True)
            runs[name] = points
    except ModuleNotFoundError as error:
        if error.name not in ("stable_baselines3", "torch"):
            raise
        raise SystemExit(f"{error.name} is missing: pip install 'rpd_jax[parity]', or --only=ours") from error
    series: dict[str, list[float]] = {}
    for name, points in runs.items():
        series[f"{name[0]}/steps"] = [steps for steps, _ in points]
        series["/".join(map(str, name))] = [success for _, success in points]
    common.write("ppo_parity", figures_of(runs), options.json, series)
    if options.plot:
        draw(options.plot, runs)


if __name__ == "__main__":
    main()
