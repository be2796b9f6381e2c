"""One pass of the teacher over the student's own tokens, and of the student where a loss needs its ratio."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from teachers.openvla.opd.models import Pair
from teachers.openvla.opd.rollout import Rollout
from teachers.openvla.server.batching import chunks


class Scores(NamedTuple):
    """On the host."""

    teacher: Tensor  # [R, K, bins] float32 log-probabilities at the temperature
    old: Tensor | None  # [R, K]: of the tokens, under the student that drew them


def log_probs(logits: Tensor, temperature: float) -> Tensor:
    """Over the bins alone, of logits [..., bins] divided by the temperature first."""
    return (logits.float() / temperature).log_softmax(-1)


def drawn(log_probs: Tensor, columns: Tensor) -> Tensor:
    """[...] those of the tokens drawn, of [..., bins]."""
    return log_probs.gather(-1, columns[..., None])[..., 0]


@torch.no_grad()
def score(pair: Pair, rollout: Rollout, *, temperature: float, max_batch: int, ratio: bool) -> Scores:
    """The distributions along a rollout's tokens.

    Args:
      max_batch: rows at a time.
      ratio: whether the student's are wanted as well: computed as the update will, they make a first ratio of 1.
    """
    count = len(rollout.instructions)
    old = []
    if ratio:
        for part in chunks(count, max_batch):
            rows = list(range(*part.indices(count)))
            columns = rollout.columns[part]
            given = inputs(pair, rollout, rows)
            logits = pair.student(rollout.instructions[part], columns, **given)
            old.append(drawn(log_probs(logits, temperature), columns.to(logits.device)).cpu())
    found = []
    with pair.teaching() as teacher:
        for part in chunks(count, max_batch):
            rows = list(range(*part.indices(count)))
            if pair.shares_features:
                given = {"images": rollout.seen.images(rows, teacher)}
            else:
                given = {"frames": rollout.seen.frames(rows)}
            found.append(
                log_probs(teacher(rollout.instructions[part], rollout.columns[part], **given), temperature).cpu()
            )
    return Scores(torch.cat(found), torch.cat(old) if ratio else None)


def inputs(pair: Pair, rollout: Rollout, rows: list[int]) -> dict[str, object]:
    """What the student sees in these rows: patches where they stay the same, else frames to compute them of."""
    if pair.keeps_features:
        with torch.no_grad():
            return {"images": rollout.seen.images(rows, pair.student)}
    return {"frames": rollout.seen.frames(rows)}
