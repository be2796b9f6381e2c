"""Model cards: README.md of a repository, with the front matter that the hub reads."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence

import rpd_jax
from rpd_jax.export.manifest import Manifest
from rpd_jax.hub.client import Address
from rpd_jax.hub.listing import KINDS, LISTING
from rpd_jax.report.intervals import wilson
from rpd_jax.report.results import commit
from rpd_jax.report.table import render as table
from rpd_jax.types import ActionContract

DIRECTORY = "DIR"  # in commands: where a repository was pulled to
TOY = "a scripted toy, not a learned model"
TAGS = ("robotics", "rpd_jax")


@dataclasses.dataclass(frozen=True)
class Card:
    """What a card says besides its name.

    Attributes:
      title: of the page.
      summary: the first paragraph.
      tags: besides `TAGS`.
      sections: heading -> Markdown, in their order.
      use: what follows the command that pulls it, Markdown.
    """

    title: str
    summary: str
    tags: tuple[str, ...]
    sections: Mapping[str, str]
    use: str


def render(card: Card, where: Address, kind: str, license: str) -> str:
    """README.md; `license`: an identifier of the hub's, left out if it is empty."""
    dataset = KINDS[kind].repo_type == "dataset"
    # A JSON text is a YAML scalar, whatever characters it has.
    front = ["---", "library_name: rpd_jax"]
    front += [f"license: {json.dumps(license)}"] if license else []
    front += ["task_categories: [robotics]"] if dataset else ["pipeline_tag: robotics"]
    front += ["tags:", *(f"- {json.dumps(tag)}" for tag in dict.fromkeys((*TAGS, *card.tags))), "---"]
    pull = f"```bash\npip install 'rpd_jax[hub]'\nrpd-jax pull --repo={where} --output={DIRECTORY}\n```"
    end = f"Pushed with rpd_jax {rpd_jax.__version__}{_at_commit()}; `{LISTING}` has the SHA-256 of every file."
    sections = [f"## {heading}\n\n{text}" for heading, text in card.sections.items() if text]
    body = [f"# {card.title}", card.summary, *sections, f"## How to use it\n\n{pull}\n\n{card.use}", end]
    return "\n".join(front) + "\n\n" + "\n\n".join(body) + "\n"


def observations(manifest: Manifest) -> str:
    """What a student sees, field by field, as a table."""
    rows = []
    for name, entry in manifest.observation.items():
        shape = " x ".join(map(str, entry.shape)) or "1"
        if not entry.layout:
            rows.append((name, "", shape, entry.dtype, "pixels" if entry.dtype == "uint8" else "not said", ""))
        for part, where in entry.layout.items():
            rows.append(
                (
                    name,
                    part,
                    f"{where.start} to {where.stop - 1}",
                    entry.dtype,
                    where.unit or "not said",
                    where.frame or "",
                )
            )
    axes = "".join(f'\n\nThe frame "{name}": {what}.' for name, what in manifest.axes.items())
    return table(("entry", "part", "numbers", "type", "unit", "frame"), rows, markdown=True) + axes


def actions(manifest: Manifest) -> str:
    """What a student's actions mean, field by field, as a table."""
    rows = []
    for name, field in manifest.action.fields.items():
        numbers, unit = f"{field.start} to {field.stop - 1}", field.unit or "not said"
        rows.append((name, numbers, field.kind or "not said", f"{field.scale:g}", unit, field.frame or ""))
    hz = f"{manifest.control_hz:g} a second" if manifest.control_hz else "at a rate that the suite does not say"
    low, high = manifest.action.low, manifest.action.high
    box = (
        f"inside [{low[0]:g}, {high[0]:g}]"
        if len({*low}) == len({*high}) == 1 and None not in (low[0], high[0])
        else ""
    )
    said = ", ".join(filter(None, (f"`{manifest.control_mode}`" if manifest.control_mode else "", hz, box)))
    return table(("field", "numbers", "kind", "one unit is", "unit", "frame"), rows, markdown=True) + f"\n\n{said}."


def contract_words(contract: ActionContract | None) -> str:
    """What end-effector deltas mean, in a sentence."""
    if contract is None:
        return "What the actions mean is not said."
    scales = f"{contract.translation_scale:g} m and {contract.rotation_scale:g} rad ({contract.rotation_form})"
    gripper = f"{contract.gripper_closed:g} closed, {contract.gripper_open:g} open"
    axes = f'in the axes of the frame "{contract.frame}"'
    return f"Actions are (x, y, z, rotation x 3, gripper): {scales} for each 1, {axes}; gripper {gripper}."


def rate(successes: int, episodes: int) -> str:
    """A success rate with its interval, in words."""
    low, high = wilson(successes, episodes)
    return f"{successes / episodes:.2f} of {episodes} episodes (95 % interval {low:.2f} to {high:.2f}, Wilson)"


def listed(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _at_commit() -> str:
    found = commit()
    return f" (commit {found})" if found else ""
