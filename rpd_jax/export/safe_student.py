"""Guards around a student that moves a robot; needs numpy, nothing else.

    student = SafeStudent(Student(), max_rate={"translation": 0.25})    # m/s
    student.observe({"ee": ee}, stamp)                                  # whenever a message arrives
    command = student.command()                                         # once every control period
    robot.move(command.action)

Stamps are seconds of the clock that `SafeStudent` is given: when a measurement was taken. Messages with NaN, infinity,
numbers out of range, or wrong shapes, and messages older than what is there, are not acted on. Where the newest message
was refused, or the newest sound one is older than `max_age_s`, or the student's answer is no number, the fallback takes
over until a sound message comes:

    hold   deltas are 0, absolute fields keep their last value (a gripper goes on holding)
    zero   every number is 0
    stop   as hold, and for good: until `reset()`

Every command, a fallback's too, is cut to the box, to `limits` and to `max_rate`. Units and frames of the fields are in
student.json (see runner.py). These are guards against faults of sensors and software, in the same process. They replace
neither an emergency stop nor the limits of the robot's driver, which must stop by itself when commands cease.
"""

import collections
import time
from typing import NamedTuple

import numpy as np

FALLBACKS = ("hold", "zero", "stop")


class Command(NamedTuple):
    """What the robot is to do in the next control period."""

    action: np.ndarray  # [A] float32
    fallback: str | None  # "hold", "zero" or "stop" where the student was not followed
    reason: str | None  # why not
    limited: tuple[str, ...]  # the guards that changed it, e.g. "rate of translation"


