"""What never moves in a picture: the table's top and the floor, drawn once, on the host."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from rpd_jax.envs.tabletop.scene import Camera

TABLE_LOW, TABLE_HIGH = (-0.9, -1.2), (0.65, 1.2)  # metres, x and y
TABLE_HEIGHT = 0.92  # above the floor
SAMPLES = 4  # of a pixel's width and height: the pattern is finer than pixels
FAR = 1e3  # metres: where a ray meets neither table nor floor

WOOD, FLOOR, SKY = np.array([0.80, 0.68, 0.53]), np.array([0.52, 0.53, 0.56]), np.array([0.80, 0.84, 0.89])
PLANK, TILE = 0.15, 0.5  # metres: the width of the table's planks, of the floor's squares
FOG = 4.0  # metres in which the floor fades to the sky


class Backdrop(NamedTuple):
    """The empty scene, float32, pixels in rows from the top left."""

    direction: np.ndarray  # [3, H * W] of each pixel's ray from the eye, world axes, length 1
    distance: np.ndarray  # [H * W] metres to table or floor
    color: np.ndarray  # [3, H * W] in [0, 1]: as a surface that lies in full light


def make_backdrop(camera: Camera, size: int) -> Backdrop:
    """Draws the empty scene for a square picture of `size` pixels."""
    direction = rays(camera, size)
    fine = rays(camera, size * SAMPLES)
    color = _color(np.asarray(camera.eye), fine)[0].reshape(size, SAMPLES, size, SAMPLES, 3).mean((1, 3))
    _, distance = _color(np.asarray(camera.eye), direction)
    return Backdrop(
        direction.T.astype(np.float32), distance.astype(np.float32), color.reshape(-1, 3).T.astype(np.float32)
    )


def rays(camera: Camera, size: int) -> np.ndarray:
    """Directions [size * size, 3], length 1, through the centres of pixels."""
    eye, target = np.asarray(camera.eye, float), np.asarray(camera.target, float)
    forward = (target - eye) / np.linalg.norm(target - eye)
    aside = np.cross(forward, (0.0, 0.0, 1.0))
    if np.linalg.norm(aside) < 1e-6:  # straight down or up: +x is up in the picture
        aside = np.array([0.0, -1.0, 0.0])
    right = aside / np.linalg.norm(aside)
    up = np.cross(right, forward)
    at = (2.0 * (np.arange(size) + 0.5) / size - 1.0) * np.tan(camera.fov / 2)
    direction = forward + at[None, :, None] * right - at[:, None, None] * up
    return (direction / np.linalg.norm(direction, axis=-1, keepdims=True)).reshape(-1, 3)


def _color(eye: np.ndarray, direction: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Colours [R, 3] and distances [R] of the nearest of table and floor."""
    on_table, table = _meet(eye, direction, 0.0)
    on_floor, floor = _meet(eye, direction, -TABLE_HEIGHT)
    hit = (table < FAR) & np.all((on_table > TABLE_LOW) & (on_table < TABLE_HIGH), axis=-1)
    haze = np.exp(-np.linalg.norm(on_floor - eye[:2], axis=-1) / FOG)[:, None] * (floor < FAR)[:, None]
    around = SKY + haze * (_tiles(on_floor) - SKY)
    return np.where(hit[:, None], _planks(on_table), around), np.where(hit, table, floor)


def _meet(eye: np.ndarray, direction: np.ndarray, height: float) -> tuple[np.ndarray, np.ndarray]:
    """Where rays meet a horizontal plane: x, y [R, 2] and the distances [R]."""
    down = np.minimum(direction[:, 2], -1e-9)
    distance = np.where(direction[:, 2] < 0.0, (height - eye[2]) / down, FAR)
    distance = np.where(distance > 0.0, np.minimum(distance, FAR), FAR)
    return eye[:2] + distance[:, None] * direction[:, :2], distance


def _planks(at: np.ndarray) -> np.ndarray:
    """Planks along y, each of its own shade, with wavy grain and dark joints."""
    x, y = at.T
    plank = np.floor(x / PLANK)
    shade = 0.03 * np.sin(12.9898 * plank + 4.0)
    grain = 0.02 * np.sin(190.0 * x + 2.5 * np.sin(3.1 * y + 5.0 * plank) + plank)
    joint = np.abs(x / PLANK - plank - 0.5) > 0.5 - 0.0025 / PLANK
    return WOOD * (1.0 + shade + grain - 0.12 * joint)[:, None]


def _tiles(at: np.ndarray) -> np.ndarray:
    odd = np.floor(at / TILE).sum(-1) % 2
    return FLOOR * (1.0 - 0.08 * odd)[:, None]
