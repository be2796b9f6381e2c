"""An exported student moves a robot at a fixed rate, while messages are lost, late and damaged; tabletop is the robot.

  python -m launch.export --run=runs/ee --variant=rpd-mse --seed=0 --output=student
  python examples/robot_loop.py student --episodes=100
  python examples/robot_loop.py student --episodes=1 --realtime

The same episodes are played three times: with sound messages, with faults and guards, and with faults and none (the
newest message is acted on, whatever it is). Time is simulated unless --realtime says otherwise. The student must see
"ee" (README, "Evaluate"), of a task of tabletop.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import gymnasium
import numpy as np

LATE = (0.02, 0.3)  # seconds, of late messages
OUTAGE = 0.5  # seconds in which nothing arrives


class Clock:
    """Seconds, which pass in `wait_until` alone, or those of the computer."""

    def __init__(self, realtime: bool) -> None:
        self._realtime, self._now = realtime, 0.0

    def __call__(self) -> float:
        return time.monotonic() if self._realtime else self._now

    def wait_until(self, moment: float) -> None:
        self._now = moment
        if self._realtime:
            time.sleep(max(0.0, moment - time.monotonic()))


class Channel:
    """The way from sensors to the student: each message may be lost, late or damaged; `counts` says how many were."""

    def __init__(self, drop: float, late: float, corrupt: float, outage: float, rng: np.random.Generator) -> None:
        """The first three are shares of the messages; `outage` is how many begin in a second."""
        self._drop, self._late, self._corrupt, self._outage, self._rng = drop, late, corrupt, outage, rng
        self._under_way: list[tuple[float, float, np.ndarray]] = []
        self._silent_until = -np.inf
        self.counts: Counter[str] = Counter()

    def send(self, message: np.ndarray, now: float, period: float) -> None:
        """Sends what was measured just now."""
        self.counts["sent"] += 1
        if self._rng.random() < self._outage * period:
            self._silent_until = now + OUTAGE
        if now < self._silent_until or self._rng.random() < self._drop:
            self.counts["lost"] += 1
            return
        arrival = now
        if self._rng.random() < self._late:
            self.counts["late"] += 1
            arrival += self._rng.uniform(*LATE)
        if self._rng.random() < self._corrupt:
            self.counts["damaged"] += 1
            message = self._damaged(message)
        self._under_way.append((arrival, now, message))

    def arrived(self, now: float) -> Iterator[tuple[float, np.ndarray]]:
        """Stamps and messages that have arrived since the last call, in the order of arrival."""
        ready = sorted((each for each in self._under_way if each[0] <= now), key=lambda each: each[0])
        self._under_way = [each for each in self._under_way if each[0] > now]
        yield from ((stamp, message) for _, stamp, message in ready)

    def _damaged(self, message: np.ndarray) -> np.ndarray:
        """One number is none or far off, or the end is missing."""
        damaged, where = message.copy(), self._rng.integers(len(message))
        kind = self._rng.integers(4)
        if kind == 3:
            return message[:where]
        damaged[where] = (np.nan, np.inf, self._rng.choice((-1.0, 1.0)) * 10.0 ** self._rng.uniform(1, 6))[kind]
        return damaged


def play(env: Any, episodes: int, clock: Clock, channel: Channel, student: Any, guarded: bool, period: float) -> float:
    """The share of episodes that succeed."""
    successes = 0
    for episode in range(episodes):
        observation, _ = env.reset(seed=episode)
        newest, ended, tick = None, False, clock()
        for _ in channel.arrived(np.inf):  # of the last episode
            pass
        if guarded:
            student.reset()
        while not ended:
            channel.send(observation, clock(), period)
            for stamp, message in channel.arrived(clock()):
                newest = message
                if guarded:
                    student.observe({"ee": message}, stamp)
            if guarded:
                action = student.command().action
            else:
                sound = newest is not None and len(newest) == len(observation)  # others the student cannot read
                action = student.act({"ee": newest}) if sound else np.zeros(7, np.float32)
            observation, _, terminated, truncated, info = env.step(action)
            ended = terminated or truncated
            tick += period
            clock.wait_until(tick)
        successes += info["success"]
    return successes / episodes


def main(arguments: list[str] | None = None) -> dict[str, float]:
    """Prints what happened; returns the shares of success."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", help="of an export")
    parser.add_argument("--episodes", type=int, default=20)
    parser.add_argument("--drop", type=float, default=0.1, help="share of messages that are lost")
    parser.add_argument("--late", type=float, default=0.1, help=f"share that is {LATE[0]} to {LATE[1]} s late")
    parser.add_argument("--corrupt", type=float, default=0.05, help="share that is damaged")
    parser.add_argument("--outage", type=float, default=0.1, help=f"outages of {OUTAGE} s that begin in a second")
    parser.add_argument("--fallback", choices=("hold", "zero", "stop"), default=None, help="none given: the export's")
    parser.add_argument("--speed", type=float, default=None, help="of the hand at most, m/s")
    parser.add_argument("--seed", type=int, default=0, help="of the faults")
    parser.add_argument("--realtime", action="store_true", help="at the rate of a clock on the wall")
    given = parser.parse_args(arguments)

    sys.path.insert(0, given.directory)  # as on the robot: these two files are in the export
    from runner import Student  # type: ignore[import-not-found]
    from safe_student import SafeStudent  # type: ignore[import-not-found]

    student = Student(given.directory)
    manifest = student.manifest
    suite, _, task = manifest["env"].partition(":")
    if suite != "tabletop" or list(manifest["observation"]) != ["ee"]:
        parser.error(f"the student is of {manifest['env']} and sees {list(manifest['observation'])}: need tabletop, ee")
    speed = None if given.speed is None else {"translation": given.speed}
    env = gymnasium.make(f"rpd_jax.envs.gym:rpd_jax/{task}", observation="ee")
    period, faults = 1.0 / manifest["control_hz"], (given.drop, given.late, given.corrupt, given.outage)
    shares = {}
    for name, rates, guarded in (
        ("sound messages", (0.0,) * 4, True),
        ("faults, guarded", faults, True),
        ("faults, not guarded", faults, False),
    ):
        clock, channel = Clock(given.realtime), Channel(*rates, np.random.default_rng(given.seed))
        safe = SafeStudent(student, fallback=given.fallback, max_rate=speed, clock=clock)
        who = safe if guarded else student
        shares[name] = play(env, given.episodes, clock, channel, who, guarded, period)
        print(f"{name}: {shares[name]:.2f} of {given.episodes} episodes succeed")
        print("  messages: " + ", ".join(f"{count} {what}" for what, count in channel.counts.items()))
        kinds: Counter[str] = Counter()  # without the fields that were concerned
        for what, count in safe.counts.items() if guarded else ():
            kinds[": ".join(what.split(": ")[:2])] += count
        for what in sorted(kinds):
            print(f"  {what:40} {kinds[what]:6}")
    return shares


if __name__ == "__main__":
    main()