class SafeStudent:
    """A student behind guards, for one robot and one thread; see the head of this file.

    Args:
      student: a `runner.Student`.
      fallback: "hold", "zero" or "stop"; None: the manifest's.
      max_age_s: seconds, of an observation that is acted on; None: the manifest's.
      max_rate: field of the action -> its unit per second (Euclidean norm): of a delta how fast it may move, of an
        absolute one how fast its target may. Other fields have the manifest's, which hardly bind at `control_hz`.
      limits: field -> the largest magnitude of each of its numbers in one command, or (low, high), in its unit.
      kinds, rest: field -> "delta" or "absolute", and what each number of an absolute one is before the first command,
        where the manifest does not know.
      clock: seconds, never going back; in tests and simulations not the computer's.

    `counts` says how often what happened; `stopped` is the reason for which it has stopped, else None. Raises
    ValueError for what cannot be.
    """

    def __init__(
        self,
        student,
        *,
        fallback=None,
        max_age_s=None,
        max_rate=None,
        limits=None,
        kinds=None,
        rest=None,
        clock=time.monotonic,
    ):
        self.student, self.manifest, self._clock = student, student.manifest, clock
        self._entries, action, guards = (self.manifest[key] for key in ("observation", "action", "guards"))
        self._fields = {name: dict(field) for name, field in action["fields"].items()}
        for key, given in (("max_rate", max_rate), ("limits", limits), ("kind", kinds), ("rest", rest)):
            for name, value in (given or {}).items():
                if name not in self._fields:
                    raise ValueError(f"{key}: the action has no field {name!r}, only {sorted(self._fields)}")
                self._fields[name][key] = value
        self._fallback = guards["fallback"] if fallback is None else fallback
        self._max_age = guards["max_age_s"] if max_age_s is None else max_age_s
        if self._fallback not in FALLBACKS:
            raise ValueError(f"fallback={self._fallback!r}: choose from {', '.join(FALLBACKS)}")
        if self._max_age is None or not self._max_age > 0:
            raise ValueError(f"max_age_s={self._max_age}: say how many seconds old an observation may be")
        hz = self.manifest["control_hz"]
        self._period = self._max_age if hz is None else 1.0 / hz
        self._low, self._high = _bounds(action)
        self._rest = np.zeros(len(self._low))
        for name, field in self._fields.items():
            self._prepare(name, field)
        self._ranges = {name: _bounds(entry) for name, entry in self._entries.items() if entry["low"]}
        self.counts = collections.Counter()
        self.reset()

    def reset(self):
        """Forgets observations and commands, and a stop: before a new attempt. Counts go on."""
        self.stopped = None
        self._seen, self._refused = {}, {}  # name -> (array, stamp); name -> why the newest was refused
        self._last = self._last_time = None

    def observe(self, observation, stamp=None):
        """Takes a message: some or all entries, measured at `stamp` (None: now). Returns whether it was accepted.

        One wrong number refuses the whole message. Raises ValueError for one without any entry of the student's.
        """
        now = self._clock()
        stamp = now if stamp is None else float(stamp)
        names = [name for name in self._entries if name in observation]
        if not names:
            raise ValueError(f"the message has {sorted(observation)}: the student sees {sorted(self._entries)}")
        if any(name in self._seen and stamp < self._seen[name][1] for name in names):
            self.counts[f"refused: out of order: {', '.join(names)}"] += 1
            return False  # what is there is newer
        taken, fault = {}, None
        if not stamp - now <= self._max_age:  # a stamp of another clock would keep old observations young
            fault = "stamp of another clock", f"it is {stamp - now:g} s ahead"
        for name in names:
            try:
                taken[name] = np.array(self.student.entry(name, observation[name]))
                fault = fault or self._fault(name, taken[name])
            except (ValueError, TypeError) as error:
                fault = fault or (f"malformed: {name}", str(error))
        if fault is None:
            self.counts["accepted"] += 1
            for name, x in taken.items():
                self._seen[name] = (x, stamp)
                self._refused.pop(name, None)
            return True
        self.counts[f"refused: {fault[0]}"] += 1
        self._refused |= dict.fromkeys(names, fault)
        return False

    def command(self):
        """The `Command` for the coming control period; call it once in each."""
        now = self._clock()
        problem = ("stopped", self.stopped) if self.stopped else self._problem(now)
        if problem is None:
            wanted = self.student.act({name: x for name, (x, _) in self._seen.items()}).astype(float)
            if not np.isfinite(wanted).all():
                problem = "the student's answer is not finite", str(wanted)
            problem = problem or self._problem(self._clock())  # it may have thought for too long
        fallback = reason = None
        if problem is not None:
            fallback, reason = self._fallback, f"{problem[0]} ({problem[1]})"
            wanted = np.zeros_like(self._rest) if fallback == "zero" else self._held()
            self.counts[f"{fallback}: {problem[0]}"] += 1
            if fallback == "stop":
                self.stopped = self.stopped or reason
        action, limited = self._limited(wanted, now)
        self.counts["commands"] += 1
        self.counts.update(f"limited: {each}" for each in limited)
        self._last, self._last_time = action, now
        return Command(action.astype(np.float32), fallback, reason, limited)

    def _prepare(self, name, field):
        part, kind = slice(field["start"], field["stop"]), field["kind"]
        rate, limits = field["max_rate"], field.get("limits")
        if kind not in ("delta", "absolute") and (self._fallback != "zero" or rate is not None or kind is not None):
            raise ValueError(f"kinds={{{name!r}: {kind!r}}}: say 'delta' or 'absolute'")
        if kind == "absolute" and field["rest"] is None and self._fallback != "zero":
            raise ValueError(f"rest={{{name!r}: ...}} is missing: what it is before the first command")
        if rate is not None and not rate >= 0:
            raise ValueError(f"max_rate={{{name!r}: {rate}}}: must be at least 0")
        self._rest[part] = 0.0 if field["rest"] is None else field["rest"]
        if limits is not None:
            low, high = (-limits, limits) if np.isscalar(limits) else limits
            if not (low <= 0 <= high if kind == "delta" else low <= high):
                raise ValueError(f"limits={{{name!r}: {limits}}}: must be an interval, of a delta one with 0 in it")
            self._low[part] = np.maximum(self._low[part], low / field["scale"])
            self._high[part] = np.minimum(self._high[part], high / field["scale"])

    def _fault(self, name, x):
        """What is wrong with an entry, as (kind, details), or None."""
        entry = self._entries[name]
        if x.ndim > len(entry["shape"]):
            return f"malformed: {name}", "it has a batch axis: one robot has none"
        if x.dtype.kind != "f":
            return None
        (low, high), wrong, kind = self._ranges.get(name, (None, None)), ~np.isfinite(x), "not finite"
        if not wrong.any() and low is not None:
            wrong, kind = (x < low) | (x > high), "out of range"
        if not wrong.any():
            return None
        i = int(np.flatnonzero(wrong)[0])
        part = next((p for p, s in entry["layout"].items() if s["start"] <= i < s["stop"]), str(i))
        bounds = f": must be in [{low[i]:.4g}, {high[i]:.4g}]" if kind == "out of range" else ""
        return f"{kind}: {name}.{part}", f"number {i} is {x.flat[i]:.4g}{bounds}"

    def _problem(self, now):
        for name in self._entries:
            if name in self._refused:
                return self._refused[name]
            if name not in self._seen:
                return f"no observation yet: {name}", "none was accepted"
            age = now - self._seen[name][1]
            if not age <= self._max_age:
                return f"too old: {name}", f"{age:.3g} s, at most {self._max_age:g} s"
        return None

    def _held(self):
        held = (self._rest if self._last is None else self._last).copy()
        for field in self._fields.values():
            if field["kind"] == "delta":
                held[field["start"] : field["stop"]] = 0.0
        return held

    def _limited(self, wanted, now):
        """The action in box and rates, and the names of the guards that changed it."""
        action, changed = np.clip(wanted, self._low, self._high), []
        # a command that comes late may not make up for the time, nor two at once move twice
        since = self._period if self._last is None else min(max(now - self._last_time, 0.0), self._period)
        for name, field in self._fields.items():
            part = slice(field["start"], field["stop"])
            if np.any(action[part] != wanted[part]):
                changed.append(f"limits of {name}")
            if field["max_rate"] is None or (field["kind"] == "absolute" and self._last is None):
                continue
            start = self._last[part] if field["kind"] == "absolute" else 0.0
            step = action[part] - start
            size, most = np.linalg.norm(step) * field["scale"], field["max_rate"] * since
            if size > most:
                action[part] = start + step * (most / size)
                changed.append(f"rate of {name}")
        return action, tuple(changed)


def _bounds(described):
    """Arrays of the lowest and highest values; None is no bound."""
    low = [-np.inf if x is None else x for x in described["low"]]
    return np.array(low), np.array([np.inf if x is None else x for x in described["high"]])
