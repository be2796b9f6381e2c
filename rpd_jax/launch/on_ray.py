"""Cases of a comparison on a Ray cluster whose nodes share a file system: each a command, run where there is room."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence

from rpd_jax.config import ConfigError
from rpd_jax.config.teacher import RayPlacement
from rpd_jax.ipc.sidecar import die_with_parent
from teachers.cluster.connection import connected


def on_ray(cases: Sequence[str], command: Sequence[str], placement: RayPlacement) -> int:
    """Runs `command --worker=CASE` for every case in this directory, on any node; returns the worst exit status.

    A case whose node is lost runs again on another, where it goes on from its checkpoints.

    Args:
      cases: their names.
      command: a program and its arguments.
      placement: `cpus` and `gpus` of a case, `restarts` of one that is lost, the cluster's `address`.

    Raises:
      ConfigError: Ray is not installed, nobody answers at the address, or it has no room for one case.
    """
    here, environment = os.getcwd(), dict(os.environ)
    try:
        with connected(placement) as ray:

            def run_case(case: str) -> int:
                worker = os.getpid()  # Ray ends it where the case is given up; the case must not train on
                child = subprocess.Popen(
                    [*command, f"--worker={case}"],
                    cwd=here,
                    env=environment | {k: v for k, v in os.environ.items() if k.startswith(("CUDA_", "ROCR_"))},
                    preexec_fn=lambda: die_with_parent(worker),
                )
                status = child.wait()
                return 1 if status < 0 else status

            options = {"num_cpus": placement.cpus, "num_gpus": placement.gpus, "max_retries": placement.restarts}
            remote = ray.remote(**options)(run_case)
            return max(ray.get([remote.remote(case) for case in cases]))
    except ConfigError as error:
        said = str(error).replace("teacher.ray.address", "--ray").replace("teacher.placement='ray'", "--ray")
        raise ConfigError(said) from error
