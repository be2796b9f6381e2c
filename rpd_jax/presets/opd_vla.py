"""VLA-OPD with a vision-language-action student: octo-nano's transformer with a head of tokens, on two tasks.

    for task in PushCube PullCube; do
      python -m launch.collect --preset=opd-vla-teacher --config.env.name=tabletop:$task-v1 --episodes=200 \
          --num_envs=50 --perturb=0.1 --hold_steps=3 --output=runs/opd-vla/$task
    done
    python -m launch.train --preset=opd-vla-teacher      # and opd-vla-students, then opd-vla
    python -m benchmarks.seen_unseen --run=runs/opd-vla/distilled --env=tabletop:PullCube-v1 --output=runs/opd-vla/seen
"""

from __future__ import annotations

from rpd_jax.config import Config, NetworkConfig, TeacherConfig
from rpd_jax.config.algorithm import OPDConfig, SFTConfig
from rpd_jax.presets.distillation import quickstart_vla
from rpd_jax.presets.opd import EPISODE, opd_teacher

TASKS = ("PushCube", "PullCube")


def opd_vla_teacher() -> Config:
    """A student of both tasks by fine-tuning of everything on 400 demonstrations with frames: greedy .6 and .8."""
    config = opd_teacher()
    config.env = quickstart_vla().env  # its camera is octo-nano's
    config.env.name = "tabletop:" + ",".join(f"{task}-v1" for task in TASKS)
    config.env.observation, config.env.reward, config.env.end_on_success = "rgb", "sparse", False
    config.network = NetworkConfig(name="octo", bins=64)
    config.algorithm = SFTConfig(
        demonstrations=tuple(f"runs/opd-vla/{task}" for task in TASKS),
        total_steps=600 * 64,
        batch_size=64,
        learning_rate=1e-3,
        learning_rate_end=0.1,
        max_grad_norm=1.0,
    )
    config.eval.episodes, config.run.directory = 64, "runs/opd-vla/teacher"
    return config


def opd_vla_students() -> Config:
    """The same of ten demonstrations of each task, and few steps: what is to be distilled into."""
    config = opd_vla_teacher()
    config.variants = ("sft:episodes=20:name=sft-20",)
    config.algorithm.total_steps, config.algorithm.learning_rate = 150 * 64, 5e-4
    config.run.directory = "runs/opd-vla/students"
    return config


def opd_vla() -> Config:
    """That student learns PushCube alone: by distillation, by success, by both, and from demonstrations.

    Checkpoints are kept: what becomes of PullCube meanwhile is VLA-OPD's Figure 3. One seed, 32 greedy episodes: from
    .03 reverse-kl reaches .25. About 9 CPU seconds an iteration and variant.
    """
    config = opd_vla_students()
    config.variants = ("reverse-kl", "grpo:accumulate=4:name=grpo", "distill-grpo", "imitation")
    config.env.name = f"tabletop:{TASKS[0]}-v1"
    config.algorithm = OPDConfig(
        demonstrations=(f"runs/opd-vla/{TASKS[0]}",),
        total_steps=9 * 32 * EPISODE,
        rollout_length=EPISODE,
        group_size=4,
        batch_size=64,
        learning_rate=3e-4,
        max_grad_norm=1.0,
        start="runs/opd-vla/students",
    )
    config.teacher = TeacherConfig(name="policy", path="runs/opd-vla/teacher", batch_size=400)
    config.run.directory, config.run.checkpoint_every, config.run.keep_checkpoints = "runs/opd-vla/distilled", 3, 100
    return config
