"""Image augmentation in JAX: one draw of crop and colours for each window, the same for its frames and its goal."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rpd_jax.types import Array
from teachers.octo.finetune.settings import AugmentSettings


class Draw(NamedTuple):
    """What is done to the images of one window."""

    corner: Array  # [2] top and left edge of the crop, as fractions of the image
    size: Array  # [2] its height and width
    brightness: Array  # [] added to intensities in [0, 1]
    contrast: Array  # [] factors
    saturation: Array
    hue: Array  # [] turns


def draw(key: Array, settings: AugmentSettings) -> Draw:
    """Draws an augmentation: area and logarithm of the aspect ratio of the crop are uniform, and so is its place."""
    keys = jax.random.split(key, 7)
    low, high = settings.crop_scale
    area = jax.random.uniform(keys[0], minval=low, maxval=high)
    low, high = settings.crop_ratio
    ratio = jnp.exp(jax.random.uniform(keys[1], minval=jnp.log(low), maxval=jnp.log(high)))
    size = jnp.minimum(jnp.sqrt(jnp.stack([area / ratio, area * ratio])), 1.0)
    return Draw(
        corner=jax.random.uniform(keys[2], (2,)) * (1.0 - size),
        size=size,
        brightness=jax.random.uniform(keys[3], minval=-settings.brightness, maxval=settings.brightness),
        contrast=jax.random.uniform(keys[4], minval=settings.contrast[0], maxval=settings.contrast[1]),
        saturation=jax.random.uniform(keys[5], minval=settings.saturation[0], maxval=settings.saturation[1]),
        hue=jax.random.uniform(keys[6], minval=-settings.hue, maxval=settings.hue),
    )


def crop(image: Array, corner: Array, size: Array) -> Array:
    """Resizes a part of an image [H, W, 3] to the whole's size, bilinearly; `corner` and `size` [2] are fractions."""
    pixels = jnp.asarray(image.shape[:2], jnp.float32)
    scale = 1.0 / size
    return jax.image.scale_and_translate(
        image, image.shape, (0, 1), scale, -corner * pixels * scale, method="linear", antialias=False
    )


def apply(image: Array, what: Draw, with_crop: bool = True) -> Array:
    """Augments an image, uint8 [H, W, 3]: crop, brightness, contrast, saturation and hue, in this order."""
    x = image.astype(jnp.float32) / 255.0
    if with_crop:
        x = crop(x, what.corner, what.size)
    x = jnp.clip(x + what.brightness, 0.0, 1.0)
    mean = jnp.mean(x, axis=(0, 1), keepdims=True)  # of each channel
    x = jnp.clip(mean + (x - jnp.broadcast_to(mean, x.shape)) * what.contrast, 0.0, 1.0)
    return jnp.round(recolour(x, what.saturation, what.hue) * 255.0).astype(jnp.uint8)


def recolour(x: Array, saturation: Array, hue: Array) -> Array:
    """Scales the saturation of colours [..., 3] in [0, 1] and turns their hue, at the same value (HSV)."""
    red, green, blue = x[..., 0], x[..., 1], x[..., 2]
    value = jnp.maximum(red, jnp.maximum(green, blue))
    chroma = value - jnp.minimum(red, jnp.minimum(green, blue))
    scale = 1.0 / jnp.where(chroma > 0, chroma, 1.0)
    sixths = jnp.where(
        value == red,
        (green - blue) * scale,
        jnp.where(value == green, (blue - red) * scale + 2.0, (red - green) * scale + 4.0),
    )
    sixths = sixths + 6.0 * hue
    chroma = jnp.minimum(chroma * saturation, value)
    channels = []
    for offset in (5.0, 3.0, 1.0):
        k = offset + sixths
        k = k - 6.0 * jnp.floor(k / 6.0)  # jnp.mod is slow on CPUs
        channels.append(value - chroma * jnp.clip(jnp.minimum(k, 4.0 - k), 0.0, 1.0))
    return jnp.stack(channels, axis=-1)


def augment(batch: dict[str, Any], key: Array, settings: AugmentSettings) -> dict[str, Any]:
    """A batch with augmented images; padding, that is frames and goals whose mask is False, stays as it is.

    The camera "image_wrist" is not cropped: it moves with the gripper, which must stay in view.

    Args:
      batch: as from `data.Windows`: images uint8 [B, W, S, S, 3] and goal images [B, S, S, 3].
      key: each window gets its own.
    """
    observation, task = dict(batch["observation"]), dict(batch["task"])
    draws = jax.vmap(lambda k: draw(k, settings))(jax.random.split(key, len(batch["action"])))
    padding = observation["pad_mask_dict"]
    for name in [name for name in observation if name.startswith("image_")]:
        real = padding[name] & observation["timestep_pad_mask"]
        images, masks = observation[name], real
        if name in task:  # one pass over frames and goal
            images = jnp.concatenate([images, task[name][:, None]], axis=1)
            masks = jnp.concatenate([real, task["pad_mask_dict"][name][:, None]], axis=1)
        one = lambda image, what, name=name: apply(image, what, with_crop=name != "image_wrist")  # noqa: E731
        changed = jax.vmap(jax.vmap(one, (0, None)))(images, draws)
        images = jnp.where(masks[:, :, None, None, None], changed, images)
        window = real.shape[1]
        observation[name] = images[:, :window]
        if name in task:
            task[name] = images[:, window]
    return batch | {"observation": observation, "task": task}
