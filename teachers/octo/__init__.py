"""Octo in Flax: loads official checkpoints, runs, is fine-tuned, and teaches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rpd_jax.envs.base import EnvSpec
from teachers.octo.model import Octo, load_octo
from teachers.octo.teacher import OctoTeacher
from teachers.sampling import Sampling

__all__ = ["Octo", "OctoTeacher", "load_octo", "make"]


def make(env_spec: EnvSpec, settings: Mapping[str, Any]) -> OctoTeacher:
    """The factory that `teachers.base` knows.

    `settings`: "path" of the checkpoint, and if wanted "contract" (a name of `conventions.CONTRACTS`; "": the one in
    the checkpoint), "statistics_key", "samples", "std", "min_std".
    """
    settings = dict(settings)
    path = settings.pop("path", "")
    if not path:
        raise ValueError("teacher.path is empty: name a checkpoint directory, or hf://org/name")
    sampling = {name: settings.pop(name) for name in ("samples", "std", "min_std") if name in settings}
    return OctoTeacher(load_octo(path), env_spec, sampling=Sampling(**sampling), **settings)
