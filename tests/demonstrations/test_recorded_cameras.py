"""Several cameras and proprioception, from the environment through files to what models are fine-tuned on."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from rpd_jax.config import Config, ConfigError, EnvConfig, TeacherConfig
from rpd_jax.demonstrations import open_demonstrations
from rpd_jax.demonstrations.collect import Settings, cameras_of, collect
from rpd_jax.envs import registry
from rpd_jax.envs.base import ArraySpec
from rpd_jax.envs.suite import FunctionalSuite
from rpd_jax.envs.toy.reach import Reach
from rpd_jax.types import TeacherLabels, TeacherSpec
from teachers.octo.finetune.settings import DataSettings
from teachers.recordings import load


class Seen(Reach):
    """Two cameras, whose frames are of one colour each: the number of steps, and 200 less that."""

    def __init__(self, steps, end_on_success):
        super().__init__(steps, end_on_success)
        frames = ArraySpec((16, 16, 3), "uint8")
        seen = {"proprio": ArraySpec((3,), "float32"), "rgb": frames, "rgb_wrist": frames}
        layout = self.spec.layout | {"proprio": {"tcp_pos": (0, 3)}}
        further = {"rgb_wrist": (16, 16, 3)}
        self.spec = dataclasses.replace(
            self.spec,
            name="seen:Reach-v0",
            observation=self.spec.observation | seen,
            layout=layout,
            frame_shape=(16, 16, 3),
            further_cameras=further,
            robot="point",
        )

    def _seen(self, state, observation):
        grey = jnp.full((16, 16, 3), state[1] * 10).astype(jnp.uint8)
        return {**observation, "proprio": observation["state"][:3], "rgb": grey, "rgb_wrist": 200 - grey}

    def reset(self, key):
        state, observation = super().reset(key)
        return state, self._seen(state, observation)

    def step(self, state, action):
        state, observation, *rest = super().step(state, action)
        return state, self._seen(state, observation), *rest


class Suite(FunctionalSuite):
    def tasks(self):
        return ("Reach-v0",)

    def functional(self, config, *, rgb, end_on_success):
        return Seen(config.max_episode_steps or 6, end_on_success)


class Teacher:
    spec = TeacherSpec("forward", ("proprio",), None)

    def label(self, observation, instructions, key):
        action = jnp.full((len(observation["proprio"]), 7), 0.1)
        return TeacherLabels(action, jnp.ones(len(action), bool), jnp.ones_like(action))


@pytest.fixture
def config(monkeypatch):
    monkeypatch.setitem(registry.SUITES, "seen", Suite())
    monkeypatch.setitem(EnvConfig.kinds, "seen", EnvConfig)
    return Config(env=EnvConfig(name="seen:Reach-v0"), teacher=TeacherConfig(name="toy"))


SETTINGS = Settings(episodes=3, num_envs=2, successful_only=False)


@pytest.mark.parametrize("format", ["hdf5", "lerobot"])
def test_both_cameras_reach_the_model(tmp_path, config, format):
    if format == "lerobot":
        pytest.importorskip("av")
        pytest.importorskip("pyarrow")
    collect(config, lambda env: Teacher(), dataclasses.replace(SETTINGS, format=format), tmp_path / "demos")
    with open_demonstrations(tmp_path / "demos") as demonstrations:
        info = demonstrations.info
        assert info.cameras == ("rgb", "rgb_wrist") and info.image_size == 16 and info.robot == "point"
        for episode in demonstrations:
            kept = 6 if format == "hdf5" else 5  # LeRobot's format has no place for the last observation
            grey = episode.observation["rgb"][..., 0].mean(axis=(1, 2))[: kept + 1]
            np.testing.assert_allclose(grey[: kept + 1], [*range(0, 10 * kept, 10), grey[kept]], atol=3)
            np.testing.assert_allclose(episode.observation["rgb_wrist"][0], 200, atol=3)
            assert episode.observation["proprio"].shape == (7, 3) and ("state" in episode.observation) == (kept == 6)
        recordings = load([demonstrations], DataSettings(wrist="rgb_wrist"), {"image_primary": 8, "image_wrist": 8})
    np.testing.assert_allclose(recordings.images["image_wrist"][1], 190, atol=3)
    np.testing.assert_allclose(recordings.images["image_primary"][1], 10, atol=3)
    assert recordings.contract == info.contract is not None and recordings.action.shape == (18, 7)
    assert recordings.instructions == ("", "move to the goal")


def test_the_cameras_that_are_asked_for(tmp_path, config):
    settings = dataclasses.replace(SETTINGS, cameras=("rgb_wrist",), episodes=2)
    collect(config, lambda env: Teacher(), settings, tmp_path / "demos")
    with open_demonstrations(tmp_path / "demos") as demonstrations:
        assert set(demonstrations[0].observation) == {"state", "proprio", "rgb_wrist"}
        assert demonstrations.info.cameras == ("rgb_wrist",) and demonstrations.camera_name == ""
    spec = Seen(6, True).spec
    for settings, entries in (({}, ("rgb", "rgb_wrist")), ({"cameras": ("rgb",)}, ("rgb",)), ({"images": False}, ())):
        assert cameras_of(spec, dataclasses.replace(SETTINGS, **settings)) == entries
    with pytest.raises(ConfigError, match=r"cameras=\('rgb_head',\) cannot work: it must be of \['rgb', 'rgb_wrist'\]"):
        cameras_of(spec, dataclasses.replace(SETTINGS, cameras=("rgb_head",)))
    with pytest.raises(ConfigError, match="it must be empty with images=False"):
        dataclasses.replace(SETTINGS, cameras=("rgb",), images=False).validate()
