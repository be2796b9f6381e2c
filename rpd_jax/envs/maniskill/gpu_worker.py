"""The process that runs one batched ManiSkill environment, on a GPU or, with one environment, on the CPU.

The arrays lie in memory of the device that simulates (`ipc.device`) and are written in place. It answers the requests
of `process_worker`; "make" has the field "device" besides, and "frames" puts its pictures into the first rows of
`frame` where not every state is drawn.
"""

from __future__ import annotations

import gc
from typing import Any

import numpy as np

from rpd_jax.envs.maniskill.worker import describe, make_envs
from rpd_jax.envs.process_worker import main
from rpd_jax.ipc.device import DeviceArrays, cuda_number

_COLLECT_EVERY = 2_000  # batched steps between collections of cyclic garbage
_VARIED = ("PegInsertionSide-v1",)  # whose objects differ, and are made when the scene is


class BatchWorker:
    """All rows of the vector."""

    def __init__(self) -> None:
        self._env: Any = None
        self._steps = 0
        self._picture: Any = None  # of the present state, where it was drawn

    def make(self, fields: dict[str, Any]) -> dict[str, Any]:
        self._end_on_success = fields["end_on_success"]
        self._draw = bool(fields["drawn"])
        self._count = fields["count"]
        self._reconfigure = self._count > 1 and fields["task"] in _VARIED
        self._env = self._create(fields)
        made = describe(self._env, fields)
        self._max_steps = made["max_episode_steps"]
        return made

    def attach(self, fields: dict[str, Any]) -> None:
        import torch

        self._arrays = DeviceArrays.attach(fields)
        self._tensors = {name: torch.from_dlpack(self._arrays.view(name)) for name, *_ in fields["table"]}
        self._elapsed = torch.zeros(self._count, dtype=torch.int64, device=self._tensors["state"].device)
        self._begun_broken = torch.zeros_like(self._elapsed, dtype=torch.bool)  # the first observation was not finite

    def reset(self, fields: dict[str, Any]) -> None:
        self._begin_all()
        self._elapsed.copy_(self._tensors["age"])
        self._arrays.synchronize()

    def step(self, fields: dict[str, Any]) -> None:
        to = self._tensors
        self._picture = None
        observation, reward, ended, _, info = self._env.step(to["action"])
        to["final_state"].copy_(observation)
        to["state"].copy_(observation)
        to["reward"].copy_(reward)
        if "success" in info:
            to["success"].copy_(info["success"])
        else:
            to["success"].zero_()
        self._elapsed += 1
        if self._end_on_success:
            to["terminated"].copy_(ended)
        else:
            to["terminated"].zero_()
        to["truncated"].copy_(self._elapsed >= self._max_steps)
        finite = observation.isfinite().all(1) & reward.isfinite()
        to["broken"].copy_(self._begun_broken | ~finite)
        if self._draw:
            to["final_rgb"].copy_(self._render())
            to["rgb"].copy_(self._render())
        begin = (to["terminated"] | to["truncated"] | to["broken"]).nonzero()[:, 0]
        if len(begin) == self._count:
            self._begin_all()
        elif len(begin):
            self._begin(begin)
        self._steps += 1
        if self._steps % _COLLECT_EVERY == 0:
            gc.collect()
        self._arrays.synchronize()

    def frames(self, fields: dict[str, Any]) -> None:
        indices = fields["indices"]
        self._tensors["rgb"][: len(indices)].copy_(self._render()[indices])
        self._arrays.synchronize()

    def _begin_all(self) -> None:
        """All environments' next episodes; ManiSkill draws them from the first seed."""
        import torch

        seeds = self._tensors["seed"].cpu().tolist()
        options = {"reconfigure": True} if self._reconfigure else {}
        self._reconfigure = False
        observation, _ = self._env.reset(seed=seeds, options=options)
        # What partial resets draw from; ManiSkill itself leaves this generator as it was.
        torch.manual_seed(int(np.random.SeedSequence(seeds).generate_state(1)[0]))
        self._elapsed.zero_()
        self._picture = None
        self._tensors["state"].copy_(self._checked(observation))
        if self._draw:
            self._tensors["rgb"].copy_(self._render())

    def _begin(self, rows: Any) -> None:
        """The next episodes of some environments. With seeds ManiSkill would draw alike for every first row."""
        observation, _ = self._env.reset(options={"env_idx": rows})
        self._elapsed[rows] = 0
        self._picture = None
        self._tensors["state"][rows] = self._checked(observation)[rows]
        if self._draw:
            self._tensors["rgb"][rows] = self._render()[rows]

    def _checked(self, observation: Any) -> Any:
        """First observations [B, D], with zeros for those that are not finite; their episodes end at the next step."""
        broken = ~observation.isfinite().all(1)
        self._begun_broken = broken
        return observation.masked_fill(broken[:, None], 0.0)

    def _render(self) -> Any:
        if self._picture is None:
            self._picture = self._env.render()
        return self._picture

    def _create(self, fields: dict[str, Any]) -> Any:
        number = cuda_number(fields["device"])
        if number is None:
            return make_envs(fields, 1, self._count)[0]
        return make_envs(fields, 1, self._count, f"physx_cuda:{number}", f"sapien_cuda:{number}")[0]


if __name__ == "__main__":
    main(BatchWorker())
