"""Settings of the camera, for suites that can move it."""

# No `from __future__ import annotations` here: config flags of ml_collections, in others' programs, read field types.
import dataclasses
import math
from typing import Any

from rpd_jax.config.validation import ConfigError, require, setting
from rpd_jax.envs.base import Camera


@dataclasses.dataclass
class CameraSettings:
    """Fields of a suite's settings beside those of `EnvConfig`, and what they make of a task's own camera."""

    camera_eye: tuple[float, ...] = setting((), lengths=(0, 3))  # metres, world axes; empty: the task's own
    camera_target: tuple[float, ...] = setting((), lengths=(0, 3))  # what the camera looks at, likewise
    # Radians, vertical; 0: the task's own.
    camera_fov: float = setting(0.0, low=0, below=math.pi, right="a number in [0, pi)")
    # Metres, added to the eye; the camera still looks at its target.
    camera_shift: tuple[float, ...] = setting((), lengths=(0, 3))

    @property
    def moves_camera(self) -> bool:
        """Whether pictures are to be taken otherwise than by the task's own camera."""
        return any((self.camera_eye, self.camera_target, self.camera_fov, self.camera_shift))

    def placed(self, own: Camera | None) -> Camera | None:
        """The task's own camera with the changes that are set; None where nobody knows it.

        Raises ConfigError where an unknown one is to be changed, but for one that is given in full.
        """
        given: dict[str, Any] = {"eye": self.camera_eye, "target": self.camera_target, "fov": self.camera_fov}
        if own is None and not self.moves_camera:
            return None
        if own is None and not all(given.values()):
            fields = (f"camera_{each}" for each in ("eye", "target", "fov", "shift"))
            field, value = next((each, value) for each in fields if (value := getattr(self, each)))
            raise ConfigError(
                f"env.{field}={value} cannot work: where the task's own camera stands is not known; set all of "
                "env.camera_eye, env.camera_target and env.camera_fov"
            )
        camera = dataclasses.replace(own or Camera(), **{name: value for name, value in given.items() if value})
        if not self.camera_shift:
            return camera
        x, y, z = (a + b for a, b in zip(camera.eye, self.camera_shift, strict=True))
        return dataclasses.replace(camera, eye=(x, y, z))

    def check_together(self) -> None:
        """See `EnvConfig.check_together`."""
        super().check_together()  # type: ignore[misc]  # this is a part of a class that has it
        eye = self.camera_eye
        require(not eye or eye != self.camera_target, "env.camera_eye", eye, "away from its target")
