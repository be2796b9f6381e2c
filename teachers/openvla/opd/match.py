"""What student and teacher must have in common: else the same token is another motion."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from rpd_jax.config.validation import ConfigError
from teachers.openvla.server.config import ModelConfig, read_json
from teachers.openvla.server.files import find_base, statistics_of
from teachers.openvla.server.oft.settings import PLATFORMS, OFTSettings
from teachers.openvla.server.statistics import Bounds, select_statistics

OFT_EPSILON = 1e-8
"""Added to the width of OpenVLA-OFT's normalisation."""


@dataclasses.dataclass(frozen=True)
class Description:
    """What a checkpoint's tokens mean; the fields are those that are compared."""

    statistics_key: str  # "unnorm_key"
    bins: int
    vocabulary: int
    chunk: int  # actions of an answer
    decoding: str  # "autoregressive" or "parallel"
    low: tuple[float, ...]  # per dimension: what -1 and 1 stand for
    high: tuple[float, ...]
    mask: tuple[bool, ...]  # which dimensions are normalised


@dataclasses.dataclass(frozen=True)
class Source:
    """A checkpoint that has been looked at, but not loaded."""

    base: Path
    adapter: Path | None
    oft: OFTSettings | None
    statistics: dict[str, Any]
    described: Description

    @property
    def bounds(self) -> Bounds:
        return bounds_of(self.statistics, self.oft)


def look(path: str | Path, oft: str, key: str, preferred: str = "") -> Source:
    """Reads a checkpoint's small files.

    Args:
      path: the directory of a checkpoint, or of an adapter.
      oft: name of a platform; empty: OpenVLA.
      key: of the statistics; empty: `preferred` if there is one of that name, else the only one.
    Raises:
      ValueError: a file is missing or damaged, the key is needed or unknown, or the model answers by another head.
    """
    base, adapter = find_base(Path(path), None)
    heads = sorted(each.name for each in base.glob("action_head--*_checkpoint.pt"))
    if heads:
        raise ConfigError(
            f"{str(path)!r} answers by its {heads[0]}: its tokens mean nothing; choose one without a head"
        )
    config = ModelConfig.from_dict(read_json(base / "config.json"))
    own, others = statistics_of(base, adapter, config)
    key = key or (preferred if preferred in own or preferred in others else "")
    statistics = select_statistics(own, others, key or None)
    settings = PLATFORMS[oft] if oft else None
    bounds = bounds_of(statistics, settings)
    described = Description(
        statistics_key=key or next(iter(own or others)),
        bins=config.bins,
        vocabulary=config.vocabulary,
        chunk=settings.chunk if settings else 1,
        decoding="parallel" if settings else "autoregressive",
        low=tuple(bounds.low.tolist()),
        high=tuple(bounds.high.tolist()),
        mask=tuple(bounds.mask.tolist()),
    )
    return Source(base, adapter, settings, statistics, described)


def bounds_of(statistics: dict[str, Any], oft: OFTSettings | None) -> Bounds:
    """The normalisation of actions."""
    if oft is None:
        return Bounds.of(statistics["action"])
    return Bounds.of(statistics["action"], oft.normalization, OFT_EPSILON)


def check_same(student: Description, teacher: Description) -> None:
    """Raises ConfigError, in one line, for the first field in which the two differ."""
    for field in dataclasses.fields(Description):
        ours, its = getattr(student, field.name), getattr(teacher, field.name)
        if ours != its:
            where = ""
            if isinstance(ours, tuple) and len(ours) == len(its):
                first = int(np.argmax([one != other for one, other in zip(ours, its, strict=True)]))
                where, ours, its = f" of action dimension {first}", ours[first], its[first]
            raise ConfigError(
                f"{field.name}{where} is {ours!r} for the student and {its!r} for the teacher: the same token would be "
                "another motion; choose checkpoints of the same data, statistics_key and platform"
            )
