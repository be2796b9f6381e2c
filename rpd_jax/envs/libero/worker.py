"""The process that runs LIBERO; `process_worker` lists its requests. Imports neither jax nor torch.

All environments of a process share one simulator, since one takes 1 to 2 GB (textures) and 8 seconds to make: each is a
`simulator.Moment`, which is put in before its step and taken out after it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from rpd_jax.envs import process_worker
from rpd_jax.envs.libero.simulator import Moment, Simulator


class Worker(process_worker.Worker):
    """See there."""

    _simulator: Any

    def _create(self, fields: dict[str, Any]) -> list[Moment | None]:
        self._simulator = self._make_simulator(fields)
        self._cameras: dict[str, str] = fields["cameras"]
        self._inside: int | None = None  # the row whose moment the simulator is in
        return [None] * fields["count"]

    def _make_simulator(self, fields: dict[str, Any]) -> Any:
        return Simulator(fields["benchmark"], fields["number"], fields["image_size"], fields["settle_steps"])

    def _describe(self, fields: dict[str, Any]) -> dict[str, Any]:
        return {
            **self._simulator.description,
            "action_low": [-1.0] * 7,
            "action_high": [1.0] * 7,
            "max_episode_steps": fields["max_episode_steps"],
        }

    def _reset(self, row: int, seed: int) -> np.ndarray:
        self._put_in(row, new=True)
        self._simulator.begin(seed)
        return self._simulator.state()

    def _step(self, row: int, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool]:
        self._put_in(row)
        success = self._simulator.step(action)
        return self._simulator.state(), float(success), success, success

    def _picture(self, row: int, camera: str) -> np.ndarray:
        self._put_in(row)
        return self._simulator.picture(self._cameras[camera])

    def _put_in(self, row: int, new: bool = False) -> None:
        """Has the simulator go on where this row's episode is, or (`new`) anywhere."""
        if row == self._inside:
            return
        if self._inside is not None:
            self._envs[self._inside] = self._simulator.take_out()
        self._inside = row
        if not new:
            self._simulator.put_in(self._envs[row])


if __name__ == "__main__":
    process_worker.main(Worker())
