"""A variant's colour and marker: the same in every picture and on every page, whatever else is in it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

# Okabe and Ito's palette, which colour-blind readers can tell apart; black is kept for the teacher.
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#F0E442")
MARKERS = "os^Dv<P"
DPI = 200  # of pictures
OWN: Mapping[str, int] = {
    "ppo": 0,  # what has no teacher is blue
    "grpo": 0,
    "rpd-mse": 1,
    "reverse-kl": 1,
    "rpd-l1": 2,
    "distill-grpo": 2,
    "rpd-bc": 3,
    "imitation": 3,
    "ppd": 4,
    "vlajs": 5,
}
"""Places in the palette that variants have by their names, unless another one of a picture has it already."""


class Look(NamedTuple):
    """How a style is drawn; another round of the palette has other markers and another dash."""

    colour: str
    marker: str
    dashed: bool


def styles(names: Iterable[str]) -> dict[str, int]:
    """Variant -> number of its style, each another one: its own place, or the first that is free after PPO's."""
    names = list(dict.fromkeys(names))
    found: dict[str, int] = {}
    for name in names:
        own = OWN.get(name.partition(":")[0])
        if own is not None and own not in found.values():
            found[name] = own
    free = (place for place in range(1, len(PALETTE) + len(names)) if place not in found.values())
    return {name: found[name] if name in found else next(free) for name in names}


def look(style: int) -> Look:
    """Of a style's number."""
    round_, place = divmod(style, len(PALETTE))
    return Look(PALETTE[place], MARKERS[(style + round_) % len(MARKERS)], round_ > 0)
