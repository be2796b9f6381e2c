"""A recording, as `rpd-jax collect` leaves it: HDF5 in ManiSkill's layout, or LeRobot's format."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from rpd_jax.config import ConfigError
from rpd_jax.demonstrations.episode import DatasetInfo
from rpd_jax.demonstrations.partial import COLLECTION_FILE, ROUNDS, read_description
from rpd_jax.demonstrations.sets import open_demonstrations
from rpd_jax.export.fields import unit_of
from rpd_jax.hub import card as cards
from rpd_jax.hub.bundle import Bundle, Choice
from rpd_jax.hub.card import Card
from rpd_jax.hub.listing import CARD, LISTING, may_hold
from rpd_jax.report.table import render


def recording_bundle(path: Path, choice: Choice, scratch: Path) -> Bundle | None:
    """See `bundle.Maker`: a collection that is complete; its numbers are read once."""
    if not (path / COLLECTION_FILE).is_file():
        return None
    choice.refuse(f"{path} is a recording", *Choice._fields)
    if (path / ROUNDS).is_dir():
        raise ConfigError(f"{path} is a collection under way: finish it with rpd-jax collect --resume")
    description = read_description(path)
    with open_demonstrations(path) as demonstrations:
        if not len(demonstrations) or len(demonstrations) != description.get("episodes"):
            raise ConfigError(
                f"{path} is damaged: it holds {len(demonstrations)} episodes, and {COLLECTION_FILE} says "
                f"{description.get('episodes')!r}"
            )
        lengths = [demonstrations.episode(index, keys=()).length for index in range(len(demonstrations))]
        recorded = list(demonstrations.episode(0).observation)
    found = {each.relative_to(path).as_posix(): each for each in sorted(path.rglob("*")) if each.is_file()}
    files = {name: each for name, each in found.items() if may_hold("recording", name)}
    other = [name for name in found if name not in files and name not in (CARD, LISTING) and not name.startswith(".")]
    remarks = (f"left out, since no recording holds them: {', '.join(other)}",) if other else ()
    info = DatasetInfo.from_dict(description["info"])
    return Bundle(
        "recording",
        f"{len(lengths)} episodes of {info.env_name}",
        files,
        _card(info, description, sum(lengths), recorded),
        remarks,
    )


def _card(info: DatasetInfo, description: dict[str, Any], steps: int, recorded: Collection[str]) -> Card:
    episodes, attempted = description["episodes"], description.get("attempted", 0)
    who = f"`{info.teacher}`, {cards.TOY}" if info.is_scripted else f"`{info.teacher}`"
    kept = "Only episodes whose last state counts as success were kept." if info.successful_only else ""
    rate = cards.rate(description.get("succeeded", 0), attempted) if attempted else ""
    success = f"Its episodes ended in success: {rate}." if rate else ""
    noise = (
        f"Executed actions carry Gaussian noise of {info.perturb:g}, gripper excepted; recorded ones are free of it."
        if info.perturb
        else ""
    )
    hz = f"{info.control_hz:g} steps a second." if info.control_hz else ""
    parts = [(name, part, *at) for name in recorded for part, at in info.layout.get(name, {}).items()]
    layout = [
        (name, part, f"{start} to {stop - 1}", unit_of(part, stop - start, {}) or "not said")
        for name, part, start, stop in parts
    ]
    frames = f"Frames of {info.image_size} x {info.image_size} pixels: {cards.listed(info.cameras or ('rgb',))}."
    seen = [
        frames if info.image_size else "No frames.",
        render(("entry", "part", "numbers", "unit"), layout, markdown=True),
    ]
    directory = cards.DIRECTORY
    return Card(
        title=f"Demonstrations of {info.env_name}",
        summary=f"{episodes:,} episodes, {steps:,} steps: {info.instruction or 'no instruction'}.",
        tags=("imitation-learning", info.env_name.replace(":", "-")),
        sections={
            "Who acted": " ".join(filter(None, (f"{who}.", success, kept))),
            "What is recorded": "\n\n".join(seen if layout else seen[:1]),
            "What its actions mean": " ".join(filter(None, (cards.contract_words(info.contract), hz, noise))),
            "How it was made": f"`rpd-jax collect` with seed {info.seed}, {info.num_envs} environments side by side; "
            f"`{COLLECTION_FILE}` has every setting.",
        },
        use=f"""```bash
rpd-jax finetune-octo --init=nano --data={directory} --output=runs/octo
```

```python
from rpd_jax.demonstrations.sets import open_demonstrations

with open_demonstrations("{directory}") as demonstrations:
    episode = demonstrations[0]  # episode.observation, .action, .success, .instruction
```""",
    )
