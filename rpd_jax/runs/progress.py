"""How far a program is: a bar on a terminal, log lines elsewhere."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, TextIO

from absl import logging

from rpd_jax.runs.terminal import columns, logs_above


class ProgressBar:
    """A tqdm bar on a terminal or in a notebook; elsewhere a log line every `interval` seconds, and one at the end.

    On a terminal what absl and logging say stands above the bar.

    Args:
      total: units of the whole, those of earlier sessions included.
      initial: units done before.
      description: what is counted.
      silent: says nothing.
      interval: seconds between log lines.
      stream: where the bar would go; None is stderr.
      clock: gives seconds.
      once: seconds so far that later units will not take, such as compilation; left out of what is expected of them.
    """

    def __init__(
        self,
        total: int,
        *,
        initial: int = 0,
        description: str = "",
        silent: bool = False,
        interval: float = 15.0,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
        once: Callable[[], float] = float,
    ) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._bar: Any = None
        self._resources = contextlib.ExitStack()
        self._silent = silent
        if not silent and (self._stream.isatty() or "ipykernel" in sys.modules):
            from tqdm import tqdm

            look = _look(columns(self._stream))
            # nrows is said too: on a terminal that does not tell its size tqdm would leave no row to the bar.
            self._bar = tqdm(total=total, initial=initial, desc=description, file=self._stream, nrows=24, **look)
            self._resources.callback(self._bar.close)
            if self._stream.isatty():
                self._resources.enter_context(logs_above(self._bar))
        self._total, self._initial, self._done = total, initial, initial
        self._description, self._interval, self._clock, self._once = description, interval, clock, once
        self._started = self._logged = clock()
        self._counted = 0.0  # seconds of the units done, without what comes once
        self._said = -1  # units done at the last log line
        self._text = ""

    @property
    def pace(self) -> float | None:
        """Seconds a unit, without what comes once; None before the first."""
        gained = self._done - self._initial
        return self._counted / gained if gained else None

    @property
    def left(self) -> float | None:
        """Seconds that the rest should take; None before the first unit."""
        return None if self.pace is None else self.pace * (self._total - self._done)

    def update(self, n: int = 1, metrics: Mapping[str, float] | None = None) -> None:
        """Counts `n` more units; `metrics` are shown beside them."""
        self._done += n
        self._counted = max(self._clock() - self._started - self._once(), 0.0)
        self._text = "  ".join(f"{name} {value:.3g}" for name, value in (metrics or {}).items())
        if self._bar is not None:
            self._show(refresh=False)
            self._bar.update(n)
        elif self._clock() - self._logged >= self._interval:
            self._log()

    def say(self, text: str) -> None:
        """Shows what is going on before there is anything to count."""
        self._text = text
        if self._bar is not None:
            self._show(refresh=True)
        else:
            self._log()

    def close(self) -> None:
        if self._bar is None and self._said != self._done:
            self._log()
        self._resources.close()

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _show(self, *, refresh: bool) -> None:
        for name, value in _look(columns(self._stream)).items():  # it may have been resized
            setattr(self._bar, name, value)
        self._bar.set_postfix_str(f"{self._expected()}  {self._text}".lstrip(" ,"), refresh=refresh)

    def _log(self) -> None:
        if self._silent:
            return
        self._logged, self._said = self._clock(), self._done
        elapsed = duration(self._logged - self._started)
        line = f"{self._description} {self._done}/{self._total}, {elapsed}{self._expected()}  {self._text}"
        logging.info("%s", line.rstrip())

    def _expected(self) -> str:
        if self.pace is None or self.left is None:
            return ""
        return f", {self.pace:.2g} s each, {duration(self.left)} left"


def _look(width: int) -> dict[str, Any]:
    """How a line of that many columns is laid out, as tqdm's arguments."""
    bar = "|{bar:10}| " if width >= 60 else ""
    return {"ncols": width, "bar_format": f"{{desc}} {{n_fmt}}/{{total_fmt}} {bar}{{elapsed}}{{postfix}}"}


def duration(seconds: float) -> str:
    """As a clock shows it; days in words."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours >= 100:
        return f"{hours / 24:.0f} days"
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
