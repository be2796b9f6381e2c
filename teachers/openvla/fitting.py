"""Whether an environment has what an OpenVLA-OFT checkpoint reads; said before a process is started."""

from __future__ import annotations

from collections.abc import Iterable

from absl import logging

from rpd_jax.config import ConfigError
from rpd_jax.envs.base import EnvSpec
from teachers.openvla.server.oft.settings import OFTSettings


def check_environment(settings: OFTSettings, text: str, spec: EnvSpec) -> None:
    """Compares cameras and the robot's state, part by part where both sides name the parts.

    Args:
      settings: what the checkpoint was trained for.
      text: what was said of it, for messages.
      spec: of the environment.
    Raises:
      ConfigError: the environment lacks a camera, or its "proprio" is another state than the checkpoint's.
    """
    where, cameras = f"oft={text!r}", list(spec.cameras)
    if missing := [name for name in settings.images if name not in cameras]:
        raise ConfigError(
            f"{where} needs the cameras {', '.join(settings.images)}: {spec.name} lacks {', '.join(missing)}, it has "
            f"{', '.join(cameras) or 'none'}; name its own with oft={text},images=CAMERA+CAMERA"
        )
    if settings.action_dim != spec.action_dim:
        raise ConfigError(
            f"{where} gives actions of {settings.action_dim} numbers, {spec.name} takes {spec.action_dim}"
        )
    if not settings.proprio:
        return
    entry = spec.observation.get("proprio")
    named = {
        name: end - start
        for name, (start, end) in sorted(spec.layout.get("proprio", {}).items(), key=lambda item: item[1])
    }
    has = list(named.items())
    wanted = [part for part in settings.parts if part[0]]
    if entry is None or entry.shape != (settings.proprio_dim,) or (has and wanted and has != wanted):
        found = _words(has) if has else f"{entry.shape[0]} numbers" if entry else "none"
        raise ConfigError(
            f"{where} reads proprio of {_words(settings.parts)}, {spec.name} has {found}: choose an environment with "
            "this state, or say what the checkpoint reads with oft.proprio"
        )
    if not (has and wanted):
        logging.warning(
            "%s: nobody names the parts of proprio, only their number, %d, is checked", where, entry.shape[0]
        )


def _words(parts: Iterable[tuple[str, int]]) -> str:
    return " + ".join(f"{name} {size}" if name else f"{size} numbers" for name, size in parts)
