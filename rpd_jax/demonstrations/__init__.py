"""Demonstrations: recording episodes, storing them in ManiSkill's and LeRobot's formats, and reading them again.

    from rpd_jax.demonstrations import Demonstrations

    with Demonstrations("demos/pick") as demonstrations:        # as launch.collect writes, or ManiSkill publishes
        for episode in demonstrations:
            episode.observation["state"], episode.action        # [T + 1, D], [T, A]

`collect.collect` records a teacher, `record.record` any policy, without writing; `lerobot.export` writes a LeRobot set.
"""

from rpd_jax.demonstrations.episode import DatasetInfo, Episode
from rpd_jax.demonstrations.reading import Demonstrations

__all__ = ["DatasetInfo", "Demonstrations", "Episode"]
