"""Named starting points: `get_preset` by name, or the functions themselves."""

from __future__ import annotations

from collections.abc import Callable

from rpd_jax.config import Config, choice
from rpd_jax.presets.distillation import (
    debug,
    maniskill_quickstart,
    maniskill_rgb,
    maniskill_state,
    quickstart,
    quickstart_vla,
    quickstart_vla_rgb,
    rpd_code,
    rpd_paper,
    sparse,
    tabletop_ppo,
)
from rpd_jax.presets.libero import libero_quickstart
from rpd_jax.presets.opd import (
    opd_ablations,
    opd_groups,
    opd_paper,
    opd_quickstart,
    opd_students,
    opd_teacher,
    opd_teacher_rl,
)
from rpd_jax.presets.opd_vla import opd_vla, opd_vla_students, opd_vla_teacher
from rpd_jax.presets.vlajs import (
    vlajs_horizon,
    vlajs_horizon_push,
    vlajs_lift,
    vlajs_maniskill_pick,
    vlajs_maniskill_push,
    vlajs_pick,
    vlajs_pick_octo,
    vlajs_push,
)

__all__ = [
    "PRESETS",
    "debug",
    "get_preset",
    "libero_quickstart",
    "maniskill_quickstart",
    "maniskill_rgb",
    "maniskill_state",
    "opd_ablations",
    "opd_groups",
    "opd_paper",
    "opd_quickstart",
    "opd_students",
    "opd_teacher",
    "opd_teacher_rl",
    "opd_vla",
    "opd_vla_students",
    "opd_vla_teacher",
    "quickstart",
    "quickstart_vla",
    "quickstart_vla_rgb",
    "rpd_code",
    "rpd_paper",
    "sparse",
    "tabletop_ppo",
    "vlajs_horizon",
    "vlajs_horizon_push",
    "vlajs_lift",
    "vlajs_maniskill_pick",
    "vlajs_maniskill_push",
    "vlajs_pick",
    "vlajs_pick_octo",
    "vlajs_push",
]

PRESETS: dict[str, Callable[[], Config]] = {
    "quickstart": quickstart,
    "quickstart-vla": quickstart_vla,
    "quickstart-vla-rgb": quickstart_vla_rgb,
    "vlajs-push": vlajs_push,
    "vlajs-pick": vlajs_pick,
    "vlajs-pick-octo": vlajs_pick_octo,
    "vlajs-lift": vlajs_lift,
    "vlajs-horizon": vlajs_horizon,
    "vlajs-horizon-push": vlajs_horizon_push,
    "vlajs-maniskill-push": vlajs_maniskill_push,
    "vlajs-maniskill-pick": vlajs_maniskill_pick,
    "maniskill-quickstart": maniskill_quickstart,
    "libero-quickstart": libero_quickstart,
    "sparse": sparse,
    "tabletop-ppo": tabletop_ppo,
    "maniskill-state": maniskill_state,
    "maniskill-rgb": maniskill_rgb,
    "rpd-paper": rpd_paper,
    "rpd-code": rpd_code,
    "opd-teacher": opd_teacher,
    "opd-teacher-rl": opd_teacher_rl,
    "opd-students": opd_students,
    "opd-quickstart": opd_quickstart,
    "opd-groups": opd_groups,
    "opd-ablations": opd_ablations,
    "opd-paper": opd_paper,
    "opd-vla-teacher": opd_vla_teacher,
    "opd-vla-students": opd_vla_students,
    "opd-vla": opd_vla,
    "debug": debug,
}

SECONDS: dict[str, float] = {
    "quickstart": 105,
    "quickstart-vla": 908,
    "vlajs-push": 1011,
    "vlajs-pick": 308,
    "vlajs-lift": 342,
    "vlajs-horizon": 478,
    "vlajs-maniskill-push": 860,
    "vlajs-maniskill-pick": 1392,
    "maniskill-quickstart": 508,
    "libero-quickstart": 2214,
    "sparse": 483,
    "tabletop-ppo": 479,
    "opd-quickstart": 457,
    "debug": 9,
}
"""How long training took on two CPU cores, more or less busy ones, as far as measured (benchmarks/BENCHMARKS.md)."""


def get_preset(name: str) -> Config:
    """A fresh, validated config; ConfigError lists the names when `name` is none of them."""
    choice("preset", name, PRESETS)
    config = PRESETS[name]()
    config.preset = name
    return config.validate()
