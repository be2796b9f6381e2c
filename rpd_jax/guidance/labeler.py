"""Labels of a whole population, on the host or inside a program: `HostLabeler` and `TracedLabeler`.

Words: a *query* is a step at which the teacher is called; a *target* is what a loss sees; a step with a target is
*supervised*. A dense member queries at every step, and each label is the target of its own step. A sparse one queries
at a few, without a history, and its answers are spread over windows (`sparse.targets`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import jax
import numpy as np

from rpd_jax.config.variant import VariantSpec
from rpd_jax.envs.base import EnvSpec
from rpd_jax.guidance.labels import Ledger
from rpd_jax.guidance.settings import Guidance
from rpd_jax.losses.terms import guided
from rpd_jax.types import ActionContract, Array, Teacher


class Askers(NamedTuple):
    """How the P members of a population query the teacher."""

    dense: np.ndarray  # bool [P]: at every step
    sparse: np.ndarray  # bool [P]: at a few steps
    seeds: Array  # uint32 [P], from which the keys of labels and queries follow
    guidance: Guidance  # leaves [P]
    strategies: tuple[str, ...]  # that any sparse member uses
    most_calls: int  # that no sparse member's environment can exceed in a rollout
    actions: np.ndarray  # int [P]: of an answer, that become targets; more than one of chunks only

    @classmethod
    def of(cls, variants: Sequence[VariantSpec], seeds: Sequence[int], guidance: Guidance, length: int) -> Self:
        """Of members with these variants and seeds; `length` is that of a rollout."""
        sparse = np.array([guided(variant) and variant.guidance.sparse for variant in variants])
        dense = np.array([guided(variant) for variant in variants]) & ~sparse
        asking = [variant.guidance for variant, few in zip(variants, sparse, strict=True) if few]
        strategies = tuple(dict.fromkeys(each.queries for each in asking))
        most_calls = max((each.max_calls(length) for each in asking), default=0)
        actions = np.array([variant.guidance.actions for variant in variants])
        return cls(dense, sparse, np.asarray(seeds, np.uint32), guidance, strategies, most_calls, actions)

    @property
    def guided(self) -> np.ndarray:
        """bool [P]: which members query at all."""
        return self.dense | self.sparse

    @property
    def arrays(self) -> dict[str, Any]:
        """Its entries with an axis of members, by name."""
        return {name: getattr(self, name) for name in ("dense", "sparse", "seeds", "guidance", "actions")}

    def guidance_of(self, members: np.ndarray | int) -> Guidance:
        return jax.tree.map(lambda x: x[members], self.guidance)


class Labeler:
    """What both kinds of labelers have.

    Args:
      teacher: to be queried.
      spec: of the environment.
      askers: the population's.
      batch_size: most observations in one call of the teacher.
      num_envs: environments of a member.
      scores: whether the teacher is to give probabilities of the students' tokens (`TokenScores`), not labels.
    """

    def __init__(
        self,
        teacher: Teacher,
        spec: EnvSpec,
        askers: Askers,
        batch_size: int,
        num_envs: int,
        *,
        scores: bool = False,
    ) -> None:
        self.teacher, self.spec, self.askers, self.batch_size = teacher, spec, askers, batch_size
        self.scores = scores
        self.instructions = spec.instructions_of(range(num_envs))  # of each member's environments
        self.sparse_batch = min(batch_size, num_envs)  # of a sparse member: one step's queries, at most

    def charge(self, ledgers: Sequence[Ledger], queries: Array, covered: Array, refused: Array, clipped: Array) -> None:
        """Charges each guided member of a rollout, int [P], for its queries."""
        for member in np.flatnonzero(self.askers.guided).tolist():
            ledgers[member].charge(
                int(queries[member]),
                self.sparse_batch if self.askers.sparse[member] else self.batch_size,
                covered=int(covered[member]),
                refused=int(refused[member]),
                clipped=int(clipped[member]),
            )

    def contracts(self, actions: int) -> tuple[ActionContract, ActionContract] | None:
        """In which sparse teachers answer, and in which the environment's steps are taken.

        None where an answer has an action for each step of its window, which is not divided.
        """
        if actions > 1:
            return None
        whole, parts = self.spec.undivided_contract, self.spec.contract
        assert whole is not None and parts is not None, "check_guidance refuses such environments"
        return whole, parts
