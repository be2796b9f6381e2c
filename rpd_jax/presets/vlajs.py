"""Presets of VLAJS: sparse, directional, transient guidance beside what it is compared with."""

from __future__ import annotations

from rpd_jax.config import Config, EnvConfig, EvalConfig, RunConfig, TeacherConfig
from rpd_jax.presets.distillation import quickstart, quickstart_vla


def vlajs_push() -> Config:
    """VLAJS (arXiv 2604.13733) and what it is compared with, under a reward that does not lead to the object.

    PushCube on the tabletop suite pays nothing until the cube has moved ("v2", see `envs/rewards.py`); octo-nano, a
    vision teacher, is asked at 20 % of the steps at most, but by rpd-mse. Success does not end episodes: mean rewards
    then say how well a student does, and that is what ends the guidance. The paper leaves the weights of its losses
    open; they were chosen in pilot runs with other seeds and a scripted teacher.
    """
    config = quickstart_vla()
    config.variants = (
        "ppo",
        "rpd-mse:mse=20:anneal=exponential:anneal_end=0.1:name=rpd-mse",
        "sparse-rpd:mse=3:name=sparse-rpd",
        "vlajs-rpd:mse=3:kappa=4:shut_off=0.3:name=vlajs-rpd",
        "vlajs:direction=1:kappa=4:shut_off=0.3:name=vlajs",
    )
    config.seeds = (100, 101, 102, 103, 104)
    env = config.env
    env.name, env.reward, env.end_on_success = "tabletop:PushCube-v1", "v2", False
    config.algorithm.total_steps, config.algorithm.gamma = 96_000, 0.95
    config.guidance.window_iterations = 2
    config.eval.every, config.eval.seed = 5, 2_000_003
    config.run.directory = "runs/vlajs-push"
    return config


GRIPPER = "vlajs-gripper:direction=1:gripper=1:kappa=4:shut_off=0.3:name=vlajs-gripper"
"""VLAJS with the gripper guided as well, an addition of ours."""


def vlajs_pick() -> Config:
    """As `vlajs_push` with PickCube, which pays nothing until the cube is raised, and quickstart's scripted teacher."""
    config = vlajs_push()
    config.variants = (*config.variants, GRIPPER)
    config.env.name, config.algorithm.total_steps = "tabletop:PickCube-v1", 128_000
    config.teacher = quickstart().teacher
    config.run.directory = "runs/vlajs-pick"
    return config


def vlajs_pick_octo() -> Config:
    """As `vlajs_pick` with octo-nano."""
    config = vlajs_pick()
    config.teacher = quickstart_vla().teacher
    config.run.directory = "runs/vlajs-pick-octo"
    return config


def vlajs_lift() -> Config:
    """As `vlajs_pick` with LiftPegUpright, which pays nothing until the peg is off the table."""
    config = vlajs_pick()
    config.env.name = "tabletop:LiftPegUpright-v1"
    lift = "vlajs-gripper:direction=3:gripper=3:kappa=4:shut_off=0.15:name=vlajs-gripper"
    config.variants = (*config.variants[:-1], lift)
    config.run.directory = "runs/vlajs-lift"
    return config


def vlajs_horizon() -> Config:
    """Ten times the horizon: PickCube's dense reward, 500 steps of a tenth of the length; a scripted teacher.

    A delta takes ten steps, and so does a window. The teacher closes its gripper later: its hand comes more slowly.
    """
    config = vlajs_pick()
    asked = "window=10:query_fraction=0.1"
    config.variants = (
        "ppo",
        f"sparse-rpd:mse=3:{asked}:name=sparse-rpd",
        f"vlajs-persistent:direction=1:{asked}:name=vlajs-persistent",
    )
    config.env.reward, config.env.horizon_scale = "normalized_dense", 10
    config.algorithm.total_steps, config.algorithm.gamma = 320_000, 0.98
    config.teacher.gripper_shift = 0.015
    config.guidance.window_iterations = 10  # one episode
    config.eval.every, config.eval.curve_episodes = 20, 16
    config.run.directory = "runs/vlajs-horizon"
    return config


def vlajs_horizon_push() -> Config:
    """As `vlajs_horizon` with PushCube: what bounds a std that the pull of distillation widens, and what that changes.

    The members of one population differ in a bound of log-std where it begins, or in PPO's KL stop, or in neither.
    """
    config = vlajs_horizon()
    sparse_rpd = str(config.variants[1]).removesuffix(":name=sparse-rpd")
    config.variants = (
        "ppo",
        "ppo:target_kl=0.05:name=ppo-kl",
        f"{sparse_rpd}:name=sparse-rpd",
        f"{sparse_rpd}:log_std_max=-1.5:name=sparse-rpd-std",
        f"{sparse_rpd}:target_kl=0.05:name=sparse-rpd-kl",
    )
    config.env.name, config.teacher = "tabletop:PushCube-v1", TeacherConfig(noise=0.6)
    config.run.directory = "runs/vlajs-horizon-push"
    return config


def vlajs_maniskill_push() -> Config:
    """As `vlajs_push` on ManiSkill's own PushCube, with a scripted teacher and two seeds: what two CPU cores can do."""
    config = vlajs_push()
    config.variants = tuple(variant for variant in config.variants if not str(variant).startswith("rpd-mse"))
    config.seeds = (100, 101)
    config.env = EnvConfig(name="maniskill:PushCube-v1", reward="v2", end_on_success=False)
    config.algorithm.total_steps = 64_000
    config.teacher = TeacherConfig(noise=0.6)
    config.eval = EvalConfig(every=8, curve_episodes=16, num_envs=8, seed=2_000_003)
    config.run = RunConfig(directory="runs/vlajs-maniskill-push", checkpoint_every=10)
    return config


def vlajs_maniskill_pick() -> Config:
    """As `vlajs_maniskill_push` with PickCube and the scripted teacher of `maniskill_quickstart`."""
    config = vlajs_maniskill_push()
    config.variants = ("ppo", "sparse-rpd:mse=3:name=sparse-rpd", GRIPPER)
    config.env.name, config.algorithm.total_steps = "maniskill:PickCube-v1", 96_000
    config.teacher = quickstart().teacher
    config.run.directory = "runs/vlajs-maniskill-pick"
    return config
