"""When another process or a server counts as failed, and when it is tried again."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Limits:
    """When a sidecar counts as failed, and how often it is replaced.

    Attributes:
      deadline_s: for one request, from when the one before it was answered.
      start_deadline_s: for each request of the preparation; models are loaded then.
      heartbeat_s: without a sign of life for so long, while requests wait, it hangs; None: only deadlines count.
      max_restarts: in a row, without an answer in between.
      backoff_s: pause before the first restart; each further one in a row doubles it.
      max_backoff_s: the longest pause.
      queue_size: requests that may wait for their answers at the same time.
    """

    deadline_s: float = 120.0
    start_deadline_s: float = 900.0
    heartbeat_s: float | None = 30.0
    max_restarts: int = 3
    backoff_s: float = 0.5
    max_backoff_s: float = 30.0
    queue_size: int = 2

    def pause_after(self, failures: int) -> float | None:
        """Seconds until the next try after so many failures in a row; None: there is none."""
        if failures > self.max_restarts:
            return None
        return min(self.backoff_s * 2.0 ** min(failures - 1, 60), self.max_backoff_s)

    def __post_init__(self) -> None:
        for name in ("deadline_s", "start_deadline_s", "heartbeat_s", "max_backoff_s"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name}={value!r}: must be positive")
        for name, least in (("backoff_s", 0), ("max_restarts", 0), ("queue_size", 1)):
            if not getattr(self, name) >= least:
                raise ValueError(f"{name}={getattr(self, name)!r}: must be at least {least}")
