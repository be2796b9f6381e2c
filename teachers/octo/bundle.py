"""An Octo checkpoint directory as something to push: one step of it, read whole first."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from rpd_jax.config import ConfigError
from rpd_jax.hub.bundle import Bundle, Choice
from rpd_jax.hub.card import DIRECTORY, Card, contract_words, listed
from rpd_jax.hub.listing import CARD, LISTING, may_hold
from rpd_jax.types import ActionContract
from teachers.conventions import CONTRACT_FILE, contract_of
from teachers.octo.checkpoint import (
    CONFIG_FILE,
    EXAMPLE_BATCH_FILE,
    PARAMS_FILE,
    PARAMS_FOLDER,
    CheckpointFiles,
    flatten,
    read_checkpoint,
)
from teachers.octo.look import look
from teachers.octo.model import SHIPPED
from teachers.trained_on import read_trained_on


def octo_bundle(path: Path, choice: Choice, scratch: Path) -> Bundle | None:
    """See `rpd_jax.hub.bundle.Maker`: a directory in Octo's format, or the name of a model that is shipped."""
    path = SHIPPED.get(str(path), path)
    if not ((path / CONFIG_FILE).is_file() and (path / EXAMPLE_BATCH_FILE).is_file()):
        return None
    choice.refuse(f"{path} is an Octo checkpoint", "variant", "seed")
    look(path)
    checkpoint = read_checkpoint(path, choice.iteration)
    params = f"{checkpoint.step}/{PARAMS_FOLDER}/{PARAMS_FILE}"
    if not (path / params).is_file():
        raise ConfigError(
            f"{path / params} is missing, the parameters as one msgpack file: load it with load_octo and save it anew"
        )
    names = [each.name for each in sorted(path.iterdir()) if each.is_file()]
    files = {name: path / name for name in [*names, params] if may_hold("octo", name)}
    other = [name for name in names if name not in files and name not in (CARD, LISTING) and not name.startswith(".")]
    remarks = (f"left out, since no checkpoint needs them: {', '.join(other)}",) if other else ()
    numbers = sum(int(np.size(leaf)) for leaf in flatten(checkpoint.params).values())
    name = f"step {checkpoint.step}, {numbers / 1e6:.1f} million parameters"
    return Bundle("octo", name, files, _card(path, checkpoint, numbers), remarks)


def _card(path: Path, checkpoint: CheckpointFiles, numbers: int) -> Card:
    trained_on = read_trained_on(path)
    images = checkpoint.example_batch["observation"]
    seen = [
        f"`{name}` of {x.shape[2]} x {x.shape[3]} pixels" for name, x in images.items() if name.startswith("image_")
    ]
    window = images["timestep_pad_mask"].shape[1]
    environments = trained_on.environments if trained_on else ()
    instructions = "\n".join(f"* {text}" for text in trained_on.instructions) if trained_on else ""
    own = path / CARD
    env = environments[0] if environments else "tabletop:PickCube-v1"
    return Card(
        title="An Octo checkpoint",
        summary=f"A vision-language-action model in Octo's checkpoint format: {numbers:,} parameters, of step "
        f"{checkpoint.step:,}.",
        tags=("vision-language-action", "octo", *(each.replace(":", "-") for each in environments)),
        sections={
            "What it sees": f"{', '.join(seen)}; a window of {window} frame{'s'[: window > 1]}, and an instruction.",
            "What its actions mean": contract_words(_contract(path)),
            "Trained in": listed(environments),
            "Instructions": instructions,
            "Success": "" if own.is_file() else "No evaluation is part of a checkpoint; the last command makes one.",
            "From its own card": _without_front_matter(own.read_text()) if own.is_file() else "",
        },
        use=f"""```bash
rpd-jax train --preset=quickstart-vla --config.teacher.path={DIRECTORY} --config.env.name={env}
rpd-jax evaluate --preset=quickstart-vla --config.teacher.path={DIRECTORY} --config.env.name={env} --episodes=100
```

```python
import teachers

teacher = teachers.load("octo", path="{DIRECTORY}")
```""",
    )


def _contract(path: Path) -> ActionContract | None:
    return contract_of(path, "") if (path / CONTRACT_FILE).is_file() else None


def _without_front_matter(text: str) -> str:
    """A card's text without what the hub reads; its headings below that of a section."""
    if text.startswith("---\n") and "\n---\n" in text:
        text = text.partition("\n---\n")[2]
    lines, in_code = [], False
    for line in text.strip().splitlines():
        in_code ^= line.startswith("```")
        lines.append(f"##{line}" if line.startswith("#") and not in_code else line)
    return "\n".join(lines)
