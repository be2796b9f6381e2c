"""A ray-caster of primitives in JAX: one ray a pixel, Lambert's law, one light with hard shadows.

Three passes over the parts, each a loop whose carry is one number a pixel: the nearest part, whether the light
reaches it, its colour. One carry a loop is what XLA makes a single vectorised sweep of; hence distance and part share
32 bits, and so do the three colours.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rpd_jax.actions import rotations
from rpd_jax.envs.tabletop.backdrop import make_backdrop
from rpd_jax.envs.tabletop.intersect import Ray, Size, Vec, dot, interval, make_ray, normal
from rpd_jax.envs.tabletop.scene import Camera, Shape
from rpd_jax.types import Array

SUN = (0.3678, 0.1379, 0.9196)  # towards the light that throws shadows
SKY = (-0.3030, 0.5051, 0.8081)  # towards the brightest of the sky, which throws none
AMBIENT, FROM_SKY, FROM_SUN = 0.25, 0.25, 0.6  # shares of the light
THINNEST = 2e-3  # metres: what is thinner, like a target painted on the table, throws no shadow
GRAZE = 1e-3  # metres to a part's far side below which it blocks no light: from its own lit surface that is 0
KINDS = ("sphere", "capsule", "cylinder", "box")


class Part(NamedTuple):
    """A primitive and the moving frame that carries it."""

    shape: Shape
    frame: int


class _Table(NamedTuple):
    """Parts as arrays; rows [n, ...], or one row."""

    axes: Array  # [n, 3, 3]: rows are the part's own axes in the world
    center: Array  # [n, 3] metres, world
    size: Array  # [n, 3] as `Shape.size`, filled up with zeros
    color: Array  # [n, 3]
    opacity: Array  # [n]
    number: Array  # [n] int32, from 1


class _Span(NamedTuple):
    """Rows of one kind."""

    kind: str
    start: int
    stop: int


def make_renderer(parts: Sequence[Part], camera: Camera, size: int) -> Callable[[Array], Array]:
    """A pure function of the frames' poses [F, 7] that gives a picture uint8 [size, size, 3].

    Colours are a screen's values (not linear) of a surface in full light. Parts of an opacity below 1 are blended over
    what is behind and throw no shadow; where several are in line, only the nearest is seen.
    """
    parts = sorted(parts, key=lambda part: (KINDS.index(part.shape.kind), _throws_shadow(part.shape)))
    shapes = [part.shape for part in parts]
    opaque = _spans(shapes, lambda shape: shape.opacity >= 1.0)
    casters = _spans(shapes, _throws_shadow)
    glassy = _spans(shapes, lambda shape: shape.opacity < 1.0)
    backdrop = make_backdrop(camera, size)
    eye = (float(camera.eye[0]), float(camera.eye[1]), float(camera.eye[2]))
    mask = (1 << len(parts).bit_length()) - 1  # of a key's bits that hold the part; the others hold the distance

    def look(row: _Table) -> Ray:
        return make_ray(_into(row, eye), _turn(row, _vec(jnp.asarray(backdrop.direction))))

    def see(kind: str, row: _Table, key: Array) -> Array:
        near, far = interval(kind, _vec(row.size), look(row))
        code = _bits(near, jnp.int32) & ~mask | row.number  # positive floats are ordered as their bits are
        return jnp.where((near < far) & (near > 0.0) & (code < key), code, key)

    def seen(key: Array) -> Vec:
        """The points [H * W] that keys mean, world axes."""
        distance = _bits(key & ~mask, jnp.float32)
        x, y, z = (e + distance * d for e, d in zip(eye, _vec(jnp.asarray(backdrop.direction)), strict=True))
        return x, y, z

    def shadow(key: Array, kind: str, row: _Table, lit: Array) -> Array:
        near, far = interval(kind, _vec(row.size), make_ray(_into(row, seen(key)), _turn(row, SUN)))
        return lit & ~((near < far) & (far > GRAZE))

    def paint(key: Array, lit: Array | bool, kind: str, row: _Table, picture: Array) -> Array:
        n = normal(kind, _vec(row.size), _into(row, seen(key)))
        bright = _brightness(dot(n, _turn(row, SUN)), dot(n, _turn(row, SKY)), lit)
        mine = _behind(picture, _vec(row.color), bright, row.opacity) if glassy else _pack(_vec(row.color), bright)
        return jnp.where(key & mask == row.number, mine, picture)

    def render(poses: Array) -> Array:
        table = _place(parts, poses)
        key: Array = _bits(jnp.asarray(backdrop.distance), jnp.int32) & ~mask
        key = _sweep(see, opaque, table, key)
        lit = _sweep(functools.partial(shadow, key), casters, table, jnp.ones(key.shape, bool))
        picture: Array = jnp.zeros_like(key)
        if glassy:  # before the opaque, because a last pass over a single part XLA would repeat for every byte
            nearer = _sweep(see, glassy, table, key)
            picture = _sweep(functools.partial(paint, nearer, True), glassy, table, picture)
        color, bright = _vec(jnp.asarray(backdrop.color)), _brightness(SUN[2], SKY[2], lit)
        empty = _behind(picture, color, bright) if glassy else _pack(color, bright)
        picture = jnp.where(key & mask == 0, empty, picture)
        picture = _sweep(functools.partial(paint, key, lit), opaque, table, picture)
        return _bits(picture, jnp.uint8)[:, :3].reshape(size, size, 3)

    return render


_bits = jax.lax.bitcast_convert_type


def _sweep(body: Callable[..., Array], spans: Sequence[_Span], table: _Table, carry: Array) -> Array:
    """Runs body(kind, row, carry) -> carry over all rows of the spans."""

    def step(kind: str, index: Array, carry: Array) -> Array:
        return body(kind, jax.tree.map(lambda column: column[index], table), carry)

    for span in spans:
        carry = jax.lax.fori_loop(span.start, span.stop, functools.partial(step, span.kind), carry)
    return carry


def _spans(shapes: Sequence[Shape], wanted: Callable[[Shape], bool]) -> list[_Span]:
    spans = []
    for (kind, chosen), run in itertools.groupby(enumerate(shapes), lambda item: (item[1].kind, wanted(item[1]))):
        indices = [index for index, _ in run]
        if chosen:
            spans.append(_Span(kind, indices[0], indices[-1] + 1))
    return spans


def _throws_shadow(shape: Shape) -> bool:
    thickness = 2 * (min(shape.size) if shape.kind in ("box", "cylinder") else shape.size[0])
    return shape.opacity >= 1.0 and thickness >= THINNEST


def _place(parts: Sequence[Part], poses: Array) -> _Table:
    shapes = [part.shape for part in parts]
    frames = poses[np.array([part.frame for part in parts])]
    own = np.array([shape.quaternion for shape in shapes], np.float32)
    turn = rotations.quaternion_multiply(frames[:, 3:], own)
    back = jnp.broadcast_to(rotations.quaternion_inverse(turn)[:, None], (len(parts), 3, 4))
    units = jnp.broadcast_to(jnp.eye(3), (len(parts), 3, 3))
    offset = rotations.quaternion_apply(frames[:, 3:], np.array([shape.position for shape in shapes], np.float32))
    return _Table(
        axes=jnp.swapaxes(rotations.quaternion_apply(back, units), 1, 2),
        center=frames[:, :3] + offset,
        size=jnp.array([(*shape.size, 0.0, 0.0)[:3] for shape in shapes], jnp.float32),
        color=jnp.array([shape.color for shape in shapes], jnp.float32),
        opacity=jnp.array([shape.opacity for shape in shapes], jnp.float32),
        number=jnp.arange(1, len(parts) + 1, dtype=jnp.int32),
    )


def _vec(x: Array) -> Vec:
    return x[0], x[1], x[2]


def _turn(row: _Table, v: Vec) -> Vec:
    """A vector in the part's own axes."""
    x, y, z = (dot(_vec(row.axes[i]), v) for i in range(3))
    return x, y, z


