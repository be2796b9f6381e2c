"""The process that serves OpenVLA or OpenVLA-OFT to the learner, or at a socket.

python -m teachers.openvla.server.main --checkpoint=DIR --contract=juelg_octo [--statistics-key=KEY] [--listen=PATH] ...
python -m teachers.openvla.server.main --checkpoint=DIR --contract=libero_osc --oft=libero-tokens ...
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rpd_jax.types import TeacherSpec
from teachers.conventions import CONTRACTS, ENVIRONMENT, contract_of
from teachers.digest import digest
from teachers.hub import local
from teachers.openvla.server.answers import Tokens, label_answer, score_answer
from teachers.openvla.server.files import find_base, is_complete
from teachers.openvla.server.oft.policy import OFTPolicy
from teachers.openvla.server.oft.serving import OFTModel
from teachers.openvla.server.oft.settings import check_samples, oft_settings
from teachers.openvla.server.policy import OpenVLAPolicy
from teachers.openvla.server.prompts import TEMPLATES
from teachers.serving import Serving, read_serving
from teachers.sidecar.server import describe, instructions_of, serve_model

_REMEDY = (
    "lower teacher.rows, use teacher.dtype=nf4 if it is not or, where the learner uses this GPU too (JAX takes three "
    "quarters of the memory of each GPU that it sees), set XLA_PYTHON_CLIENT_MEM_FRACTION, e.g. to .3, for the learner"
)


class OpenVLAModel:
    """A policy with the interface that `serve_model` expects."""

    def __init__(self, policy: OpenVLAPolicy, name: str, options: argparse.Namespace) -> None:
        self._policy, self._name, self._options = policy, name, options

    def spec(self) -> dict[str, Any]:
        """See `teachers.sidecar.server.describe`."""
        parts = self._policy.parts
        spec = TeacherSpec(
            name=f"openvla:{self._name}",
            observation_keys=("rgb",),
            contract=contract_of(Path(self._options.checkpoint), self._options.contract),
            samples_actions=self._options.samples > 1,
            token_bins=parts.tokens.bins,
            checkpoint=digest(*parts.directories),
        )
        inputs = {"rgb": ((None, None, 3), "uint8")}
        return describe(spec, self._policy.bounds.dims, inputs, parts.gpus, [*parts.remarks, *self._options.remarks])

    def label(self, arrays: Mapping[str, Any], fields: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Labels frames uint8 [B, H, W, 3]; the std is that of the token distribution unless a fixed one is given.

        Or scores given tokens; then there is no label.
        """
        options, first = self._options, self._policy.parts.tokens.columns.start
        frames, texts = torch.from_dlpack(arrays["rgb"]), instructions_of(fields)
        if fields["score"]:
            columns = torch.from_dlpack(arrays["tokens"]).cpu().numpy()
            scored = self._policy.score(frames, texts, columns.astype(np.int64) + first)
            return score_answer(Tokens(columns, scored["action_logits"], scored["logsumexp"]), columns.shape)
        answer = self._policy.label(frames, texts, options.samples, fields["seed"])
        std = answer["std"]
        std = np.maximum(std, options.min_std) if options.std is None else np.full_like(std, options.std)
        tokens, logits, logsumexp = (answer[name][:, 0] for name in ("tokens", "action_logits", "logsumexp"))
        return label_answer(answer["action"], std, Tokens(tokens - first, logits, logsumexp), fields)


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The flags; those of `serve_model` pass."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--base", default="", help="checkpoint that an adapter is added to; empty: that it names")
    parser.add_argument(
        "--contract", default="", choices=["", ENVIRONMENT, *sorted(CONTRACTS)], help="empty: a fine-tuned model's"
    )
    parser.add_argument("--oft", default="", help="what an OpenVLA-OFT checkpoint is for, see oft/settings.py")
    parser.add_argument("--statistics-key", default=None)
    parser.add_argument("--dtype", default="bf16")
    parser.add_argument("--device", default=None)
    parser.add_argument("--max-batch", type=int, default=32, help="computed at a time; larger requests are split")
    parser.add_argument("--center-crop", action="store_true", help="besides what --oft needs")
    parser.add_argument("--frames", default="", choices=["", "libero"], help="libero: made as its data were; likewise")
    parser.add_argument("--prompt", default=None, choices=TEMPLATES, help="style of the prompts, if not config.json's")
    parser.add_argument("--samples", type=int, default=1)
    parser.add_argument("--std", type=float, default=None)
    parser.add_argument("--min-std", type=float, default=0.05)
    parser.add_argument("--threads", type=int, default=0, help="of torch on a CPU; 0: as it likes")
    options, _ = parser.parse_known_args(arguments)
    if options.max_batch < 1:
        parser.error(f"--max-batch={options.max_batch}: need at least 1")
    return options


def load(options: argparse.Namespace) -> OpenVLAModel | OFTModel:
    """The model that the flags describe. Raises ValueError if it cannot be loaded."""
    # a server that was started by hand may be given addresses
    options.checkpoint, options.base = (
        str(local(each, is_complete)) if each else "" for each in (options.checkpoint, options.base)
    )
    name, serving = Path(options.checkpoint).name, obey(options)
    path, adapter = find_base(Path(options.checkpoint), None, options.base)
    options.remarks = serving.remarks(path if adapter else None) if serving else []
    how = {key: getattr(options, key) for key in ("dtype", "device", "center_crop")}
    how |= {"libero": options.frames == "libero", "template": options.prompt or None, "remedy": _REMEDY}
    how["statistics_key"] = options.statistics_key or None
    how["adapter"] = adapter
    if options.oft:
        settings = oft_settings(options.oft)
        check_samples(settings, options.samples)
        return OFTModel(
            OFTPolicy.load(path, settings, heads=options.checkpoint, max_batch=options.max_batch, **how), name, options
        )
    batch = max(options.max_batch, options.samples)  # a frame's samples are computed together
    return OpenVLAModel(OpenVLAPolicy.load(path, max_batch=batch, **how), name, options)


def obey(options: argparse.Namespace) -> Serving | None:
    """Changes the flags as the serving file of a fine-tuned model says, where they say nothing themselves."""
    serving = read_serving(Path(options.checkpoint))
    if serving is not None:
        vars(options).update(serving.followed(options))
    return serving


def main() -> None:
    options = parse()
    if options.threads:
        torch.set_num_threads(options.threads)
    serve_model(lambda: load(options))


if __name__ == "__main__":
    main()
