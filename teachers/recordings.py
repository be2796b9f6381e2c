"""All episodes of one or more sets of demonstrations, frames resized to the model's and kept as flat arrays."""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from absl import logging
from PIL import Image

from rpd_jax.config.validation import ConfigError
from rpd_jax.demonstrations.episode import Episode
from rpd_jax.demonstrations.sets import DemonstrationSet
from rpd_jax.demonstrations.statistics import action_mask, action_statistics
from rpd_jax.types import ActionContract
from teachers.trained_on import TrainedOn, describe

CAMERAS = ("primary", "wrist")
NO_INSTRUCTION = ""


class Episodes(Protocol):
    """A set of demonstrations: a `DemonstrationSet`, or a list of episodes."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Episode: ...


class Selection(Protocol):
    """Settings of what is read; a model with a wrist camera has `wrist` too."""

    primary: str  # observation key of the camera image_primary
    mask: tuple[bool, ...]  # action dimensions that are normalised; empty: as the control mode says
    successes_only: bool  # leave out episodes that failed
    max_memory: float  # GiB of frames kept in memory; more are kept in a temporary file


@dataclasses.dataclass(frozen=True)
class Recordings:
    """E episodes end to end. Episode e has the actions first_action[e] + 0..length[e]-1, and one frame more."""

    images: Mapping[str, np.ndarray]  # "image_primary" -> uint8 [frames, S, S, 3]
    action: np.ndarray  # [actions, A] float32, as recorded
    first_frame: np.ndarray  # [E] int64
    first_action: np.ndarray  # [E]
    length: np.ndarray  # [E] actions, L
    source: np.ndarray  # [E] number of the set that the episode is from
    instruction: np.ndarray  # [E] int32 position in `instructions`
    instructions: tuple[str, ...]  # the first is ""
    statistics: dict[str, Any]  # of all actions, as a fine-tuned model's dataset_statistics.json
    contract: ActionContract | None  # what the actions mean; None where no set says so
    trained_on: TrainedOn  # what a model that is trained on them is told of them

    def split(self, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Numbers of the episodes to train on and of those held out, drawn from each set by itself.

        At least one is held out of each set of two or more, unless `share` is 0; at least one is left.
        """
        train, held_out = [], []
        for source in np.unique(self.source):
            own = np.flatnonzero(self.source == source)
            order = np.random.default_rng([seed, int(source)]).permutation(own)
            count = min(max(round(share * len(own)), 1), len(own) - 1) if share > 0 else 0
            held_out.append(order[:count])
            train.append(order[count:])
        return np.sort(np.concatenate(train)), np.sort(np.concatenate(held_out))


def resize(frames: np.ndarray, size: int) -> np.ndarray:
    """Frames uint8 [T, H, W, 3] as [T, size, size, 3]; Lanczos-3 with antialiasing, whatever the aspect ratio."""
    if frames.shape[1:3] == (size, size):
        return frames
    return np.stack([np.asarray(Image.fromarray(f).resize((size, size), Image.Resampling.LANCZOS)) for f in frames])


