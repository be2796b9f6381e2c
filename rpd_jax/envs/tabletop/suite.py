"""The suite "tabletop"."""

from __future__ import annotations

from rpd_jax.config import EnvConfig, choice
from rpd_jax.envs import rewards
from rpd_jax.envs.base import FunctionalEnv, divided
from rpd_jax.envs.suite import FunctionalSuite, TaskInfo, task_of
from rpd_jax.envs.tabletop import hand
from rpd_jax.envs.tabletop.config import TabletopConfig
from rpd_jax.envs.tabletop.scene import closer
from rpd_jax.envs.tabletop.tasks import TASKS, load

FILM_SIZE = 256  # pixels of films at least: observations' may be too small for people
UNITS = {"qpos": (hand.JOINTS, "3 m, 3 rad, 2 m"), "qvel": (hand.JOINTS, "3 m/s, 3 rad/s, 2 m/s")}

AXES = {
    "world": "origin in the table's top, z up",
    "hand": "origin at the tool centre point, 9 mm above the tips of the fingers; z along them; they open along y",
    "joints": "the floating hand's own: three slides along the world's axes, three hinges, two fingers",
}


class TabletopSuite(FunctionalSuite):
    """See `suite.Suite`."""

    def tasks(self) -> tuple[str, ...]:
        return tuple(TASKS)

    def info(self, task: str, config: EnvConfig) -> TaskInfo:
        config, facts = _narrowed(config), load(task)
        camera = config.placed(facts.scene.camera)
        assert camera is not None, "a scene has a camera"
        return TaskInfo(
            instructions=(config.instruction or facts.instruction,),
            max_episode_steps=config.horizon_scale * (config.max_episode_steps or facts.max_episode_steps),
            control_mode="pd_ee_delta_pose",
            contract=divided(hand.CONTRACT, config.horizon_scale),
            horizon_scale=config.horizon_scale,
            control_hz=1.0 / (hand.SUBSTEPS * hand.TIMESTEP),
            cameras={"rgb": camera},
            units=UNITS,
            axes=AXES | {"base": f"the world's axes, turned by {facts.scene.base_yaw:.4g} rad about z"},
            ee_objects=facts.ee_objects,
            ee_goals=facts.ee_goals,
        )

    def check(self, config: EnvConfig) -> None:
        choice("env.name: task", task_of(config), TASKS)
        rewards.check(task_of(config), config.reward)

    def functional(self, config: EnvConfig, *, rgb: bool, end_on_success: bool) -> FunctionalEnv:
        from rpd_jax.envs.tabletop.env import TabletopEnv  # here, since it needs mujoco

        config = _narrowed(config)
        camera = self.info(task_of(config), config).cameras["rgb"]
        return TabletopEnv(
            task_of(config),
            engine=config.physics,
            reward=config.reward,
            rgb=rgb,
            image_size=config.image_size,
            camera=camera,
            max_episode_steps=config.max_episode_steps,
            end_on_success=end_on_success,
            horizon_scale=config.horizon_scale,
            instruction=config.instruction,
            shown=camera if rgb or config.moves_camera else closer(camera),  # what a student sees is shown as it is
            shown_size=max(FILM_SIZE, config.image_size),
        )


def _narrowed(config: EnvConfig) -> TabletopConfig:
    assert isinstance(config, TabletopConfig)
    return config


SUITE = TabletopSuite()
