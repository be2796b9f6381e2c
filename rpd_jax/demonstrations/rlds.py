"""Reading RLDS data sets that TensorFlow Datasets wrote as TFRecords, such as OpenVLA's of LIBERO; without TensorFlow.

Needs the package tfrecord (extra "rlds"), which imports torch where that is installed. A record is a `tf.train.Example`
of one episode, whose keys are the paths of features, each with the values of all steps end to end. Source:
https://github.com/google-research/rlds and the documentation of `tfds.features.Dataset`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rpd_jax.config.validation import ConfigError
from rpd_jax.demonstrations.checks import one_line
from rpd_jax.demonstrations.episode import Episode
from rpd_jax.demonstrations.lerobot_files import read_pictures
from rpd_jax.demonstrations.sets import DemonstrationSet

_STEPS, _SEEN = "steps/", "steps/observation/"
_HEADER, _FOOTER = 12, 4  # bytes around a record: its length and checksums
_STATES = ("state", "proprio")  # what data sets call proprioception
_PICTURES = (b"\xff\xd8\xff", b"\x89PNG")  # how encoded pictures begin


class _Record(NamedTuple):
    file: Path
    offset: int  # of its content
    length: int


class RLDSDemonstrations(DemonstrationSet):
    """The episodes of all TFRecord files in a directory, in the order of their names.

    "observation/state" goes by the name "proprio", "observation/image" by "rgb" (or the first camera by name, where
    none is called so), other cameras by e.g. "rgb_wrist_image"; every camera may also be asked for by its own name.
    What the actions mean the files do not say, nor what succeeded. The observation after the last step is not there:
    the one before it is there twice.

    Args:
      path: the directory that holds "features.json" and the files, e.g. ".../libero_spatial_no_noops/1.0.0".

    Raises:
      ConfigError: the package tfrecord or a file is missing, or a file is damaged; it is named.
    """

    info = None

    def __init__(self, path: Path | str) -> None:
        try:
            from tfrecord import example_pb2
            from tfrecord.reader import tfrecord_iterator
        except ImportError as error:
            raise ConfigError(f"{path} cannot be read: pip install 'rpd_jax[rlds]' ({error})") from error
        self.path, self._example = Path(path), example_pb2.Example
        self._records: list[_Record] = []
        self._last: tuple[int, Mapping[str, Any]] | None = None  # an episode is asked for more than once
        for file in sorted(self.path.glob("*.tfrecord*")):
            offset = 0
            try:
                for content in tfrecord_iterator(str(file)):
                    self._records.append(_Record(file, offset + _HEADER, len(content)))
                    offset += _HEADER + len(content) + _FOOTER
            except (RuntimeError, OSError, MemoryError, OverflowError) as error:
                raise ConfigError(f"{file} cannot be read: it is cut off or no TFRecord ({one_line(error)})") from error
        if not self._records:
            raise ConfigError(f"{self.path} holds no episodes: there are no *.tfrecord files")

    def __len__(self) -> int:
        return len(self._records)

    @property
    def env_name(self) -> str:
        return ""

    @property
    def control_mode(self) -> str:
        return ""

    @property
    def camera_name(self) -> str:
        return self._entries(self._features(0)).get("rgb", "").removeprefix(_SEEN)

    def episode(self, index: int, keys: Collection[str] | None = None) -> Episode:
        index = self._position(index)
        where = f"{self._records[index].file}, record {index}"
        features = self._features(index)
        try:
            length = len(features["steps/is_last"].int64_list.value)
            action = _numbers(features["steps/action"], length)
            reward = _numbers(features["steps/reward"], length)[:, 0] if "steps/reward" in features else None
            entries = self._entries(features)
            observation = {}
            for key in entries if keys is None else keys:
                feature = entries.get(key, _SEEN + key)
                if feature in features:
                    values = _values(features[feature], length)
                    observation[key] = np.concatenate([values, values[-1:]])
            said = features.get("steps/language_instruction")
            instruction = said.bytes_list.value[0].decode() if said is not None else ""
        except (KeyError, IndexError, ValueError, OSError) as error:
            raise ConfigError(f"{where} cannot be read: {type(error).__name__}: {one_line(error)}") from error
        ended = np.arange(length) == length - 1
        found = Episode(
            observation=observation,
            action=action,
            reward=reward,
            terminated=ended,
            truncated=np.zeros(length, bool),
            success=None,
            seed=None,
            instruction=instruction,
            env_name="",
        )
        if found.not_finite:
            raise ConfigError(f"{where}: {found.not_finite} is no finite number")
        return found

    def _features(self, index: int) -> Mapping[str, Any]:
        """An episode's features, `tf.train.Feature` by path."""
        if self._last is None or self._last[0] != index:
            record = self._records[index]
            with record.file.open("rb") as file:
                file.seek(record.offset)
                content = file.read(record.length)
            example = self._example()
            try:
                example.ParseFromString(content)
            except Exception as error:  # protobuf's own class, which it does not export everywhere
                raise ConfigError(f"{record.file}, record {index} is damaged: {one_line(error)}") from error
            self._last = index, dict(example.features.feature)
        return self._last[1]

    @staticmethod
    def _entries(features: Mapping[str, Any]) -> dict[str, str]:
        """Name of each entry of an observation -> its path."""
        seen = sorted(path.removeprefix(_SEEN) for path in features if path.startswith(_SEEN))
        cameras = [name for name in seen if _is_camera(features[_SEEN + name])]
        first = "image" if "image" in cameras else cameras[0] if cameras else ""
        found = {"rgb" if name == first else f"rgb_{name}": _SEEN + name for name in cameras}
        states = [name for name in _STATES if name in seen][:1]
        numbers = [name for name in seen if features[_SEEN + name].WhichOneof("kind") == "float_list"]
        return found | {"proprio" if name in states else name: _SEEN + name for name in numbers}


def _is_camera(feature: Any) -> bool:
    values = feature.bytes_list.value
    return bool(values) and values[0].startswith(_PICTURES)


def _values(feature: Any, length: int) -> np.ndarray:
    """A feature of `length` steps: frames, or numbers."""
    if not _is_camera(feature):
        return _numbers(feature, length)
    if len(feature.bytes_list.value) != length:
        raise ValueError(f"there are {len(feature.bytes_list.value)} pictures for {length} steps")
    return read_pictures([{"bytes": picture} for picture in feature.bytes_list.value])


def _numbers(feature: Any, length: int) -> np.ndarray:
    """Numbers float32 [length, D]; ValueError for as many as cannot be divided among the steps."""
    kind = feature.WhichOneof("kind")
    if kind not in ("float_list", "int64_list"):
        raise ValueError(f"numbers are needed, and there are {kind}")
    return np.array(getattr(feature, kind).value, np.float32).reshape(length, -1)
