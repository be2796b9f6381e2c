"""Finds a Vulkan device that the simulator accepts, and installs Mesa's software driver where there is none.

  python -m launch.vulkan            # looks, and installs where it can (Debian and Ubuntu, root or sudo)
  python -m launch.vulkan --check    # only looks

Exit status 0: "Vulkan device for the simulator: llvmpipe ..."; 1: a list of what to install by hand.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from absl import app, flags

from launch import vulkan_driver

_CHECK = flags.DEFINE_bool("check", False, "Only look, install nothing.")


def main(argv: Sequence[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
    found = vulkan_driver.probe()
    if found.problem and not _CHECK.value:
        print(f"No usable Vulkan device ({found.problem}); installing Mesa's software driver.", flush=True)
        try:
            vulkan_driver.install(vulkan_driver.run_aloud)
        except vulkan_driver.SetupError as error:
            sys.exit(give_up(error))
        found = vulkan_driver.probe()
    if found.problem:
        sys.exit(give_up(found.problem))
    print(f"Vulkan device for the simulator: {found}")


def give_up(problem: object) -> str:
    return f"No usable Vulkan device: {problem}.\n{vulkan_driver.WHAT_TO_INSTALL}"


if __name__ == "__main__":
    app.run(main)
