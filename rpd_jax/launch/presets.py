"""Lists the presets with size and duration, or says all about those that are named.

python -m launch.presets
python -m launch.presets quickstart rpd-paper
"""

from __future__ import annotations

import inspect
import shutil
from collections.abc import Sequence

from rpd_jax.config import choice
from rpd_jax.launch import preset_table
from rpd_jax.launch.flags import run
from rpd_jax.launch.help import show
from rpd_jax.presets import PRESETS


def main(argv: Sequence[str]) -> int:
    if len(argv) == 1:
        lines = preset_table.preset_lines(shutil.get_terminal_size((120, 24)).columns)
        show(
            "\n".join(lines)
            + "\n\nmembers x steps of each; time of training on two CPU cores, where they have been measured"
        )
        return 0
    for name in argv[1:]:
        choice("preset", name, PRESETS)
        duration = preset_table.duration(name)
        took = f", about {duration} of training on two CPU cores" if duration else ""
        print(f"{name}: {preset_table.size(name)} steps{took}\n\n{inspect.getdoc(PRESETS[name])}\n")
    return 0


if __name__ == "__main__":
    run(main, takes_words=True)
