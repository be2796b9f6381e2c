"""C MuJoCo: every batch is one call of `mujoco.rollout`, on all of the host's cores.

Inside a jitted program the call is a callback, so that a rollout of many steps stays one program. Results do not
depend on the number of threads.
"""

from __future__ import annotations

import os
import threading

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from mujoco.rollout import Rollout

from rpd_jax.envs.tabletop import hand
from rpd_jax.envs.tabletop.model import Model
from rpd_jax.envs.tabletop.physics import Physics, Step
from rpd_jax.types import Array


def make_step(model: Model) -> Step:
    """See `physics.Step`."""
    batched = BatchedRollout(model)

    def step(physics: Physics, ctrl: Array) -> Physics:
        shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, jnp.float32), physics)
        return jax.pure_callback(batched, shapes, physics.qpos, physics.qvel, ctrl, vmap_method="broadcast_all")

    return step


class BatchedRollout:
    """Control steps of any number of environments; arrays of float64 are kept for each batch size."""

    def __init__(self, model: Model) -> None:
        self._model, self._bodies = model.mujoco, len(model.scene.grasped_names)
        self._threads = len(os.sched_getaffinity(0))
        self._data = [mujoco.MjData(model.mujoco) for _ in range(self._threads)]
        self._rollout = Rollout(nthread=self._threads)
        self._buffers: dict[int, tuple[np.ndarray, ...]] = {}
        self._lock = threading.Lock()  # programs may run side by side, buffers and threads are shared
        size = mujoco.mj_stateSize(self._model, mujoco.mjtState.mjSTATE_FULLPHYSICS)
        if size != 1 + self._model.nq + self._model.nv:
            raise RuntimeError(f"MuJoCo {mujoco.__version__} has a physics state of {size} numbers: time, qpos, qvel")

    def __call__(self, qpos: Array, qvel: Array, ctrl: Array) -> Physics:
        """Leaves [*B, nq], [*B, nv], [*B, 8] -> Physics with the same leading axes."""
        nq = self._model.nq
        qpos, qvel, ctrl = np.asarray(qpos), np.asarray(qvel), np.asarray(ctrl)
        batch = qpos.shape[:-1]
        count = int(np.prod(batch))
        with self._lock:
            initial, control, state, sensors = self._arrays(count)
            initial[:, 1 : 1 + nq] = qpos.reshape(count, -1)
            initial[:, 1 + nq :] = qvel.reshape(count, -1)
            control[:] = ctrl.reshape(count, 1, -1)
            self._rollout.rollout(
                [self._model] * count,
                self._data,
                initial,
                control,
                nstep=hand.SUBSTEPS,
                skip_checks=True,
                state=state,
                sensordata=sensors,
            )
            last, force = state[:, -1].astype(np.float32), sensors[:, -1].astype(np.float32)
        return Physics(
            qpos=last[:, 1 : 1 + nq].reshape(*batch, nq),
            qvel=last[:, 1 + nq :].reshape(*batch, self._model.nv),
            force=force.reshape(*batch, self._bodies, 2, 3),
        )

    def _arrays(self, count: int) -> tuple[np.ndarray, ...]:
        if count not in self._buffers:
            size, model = 1 + self._model.nq + self._model.nv, self._model
            self._buffers[count] = (
                np.zeros((count, size)),
                np.zeros((count, hand.SUBSTEPS, model.nu)),
                np.zeros((count, hand.SUBSTEPS, size)),
                np.zeros((count, hand.SUBSTEPS, model.nsensordata)),
            )
        return self._buffers[count]
