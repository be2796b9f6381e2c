"""Named cameras: a teacher reads the frames that it names, drawn where it is asked, in one program and on the host."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

import rpd_jax
from rpd_jax.config import ConfigError
from rpd_jax.envs.functional import FunctionalVectorEnv
from rpd_jax.envs.registry import env_seeds
from rpd_jax.envs.toy.reach import Reach
from rpd_jax.training.loops import GraphLoop, HostLoop
from rpd_jax.training.population import Population
from rpd_jax.types import TeacherLabels, TeacherSpec
from teachers.remote.request import Request


class Seen(Reach):
    """Reach with two cameras: the first shows the point's x as a shade, that of the wrist its y."""

    def __init__(self):
        super().__init__(max_episode_steps=7)
        self.spec = dataclasses.replace(
            self.spec,
            frame_shape=(2, 2, 3),
            further_cameras={"rgb_wrist": (1, 3, 3)},
            observation=self.spec.observation,
        )

    def render(self, state, camera="rgb"):
        points, _ = state
        shade = jnp.clip(128 + 200 * points[0 if camera == "rgb" else 1], 0, 255).astype(jnp.uint8)
        return jnp.full(self.spec.cameras[camera], shade)


class Shades:
    """A teacher that sees nothing but two frames, and answers with their shades."""

    def __init__(self, in_graph):
        self.spec = TeacherSpec("shades", ("rgb", "rgb_wrist"), None, in_graph=in_graph)

    def label(self, observation, instructions, key):
        assert observation["rgb"].shape[1:] == (2, 2, 3) and observation["rgb_wrist"].shape[1:] == (1, 3, 3)
        shades = [observation[name][:, 0, 0, 0] for name in self.spec.observation_keys]
        action = jnp.stack([*(jnp.asarray(x, jnp.float32) / 255 for x in shades), *[jnp.zeros(len(shades[0]))] * 5], 1)
        return TeacherLabels(action, jnp.ones(len(action), bool), jnp.full_like(action, 0.1))


def test_both_loops_show_the_teacher_what_it_names():
    config = rpd_jax.get_preset("debug")
    config.variants, config.seeds = ("rpd-mse", "sparse-rpd:window=2"), (0,)
    config.algorithm.total_steps, config.teacher.batch_size = 2 * 160, 64
    config.validate()
    env = Seen()
    seeds = env_seeds(0, config.env.num_envs) * 2
    population = Population(config, env.spec)
    host = HostLoop(config, FunctionalVectorEnv(env, len(seeds), seeds), population, Shades(False))
    graph = GraphLoop(config, env, seeds, population, Shades(True))
    _, [mine] = host.run(population.init(), 0, 1)
    _, [theirs] = graph.run(population.init(), 0, 1)
    for name in ("update/distill_mse/rpd-mse/0", "update/distill_mse/sparse-rpd:window=2/0", "teacher/labels"):
        assert mine[name] == pytest.approx(theirs[name], rel=1e-4) and mine[name] > 0
    # shades of points within 0.2 m are about a half: the untrained student's mean is about zero
    assert 0.02 < mine["update/distill_mse/rpd-mse/0"] < 0.12


def test_a_camera_that_is_not_there_is_refused():
    config = rpd_jax.get_preset("debug")
    config.variants = ("rpd-mse",)
    config.env.max_episode_steps = None
    with pytest.raises(ConfigError, match=r"teacher shades reads \['rgb', 'rgb_wrist'\]: toy:Reach-v0 has \['state'\]"):
        rpd_jax.train(config, Shades(True), env=Reach(), directory=None)


def test_a_policy_server_is_sent_the_frames_it_names():
    request = Request(("image=rgb", "wrist=rgb_wrist", "prompt=instruction"), Seen().spec, frame_size=0)
    assert request.observation_keys == ("rgb", "rgb_wrist")
    frames = {"rgb": np.full((1, 2, 2, 3), 3, np.uint8), "rgb_wrist": np.full((1, 1, 3, 3), 5, np.uint8)}
    sent = request.fields(request.check(frames), 0, "reach")
    assert sent["image"][0, 0, 0] == 3 and sent["wrist"].shape == (1, 3, 3) and sent["wrist"].dtype == np.uint8
    with pytest.raises(ValueError, match=r"has no 'rgb_head': choose from .*'rgb_wrist'"):
        Request(("image=rgb_head",), Seen().spec)
