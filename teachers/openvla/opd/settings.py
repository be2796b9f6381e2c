"""Every setting of a run of on-policy distillation and its default.

Treat settings as read-only once `validate` has passed. Where published programs differ the comments say so: RLinf's and
SimpleVLA-RL's numbers are those of LIBERO.
"""

# No `from __future__ import annotations` here: config flags of ml_collections, in others' programs, read field types.
import dataclasses
from typing import NamedTuple, Self

from rpd_jax.config.env import EnvConfig
from rpd_jax.config.validation import Settings, choice, require, setting
from rpd_jax.runs.output_directory import Kind
from teachers.finetuning.settings import RunSettings
from teachers.openvla.finetune.settings import DTYPES, LoraSettings, OptimizerSettings
from teachers.openvla.server.oft.settings import PLATFORMS

OBJECTIVES = ("reverse_kl", "reverse_kl_sampled", "reverse_kl_clipped", "forward_kl", "hard_ce", "grpo")
"""Those of `losses` that need no demonstrations; `launch.finetune_openvla` is the one that does (cross-entropy)."""
ONE_STEP = ("reverse_kl_sampled",)
"""Objectives with a reward that is right for the policy that acted only, and nothing that keeps the new one near it."""
NORMALIZATIONS = ("sum", "token", "trajectory")
TOKENS = tuple(name for name, platform in PLATFORMS.items() if platform.head == "tokens")
KIND = Kind(
    field="output",
    what="a run of distillation",
    file="distill_config.json",
    keys=frozenset({"seed", "steps", "groups", "group_size", "objective", "lora", "optimizer"}),
    entries=(
        *("checkpoints", "metrics.jsonl", "tensorboard", "wandb", "dataset_statistics.json", "action_contract.json"),
        *("adapter_config.json", "adapter_model.safetensors", "serving.json"),
    ),
    leftovers=("metrics.jsonl", "checkpoints/*.safetensors"),
)


class Phase(NamedTuple):
    """What is minimised, at what rate, until an iteration."""

    objective: str
    until: int
    learning_rate: float


@dataclasses.dataclass
class TeacherSettings(Settings):
    """What the teacher is said to be; what is empty is as the student's. Any difference is refused."""

    statistics_key: str = ""  # the data set that undoes its normalisation; empty: the student's, or its only one
    oft: str | None = setting(None, choices=("", *TOKENS))  # None: as the student


@dataclasses.dataclass
class EvaluationSettings(Settings):
    """Of the most likely tokens, in environments of their own: the same initial states every time."""

    episodes: int = setting(64, low=1)  # over all processes, that many environments side by side
    seed: int = setting(1_000_003, low=0)  # of the episodes


