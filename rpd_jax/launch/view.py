"""Shows runs and comparisons in a browser: learning curves, tables, alarms, and videos side by side.

  python -m launch.view
  python -m launch.view runs/quickstart runs/compare/rpd-losses-laptop
  python -m launch.view runs --output=page

Arguments are directories of runs, evaluations and comparisons, or with such below; none: runs. The page is served to
this machine alone, at the address that is printed, until Ctrl-C; reloading it shows what runs have written since. With
--output it is written as a file that a browser opens without a server. What is shown of others' directories is data:
nothing that they name is imported, started or fetched.
"""

from __future__ import annotations

from collections.abc import Sequence

from absl import flags

from rpd_jax.launch.flags import run
from rpd_jax.view.server import Server
from rpd_jax.view.site import PAGE, Site

_OUTPUT = flags.DEFINE_string("output", "", "Directory to write the page into; empty: serve it.")
_OVERWRITE = flags.DEFINE_bool("overwrite", False, "Replace a page that --output holds.")
_PORT = flags.DEFINE_integer("port", 0, "Of 127.0.0.1; 0: a free one.", lower_bound=0, upper_bound=65535)


def main(argv: Sequence[str]) -> None:
    site = Site(argv[1:] or ["runs"])
    if _OUTPUT.value:
        site.write(_OUTPUT.value, overwrite=_OVERWRITE.value)
        print(f"page: {_OUTPUT.value}/{PAGE}")
        return
    with Server(site, _PORT.value) as server:
        print(f"{server.address} (Ctrl-C ends)", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print()


if __name__ == "__main__":
    run(main, takes_words=True)
