"""VLA-OPD (arXiv 2603.26666): objectives (table 2's shape, figures 2 and 4) and sizes of groups (Fig. 5)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from rpd_jax.comparison import Arm, Case, Claim, Experiment, better, close_to, grid
from rpd_jax.presets import opd_paper, opd_quickstart
from rpd_jax.presets.opd import EPISODE

PILOTS = (
    "What GRPO's phase after distillation is set to (rate, its fall, steps) comes from pilots with seeds 10 and 11."
)
NEEDED = "The demonstrations, teacher and students that `make quickstart-opd` makes are needed first."
DIFFERENT = (
    "Students and teacher are token policies of two layers of 256 that see the state, not OpenVLA-OFT.",
    "The task is tabletop's PushCube with 7 x 256 bins, not LIBERO; the teacher learned from 400 demonstrations of a "
    "script.",
    NEEDED,
)
ITERATION = 32 * EPISODE


def objectives() -> Experiment:
    """Reverse KL beside forward KL, hard cross-entropy and GRPO, from a student of one demonstration."""
    config = opd_quickstart()
    config.eval.every, config.eval.videos = 10, 0
    config.run.checkpoint_every = 10
    rates = (1e-3, 4e-3)
    return Experiment(
        name="opd-objectives",
        title="Which objective distils a token policy? (VLA-OPD, table 2 and Fig. 4)",
        source="VLA-OPD, arXiv 2603.26666, table 2, figures 2 and 4",
        config=config,
        cases=(Case("push-from-1", published="start .49, OPD .87, OPD then GRPO .93, teacher .94 (LIBERO, mean)"),),
        arms=(
            grid("reverse-kl", learning_rate=rates, learning_rate_end=(0.05, 1.0)),
            grid("forward-kl", learning_rate=rates, learning_rate_end=(0.05, 1.0)),
            grid("hard-ce", learning_rate=rates, learning_rate_end=(0.05, 1.0)),
            grid("grpo", learning_rate=(5e-4, 2e-3), accumulate=(1, 4)),
            grid("distill-grpo", learning_rate=rates, learning_rate_end=(0.05, 1.0)),
        ),
        baseline="grpo",
        budgets=(80 * ITERATION,),
        tuning_steps=40 * ITERATION,
        tuning_seeds=(3,),
        seeds=(0, 1, 2),
        claims=(
            Claim("reverse KL ends above GRPO", better("reverse-kl", "grpo"), "about .80 in 50 steps; GRPO needs 150"),
            Claim(
                "reverse KL ends above forward KL", better("reverse-kl", "forward-kl"), "forward KL loses half early"
            ),
            Claim("reverse KL ends above hard cross-entropy", better("reverse-kl", "hard-ce"), "the lowest"),
            Claim(
                "distilling, then GRPO ends above distilling", better("distill-grpo", "reverse-kl"), ".93 against .87"
            ),
        ),
        deviations=(*DIFFERENT, PILOTS),
        minutes=14,
    )


def groups() -> Experiment:
    """Fig. 5: groups of 2, 4 and 8 trajectories from each initial state."""
    config = opd_quickstart()
    config.eval.every, config.eval.videos = 5, 0
    return Experiment(
        name="opd-groups",
        title="How many trajectories from an initial state? (VLA-OPD, Fig. 5)",
        source="VLA-OPD, arXiv 2603.26666, Fig. 5",
        config=config,
        cases=(Case("push-from-1", published="G = 2 above .80, G = 8 about .89 (LIBERO-Object)"),),
        arms=tuple(
            grid("reverse-kl", f"G{size}", group_size=(size,), learning_rate=(1e-3, 4e-3)) for size in (2, 4, 8)
        ),
        baseline="G8",
        budgets=(20 * ITERATION,),
        tuning_seeds=(3,),
        seeds=(0, 1, 2),
        claims=(Claim("two trajectories end within .15 of eight", close_to("G2", "G8", 0.15), ".80 and .89"),),
        deviations=DIFFERENT,
        minutes=4,
    )


TOKENS = (
    "The algorithm's numbers are the paper's; students and teacher are small token policies on tabletop's PushCube. "
    "OpenVLA-OFT itself on LIBERO: `rpd-jax distill-openvla`.",
    "Learning rate and temperature are not given in the paper: they are those of the opd-paper preset.",
    "GRPO, also after distillation, takes four steps an iteration, with settings from pilots of the laptop scale.",
    NEEDED,
)
ONE_STEP = "accumulate=16"  # of the whole batch an iteration


def objectives_paper() -> Experiment:
    """Table 2 and figures 2 and 4 with the paper's 64 initial states and groups of eight, nothing tuned."""
    exact = ("forward-kl", "hard-ce", "distill-grpo")
    arms = {"reverse-kl": f"reverse-kl-sampled:{ONE_STEP}", **{name: f"{name}:{ONE_STEP}" for name in exact}}
    return _paper(objectives(), {**arms, "grpo": "grpo:accumulate=4"}, minutes=120, steps="32 million")


def groups_paper() -> Experiment:
    """Fig. 5 with the paper's batch of 512 trajectories, nothing tuned."""
    arms = {f"G{size}": f"reverse-kl-sampled:{ONE_STEP}:group_size={size}" for size in (2, 4, 8)}
    return _paper(groups(), arms, minutes=90, steps="19 million")


def _paper(laptop: Experiment, arms: Mapping[str, str], minutes: int, steps: str) -> Experiment:
    """With the preset that has the paper's numbers, and a setting for each arm."""
    config = opd_paper()
    return dataclasses.replace(
        laptop,
        title=laptop.title.removesuffix(")") + ", the paper's numbers)",
        config=config,
        arms=tuple(Arm(name, (setting,)) for name, setting in arms.items()),
        budgets=(config.algorithm.total_steps,),
        tuning_steps=0,
        tuning_seeds=(100,),
        seeds=(0, 1, 2, 3, 4),
        deviations=TOKENS,
        minutes=minutes,
        machine=f"one H100 (an estimate: {steps} steps)",
    )
