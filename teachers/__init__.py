"""Teachers: anything that proposes actions for observations.

    import teachers

    teacher = teachers.load("octo", path="octo-nano", contract="maniskill")  # needs no environment
    labels = teacher.label({"rgb": frames}, "pick up the cube", jax.random.key(0))

`register_teacher` adds a kind of your own; see `base.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from teachers.base import load, register_teacher

__all__ = ["load", "register_teacher"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from teachers import base

    return getattr(base, name)
