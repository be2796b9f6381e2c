"""Student and teacher from their checkpoints: one frozen base with two adapters, or two models."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn

from rpd_jax.config.validation import ConfigError
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
_DTYPES = {"bf16": torch.bfloat16, "f32": torch.float32}


class Pair(NamedTuple):
    """Student and teacher, which may share a network."""

    student: TokenNetwork
    matrices: dict[str, nn.Parameter]  # trainable, by their names in PEFT's file
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
        _activate(self.teacher, TEACHER)
        try:
            yield self.teacher
        finally:
            _activate(self.student, STUDENT)


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
        matrices, lora = _add(parts.model, saved[STUDENT], STUDENT)
    else:
        matrices, lora = add_lora(parts.model, settings.lora, settings.seed), settings.lora
    beside = _add(parts.model, saved[TEACHER], TEACHER)[0] if together else {}
    parts.model.requires_grad_(False)
    student = make(parts, ours)
    _activate(student, STUDENT)
    keeps = all(name.startswith(_TEXT) for name in matrices)
    if settings.gradient_checkpointing:
        parts.model.language_model.recompute_activations()
        parts.model.eval()
    return Pair(
        student,
        matrices,
        lora,
        student if together else make(load(teacher, its), its),
        keeps_features=keeps,
        shares_features=keeps and together and all(name.startswith(_TEXT) for name in beside),
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


def _add(model: nn.Module, saved: Adapter, name: str) -> tuple[dict[str, nn.Parameter], LoraSettings]:
    """Puts a saved adapter's matrices beside the layers, under a name; with the settings that describe them."""
    rank = len(next(iter(saved.pairs.values()))[0])
    layers = [each.removesuffix(".weight") for each in saved.pairs]
    matrices = inject(model, name, rank, saved.factor * rank, layers)
    with torch.no_grad():
        for layer, (a, b) in zip(layers, saved.pairs.values(), strict=True):
            for side, value in zip("AB", (a, b), strict=True):
                matrices[f"{PREFIX}{layer}.lora_{side}.weight"].copy_(value)
    alpha = saved.factor * rank
    targets = tuple(sorted({each.split(".", 1)[0] for each in layers}))
    return matrices, LoraSettings(rank=rank, alpha=round(alpha), targets=targets)


def _activate(network: nn.Module, adapter: str) -> None:
    """Lets one of the adapters act; the student's matrices are trainable while they do, and only then."""
    for module in network.modules():
        if isinstance(module, BaseTunerLayer):
            module.set_adapter(adapter)
            module.requires_grad_(False)
            for name, parameter in module.named_parameters():
                parameter.requires_grad_(adapter == STUDENT and ".lora_" in f".{name}" and f".{STUDENT}." in name)


def _digest(source: Source) -> str:
    files = tensor_files(source.base)
    return digest_of_files(files if source.adapter is None else [*files, source.adapter / ADAPTER_WEIGHTS])