def load(
    sources: Sequence[Episodes],
    settings: Selection,
    sizes: Mapping[str, int],
    resizer: Callable[[np.ndarray, int], np.ndarray] = resize,
) -> Recordings:
    """Reads every episode once.

    Args:
      sources: sets of demonstrations; their actions must mean the same, and their files say so.
      settings: which cameras, whether failures are left out, how much memory frames may take.
      sizes: "image_primary" -> pixels of the side, of the images that the model takes; others are not read. 0: those
        of the first frame.
      resizer: frames uint8 [T, H, W, 3] and S -> uint8 [T, S, S, 3].

    Raises:
      ConfigError: there are no episodes, or one lacks a camera or has numbers that are not finite; or sets differ in
        what actions mean, their size, the camera that "rgb" is of, or, where `sizes` says 0, the size of frames.
    """
    contract, control_mode = _conventions(sources, settings)
    listed = _outline(sources, settings)
    episodes = [episode for _, _, episode in listed]
    length = np.array([episode.length for episode in episodes])
    cameras = {f"image_{name}": getattr(settings, name) for name in CAMERAS if getattr(settings, name, "")}
    cameras = {name: key for name, key in cameras.items() if name in sizes}
    if not cameras:
        raise ConfigError(
            f"data.primary={settings.primary!r} and data.wrist name no camera of the model: {list(sizes)}"
        )
    frames = int((length + 1).sum())
    first = _read(sources[listed[0][0]], listed[0][1], tuple(cameras.values()))
    sides = {name: sizes[name] or _pictures(first, name, key).shape[1] for name, key in cameras.items()}
    images = _allocate({name: (frames, side, side, 3) for name, side in sides.items()}, settings.max_memory)
    first_frame = np.concatenate([[0], np.cumsum(length + 1)[:-1]])
    recorded: dict[str, set[int]] = {name: set() for name in cameras}
    for start, (source, index, episode) in zip(first_frame, listed, strict=True):
        whole = _read(sources[source], index, tuple(cameras.values()))
        for name, key in cameras.items():
            frames_of_one = _pictures(whole, name, key)
            recorded[name].add(frames_of_one.shape[1])
            if not sizes[name] and len(recorded[name]) > 1:
                raise ConfigError(
                    f"data.image_size=0 cannot work: {_name(sources, source)} has frames of {frames_of_one.shape[1]} "
                    f"pixels, episodes before it of {sides[name]}; say to what size they are to be resized"
                )
            images[name][start : start + episode.length + 1] = resizer(frames_of_one, sides[name])
    instructions = (NO_INSTRUCTION, *sorted({episode.instruction for episode in episodes} - {NO_INSTRUCTION}))
    return Recordings(
        images=images,
        action=np.concatenate([episode.action for episode in episodes]).astype(np.float32),
        first_frame=first_frame,
        first_action=np.concatenate([[0], np.cumsum(length)[:-1]]),
        length=length,
        source=np.array([source for source, _, _ in listed]),
        instruction=np.array([instructions.index(episode.instruction) for episode in episodes], np.int32),
        instructions=instructions,
        statistics=_statistics(control_mode, episodes, settings),
        contract=contract,
        trained_on=describe(sources, episodes, sorted(recorded.get("image_primary", ())), settings.primary),
    )


def _read(source: Episodes, index: int, keys: tuple[str, ...]) -> Episode:
    """An episode with at least these observations; without others where reading them would cost."""
    return source.episode(index, keys) if isinstance(source, DemonstrationSet) else source[index]


def _outline(sources: Sequence[Episodes], settings: Selection) -> list[tuple[int, int, Episode]]:
    """(set, number in it, episode without frames) of all episodes that are used."""
    listed = []
    for number, source in enumerate(sources):
        for index in range(len(source)):
            episode = _read(source, index, ())._replace(observation={})
            if episode.not_finite:
                where = f"{_name(sources, number)}, episode {index}: {episode.not_finite}"
                raise ConfigError(f"data cannot be used: {where} is no finite number")
            if episode.length and (episode.succeeded or not settings.successes_only):
                listed.append((number, index, episode))
    if not listed:
        what = "successful episodes" if settings.successes_only else "episodes"
        raise ConfigError(f"data holds no {what}: give at least one set of demonstrations that does")
    sizes = sorted({episode.action.shape[1] for _, _, episode in listed})
    if len(sizes) > 1:
        raise ConfigError(f"data has actions of {sizes} dimensions: sets that are mixed must have the same")
    return listed


