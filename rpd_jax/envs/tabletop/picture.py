"""Draws a scene as its task's view shows it."""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp

from rpd_jax.actions import rotations
from rpd_jax.envs.tabletop import hand
from rpd_jax.envs.tabletop.raycast import Part, make_renderer
from rpd_jax.envs.tabletop.scene import Camera, Scene
from rpd_jax.envs.tabletop.task import View
from rpd_jax.types import Array


def make_picture(scene: Scene, camera: Camera, size: int) -> Callable[[View], Array]:
    """A pure function view -> uint8 [size, size, 3]; the caller vmaps and jits."""
    owners = [hand.PALM_SHAPES, hand.finger_shapes(1), hand.finger_shapes(-1)]
    owners += [body.shapes for body in scene.bodies] + [marker.shapes for marker in scene.markers]
    render = make_renderer(
        [Part(shape, frame) for frame, shapes in enumerate(owners) for shape in shapes], camera, size
    )

    def frames(view: View) -> Array:
        """Poses [F, 7] in the order of `owners`."""
        poses = [view.tcp]
        for finger, side in enumerate((1.0, -1.0)):
            shift = jnp.array([0.0, side, 0.0]) * view.fingers[finger]
            poses.append(
                jnp.concatenate([view.tcp[:3] + rotations.quaternion_apply(view.tcp[3:], shift), view.tcp[3:]])
            )
        poses += [view.pose[body.name] for body in scene.bodies]
        for marker in scene.markers:
            goal = view.goal[marker.goal]
            poses.append(goal if goal.shape == (7,) else jnp.concatenate([goal, jnp.array([1.0, 0.0, 0.0, 0.0])]))
        return jnp.stack(poses)

    return lambda view: render(frames(view))
