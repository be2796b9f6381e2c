"""A process that runs several single environments, stepped in turn. Imports neither jax nor a simulator.

Observations, actions, rewards and flags lie in shared arrays whose leading axis runs over all environments of
the vector; this process owns rows [first, last). Requests carry no arrays:
  make    settings -> what the environments take and give
  attach  maps the shared arrays
  reset   begins the episodes with seeds `seed[i]`, at ages `age[i]`
  step    steps with `action[i]`, begins the next episode with `seed[i]` where one ended or something is not finite:
          then `broken[i]` is set, and the row's other results do not count
  frames  draws the named environments into `frame[i]`
"""

from __future__ import annotations

import abc
import gc
from typing import Any

import numpy as np

from rpd_jax.envs import rewards
from rpd_jax.envs.process_arrays import layout
from rpd_jax.ipc.arrays import SharedArrays
from rpd_jax.ipc.sidecar import serve

_COLLECT_EVERY = 2_000  # environment steps between collections of cyclic garbage


class Worker(abc.ABC):
    """Rows [first, last) of the vector, of one suite.

    A request "make" holds "task", "reward_mode", "max_episode_steps" and "horizon_scale" (a limit of None is the task's
    own), "end_on_success", "draw", "first" and "count" (the rows), and what the suite adds.
    """

    def __init__(self) -> None:
        self._envs: list[Any] = []
        self._first = 0
        self._max_steps = 0
        self._end_on_success = True
        self._draw = False
        self._simplified: Any = None  # what pays instead of the task's own reward
        self._entries: dict[str, tuple[int, int]] = {}
        self._elapsed: list[int] = []
        self._since_collection = 0

    # A suite's.

    @abc.abstractmethod
    def _create(self, fields: dict[str, Any]) -> list[Any]:
        """The environments of these rows; raises ConfigError, which the other process raises too."""

    @abc.abstractmethod
    def _describe(self, fields: dict[str, Any]) -> dict[str, Any]:
        """What they take and give: "action_low", "action_high", "max_episode_steps", "state" (see `layout`)."""

    @abc.abstractmethod
    def _reset(self, row: int, seed: int) -> np.ndarray:
        """Begins an episode; returns its first state [D]."""

    @abc.abstractmethod
    def _step(self, row: int, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool]:
        """Steps with an action [A]; returns (state [D], reward, whether the task ends here, success)."""

    @abc.abstractmethod
    def _picture(self, row: int) -> np.ndarray:
        """The present state as uint8 [H, W, 3]."""

    # Requests.

    def make(self, fields: dict[str, Any]) -> dict[str, Any]:
        self._first = fields["first"]
        self._end_on_success = fields["end_on_success"]
        self._draw = fields["draw"]
        self._envs = self._create(fields)
        self._elapsed = [0] * len(self._envs)
        self._begun_broken = [False] * len(self._envs)  # the first observation was not finite
        made = self._describe(fields)
        self._max_steps = made["max_episode_steps"]
        self._entries = layout(made["state"])
        if fields["reward_mode"] in rewards.KINDS:
            self._simplified = rewards.simplified(fields["task"], fields["reward_mode"])
        return made

    def attach(self, fields: dict[str, Any]) -> None:
        arrays = SharedArrays.attach(fields["descriptor"], fields["table"])
        rows = slice(self._first, self._first + len(self._envs))
        self._arrays = {name: arrays[name][rows] for name, *_ in fields["table"]}
        self._seed = arrays["seed"][rows]
        self._age = arrays["age"][rows]
        self._action = arrays["action"][rows]
        self._state = arrays["state"][rows]
        self._final_state = arrays["final_state"][rows]
        self._reward = arrays["reward"][rows]
        self._terminated = arrays["terminated"][rows]
        self._truncated = arrays["truncated"][rows]
        self._success = arrays["success"][rows]
        self._broken = arrays["broken"][rows]
        self._frame = arrays["frame"][rows]
        self._final_frame = arrays["final_frame"][rows] if self._draw else None

    def reset(self, fields: dict[str, Any]) -> None:
        for row in range(len(self._envs)):
            self._begin(row)
            self._elapsed[row] = int(self._age[row])

    def step(self, fields: dict[str, Any]) -> None:
        for row in range(len(self._envs)):
            state, reward, ended, success = self._step(row, self._action[row])
            self._final_state[row] = self._state[row] = state
            self._success[row] = success
            self._reward[row] = reward if self._simplified is None else self._simplify(row, success)
            finite = np.isfinite(self._final_state[row]).all() and np.isfinite(self._reward[row])
            broken = self._broken[row] = self._begun_broken[row] or not finite
            self._elapsed[row] += 1
            terminated = self._end_on_success and ended
            truncated = self._elapsed[row] >= self._max_steps
            self._terminated[row] = terminated
            self._truncated[row] = truncated
            if self._final_frame is not None:
                self._render(row)
                self._final_frame[row] = self._frame[row]
            if terminated or truncated or broken:
                self._begin(row)
        self._since_collection += len(self._envs)
        if self._since_collection >= _COLLECT_EVERY:
            self._since_collection = 0
            gc.collect()

    def frames(self, fields: dict[str, Any]) -> None:
        for index in fields["indices"]:
            self._render(index - self._first)

    def _begin(self, row: int) -> None:
        state = self._reset(row, int(self._seed[row]))
        self._begun_broken[row] = not np.isfinite(state).all()
        self._state[row] = 0.0 if self._begun_broken[row] else state
        self._elapsed[row] = 0
        if self._draw:
            self._render(row)

    def _simplify(self, row: int, success: bool) -> float:
        state = self._final_state[row]
        return float(self._simplified({name: state[low:high] for name, (low, high) in self._entries.items()}, success))

    def _render(self, row: int) -> None:
        self._frame[row] = self._picture(row)


def main(worker: Any) -> None:
    """Serves a `Worker`, or something with its methods."""
    serve({name: getattr(worker, name) for name in ("make", "attach", "reset", "step", "frames")})
