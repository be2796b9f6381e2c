"""Presets of PPO and refined policy distillation; every value not set here is a default of `config.py`."""

from __future__ import annotations

from rpd_jax.config import (
    Config,
    EnvConfig,
    EvalConfig,
    NetworkConfig,
    PPOConfig,
    RunConfig,
    TeacherConfig,
)


def quickstart() -> Config:
    """PickCube on the tabletop suite with a scripted teacher of about 50 % success: minutes on two CPU cores.

    The teacher is noisy, and in 40 % of the workspace it reaches 4.5 cm beside the cube: noise averages out over
    labels, the wrong aim does not; the coefficients of RPD-MSE and RPD-L1 fall to a tenth, so that it can be unlearnt.
    All variants share every PPO setting. They are ManiSkill's own (gamma 0.8,
    8 epochs) but for half as many minibatches, a faster learning rate that falls to a fifth, an exploration noise that
    the 2 cm grasp tolerates, observations normalised (they are centimetres), and no KL stop, which would end most
    updates of an imitating student after a few minibatches.
    """
    return Config(
        variants=(
            "ppo",
            "rpd-mse:mse=20:anneal=exponential:anneal_end=0.1:name=rpd-mse",
            "rpd-l1:l1=10:anneal=exponential:anneal_end=0.1:name=rpd-l1",
            "rpd-bc",
            "ppd",
        ),
        seeds=(0, 1, 2),
        env=EnvConfig(name="tabletop:PickCube-v1", num_envs=32),
        network=NetworkConfig(hidden=(128, 128), log_std_init=-1.5, normalize_observations=True),
        algorithm=PPOConfig(
            total_steps=80_000, minibatches=16, learning_rate=6e-4, learning_rate_end=0.2, target_kl=None
        ),
        teacher=TeacherConfig(noise=0.15, aim_error=0.045, aim_error_fraction=0.4),
        eval=EvalConfig(every=10, curve_episodes=32, episodes=128, num_envs=32),
        run=RunConfig(directory="runs/quickstart", checkpoint_every=0, iterations_per_call=10),
    )


def sparse() -> Config:
    """PickCube with reward at success only, and a teacher that errs systematically: it is passed all the same.

    What it takes (each by itself was not enough in trials; see BENCHMARKS.md): a large coefficient at first, since
    normalised advantages of a reward that has not been seen yet are unit-size noise; that fades to a hundredth, since
    the teacher's error has to be unlearnt; an exploration noise within the grasp's tolerance; no KL stop; a horizon
    (gamma) that reaches from grasp to goal; and no bootstrap at success, whose value nobody ever learns.
    """
    config = quickstart()
    config.variants = ("ppo", "rpd-mse:mse=20:anneal=exponential:anneal_end=0.01:name=rpd-mse")
    config.env.reward, config.env.num_envs = "sparse", 64
    ppo = config.algorithm
    ppo.total_steps, ppo.epochs, ppo.learning_rate = 320_000, 6, 5e-4
    ppo.gamma, ppo.bootstrap_terminated = 0.95, False
    config.run.directory = "runs/sparse"
    return config


OCTO_NANO_MSE = "rpd-mse:mse=20:anneal=exponential:anneal_end=0.1"


def quickstart_vla() -> Config:
    """PickCube on the tabletop suite with octo-nano, a small vision-language-action model, as the teacher.

    The teacher sees frames and reads the instruction; the student sees the state. The camera is nearer than ManiSkill's
    and the one that octo-nano was trained with: a cube is to be more than three of its 64 pixels wide.
    """
    config = quickstart()
    # Labels cost most of the time: every fourth step has one, and a window of 1 gives no other step the same target.
    config.variants = ("ppo", f"{OCTO_NANO_MSE}:queries=even:query_fraction=0.25:window=1:name=rpd-mse")
    config.seeds = (0, 1)
    env = config.env
    env.image_size = 64
    env.camera_eye, env.camera_target, env.camera_fov = (0.5, 0.55, 0.55), (0.0, 0.0, 0.1), 0.7
    config.teacher = TeacherConfig(name="octo", path="octo-nano")
    config.algorithm.total_steps = 200_000  # a weaker teacher than quickstart's
    config.run.directory = "runs/quickstart-vla"
    return config


def quickstart_vla_rgb() -> Config:
    """As `quickstart_vla` with PushCube, a student that sees frames and feels its arm, and all labels; fewer epochs."""
    config = quickstart_vla()
    config.variants = ("ppo", f"{OCTO_NANO_MSE}:name=rpd-mse")
    config.env.name, config.algorithm.total_steps = "tabletop:PushCube-v1", 180_000
    config.env.observation = "rgb+proprio"
    config.network.normalize_observations = False
    config.algorithm.epochs = 4
    config.run.directory = "runs/quickstart-vla-rgb"
    return config


