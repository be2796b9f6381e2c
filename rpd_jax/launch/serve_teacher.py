r"""Serves a teacher's model in the foreground, at a socket that only you can reach: to debug it, or to keep it loaded.

  python -m launch.serve_teacher --teacher=openvla --socket=$XDG_RUNTIME_DIR/rpd_jax/teacher \
      --argument=--checkpoint=DIR --argument=--contract=juelg_octo

The learner connects to it by --config.teacher.name=openvla --config.teacher.socket=PATH, or a program by
`SidecarTeacher(env_spec, [Listening(path)])`. Ctrl-C ends it. Flags of the model's own program follow as
--argument=--name=value, each.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence

from absl import flags

from rpd_jax.config import ConfigError
from rpd_jax.ipc.process import environment_for
from rpd_jax.launch.flags import run

SERVERS = {
    "linear": "teachers.sidecar.linear",
    "openvla": "teachers.openvla.server.main",
}
"""Teacher -> the module whose main program serves it."""

_TEACHER = flags.DEFINE_string("teacher", None, f"One of {', '.join(SERVERS)}, or a module.", required=True)
_SOCKET = flags.DEFINE_string("socket", None, "Path of the socket; its directory gets or has mode 0700.", required=True)
_PYTHON = flags.DEFINE_string("python", sys.executable, "The interpreter, perhaps of another virtual environment.")
_ARGUMENT = flags.DEFINE_multi_string("argument", [], "For the model's own program; can be repeated.")


def main(argv: Sequence[str]) -> None:
    python = shutil.which(_PYTHON.value)
    if python is None:
        raise ConfigError(f"python={_PYTHON.value!r} cannot work: it must be a program that can be run")
    name = _TEACHER.value
    if name not in SERVERS and "." not in name:
        raise ConfigError(f"teacher={name!r} is unknown: choose from {', '.join(SERVERS)}, or name a module")
    command = [python, "-m", SERVERS.get(name, name), f"--listen={_SOCKET.value}", *_ARGUMENT.value]
    print(f"serving at {_SOCKET.value}; Ctrl-C ends it", file=sys.stderr, flush=True)
    # In place of this process: so it has the terminal, and debuggers and Ctrl-C reach it.
    os.execve(python, command, environment_for(python, {}))


if __name__ == "__main__":
    run(main)
