"""What all sets of demonstrations can do, whatever files they are in."""

from __future__ import annotations

import abc
import functools
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, Self

from rpd_jax.config.validation import ConfigError
from rpd_jax.demonstrations.episode import DatasetInfo, Episode
from rpd_jax.demonstrations.statistics import action_mask, action_statistics


class DemonstrationSet(abc.ABC):
    """Episodes that are read when asked for.

    Attributes:
      path: of the file or the directory.
      info: what is known of sets that were recorded here; None of others'.
    """

    path: Path
    info: DatasetInfo | None

    @abc.abstractmethod
    def __len__(self) -> int: ...

    @abc.abstractmethod
    def episode(self, index: int, keys: Collection[str] | None = None) -> Episode:
        """Reads an episode, of its observations only `keys` if given; negative indices count from the end.

        Raises:
          IndexError: there is none of that index.
          ConfigError: something is missing, has another length than the rest, is no finite number or cannot be read.
        """

    @property
    @abc.abstractmethod
    def env_name(self) -> str:
        """As "suite:task"; empty where it is not known."""

    @property
    @abc.abstractmethod
    def control_mode(self) -> str:
        """Of all episodes; empty where the files do not say."""

    @property
    @abc.abstractmethod
    def camera_name(self) -> str:
        """What the files call the camera whose frames are "rgb"; empty where there is none."""

    def close(self) -> None:  # noqa: B027  # most have none open
        """Closes the files. Idempotent."""

    def __getitem__(self, index: int) -> Episode:
        return self.episode(index)

    def __iter__(self) -> Iterator[Episode]:
        return (self.episode(index) for index in range(len(self)))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *unused: object) -> None:
        self.close()

    @functools.cached_property
    def statistics(self) -> dict[str, Any]:
        """Of actions and, where it was recorded, proprioception; see `statistics.action_statistics`."""
        episodes = [self.episode(index, keys=("proprio",)) for index in range(len(self))]
        actions = [episode.action for episode in episodes]
        if not actions:
            raise ConfigError(f"{self.path} holds no episodes: there are no statistics of it")
        proprio = None
        if all("proprio" in episode.observation for episode in episodes):
            proprio = [episode.observation["proprio"][:-1] for episode in episodes]
        return action_statistics(actions, action_mask(self.control_mode, actions[0].shape[1]), proprio)

    def _position(self, index: int) -> int:
        """The index, counted from the start."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"index {index} is out of range: {self.path} has {len(self)} episodes")
        return index % len(self)


def open_demonstrations(path: Path | str) -> DemonstrationSet:
    """The set in a directory or file: a LeRobot data set (v3), RLDS as TFRecords, or ManiSkill's HDF5.

    Raises ConfigError where it cannot be read, or what reads it is not installed.
    """
    from rpd_jax.demonstrations.reading import Demonstrations

    path = Path(path)
    if (path / "meta" / "info.json").is_file():
        from rpd_jax.demonstrations.lerobot_reading import LeRobotDemonstrations

        return LeRobotDemonstrations(path)
    if (path / "features.json").is_file():
        from rpd_jax.demonstrations.rlds import RLDSDemonstrations

        return RLDSDemonstrations(path)
    return Demonstrations(path)
