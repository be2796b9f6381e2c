"""What a model was trained on, as its serving file has it, and what is said where an environment is another.

Neither jax nor torch is needed here.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from rpd_jax.demonstrations.checks import typed
from rpd_jax.demonstrations.episode import DatasetInfo, Episode
from rpd_jax.demonstrations.sets import DemonstrationSet
from rpd_jax.envs.base import Camera, EnvSpec
from rpd_jax.runs.files import read_json
from teachers.serving import SERVING_FILE, read_serving

TRAINED_ON_FILE = "trained_on.json"  # of models fine-tuned by earlier versions, in place of the serving file
SHOWN = {"image_primary": "rgb"}
"""What a teacher's model is shown in an environment: its image -> the entry of an observation."""
_FIELDS = ("camera_eye", "camera_target", "camera_fov", "camera_shift")  # of EnvConfig


@dataclasses.dataclass(frozen=True)
class TrainedOn:
    """What the demonstrations have in common, and in which they differ; a field is empty where nobody knows."""

    environments: tuple[str, ...]  # "suite:task"
    control_modes: tuple[str, ...]
    cameras: tuple[Camera, ...]  # of image_primary; empty if it is unknown of one set
    image_sizes: tuple[int, ...]  # pixels of the side, as recorded
    instructions: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """As the file has it."""
        return json.loads(json.dumps(dataclasses.asdict(self)))

    def differences(self, spec: EnvSpec) -> list[str]:
        """One line for each thing in which an environment is unlike all of the demonstrations."""
        found = []
        if self.environments and spec.name not in self.environments:
            found.append(f"was trained in {_some(self.environments)}; this environment is {spec.name}")
        if self.image_sizes and spec.frame_shape and spec.frame_shape[0] not in self.image_sizes:
            sizes = _some(self.image_sizes)
            found.append(f"was trained with frames of {sizes} pixels; this environment's have {spec.frame_shape[0]}")
        if self.instructions and spec.instruction not in self.instructions:
            known = _some([repr(each) for each in self.instructions])
            found.append(f"was trained with the instruction {known}; this environment's is {spec.instruction!r}")
        if self.cameras and spec.camera and not any(_same(camera, spec.camera) for camera in self.cameras):
            known = _some([_words(camera) for camera in self.cameras])
            found.append(f"was trained with {known}; this environment's is {_words(spec.camera)}: expect it to fail")
        return found


def describe(
    sources: Sequence[Any], episodes: Sequence[Episode], image_sizes: Sequence[int], primary: str
) -> TrainedOn:
    """What is known of sets of demonstrations, and of the episodes that were read from them.

    Args:
      image_sizes: pixels of the sides of image_primary's frames, as recorded.
      primary: the entry of observations that they are; sets tell where the camera of "rgb" is, and of no other.
    """
    sets = [source for source in sources if isinstance(source, DemonstrationSet)]
    known = [camera for each in sets if primary == "rgb" and (camera := _camera(each.info))]
    if len(set(known)) > 1:
        logging.warning("the demonstrations were recorded with several cameras: %s", _some(list(map(_words, known))))
    return TrainedOn(
        environments=_unique([each.env_name for each in episodes if each.env_name]),
        control_modes=_unique([each.control_mode for each in sets if each.control_mode]),
        cameras=_unique(known) if len(known) == len(sources) else (),
        image_sizes=_unique(image_sizes),
        instructions=_unique([each.instruction for each in episodes if each.instruction]),
    )


def read_trained_on(directory: Path) -> TrainedOn | None:
    """What the model in a directory was trained on; None where it does not say.

    Raises ConfigError for a file that cannot be read.
    """
    serving, where = read_serving(directory), directory / TRAINED_ON_FILE
    if serving is not None:
        values, where = serving.trained_on, directory / SERVING_FILE
    else:
        values = read_json(where) if where.is_file() else {}
    return typed(TrainedOn, values, str(where)) if values else None


def say_differences(name: str, directory: Path | None, spec: EnvSpec) -> None:
    """Warns of everything in which an environment is unlike what the model in a directory was trained on.

    A model that does not say is not warned of. Raises ConfigError for a file that cannot be read.
    """
    if directory is None:
        return
    lines: list[str] = []
    serving = read_serving(directory)
    if serving is not None:
        lines += [
            f"was trained with {image} from the recordings' {key!r}; it is shown {seen!r}: expect it to fail"
            for image, key in serving.cameras.items()
            if key != (seen := SHOWN.get(image, "nothing"))
        ]
    trained_on = read_trained_on(directory)
    if trained_on is not None:
        lines += trained_on.differences(spec)
    for line in lines:
        logging.warning("%s %s", name, line)


def _camera(info: DatasetInfo | None) -> Camera | None:
    """The camera of a set; older files tell it only where it was named in full."""
    if info is None:
        return None
    if info.camera:
        return info.camera
    eye, target, fov, shift = (info.env_settings.get(field) for field in _FIELDS)
    return Camera(tuple(eye), tuple(target), fov) if eye and target and fov and not shift else None


def _same(one: Camera, other: Camera) -> bool:
    return np.allclose([*one.eye, *one.target, one.fov], [*other.eye, *other.target, other.fov], atol=1e-4)


def _words(camera: Camera) -> str:
    return f"camera eye {camera.eye}, target {camera.target}, fov {camera.fov:g}"


def _some(values: Sequence[Any], most: int = 5) -> str:
    """The first of them, in words."""
    values = _unique(values)
    return " or ".join(map(str, values[:most])) + (f" or {len(values) - most} others" if len(values) > most else "")


def _unique(values: Sequence[Any]) -> tuple[Any, ...]:
    return tuple(dict.fromkeys(values))