def _pictures(episode: Episode, name: str, key: str) -> np.ndarray:
    """The frames [L + 1, H, W, 3] of a camera, or a ConfigError."""
    if key not in episode.observation:
        raise ConfigError(
            f"data.{name.removeprefix('image_')}={key!r} is not recorded in an episode of {episode.env_name}: "
            f"it has {sorted(episode.observation)}"
        )
    frames = episode.observation[key]
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3:
        raise ConfigError(
            f"data.{name.removeprefix('image_')}={key!r} is no camera: it holds {frames.dtype} {frames.shape[1:]}, "
            "and not uint8 pictures of three channels"
        )
    return frames


def _allocate(shapes: Mapping[str, tuple[int, ...]], max_memory: float) -> dict[str, np.ndarray]:
    size = sum(int(np.prod(shape)) for shape in shapes.values()) / 2**30
    if size <= max_memory:
        return {name: np.empty(shape, np.uint8) for name, shape in shapes.items()}
    logging.info("%.1f GiB of frames are kept in a temporary file: data.max_memory=%s", size, max_memory)
    # The file has no name, so that nothing is left of it; the directory is the system's (TMPDIR).
    with contextlib.ExitStack() as stack:  # the maps keep their files open
        files = {name: stack.enter_context(tempfile.TemporaryFile()) for name in shapes}
        return {name: np.memmap(files[name], np.uint8, "w+", shape=shape) for name, shape in shapes.items()}


def _name(sources: Sequence[Episodes], number: int) -> str:
    """A set's file, or its number where it has none."""
    source = sources[number]
    return str(source.path) if isinstance(source, DemonstrationSet) else f"set {number + 1}"


def _conventions(sources: Sequence[Episodes], settings: Selection) -> tuple[ActionContract | None, str]:
    """Contract and control mode of all sets, None and "" where none says so.

    Raises ConfigError, naming two sets, where they differ or only one of them says so, and where "rgb" is one camera
    here and another there.
    """
    with_rgb = "rgb" in (settings.primary, getattr(settings, "wrist", ""))
    said: list[tuple[str, dict[str, Any]]] = []
    for number, source in enumerate(sources):
        if len(source):
            says: dict[str, Any] = {"contract": None, "control_mode": "", 'camera "rgb"': ""}
            if isinstance(source, DemonstrationSet):
                says["contract"] = source.info.contract if source.info else None
                says["control_mode"] = source.control_mode
                says['camera "rgb"'] = source.camera_name if with_rgb else ""
            said.append((_name(sources, number), says))
    for name, says in said[1:]:
        first_name, first = said[0]
        for what, value in says.items():
            if value != first[what] and not (what.startswith("camera") and not (value and first[what])):
                one, other = _distinguished(first[what], value)
                raise ConfigError(
                    f"data cannot be mixed: {what} of {first_name} is {one}, of {name} {other}; give sets that agree"
                )
    return (said[0][1]["contract"], said[0][1]["control_mode"]) if said else (None, "")


def _distinguished(one: Any, other: Any) -> tuple[str, str]:
    """Two values in words; of two contracts only the fields that differ."""

    def words(mine: Any, theirs: Any) -> str:
        if not isinstance(mine, ActionContract):
            return repr(mine) if mine else "not said"
        if not isinstance(theirs, ActionContract):
            return "known"
        fields = [field.name for field in dataclasses.fields(mine)]
        fields = [name for name in fields if getattr(mine, name) != getattr(theirs, name)]
        return ", ".join(f"{name}={getattr(mine, name)!r}" for name in fields)

    return words(one, other), words(other, one)


def _statistics(control_mode: str, episodes: Sequence[Episode], settings: Selection) -> dict[str, Any]:
    size = episodes[0].action.shape[1]
    mask = list(settings.mask)
    if not mask:
        mask = action_mask(control_mode, size) if control_mode else [True] * (size - 1) + [False]
    if len(mask) != size:
        raise ConfigError(f"data.mask={settings.mask!r} cannot work: the actions have {size} dimensions")
    return action_statistics([episode.action for episode in episodes], mask)
