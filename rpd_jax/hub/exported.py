"""An export's directory: its programs, LeRobot's policy and student.json; what is code stays here."""

from __future__ import annotations

import hashlib
from pathlib import Path

from rpd_jax.config import ConfigError
from rpd_jax.export import files as export_files
from rpd_jax.export.lerobot_policy import plugin_files
from rpd_jax.export.manifest import Manifest, read_manifest
from rpd_jax.hub import card as cards
from rpd_jax.hub.bundle import Bundle, Choice
from rpd_jax.hub.card import Card
from rpd_jax.hub.evidence import UNKNOWN, success_section
from rpd_jax.runs.directory import EXPORT


def code() -> dict[str, bytes]:
    """This library's code that lies in exports, by name: the runner, the guards and LeRobot's plugin."""
    own = {name: Path(export_files.__file__).with_name(name).read_bytes() for name in export_files.CODE}
    return own | plugin_files()


def export_bundle(path: Path, choice: Choice, scratch: Path) -> Bundle | None:
    """See `bundle.Maker`: what `rpd-jax export` wrote."""
    if not (path / export_files.MANIFEST).is_file():
        return None
    choice.refuse(f"{path} is an export of one student", *Choice._fields)
    try:
        manifest = read_manifest(path / export_files.MANIFEST)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    for name, digest in manifest.files.items():
        found = path / name
        if not found.is_file():
            raise ConfigError(f"{found} is missing, which {export_files.MANIFEST} lists: export the student again")
        if hashlib.sha256(found.read_bytes()).hexdigest() != digest:
            raise ConfigError(
                f"{found} is not the file that was exported, its SHA-256 differs: export the student again"
            )
    names = [export_files.MANIFEST, *(name for name in manifest.files if name not in code())]
    name = f"{manifest.variant}, seed {manifest.seed}, of {manifest.env}"
    return Bundle("export", name, {name: path / name for name in names}, _card(path, manifest, name))


def add_code(directory: Path) -> str:
    """Writes this library's code beside an export that was pulled, file by file where it is what the export had.

    Returns what a user should know, or an empty text.
    """
    try:
        manifest = read_manifest(directory / export_files.MANIFEST)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    missing = []
    for name, content in code().items():
        if hashlib.sha256(content).hexdigest() == manifest.files.get(name):
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            (directory / name).write_bytes(content)
        elif name in manifest.files:
            missing.append(name)
    if not missing:
        return ""
    version = f"{cards.listed(missing)} of rpd_jax {manifest.library_version!r}"
    return f"without {version}, which this version does not have: from there, or export the student again"


def _card(path: Path, manifest: Manifest, name: str) -> Card:
    run = path.resolve().parents[1]  # where it lies unless it was written elsewhere
    known = path.resolve().parent.name == EXPORT
    success = success_section(run, manifest.variant, manifest.seed, manifest.env_steps) if known else UNKNOWN
    directory = cards.DIRECTORY
    return Card(
        title=f"{manifest.variant}, an exported student for {manifest.env}",
        summary=f"A small policy, {name}, as ONNX and StableHLO, which run without rpd_jax. "
        "With guards for a robot, which replace no emergency stop.",
        tags=("onnx", "reinforcement-learning", "policy-distillation", manifest.env.replace(":", "-")),
        sections={
            "Task": f"`{manifest.env}`: {manifest.instruction or 'no instruction'}. "
            f"Episodes last {manifest.max_episode_steps} steps.",
            "What it sees": cards.observations(manifest),
            "What its actions mean": cards.actions(manifest),
            "Success": success,
            "How it was trained": f"{manifest.env_steps:,} environment steps, {manifest.iteration:,} iterations, with "
            f"rpd_jax {manifest.library_version}.",
        },
        use=f"""There is no code here: `pull` adds `runner.py` and `safe_student.py` from the rpd_jax that is installed.

```bash
python {directory}/runner.py             # what it sees and does, field by field
```

```python
import sys

sys.path.append("{directory}")
from runner import Student

action = Student().act(observation)
```""",
    )
