"""Downloads what `rpd-jax push` uploaded to the Hugging Face hub, verified file by file.

  python -m launch.pull --repo=USER/pick-cube --output=pick-cube
  python -m launch.pull --repo=datasets/USER/pick-demos --output=demos/pick --revision=COMMIT

Only files that such a repository is to hold are written: no code, no pickles; nothing of them is run. --output appears
whole or not at all. Only a commit as --revision always gives the same files. Needs pip install 'rpd_jax[hub]'; see
docs/hub.md.
"""

from __future__ import annotations

from collections.abc import Sequence

from absl import flags

from rpd_jax.config import ConfigError
from rpd_jax.launch.flags import run

_REPO = flags.DEFINE_string("repo", "", "Repository: USER/NAME, or datasets/USER/NAME for a recording.")
_OUTPUT = flags.DEFINE_string("output", "", "Directory for the files.")
_REVISION = flags.DEFINE_string("revision", "", "A branch, tag or commit; empty: the main branch.")
_OVERWRITE = flags.DEFINE_bool("overwrite", False, "Replace what was pulled there before.")
_SHOWN = 10  # names of files that were left out
USES = {
    "student": "rpd-jax evaluate --run={0} --noteacher, or --config.teacher.name=policy --config.teacher.path={0}",
    "export": "python {0}/runner.py",
    "recording": "rpd-jax finetune-octo --init=nano --data={0} --output=runs/octo",
    "octo": "--config.teacher.name=octo --config.teacher.path={0}",
}


def main(argv: Sequence[str]) -> None:
    for name, value in (("repo", _REPO.value), ("output", _OUTPUT.value)):
        if not value:
            raise ConfigError(f"--{name} is missing: see --help")
    from rpd_jax.hub.pull import pull

    found = pull(_REPO.value, _OUTPUT.value, revision=_REVISION.value, overwrite=_OVERWRITE.value)
    print(f"{found.directory}: commit {found.commit}, all files verified")
    if found.left_out:  # whatever characters their names have
        more = f" and {len(found.left_out) - _SHOWN} more" * (len(found.left_out) > _SHOWN)
        print(f"note: not written, since they are not listed: {', '.join(map(repr, found.left_out[:_SHOWN]))}{more}")
    if found.remark:
        print(f"note: {found.remark}")
    print(f"to use it: {USES[found.kind].format(found.directory)}")


if __name__ == "__main__":
    run(main)
