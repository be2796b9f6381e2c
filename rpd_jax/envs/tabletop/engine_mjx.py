"""MuJoCo XLA: the same model inside the jitted program, for GPUs and TPUs (on a CPU the C engine is faster)."""

from __future__ import annotations

import contextlib
import io
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import mujoco
import numpy as np

from rpd_jax.config import ConfigError
from rpd_jax.envs.tabletop import hand
from rpd_jax.envs.tabletop.model import FINGERS, Model, build
from rpd_jax.envs.tabletop.physics import Physics, Step
from rpd_jax.envs.tabletop.scene import Scene
from rpd_jax.types import Array

if TYPE_CHECKING:
    from mujoco import mjx


def make_step(model: Model) -> Step:
    """See `physics.Step`. Raises ConfigError where MJX is not installed."""
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # it prints that it did not find Warp
            from mujoco import mjx
    except ImportError as error:
        raise ConfigError(f"env.physics='mjx' cannot work: {error}; pip install 'rpd_jax[mjx]'") from None
    plain = build(model.scene, sensors=False).mujoco  # MJX knows no net forces of contacts: they are summed here
    device_model = mjx.put_model(plain)
    blank = mjx.make_data(plain)
    pairs = touching_pairs(plain, model.scene)

    def step(physics: Physics, ctrl: Array) -> Physics:
        data = blank.replace(qpos=physics.qpos, qvel=physics.qvel, ctrl=ctrl)

        def substep(data: mjx.Data, _: None) -> tuple[mjx.Data, None]:
            return mjx.step(saturated(device_model, data), data), None

        with jax.numpy_rank_promotion("allow"):  # MJX relies on it, whatever the caller forbids itself
            data, _ = jax.lax.scan(substep, data, None, length=hand.SUBSTEPS)
        return Physics(data.qpos.astype(jnp.float32), data.qvel.astype(jnp.float32), _forces(data, pairs))

    return step


def saturated(device_model: mjx.Model, data: mjx.Data) -> mjx.Model:
    """The model with those servos that are at their limit turned into constant forces.

    C MuJoCo's implicit integrator leaves the damping of a saturated servo out; MJX's would let it brake the joint.
    """
    kp, kv = device_model.actuator_gainprm[:, 0], -device_model.actuator_biasprm[:, 2]
    low, high = device_model.actuator_forcerange[:, 0], device_model.actuator_forcerange[:, 1]
    force = kp * (data.ctrl - data.qpos[: hand.JOINTS]) - kv * data.qvel[: hand.JOINTS]
    at_limit = (force <= low) | (force >= high)
    servo = jnp.stack([jnp.zeros_like(kp), -kp, -kv], axis=-1)
    constant = jnp.stack([jnp.clip(force, low, high), jnp.zeros_like(kp), jnp.zeros_like(kp)], axis=-1)
    bias = device_model.actuator_biasprm.at[:, :3].set(jnp.where(at_limit[:, None], constant, servo))
    gain = device_model.actuator_gainprm.at[:, 0].set(jnp.where(at_limit, 0.0, kp))
    return device_model.replace(actuator_gainprm=gain, actuator_biasprm=bias)


def touching_pairs(plain: mujoco.MjModel, scene: Scene) -> np.ndarray:
    """Which sides of a contact count: [G, 2, n_geom, n_geom], 1 where (finger, body's shape), -1 where turned round."""
    bodies = [plain.body(name).id for name in scene.grasped_names]
    fingers = [plain.body(name).id for name in FINGERS]
    owner = np.asarray(plain.geom_bodyid)
    pairs = np.zeros((len(bodies), 2, plain.ngeom, plain.ngeom), np.float32)
    for g, body in enumerate(bodies):
        for f, finger in enumerate(fingers):
            one_way = np.outer(owner == finger, owner == body).astype(np.float32)
            pairs[g, f] = one_way - one_way.T
    return pairs


def _forces(data: mjx.Data, pairs: np.ndarray) -> Array:
    """Net forces [G, 2, 3] of the fingers on the bodies, world axes: contacts have 2 x 2 edges of a pyramid each."""
    contact = data._impl.contact
    active = np.flatnonzero(np.asarray(contact.efc_address) >= 0)
    edges = data._impl.efc_force[np.asarray(contact.efc_address)[active][:, None] + np.arange(4)]
    friction = contact.friction[active]
    local = jnp.stack(
        [
            edges.sum(axis=1),
            (edges[:, 0] - edges[:, 1]) * friction[:, 0],
            (edges[:, 2] - edges[:, 3]) * friction[:, 1],
        ],
        axis=-1,
    )
    world = jnp.einsum(
        "cij,ci->cj", contact.frame[active], local
    )  # rows of the frame: normal from geom 1 to 2, tangents
    sign = jnp.asarray(pairs)[:, :, contact.geom[active, 0], contact.geom[active, 1]]
    return jnp.einsum("gfc,cj->gfj", sign, world).astype(jnp.float32)
