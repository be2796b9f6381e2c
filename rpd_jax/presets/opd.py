"""Presets of VLA-OPD: token students, their teachers, and on-policy distillation; see `make quickstart-opd`."""

from __future__ import annotations

import dataclasses

from rpd_jax.config import Config, EnvConfig, EvalConfig, NetworkConfig, RunConfig, TeacherConfig
from rpd_jax.config.algorithm import OPDConfig, SFTConfig
from rpd_jax.config.variant import PhaseSpec, VariantSpec

EPISODE = 50  # steps of PushCube's
DEMONSTRATIONS = "runs/opd/demonstrations"
"""launch.collect --preset=opd-teacher --output=runs/opd/demonstrations --episodes=400 --noimages --perturb=0.1"""


def opd_teacher() -> Config:
    """A token policy of PushCube by supervised fine-tuning on 400 demonstrations: greedy .8, sampled .6.

    The scripted teacher that is recorded makes no errors; its motions are disturbed, so that the demonstrations show
    how to recover.
    """
    return Config(
        variants=("sft:name=sft-400",),
        seeds=(0,),
        env=EnvConfig(name="tabletop:PushCube-v1", reward="sparse", num_envs=32, end_on_success=False),
        network=NetworkConfig(hidden=(256, 256), normalize_observations=True),
        algorithm=SFTConfig(
            demonstrations=(DEMONSTRATIONS,),
            total_steps=2000 * 256,
            learning_rate=1e-3,
            learning_rate_end=0.1,
            max_grad_norm=1.0,
            steps_per_iteration=200,
        ),
        teacher=TeacherConfig(noise=0.0),
        eval=EvalConfig(every=0, episodes=128, num_envs=32),
        run=RunConfig(directory="runs/opd/teacher", checkpoint_every=0),
    )


def opd_students() -> Config:
    """The same from 1, 10 and 40 demonstrations, with five seeds and few steps: what is to be distilled into."""
    config = opd_teacher()
    config.variants = tuple(f"sft:episodes={count}:name=sft-{count}" for count in (1, 10, 40))
    config.seeds = (0, 1, 2, 3, 4)
    config.algorithm.total_steps, config.algorithm.steps_per_iteration = 100 * 256, 50
    config.run.directory = "runs/opd/students"
    return config


def opd_quickstart() -> Config:
    """Students of one demonstration learn from that teacher: every objective with five seeds, 80 iterations.

    All have the same settings but for the paper's sampled reverse KL, of which a rollout bears one step only, and for
    GRPO, whose steps are fewer, larger and slower.
    """
    config = opd_students()
    reinforce: dict[str, float | None] = {"accumulate": 4, "learning_rate": 2e-3, "learning_rate_end": 0.05}
    config.variants = (
        "reverse-kl",
        "reverse-kl-sampled:accumulate=16:name=reverse-kl-sampled",
        "forward-kl",
        "hard-ce",
        VariantSpec("grpo", {"grpo": 1.0}, overrides=reinforce, algorithm="opd"),
        VariantSpec(
            "distill-grpo",
            {"token_reverse_kl": 1.0},
            phases=(PhaseSpec(0.25, {"grpo": 1.0}, reinforce),),
            algorithm="opd",
        ),
    )
    config.algorithm = OPDConfig(
        total_steps=80 * 32 * EPISODE,
        learning_rate=4e-3,
        max_grad_norm=1.0,
        normalize="trajectory",
        start="runs/opd/students",
        start_variant="sft-1",
        rollout_length=EPISODE,
    )
    config.teacher = TeacherConfig(name="policy", path="runs/opd/teacher")
    config.eval.every, config.eval.curve_episodes = 20, 32
    config.run.directory, config.run.iterations_per_call = "runs/opd/quickstart", 5
    return config


def opd_groups() -> Config:
    """The same distillation with groups of 2, 4 and 8 trajectories from an initial state, 20 iterations."""
    config = opd_quickstart()
    config.variants = tuple(f"reverse-kl:group_size={size}:name=G{size}" for size in (2, 4, 8))
    config.algorithm.total_steps = 20 * 32 * EPISODE
    config.run.directory = "runs/opd/groups"
    return config


def opd_teacher_rl() -> Config:
    """The paper's kind of teacher: that of `opd_teacher`, improved by GRPO.

    Then `launch.train --preset=opd-quickstart --config.teacher.path=runs/opd/teacher-rl` distils from it.
    """
    config = opd_quickstart()
    config.variants, config.seeds = ("grpo",), (0,)
    algorithm = config.algorithm
    algorithm.start, algorithm.start_variant = "runs/opd/teacher", ""
    algorithm.total_steps, algorithm.learning_rate, algorithm.accumulate = 30 * 32 * EPISODE, 1e-3, 4
    config.eval.every = 10
    config.run.directory = "runs/opd/teacher-rl"
    return config


def opd_ablations() -> Config:
    """What else there is to choose, from 40 demonstrations: estimators, mixtures, phases."""
    config = opd_quickstart()
    config.variants = (
        "reverse-kl",
        "reverse-kl-sampled:accumulate=16:name=reverse-kl-sampled",
        "reverse-kl-clipped",
        "reverse-kl:grpo=1:name=reverse-kl-and-grpo",
        "imitation",
        "sft-grpo",
        "distill-grpo",
    )
    config.algorithm.start_variant, config.algorithm.demonstrations = "sft-40", (DEMONSTRATIONS,)
    config.algorithm.episodes = 40
    config.algorithm.total_steps = 80 * 32 * EPISODE
    config.eval.every = 10
    config.run.directory = "runs/opd/ablations"
    return config


def opd_paper() -> Config:
    """VLA-OPD's numbers as its paper gives them (arXiv 2603.26666), with token students of the tabletop suite.

    64 initial states x G = 8 trajectories; a token's reward is log pi_T - log pi_S at the student's own tokens, raw: no
    critic, no normalisation, no ratio, one step of the whole batch; losses are summed over time. Learning rate and
    temperature are not given. RLinf's version has a mean over tokens (normalize="token"), lr 2e-6 for 7 B parameters,
    weight decay 0.01 and temperature 1.6; the GRPO of SimpleVLA-RL a mean over trajectories, lr 5e-6, temperature 1.6,
    clips 0.2 and 0.28, groups with success rates in [0.1, 0.9]. OpenVLA-OFT itself: `launch.distill_openvla`.
    """
    config = opd_quickstart()
    grpo = PhaseSpec(0.5, {"grpo": 1.0}, {"accumulate": 4, "learning_rate": 1.5e-3})
    sampled = VariantSpec("opd", {"reverse_kl_sampled": 1.0}, overrides={"accumulate": 16}, algorithm="opd")
    config.variants = (sampled, dataclasses.replace(sampled, name="opd-then-grpo", phases=(grpo,)))
    config.env.num_envs = 64 * 8
    algorithm = config.algorithm
    algorithm.total_steps, algorithm.normalize = 50 * 64 * 8 * EPISODE, "sum"
    config.run.directory, config.run.iterations_per_call = "runs/opd/paper", 1
    return config
