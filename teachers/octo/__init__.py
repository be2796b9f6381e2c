"""Octo in Flax: loads official checkpoints, runs, is fine-tuned, and teaches."""

from __future__ import annotations

import importlib
import warnings
from typing import Any

_MOVED = {"OctoTeacher": "teachers.octo.teacher", "load_octo": "teachers.octo.model"}


def __getattr__(name: str) -> Any:
    if name not in _MOVED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    warnings.warn(f"teachers.octo.{name} has moved to {_MOVED[name]}: import it from there", DeprecationWarning, 2)
    return getattr(importlib.import_module(_MOVED[name]), name)