def maniskill_quickstart() -> Config:
    """ManiSkill's own PickCube with a scripted teacher of about 50 % success: under ten minutes on two CPU cores.

    Both variants share every setting; see `quickstart` for their reasons.
    """
    return Config(
        variants=("ppo", "rpd-mse:mse=5:name=rpd-mse"),
        seeds=(0, 1),
        env=EnvConfig(name="maniskill:PickCube-v1", num_envs=32),
        network=NetworkConfig(hidden=(256, 256), log_std_init=-1.5, normalize_observations=True),
        algorithm=PPOConfig(total_steps=72_000, minibatches=32, target_kl=None),
        teacher=TeacherConfig(noise=0.15, aim_error=0.045, aim_error_fraction=0.4),
        eval=EvalConfig(every=9, curve_episodes=24, num_envs=12),
        run=RunConfig(directory="runs/maniskill-quickstart"),
    )


def tabletop_ppo() -> Config:
    """PPO alone on a dense tabletop task, from scratch: a million steps, a few minutes on two CPU cores."""
    config = quickstart()
    config.variants, config.seeds = ("ppo",), (0, 1)
    config.env.num_envs = 64
    config.algorithm.total_steps, config.algorithm.learning_rate_end = 1_000_000, 0.1
    config.eval.every = 40
    config.run.directory = "runs/tabletop-ppo"
    return config


def maniskill_state() -> Config:
    """A state student with ManiSkill's own PPO settings (methods: its `examples.sh` for PickCube)."""
    return Config(
        variants=("ppo", "rpd-mse", "rpd-l1", "rpd-bc", "ppd"),
        env=EnvConfig(name="maniskill:PickCube-v1", num_envs=32),
        algorithm=PPOConfig(total_steps=1_000_000),
        teacher=TeacherConfig(noise=0.15, aim_error=0.045, aim_error_fraction=0.4),
        run=RunConfig(directory="runs/maniskill-state"),
    )


def maniskill_rgb() -> Config:
    """A vision student with proprioception, 128 x 128 pixels, as ManiSkill's RGB baseline."""
    return Config(
        env=EnvConfig(name="maniskill:PickCube-v1", observation="rgb+proprio", image_size=128, num_envs=16),
        algorithm=PPOConfig(total_steps=1_000_000, minibatches=8, target_kl=0.2),
        teacher=TeacherConfig(noise=0.15, aim_error=0.045, aim_error_fraction=0.4),
        run=RunConfig(directory="runs/maniskill-rgb"),
    )


def rpd_paper() -> Config:
    """Refined Policy Distillation (arXiv 2503.05833) as its paper states it.

    The paper's teachers are fine-tuned Octo and OpenVLA; here the scripted one stands in for them until
    `teacher.name` names another. For sparse reward the paper sets gamma to 0.99.
    """
    return Config(
        variants=("ppo", "rpd-mse", "rpd-l1", "rpd-bc", "ppd"),
        seeds=(0, 1, 2, 3, 4),
        env=EnvConfig(name="maniskill:PickCube-v1", observation="rgb", image_size=256, num_envs=128),
        algorithm=PPOConfig(
            total_steps=30_000_000,
            rollout_length=50,
            epochs=8,
            minibatches=48,  # whole: 48 x 133 of 6,400; the code's 49th minibatch holds 16 samples
            learning_rate=3e-4,
            gamma=0.8,
            gae_lambda=0.9,
            advantage="gae",  # the paper says GAE; the code switches the finite-horizon form on
            clip_ratio=0.2,
            value_coef=0.5,
            entropy_coef=0.0,
            max_grad_norm=0.5,
            target_kl=0.2,
        ),
        teacher=TeacherConfig(
            samples=10,  # PPD fits a Gaussian to them (of one draw the std would be invented); their mean is E[a^T]
            gripper="fixed",  # the code's training loop leaves the teacher's [0, 1] unmapped
        ),
        eval=EvalConfig(every=10, curve_episodes=500, episodes=500, num_envs=20),
        run=RunConfig(directory="runs/rpd-paper"),
    )


def rpd_code() -> Config:
    """As the paper's public code behaves; only the departures from `rpd_paper` are set."""
    config = rpd_paper()
    config.variants = ("ppo", "rpd-mse", "rpd-l1", "rpd-bc", "ppd-reverse")  # code: KL(student || teacher)
    config.algorithm.advantage = "finite_horizon"  # code: finite_horizon_gae=True; paper: GAE
    config.teacher.gripper = "reference"  # code: gripper left in [0, 1]; its evaluator maps to [-1, 1]
    config.run.directory = "runs/rpd-code"
    return config


def debug() -> Config:
    """Seconds on one core: a toy reaching task in JAX with a toy teacher; the same code path as the others."""
    return Config(
        variants=("ppo", "rpd-mse"),
        seeds=(0, 1),
        env=EnvConfig(name="toy:Reach-v0", num_envs=8),
        network=NetworkConfig(hidden=(32, 32)),
        algorithm=PPOConfig(total_steps=4 * 8 * 20, rollout_length=20, epochs=2, minibatches=4),
        teacher=TeacherConfig(name="toy", noise=0.2),
        eval=EvalConfig(every=2, curve_episodes=8, episodes=16, num_envs=8, videos=0),
        run=RunConfig(directory="runs/debug", checkpoint_every=2),
    )
