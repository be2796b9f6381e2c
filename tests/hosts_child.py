"""One process of a run of several, for test_hosts.py: trains the debug preset, and comes to grief if it is asked to."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence

from absl import flags

import rpd_jax
from rpd_jax.launch.flags import define_config, run
from rpd_jax.runs.interrupt import exit_status
from teachers.settings import teacher_factory

_CONFIG = define_config("debug")
_GRIEF = flags.DEFINE_enum("grief", "", ["", "SIGTERM", "SIGKILL", "raises"], "What becomes of process 1.")
_AT = 3  # after that iteration; a checkpoint of the second is there


def main(argv: Sequence[str]) -> int:
    config = _CONFIG.value

    def callback(snapshot: rpd_jax.Snapshot) -> None:
        if config.run.process_id != 1 or snapshot.iteration != _AT or not _GRIEF.value:
            return
        if _GRIEF.value == "raises":
            raise RuntimeError("no more")
        os.kill(os.getpid(), getattr(signal, _GRIEF.value))

    result = rpd_jax.train(config, teacher_factory(config.teacher), resume=True, callbacks=[callback])
    return 0 if result.signal is None else exit_status(result.signal)


if __name__ == "__main__":
    run(main)
