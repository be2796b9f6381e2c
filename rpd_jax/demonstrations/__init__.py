"""Demonstrations: recording episodes, storing them in ManiSkill's and LeRobot's formats, and reading these and RLDS.

    from rpd_jax.demonstrations import open_demonstrations

    with open_demonstrations("demos/pick") as demonstrations:   # as launch.collect writes, or others publish
        for episode in demonstrations:
            episode.observation["state"], episode.action        # [T + 1, D], [T, A]

`collect.collect` records a teacher, `record.record` any policy, without writing; `lerobot.export` writes a LeRobot set.
"""

from rpd_jax.demonstrations.episode import DatasetInfo, Episode
from rpd_jax.demonstrations.reading import Demonstrations
from rpd_jax.demonstrations.sets import DemonstrationSet, open_demonstrations

__all__ = ["DatasetInfo", "DemonstrationSet", "Demonstrations", "Episode", "open_demonstrations"]
