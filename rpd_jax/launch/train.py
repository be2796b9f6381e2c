"""Trains a population of students beside their teacher.

  python -m launch.train --preset=quickstart
  python -m launch.train --preset=maniskill-state --config.variants=ppo,rpd-mse:mse=5 --config.seeds=0,1,2
  python -m launch.train --preset=quickstart --resume
  python -m launch.train --preset=quickstart --resume=40    # from the checkpoint of iteration 40
  srun python -m launch.train --preset=quickstart --config.run.distributed    # see docs/cluster.md

The run directory (`--config.run.directory`) gets config.json, metrics.jsonl, checkpoints, and at the end results.json,
table.md, curves.png and videos. SIGTERM, SIGHUP and Ctrl-C save a checkpoint and stop; `--resume` goes on from there.

Exit status: 0 done; 1 the run failed; 2 wrong arguments; 3 done, but members diverged; 128 + n stopped by signal n.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from absl import flags, logging

import rpd_jax
from rpd_jax.launch.flag_groups import define_resume
from rpd_jax.launch.flags import define_config, run
from rpd_jax.launch.program import to_go_on
from rpd_jax.launch.showing import show_results
from rpd_jax.runs.interrupt import exit_status
from teachers.settings import teacher_factory

_CONFIG = define_config("quickstart")
_RESUME = define_resume("Go on with the run in config.run.directory, if there is one; =N: from its checkpoint N.")
_OVERWRITE = flags.DEFINE_bool("overwrite", False, "Delete the run in config.run.directory first.")


DIVERGED = 3


def main(argv: Sequence[str]) -> int:
    config = _CONFIG.value
    result = rpd_jax.train(config, teacher_factory(config.teacher), resume=_RESUME.value, overwrite=_OVERWRITE.value)
    if result.signal is not None:
        logging.info("stopped and saved in %s; %s", config.run.directory, to_go_on())
        return exit_status(result.signal)
    if result.directory is not None:  # else another process of the run reports
        show_results(result.directory)
        print(f"results, curves and videos: {result.directory}")
    if result.diverged:
        gone = ", ".join(f"{name} at iteration {iteration}" for name, iteration in result.diverged.items())
        print(f"diverged: {gone}", file=sys.stderr)
        return DIVERGED
    return 0


if __name__ == "__main__":
    run(main)
