"""Labels of other processes that are not finite: passed on as invalid, counted, and logged once."""

from __future__ import annotations

import numpy as np
from absl import logging

from rpd_jax.types import TeacherLabels


class Refusal:
    """Refuses labels one by one, so that a single bad answer costs one label and not the run.

    Args:
      name: of the teacher, for the log.
    """

    def __init__(self, name: str) -> None:
        self._name, self.count = name, 0

    def __call__(self, labels: TeacherLabels, also: np.ndarray | bool = True) -> TeacherLabels:
        """The labels [B, ...], or [B, C, ...] of chunks, as numpy arrays, invalid and neutral where they are none.

        A label is none if its action or std is not finite, its std is not positive, or `also` [B] is False there;
        neutral is action 0, std 1.
        """
        action, valid, std = (np.array(leaf) for leaf in (labels.action, labels.valid, labels.std))
        sound = np.isfinite(action).all(-1) & np.isfinite(std).all(-1) & (std > 0).all(-1) & also
        refused = valid & ~sound
        if refused.any():
            at = tuple(np.argwhere(refused)[0].tolist())
            if not self.count:
                logging.warning(
                    "%s: label %s is none and is left out, like all others that are not finite or have no positive std "
                    "(counted as teacher/refused): action %s, std %s",
                    *(self._name, ", ".join(map(str, at)), action[at], std[at]),
                )
            self.count += int(refused.sum())
        valid &= sound
        action[~valid], std[~valid] = 0.0, 1.0
        return TeacherLabels(action, valid, std)

    def metrics(self) -> dict[str, float]:
        """How many labels were refused since the beginning, for the log."""
        return {"teacher/refused": float(self.count)}
