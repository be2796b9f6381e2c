"""The pytrees and protocols that every part of the library shares.

Imports numpy only, so that sidecar processes can use it without jax or torch.
Axes: T time, P population member, N environments of a member, B any batch, A action dimensions,
C actions of a chunk, D observation dimensions, K samples. Units: metres, radians, seconds.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

if TYPE_CHECKING:
    import jax

    Array = jax.Array | np.ndarray
else:
    Array = Any


class TeacherError(RuntimeError):
    """A teacher that cannot answer; the message is one line that names the teacher and what went wrong."""


Observation = dict[str, Array]
"""Named arrays with the same leading axes; keys are "state", "proprio", "ee", "rgb", "instruction", "expert"."""


@dataclasses.dataclass(frozen=True)
class Instructions:
    """The tasks in words, one for each row of a batch: row b has texts[index[b]].

    A pytree (see `rpd_jax.instructions`, which registers it) whose `texts` are static and whose `index` is a leaf.
    """

    texts: tuple[str, ...]
    index: Array  # [B] int32, positions in `texts`

    def of_rows(self) -> list[str]:
        """The text of every row. Raises ValueError for an index that no text has; not for traced ones."""
        index = np.asarray(self.index)
        if len(index) and not 0 <= index.min() <= index.max() < len(self.texts):
            raise ValueError(
                f"instructions.index has {index.min()} to {index.max()}: there are {len(self.texts)} texts"
            )
        return [self.texts[row] for row in index]


class Transition(NamedTuple):
    """One environment step; in a rollout every leaf has leading axes [T, P, N].

    `extras` are what the algorithm remembers of it (`algorithms.base.Algorithm.act`): for PPO "log_prob", "value", and
    "next_value", the value of the *true* next observation: at the end of an episode that is the final observation,
    never the first one of the following episode. `terminated` (the task ended) and `truncated` (time ran out, or a
    worker died) are kept apart. `success` is of the true next state, whether or not it ends the episode; None where
    nobody needs it.
    """

    observation: Observation
    action: Array  # [..., A] as sampled, before the environment clips it
    reward: Array  # [...]
    terminated: Array  # [...] bool
    truncated: Array  # [...] bool
    extras: dict[str, Array]  # [..., ...]
    success: Array | None = None  # [...] bool


class TeacherLabels(NamedTuple):
    """A teacher's answer to a batch of observations.

    `action` is the mean action, `std` the standard deviation of the teacher's diagonal Gaussian (exact,
    fitted to samples, or a fixed one for a deterministic teacher). Where `valid` is False the other
    leaves are zero (std one) and no loss may use them. Labels of chunks [B, C, ...] hold an action for the present
    step and for each of the C - 1 steps after it. `clipped` says where a conversion into the environment's contract
    cut a wish short (`actions.contracts.converted`); None: nothing was converted.
    """

    action: Array  # [..., A] in the environment's action contract
    valid: Array  # [...] bool
    std: Array  # [..., A]
    clipped: Any = None  # [...] bool, an array once labels are `guidance.labels.checked`

    def first(self) -> TeacherLabels:
        """Of chunks [B, C, ...] the actions for the present step, [B, ...]."""
        clipped = None if self.clipped is None else self.clipped[:, 0]
        return TeacherLabels(self.action[:, 0], self.valid[:, 0], self.std[:, 0], clipped)


@dataclasses.dataclass(frozen=True)
class ActionStatistics:
    """Normalisation statistics of a data set's actions, each of shape [A].

    `kind` "normal" maps a to a * scale + offset with scale = std, offset = mean;
    "bounds" maps [-1, 1] to [low, high] (low, high = q01, q99). Where `mask` is False the dimension
    is passed through unchanged.
    """

    kind: str
    offset_or_low: tuple[float, ...]
    scale_or_high: tuple[float, ...]
    mask: tuple[bool, ...]


@dataclasses.dataclass(frozen=True)
class ActionContract:
    """What the seven numbers of an end-effector delta action mean: (x, y, z, rotation x 3, gripper).

    The physical rotation is R(rotation_form, rotation_sign * rotation_scale * a[3:6]), in `frame`.
    """

    translation_scale: float  # metres per unit
    rotation_scale: float  # radians per unit
    rotation_form: str  # "euler_xyz" or "axis_angle"
    rotation_sign: int  # +1, or -1 where the controller inverts the rotation
    frame: str  # "base": axes of the robot's base at the tool centre point
    gripper_closed: float  # the value that closes the gripper
    gripper_open: float  # the value that opens it
    statistics: ActionStatistics | None = None  # set where actions are normalised
    low: float | None = -1.0  # box bounds, None where unbounded
    high: float | None = 1.0


@dataclasses.dataclass(frozen=True)
class TokenContract:
    """What action tokens mean: token k of a dimension is the middle of part k of `bins` equal parts of its range.

    A student and its teacher must agree on all of it: else the same token is another motion.
    """

    bins: int
    low: tuple[float, ...]  # [A], the ends of the dimensions' ranges in the environment's action units,
    high: tuple[float, ...]  # in the order of the tokens


@dataclasses.dataclass(frozen=True)
class TeacherSpec:
    """What a teacher needs and gives."""

    name: str
    observation_keys: tuple[str, ...]  # which entries of an Observation it reads
    contract: ActionContract | None  # of the actions that `label` returns; None: already the environment's
    history: int = 1  # observations per label, newest last
    chunk: int = 1  # C, actions per answer; above 1 it is a `ChunkTeacher`
    samples_actions: bool = False  # False: the same answer for the same observation
    token_bins: int = 0  # action tokens that it can give the probabilities of (`TokenTeacher`); 0: it has no tokens
    tokens: TokenContract | None = None  # what they mean to the environment; None: not known, or nothing to it
    in_graph: bool = False  # `label` is pure JAX and can be traced into the learner's program
    is_scripted: bool = False  # toy teachers are labelled as such wherever their numbers appear
    checkpoint: str = ""  # digest of the files that it was loaded from; empty: it was loaded from none
    success: float | None = None  # success rate of its own evaluation in this environment; None: not known


class TokenScores(NamedTuple):
    """A teacher's distributions over action tokens, for each dimension given the tokens of those before it.

    Column c is the teacher's action token c, counted from the first of them in its vocabulary.
    """

    logits: Array  # [..., A, bins] float32
    logsumexp: Array  # [..., A] float32, over the whole vocabulary: logits less this are log-probabilities


class TokenLabels(NamedTuple):
    """Labels, the tokens that they stand for, and the distributions that these were chosen from."""

    labels: TeacherLabels
    tokens: Array  # [..., A] int32: columns
    scores: TokenScores


class Teacher(Protocol):
    """Anything that proposes actions for observations, in batches."""

    spec: TeacherSpec

    def label(self, observation: Observation, instructions: Instructions | str, key: Array) -> TeacherLabels:
        """Label a batch.

        Args:
          observation: arrays of shape [B, ...], or [B, H, ...] (newest last) where spec.history > 1.
          instructions: the task in words, of each row, or one for all; see `rpd_jax.instructions.as_instructions`.
          key: a jax random key; the answer is a function of the arguments alone.

        Returns:
          labels with leading axis [B].
        """
        ...


class ChunkTeacher(Teacher, Protocol):
    """A teacher that answers with the actions of `spec.chunk` steps, of which `label` gives the first."""

    def label_chunk(self, observation: Observation, instructions: Instructions | str, key: Array) -> TeacherLabels:
        """Labels [B, C, ...] with C = spec.chunk, action c for c steps after the observation.

        Arguments as of `label`, whose answer for the same key is their `first()`.
        """
        ...


class TokenTeacher(Teacher, Protocol):
    """A teacher with `spec.token_bins` action tokens."""

    def label_tokens(self, observation: Observation, instructions: Instructions | str, key: Array) -> TokenLabels:
        """Labels a batch; arguments as of `label`. Of several samples the tokens are those of the first."""
        ...

    def score(self, observation: Observation, instructions: Instructions | str, tokens: Array) -> TokenScores:
        """The teacher's distributions along given tokens, int [B, A] columns (VLA-OPD: the student's own)."""
        ...
