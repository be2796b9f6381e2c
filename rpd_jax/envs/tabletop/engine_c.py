"""C MuJoCo: every batch is one call of `mujoco.rollout`, on all of the host's cores.

Inside a jitted program it is a `host_call`, so that a rollout of many steps stays one program, which can be kept on
disk. Results do not depend on the number of threads.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from mujoco.rollout import Rollout

from rpd_jax.envs.host_call import host_call
from rpd_jax.envs.tabletop import hand
from rpd_jax.envs.tabletop.model import Model
from rpd_jax.envs.tabletop.physics import Physics, Step
from rpd_jax.runtime import available_cores
from rpd_jax.types import Array

_engines: dict[str, BatchedRollout] = {}  # one of each model, whoever builds it


def make_step(model: Model) -> Step:
    """See `physics.Step`."""
    digest = _digest(model.mujoco)

    def step(physics: Physics, ctrl: Array) -> Physics:
        shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, jnp.float32), physics)
        # Inside `shard_map` all devices of the mesh call at once; those of other processes have cores of their own.
        at_once = max(1, jax.sharding.get_abstract_mesh().size // jax.process_count())
        key = f"{digest} / {at_once}"
        if key not in _engines:
            _engines[key] = BatchedRollout(model.mujoco, max(1, available_cores() // at_once))
        return host_call(_engines[key], shapes, physics.qpos, physics.qvel, ctrl, key=key)

    return step


class BatchedRollout:
    """Control steps of any number of environments; several threads may call at once."""

    def __init__(self, model: mujoco.MjModel, threads: int) -> None:
        self._model, self._threads = model, threads
        self._idle: deque[_Worker] = (
            deque()
        )  # its methods are atomic; XLA's threads have no lasting locals of their own
        size = mujoco.mj_stateSize(model, mujoco.mjtState.mjSTATE_FULLPHYSICS)
        if size != 1 + model.nq + model.nv:
            raise RuntimeError(f"MuJoCo {mujoco.__version__} has a physics state of {size} numbers: time, qpos, qvel")

    def __call__(self, arguments: Sequence[np.ndarray], results: Sequence[np.ndarray]) -> None:
        """qpos [*B, nq], qvel [*B, nv], servo targets [*B, 8] -> the leaves of Physics [*B, ...], float32."""
        count, nq = int(np.prod(arguments[0].shape[:-1])), self._model.nq
        if count == 0:  # MuJoCo's rollout would crash
            return
        qpos, qvel, ctrl = (x.reshape(count, x.shape[-1]) for x in arguments)
        try:
            worker = self._idle.pop()
        except IndexError:
            worker = _Worker(self._model, self._threads)
        state, force = worker.step(qpos, qvel, ctrl)
        for result, found in zip(results, (state[:, 1 : 1 + nq], state[:, 1 + nq :], force), strict=True):
            result[...] = found.reshape(result.shape)
        self._idle.append(worker)


class _Worker:
    """Threads of MuJoCo, and arrays of float64 for each batch size; of one caller at a time."""

    def __init__(self, model: mujoco.MjModel, threads: int) -> None:
        self._model = model
        self._data = [mujoco.MjData(model) for _ in range(threads)]
        self._rollout = Rollout(nthread=threads if threads > 1 else 0)  # 0: the caller's own
        self._buffers: dict[int, tuple[np.ndarray, ...]] = {}

    def step(self, qpos: np.ndarray, qvel: np.ndarray, ctrl: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """[B, nq], [B, nv], [B, 8] -> states (time, qpos, qvel) and sensors, both valid until the next step."""
        nq = self._model.nq
        initial, control, states, sensors = self._arrays(len(qpos))
        initial[:, 1 : 1 + nq], initial[:, 1 + nq :], control[:] = qpos, qvel, ctrl[:, None]
        models, steps = [self._model] * len(qpos), hand.SUBSTEPS
        self._rollout.rollout(
            models, self._data, initial, control, nstep=steps, skip_checks=True, state=states, sensordata=sensors
        )
        return states[:, -1], sensors[:, -1]

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


def _digest(model: mujoco.MjModel) -> str:
    """What a step of a compiled model does, whichever process compiled it."""
    compiled = np.empty(mujoco.mj_sizeModel(model), np.uint8)
    mujoco.mj_saveModel(model, None, compiled)
    return hashlib.sha256(compiled.tobytes() + bytes([hand.SUBSTEPS])).hexdigest()