@dataclasses.dataclass
class DistillSettings(RunSettings):
    """A whole run. A step is an iteration: a rollout, its scores, an update."""

    steps: int = setting(50, low=1)  # the paper's for LIBERO-Long, RLinf 30; GRPO alone 150 and more
    log_every: int = setting(1, low=1)
    validate_every: int = setting(10, low=0)  # iterations between evaluations; 0: never
    save_every: int = setting(1, low=0)
    tensorboard: bool = False

    env: EnvConfig = dataclasses.field(default_factory=lambda: EnvConfig(reward="sparse"))  # num_envs is not used
    groups: int = setting(64, low=1)  # initial states of an iteration, over all processes (the paper; ablations 32)
    group_size: int = setting(8, low=1)  # trajectories from each (the paper; 2 loses little)

    objective: str = setting("reverse_kl", choices=OBJECTIVES)  # the paper's is reverse_kl_sampled
    # "objective:until:learning_rate", one after the other, e.g. reverse_kl:50:2e-6,grpo:100:5e-6; the last one goes on
    # to the end. Empty: one objective, at optimizer.learning_rate.
    phases: tuple[str, ...] = ()
    # Of the tokens' losses: "sum" over time, mean over trajectories (the paper); mean over all valid "token"s (RLinf);
    # mean over each "trajectory"'s own, then over trajectories (SimpleVLA-RL).
    normalize: str = setting("sum", choices=NORMALIZATIONS)
    temperature: float = setting(1.6, above=0)  # of sampling, scores and log-probabilities (RLinf, SimpleVLA-RL)
    clip_low: float = setting(0.2, low=0, below=1)  # of the ratio (SimpleVLA-RL)
    clip_high: float = setting(0.28, low=0)  # of the ratio, above 1
    success_low: float = setting(0.1, low=0, high=1)  # groups that succeed less or more often give grpo nothing
    success_high: float = setting(0.9, low=0, high=1)  # see success_low
    epochs: int = setting(1, low=1)  # passes over an iteration's tokens
    minibatches: int = setting(1, low=1)  # optimizer steps of a pass (SimpleVLA-RL: 4)

    # What these say nothing of is as the student's serving file has it, if it has one.
    oft: str = setting("", choices=("", *TOKENS))  # what an OpenVLA-OFT student was trained for; empty: OpenVLA's
    statistics_key: str = ""  # the data set in whose units its actions are ("unnorm_key"), where it knows several
    contract: str = ""  # what its actions mean, see teachers/conventions.py; empty: what the fine-tuned model brings
    center_crop: bool = False  # for checkpoints that were trained with random crops; OFT platforms say so themselves
    frames: str = setting("", choices=("", "libero"))  # see `OpenVLASettings`
    prompt: str = setting("", choices=("", "openvla", "v01"))  # style; empty: as its config.json says

    dtype: str = setting("bf16", choices=DTYPES)  # of frozen weights and the computation; what is trained stays float32
    device: str = setting("", choices=("", "cpu"))  # empty: a process's own GPU if there is one
    gradient_checkpointing: bool = False  # compute the language model's activations twice: slower, less memory
    max_batch: int = setting(32, low=1)  # frames computed at a time without gradients
    micro_batch: int = setting(8, low=1)  # with gradients; an optimizer step adds up as many as it takes
    # Host memory of a process, GiB, for the projected patches of frames between rollout, scores and update: about 2 MiB
    # a frame of the 7 B model. They can be kept where no adapter touches vision tower and projector, as
    # lora.targets=language_model leaves them; what does not fit is computed again from the frames, which are kept too.
    features_gib: float = setting(16.0, low=0)

    # Fresh matrices. A student that begins with those of a fine-tuned adapter has that one's rank and layers, and keeps
    # as they are those in parts that `targets` leaves out.
    lora: LoraSettings = dataclasses.field(default_factory=lambda: LoraSettings(targets=("language_model",)))
    # RLinf's (whole model; matrices usually take more); SimpleVLA-RL 5e-6
    optimizer: OptimizerSettings = dataclasses.field(
        default_factory=lambda: OptimizerSettings(learning_rate=2e-6, weight_decay=0.01, clip=1.0)
    )
    teacher: TeacherSettings = dataclasses.field(default_factory=TeacherSettings)
    evaluation: EvaluationSettings = dataclasses.field(default_factory=EvaluationSettings)

    def validate(self) -> Self:
        """Raises ConfigError for the first impossible value; returns self."""
        super().validate()
        self.env.check_together()
        require(self.success_low <= self.success_high, "success_low", self.success_low, "at most success_high")
        until = 0
        for phase in self.schedule():
            require(phase.until > until, "phases", self.phases, "ending at iterations that rise")
            until = phase.until
            steps = self.epochs * self.minibatches
            if phase.objective in ONE_STEP and steps > 1:
                require(
                    False,
                    "epochs * minibatches",
                    steps,
                    f"1: the reward of {phase.objective} is that of the policy that acted, and further steps on it "
                    "diverge; use reverse_kl or reverse_kl_clipped",
                )
        return self

    def schedule(self) -> tuple[Phase, ...]:
        """The phases in order; raises ConfigError for one that is not written as it must be."""
        if not self.phases:
            return (Phase(self.objective, self.steps, self.optimizer.learning_rate),)
        return tuple(_phase(text) for text in self.phases)

    def phase(self, iteration: int) -> Phase:
        """That of an iteration, counted from 0."""
        phases = self.schedule()
        return next((each for each in phases if iteration < each.until), phases[-1])


def _phase(text: str) -> Phase:
    try:
        objective, until, rate = text.split(":")
        found = Phase(objective, int(until), float(rate))
    except ValueError:
        require(False, "phases", text, "objective:until:learning_rate, such as grpo:100:5e-6")
        raise
    choice("phases: objective", found.objective, OBJECTIVES)
    require(0 < found.learning_rate < float("inf"), "phases: learning_rate", found.learning_rate, "a positive number")
    return found
