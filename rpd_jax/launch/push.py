"""Uploads a student, an export, a recording or an Octo checkpoint to the Hugging Face hub, with a model card.

  python -m launch.push --path=runs/quickstart --variant=rpd-mse --seed=0 --repo=USER/pick-cube --dry_run
  python -m launch.push --path=runs/quickstart/export/rpd-mse-0 --repo=USER/pick-cube-onnx --license=apache-2.0
  python -m launch.push --path=demos/pick --repo=USER/pick-demos --private

What --path holds is recognised and checked first; --dry_run says which files would go, and shows the card. Everything
is one commit. A token with write access comes from `hf auth login` or HF_TOKEN. Needs pip install 'rpd_jax[hub]'; see
docs/hub.md.
"""

from __future__ import annotations

from collections.abc import Sequence

from absl import flags

from rpd_jax.config import ConfigError
from rpd_jax.hub.bundle import Choice
from rpd_jax.launch.flags import run

_PATH = flags.DEFINE_string("path", "", "Directory of a run, an export, a recording or an Octo checkpoint.")
_REPO = flags.DEFINE_string("repo", "", "Repository, USER/NAME; it is made if there is none.")
_VARIANT = flags.DEFINE_string("variant", "", "Of a run: the student's variant; empty: the only one.")
_SEED = flags.DEFINE_integer("seed", None, "Of a run: the student's seed; none given: the only one.")
_ITERATION = flags.DEFINE_integer("iteration", None, "Of the checkpoint, of Octo its step; none given: the newest.")
_LICENSE = flags.DEFINE_string("license", "", "Identifier for the card, as the hub knows it, e.g. apache-2.0.")
_PRIVATE = flags.DEFINE_bool("private", False, "Make the repository private.")
_DRY_RUN = flags.DEFINE_bool("dry_run", False, "Only show files and card: nothing is connected to.")


def main(argv: Sequence[str]) -> None:
    for name, value in (("path", _PATH.value), ("repo", _REPO.value)):
        if not value:
            raise ConfigError(f"--{name} is missing: see --help")
    from rpd_jax.hub.push import MAKERS, push
    from teachers.octo.bundle import octo_bundle

    push(
        _PATH.value,
        _REPO.value,
        choice=Choice(_VARIANT.value, _SEED.value, _ITERATION.value),
        license=_LICENSE.value,
        private=_PRIVATE.value,
        dry_run=_DRY_RUN.value,
        makers=(*MAKERS, octo_bundle),
    )


if __name__ == "__main__":
    run(main)
