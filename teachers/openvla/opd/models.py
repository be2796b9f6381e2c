"""Student and teacher from their checkpoints: one frozen base with two adapters, or two models."""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn

from rpd_jax.config.validation import ConfigError, require
from teachers.openvla.finetune.adapter import STUDENT, add_lora, inject
from teachers.openvla.finetune.settings import LoraSettings
from teachers.openvla.finetune.state import digest_of_files
from teachers.openvla.opd.match import Source, check_same, look
from teachers.openvla.opd.network import TokenNetwork
from teachers.openvla.opd.settings import DistillSettings
from teachers.openvla.server.checkpoint import tensor_files
from teachers.openvla.server.loading import Parts, load_parts
from teachers.openvla.server.lora import ADAPTER_WEIGHTS, PREFIX, Adapter

TEACHER = "teacher"
"""PEFT's name of the teacher's matrices."""
_TEXT = PREFIX + "language_model."


class Pair(NamedTuple):
    """Student and teacher, which may share a network."""

    student: TokenNetwork
    matrices: dict[str, nn.Parameter]  # of the student, by their names in PEFT's file
    trainable: dict[str, nn.Parameter]  # those of them in the parts that lora.targets names
    lora: LoraSettings  # that describe them
    teacher: TokenNetwork
    keeps_features: bool  # the student's vision and projector are frozen
    shares_features: bool  # and the teacher's are the same
    source: Source  # of the student
    given: dict[str, str]  # digests of the files

    @contextlib.contextmanager
    def teaching(self) -> Iterator[TokenNetwork]:
        """The teacher while the block runs; the student must not be used meanwhile."""
        if self.teacher is not self.student:
            yield self.teacher
            return
        _activate(self.teacher, TEACHER, {})
        try:
            yield self.teacher
        finally:
            _activate(self.student, STUDENT, self.trainable)


def load_pair(checkpoint: Path, teacher: Path, settings: DistillSettings, device: str) -> Pair:
    """Reads both; that they fit together is found before anything large is read.

    Args:
      checkpoint: of the student: a whole model, or an adapter, whose matrices are then what training begins with.
      teacher: a whole model, or an adapter; of the same base, it is put beside the student's.
      device: as torch names it.
    Raises:
      ConfigError: student and teacher differ in what they must share, or one is not fit to be it.
      ValueError: a checkpoint cannot be read.
    """
    named = settings.teacher
    ours = look(checkpoint, settings.oft, settings.statistics_key)
    oft = settings.oft if named.oft is None else named.oft
    its = look(teacher, oft, named.statistics_key, preferred=ours.described.statistics_key)
    check_same(ours.described, its.described)
    load = functools.partial(_load, settings=settings, device=device)
    make = functools.partial(TokenNetwork, half=settings.dtype == "bf16")
    parts = load(ours.base, ours)
    together = its.adapter is not None and its.base.resolve() == ours.base.resolve()
    saved = {
        name: Adapter.read(where, parts.model.state_dict(), parts.model.unused_shapes())
        for name, where in ((STUDENT, ours.adapter), (TEACHER, its.adapter if together else None))
        if where is not None
    }
    if STUDENT in saved:
        matrices, lora = _add(parts.model, saved[STUDENT], STUDENT), _described(saved[STUDENT], ours)
    else:
        matrices, lora = add_lora(parts.model, settings.lora, settings.seed), settings.lora
    parts_of = {name: name.removeprefix(PREFIX).split(".", 1)[0] for name in matrices}
    trainable = {name: each for name, each in matrices.items() if parts_of[name] in settings.lora.targets}
    right = f"some of {', '.join(sorted(set(parts_of.values())))}, which the student's adapter has"
    require(bool(trainable), "lora.targets", settings.lora.targets, right)
    beside = _add(parts.model, saved[TEACHER], TEACHER) if together else {}
    parts.model.requires_grad_(False)
    _activate(parts.model, STUDENT, trainable)
    if settings.gradient_checkpointing:
        parts.model.language_model.recompute_activations()
        parts.model.eval()
    student = make(parts, ours)
    keeps = all(name.startswith(_TEXT) for name in trainable)
    return Pair(
        student,
        matrices,
        trainable,
        lora,
        student if together else make(load(teacher, its), its),
        keeps_features=keeps,
        shares_features=keeps and together and all(name.startswith(_TEXT) for name in (*matrices, *beside)),
        source=ours,
        given={"checkpoint": _digest(ours), "teacher": _digest(its)},
    )


def _load(path: Path, source: Source, *, settings: DistillSettings, device: str) -> Parts:
    oft = source.oft
    parts = load_parts(
        path,
        dtype=settings.dtype,
        device=device,
        statistics=source.statistics,
        center_crop=settings.center_crop or (oft is not None and oft.center_crop),
        libero=settings.frames == "libero" or (oft is not None and oft.libero),
        template=settings.prompt or None,
        max_batch=settings.max_batch,
        remedy="lower max_batch and micro_batch",
    )
    if parts.model.proprio_projector is not None:
        raise ConfigError(f"{str(path)!r} cannot be used: it reads proprio, which token policies here do not")
    return parts


def _add(model: nn.Module, saved: Adapter, name: str) -> dict[str, nn.Parameter]:
    """Puts a saved adapter's matrices beside the layers, under a name."""
    rank = len(next(iter(saved.pairs.values()))[0])
    layers = [each.removesuffix(".weight") for each in saved.pairs]
    matrices = inject(model, name, rank, saved.factor * rank, layers)
    with torch.no_grad():
        for layer, (a, b) in zip(layers, saved.pairs.values(), strict=True):
            for side, value in zip("AB", (a, b), strict=True):
                matrices[f"{PREFIX}{layer}.lora_{side}.weight"].copy_(value)
    return matrices


def _described(saved: Adapter, source: Source) -> LoraSettings:
    """The settings that describe an adapter; raises ConfigError where they cannot."""
    rank = len(next(iter(saved.pairs.values()))[0])
    alpha = saved.factor * rank
    if round(alpha) < 1 or not math.isclose(alpha, round(alpha)):
        raise ConfigError(f"{str(source.adapter)!r} cannot be trained further: its lora_alpha={alpha:g} is not whole")
    return LoraSettings(rank=rank, alpha=round(alpha))


def _activate(network: nn.Module, adapter: str, trainable: Mapping[str, nn.Parameter]) -> None:
    """Lets one of the adapters act, and these matrices alone be trained."""
    for module in network.modules():
        if isinstance(module, BaseTunerLayer):
            module.set_adapter(adapter)
            module.requires_grad_(False)  # PEFT has made the adapter's trainable
    for parameter in trainable.values():
        parameter.requires_grad_(True)


def _digest(source: Source) -> str:
    files = tensor_files(source.base)
    return digest_of_files(files if source.adapter is None else [*files, source.adapter / ADAPTER_WEIGHTS])
