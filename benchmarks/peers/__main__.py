"""A PPO iteration of this library beside those of others: the same work, in turns, a process each.

    make peers-env
    python -m benchmarks.peers [--quick] [--json=FILE] [--python=.venv-peers/bin/python]

One agent, two tanh networks of 2 x 128, an environment in which next to nothing happens (`work.py`), 128 environments x
50 steps, 8 epochs, 32 minibatches of 200, no normalisation of observations, no KL stop. On JAX: PureJaxRL's style,
rejax, brax. On torch, one thread: stable-baselines3, CleanRL's style. Each has the environment in its framework's form.

cpu_NAME, wall_NAME      seconds of an iteration, of all threads, and by the clock: medians over rounds
spread_NAME              of the CPU seconds: largest minus smallest, over the median
ratio_NAME               the other's CPU seconds / ours, median of the rounds' ratios (higher is better)
ratio_wall_NAME          the same by the clock
"""

from __future__ import annotations

import os
from pathlib import Path

from benchmarks import turns
from benchmarks.common import make_parser, median, spread, write
from benchmarks.peers.work import Work

PEERS = {
    "purejaxrl_style": 1.15,
    "with_rejax": 1.15,
    "with_brax": 1.5,
    "with_sb3": 2.5,
    "cleanrl_style": 2.5,
}
"""Program -> the ratio that is aimed at."""


def main() -> None:
    variables = dict(os.environ)  # before our settings of JAX, which are not the others'
    parser = make_parser("peers")
    parser.add_argument("--python", type=Path, default=Path(".venv-peers/bin/python"), help="of `make peers-env`")
    args = parser.parse_args()
    if not args.python.exists():
        parser.error(f"--python={args.python} is not there: run `make peers-env`, or name another")
    iterations = Work(iterations=2).iterations if args.quick else Work().iterations
    pythons = dict.fromkeys(PEERS, str(args.python.absolute()))  # a link that is resolved leaves its environment
    rounds = 5 if args.quick else 15
    found = turns.compare("benchmarks.peers.program", ["ours", *PEERS], rounds, args.quick, pythons, variables)
    seconds = {name.partition("/")[0]: each for name, each in found.items()}
    cpu = {name: [each.cpu / iterations for each in rounds] for name, rounds in seconds.items()}
    wall = {name: [each.wall / iterations for each in rounds] for name, rounds in seconds.items()}
    figures = {}
    for name in seconds:
        figures |= {f"cpu_{name}": median(cpu[name]), f"wall_{name}": median(wall[name])}
        figures |= {f"spread_{name}": spread(cpu[name])}
    for name in PEERS:
        figures[f"ratio_{name}"] = _ratio(cpu[name], cpu["ours"])
        figures[f"ratio_wall_{name}"] = _ratio(wall[name], wall["ours"])
    write("peers", figures, args.json)
    print(f"\n{'program':16} {'CPU s':>7} {'spread':>7} {'wall s':>7} {'/ ours':>7} {'aim':>5} {'wall / ours':>12}")
    for name in seconds:
        line = (
            f"{name:16} {figures[f'cpu_{name}']:7.3f} {figures[f'spread_{name}']:7.0%} {figures[f'wall_{name}']:7.3f}"
        )
        if name in PEERS:
            line += f" {figures[f'ratio_{name}']:7.2f} {PEERS[name]:5.2f} {figures[f'ratio_wall_{name}']:12.2f}"
        print(line)


def _ratio(above: list[float], below: list[float]) -> float:
    return median([a / b for a, b in zip(above, below, strict=True)])


if __name__ == "__main__":
    main()
