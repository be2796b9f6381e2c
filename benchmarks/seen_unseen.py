"""What a run's students forget of tasks that they are not trained on (VLA-OPD's Figure 3): every checkpoint, evaluated.

  python -m benchmarks.seen_unseen --run=runs/opd-vla --env=tabletop:PullCube-v1 --output=DIRECTORY [--episodes=64]

Writes seen_unseen.json and seen_unseen.png into --output.
"""

from __future__ import annotations

import argparse

from rpd_jax.training.forgetting import seen_unseen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", required=True)
    parser.add_argument("--env", action="append", required=True, help="a held-out environment; may be given repeatedly")
    parser.add_argument("--episodes", type=int, default=0)
    parser.add_argument("--output", required=True)
    arguments = parser.parse_args()
    for point in seen_unseen(
        arguments.run, arguments.env, arguments.output or arguments.run, episodes=arguments.episodes
    ):
        print("{variant:24} {env:26} iteration {iteration:4d}  {success_once:.2f}".format(**point))


if __name__ == "__main__":
    main()