def _into(row: _Table, point: Vec) -> Vec:
    """A point in the part's own frame."""
    x, y, z = (p - row.center[i] for i, p in enumerate(point))
    return _turn(row, (x, y, z))


def _brightness(sun: Array | float, sky: Array | float, lit: Array | bool) -> Array:
    """What a surface's colour is multiplied with; the root turns light into a screen's values (gamma 2)."""
    direct = jnp.where(lit, jnp.maximum(sun, 0.0), 0.0)
    return jnp.sqrt(AMBIENT + FROM_SKY * 0.5 * (1.0 + sky) + FROM_SUN * direct)


def _pack(color: Size, bright: Array | float) -> Array:
    """Colours times brightness, at most 1, as bytes in an int32, red lowest."""
    values = [255.0 * c * bright for c in color]
    rounded = [(jnp.where(value < 255.0, value, 255.0) + 0.5).astype(jnp.int32) for value in values]
    return functools.reduce(jnp.bitwise_or, [value << (8 * place) for place, value in enumerate(rounded)])


def _behind(front: Array, color: Vec, bright: Array, opacity: Array | float = 1.0) -> Array:
    """As `_pack`, seen behind what is already packed with its opacity in the highest byte."""
    *above, cover = ((front >> (8 * place) & 255).astype(jnp.float32) / 255.0 for place in range(4))
    through = opacity * (1.0 - cover)
    capped = (jnp.minimum(c * bright, 1.0) for c in color)
    return _pack([*(a + through * c for a, c in zip(above, capped, strict=True)), cover + through], 1.0)
