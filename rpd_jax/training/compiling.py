"""How long JAX has spent on making programs: what a run pays once."""

from __future__ import annotations

import threading
import time
from typing import Self

from jax import monitoring

EVENTS = "/jax/core/compile/"  # tracing, lowering and compiling, or fetching from the cache


class CompileClock:
    """While it is entered, seconds during which this process traced or compiled; calling it gives them."""

    def __init__(self) -> None:
        self._spans: list[tuple[float, float]] = []  # disjoint, rising: a program inside another is counted once
        self._lock = threading.Lock()

    def __call__(self) -> float:
        with self._lock:
            return sum(stop - start for start, stop in self._spans)

    def __enter__(self) -> Self:
        monitoring.register_event_duration_secs_listener(self._hear)
        return self

    def __exit__(self, *exc: object) -> None:
        monitoring.unregister_event_duration_listener(self._hear)

    def _hear(self, event: str, duration_secs: float, **_: str | int) -> None:
        if not event.startswith(EVENTS):
            return
        stop = time.monotonic()
        start = stop - duration_secs
        with self._lock:
            while self._spans and self._spans[-1][1] > start:
                start = min(start, self._spans.pop()[0])
            self._spans.append((start, stop))
