"""Presets of VLA-OPD: token students, their teachers, and on-policy distillation."""

from __future__ import annotations

from rpd_jax.config import Config, EnvConfig, EvalConfig, NetworkConfig, RunConfig, TeacherConfig
from rpd_jax.config.algorithm import OPDConfig, SFTConfig


def opd_students() -> Config:
    """Token students of PushCube by supervised fine-tuning on 1, 10, 40 and all demonstrations; the last is a teacher.

    The demonstrations: `launch.collect --output=runs/opd/demonstrations --config=opd-students --episodes=200`.
    """
    return Config(
        variants=tuple(f"sft:episodes={count}:name=sft-{count}" for count in (1, 10, 40, 200)),
        seeds=(0, 1, 2, 3, 4),
        env=EnvConfig(name="tabletop:PushCube-v1", reward="sparse", num_envs=32, end_on_success=False),
        network=NetworkConfig(hidden=(256, 256), normalize_observations=True),
        algorithm=SFTConfig(
            demonstrations=("runs/opd/demonstrations",),
            total_steps=2000 * 256,
            learning_rate=1e-3,
            learning_rate_end=0.1,
            max_grad_norm=1.0,
            steps_per_iteration=200,
        ),
        teacher=TeacherConfig(noise=0.05),
        eval=EvalConfig(every=0, episodes=128, num_envs=32),
        run=RunConfig(directory="runs/opd/students", checkpoint_every=0),
    )


def opd_quickstart() -> Config:
    """Students of one demonstration learn from one of 200: every objective, three group sizes, five seeds."""
    config = opd_students()
    config.variants = (
        "reverse-kl",
        "reverse-kl:group_size=2:name=reverse-kl-G2",
        "reverse-kl:group_size=4:name=reverse-kl-G4",
        "reverse-kl-sampled:accumulate=16:name=reverse-kl-sampled",
        "forward-kl",
        "hard-ce",
        "grpo",
        "distill-grpo",
    )
    config.algorithm = OPDConfig(
        total_steps=40 * 32 * 50,
        learning_rate=1e-3,
        max_grad_norm=1.0,
        start="runs/opd/students",
        start_variant="sft-1",
    )
    config.teacher = TeacherConfig(name="policy", path="runs/opd/students", member="sft-200/0")
    config.eval.every, config.eval.curve_episodes = 5, 64
    config.run.directory, config.run.iterations_per_call = "runs/opd/quickstart", 5
    return config
