"""The process that runs ManiSkill: several single environments, stepped in turn. Never imports jax.

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

import gc
from typing import Any

import numpy as np

from rpd_jax.envs import rewards
from rpd_jax.envs.maniskill.settings import layout
from rpd_jax.ipc.arrays import SharedArrays
from rpd_jax.ipc.sidecar import serve

_COLLECT_EVERY = 2_000  # environment steps between collections of cyclic garbage


class Worker:
    """Rows [first, last) of the vector."""

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

    def make(self, fields: dict[str, Any]) -> dict[str, Any]:
        self._first = fields["first"]
        self._max_steps = fields["max_episode_steps"]
        self._end_on_success = fields["end_on_success"]
        self._draw = fields["draw"]
        self._envs = self._create(fields)
        self._elapsed = [0] * len(self._envs)
        self._begun_broken = [False] * len(self._envs)  # the first observation was not finite
        made = describe(self._envs[0])
        self._entries = layout(made["state"])
        if fields["reward_mode"] in rewards.KINDS:
            self._simplified = rewards.simplified(fields["task"], fields["reward_mode"])
        return made

    def attach(self, fields: dict[str, Any]) -> None:
        arrays = SharedArrays.attach(fields["descriptor"], fields["table"])
        rows = slice(self._first, self._first + len(self._envs))
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
        for row, env in enumerate(self._envs):
            observation, reward, ended, _, info = env.step(self._action[row])
            self._final_state[row] = self._state[row] = observation.numpy()[0]
            success = "success" in info and info["success"].item()
            self._success[row] = success
            self._reward[row] = reward.item() if self._simplified is None else self._simplify(row, success)
            finite = np.isfinite(self._final_state[row]).all() and np.isfinite(self._reward[row])
            broken = self._broken[row] = self._begun_broken[row] or not finite
            self._elapsed[row] += 1
            terminated = self._end_on_success and ended.item()
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
        observation, _ = self._envs[row].reset(seed=int(self._seed[row]))
        state = observation.numpy()[0]
        self._begun_broken[row] = not np.isfinite(state).all()
        self._state[row] = 0.0 if self._begun_broken[row] else state
        self._elapsed[row] = 0
        if self._draw:
            self._render(row)

    def _simplify(self, row: int, success: bool) -> float:
        state = self._final_state[row]
        return float(self._simplified({name: state[low:high] for name, (low, high) in self._entries.items()}, success))

    def _render(self, row: int) -> None:
        self._frame[row] = self._envs[row].render()[0].numpy()

    def _create(self, fields: dict[str, Any]) -> list[Any]:
        return make_envs(fields, fields["count"])


def make_envs(
    fields: dict[str, Any], count: int, num_envs: int = 1, sim_backend: str = "physx_cpu", render: str = "sapien_cpu"
) -> list[Any]:
    """Makes this process a simulator's, for good, and gives `count` environments, each of a batch of `num_envs`.

    `fields` are those of a "make" request.
    """
    # Imported here, so that the process is guarded (see sidecar.serve) while this takes its seconds.
    import gymnasium
    import mani_skill.envs  # noqa: F401  (registers the tasks)
    import torch
    from mani_skill.utils.sapien_utils import look_at

    from rpd_jax.envs.maniskill import fast as maniskill_fast

    maniskill_fast.install()
    torch.set_num_threads(1)
    torch.inference_mode().__enter__()  # for good: its tensors and others do not mix
    # The libraries' objects stay: the collector need not look at them again. Scenes do come and go.
    gc.collect()
    gc.freeze()
    gc.disable()
    camera: dict[str, Any] = {"width": fields["image_size"], "height": fields["image_size"]}
    if fields["camera"] is not None:
        eye, target, fov = (fields["camera"][name] for name in ("eye", "target", "fov"))
        camera |= {"pose": look_at(eye, target), "fov": fov}
    simplified = fields["reward_mode"] in rewards.KINDS
    return [
        # Without the wrappers: time limits and resets are done here.
        gymnasium.make(
            fields["task"],
            num_envs=num_envs,
            obs_mode="state",
            control_mode=fields["control_mode"],
            reward_mode="sparse" if simplified else fields["reward_mode"],
            sim_backend=sim_backend,
            render_backend=render,
            render_mode="rgb_array",
            human_render_camera_configs=dict(camera),
        ).unwrapped
        for _ in range(count)
    ]


def describe(env: Any) -> dict[str, Any]:
    """The reply to a "make" request."""
    space = env.single_action_space
    return {
        "action_low": space.low.tolist(),
        "action_high": space.high.tolist(),
        "state": _slices(env.get_obs(unflattened=True)),
    }


def _slices(tree: Any, path: tuple[str, ...] = ()) -> list[list[Any]]:
    """[path, length] of every leaf of a nested observation, in the order in which ManiSkill flattens it."""
    if isinstance(tree, dict):
        return [row for name, value in tree.items() for row in _slices(value, (*path, name))]
    return [["/".join(path), int(np.prod(tree.shape[1:], dtype=np.int64))]]


def main(worker: Any) -> None:
    """Serves a `Worker`, or something with its methods."""
    serve({name: getattr(worker, name) for name in ("make", "attach", "reset", "step", "frames")})


if __name__ == "__main__":
    main(Worker())
