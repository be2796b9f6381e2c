"""The tiny OpenVLA-OFT as a teacher in its own process. Its weights are random: only the path is tested."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import jax
import numpy as np
import pytest

from rpd_jax.config import Config, ConfigError, TeacherConfig
from rpd_jax.envs.base import ArraySpec, EnvSpec, draw_missing, slices
from teachers.base import load
from teachers.conventions import MANISKILL_EE
from teachers.sidecar.server import instructions_fields

if TYPE_CHECKING:
    from rpd_jax.types import TeacherLabels, TeacherSpec
    from teachers.openvla.server.oft.policy import OFTPolicy
    from teachers.sidecar.teacher import SidecarTeacher

KEY = jax.random.key(0)
OPTIONS = {"dtype": "f32", "device": "cpu", "statistics_key": "bridge_orig"}
INSTRUCTION = "pick up the cube"
STATE = 7  # numbers of the state that platform "bridge" reads


WRIST = {"rgb_wrist": (128, 128, 3)}
LIBERO_STATE = {"eef_pos": 3, "eef_axis_angle": 3, "gripper_qpos": 2}


def spec_with(proprio: int | dict[str, int], cameras: dict | None = None) -> EnvSpec:
    """Of an environment with so many numbers of proprio, or with these parts, and with further cameras."""
    observation, layout = {"state": ArraySpec((36,), "float32")}, {}
    if isinstance(proprio, dict):
        layout, proprio = {"proprio": slices(proprio)}, sum(proprio.values())
    if proprio:
        observation["proprio"] = ArraySpec((proprio,), "float32")
    return EnvSpec(
        name="made:Up-v0",
        instruction=INSTRUCTION,
        max_episode_steps=30,
        action_dim=7,
        action_low=(-1.0,) * 7,
        action_high=(1.0,) * 7,
        observation=observation,
        layout=layout,
        contract=MANISKILL_EE,
        frame_shape=(256, 256, 3),
        further_cameras=cameras or {},
    )


@contextlib.contextmanager
def served(path: Path, proprio: int | dict[str, int], cameras=None, **values) -> Iterator[SidecarTeacher]:
    """A process with the settings that a run would give it."""
    settings = {"path": str(path), "contract": "maniskill", "statistics_key": "bridge_orig", "dtype": "f32"}
    settings |= {"devices": ("cpu",), **values}
    teacher = load("openvla", spec_with(proprio, cameras), **settings)
    try:
        yield teacher
    finally:
        teacher.close()


def ask(
    path: Path, proprio: int | dict[str, int], observation: dict[str, np.ndarray], **values
) -> tuple[TeacherLabels, TeacherSpec]:
    """Labels of such a process."""
    with served(path, proprio, **values) as teacher:
        return teacher.label(observation, INSTRUCTION, KEY), teacher.spec


def answer_of(
    policy: OFTPolicy, arrays: dict[str, np.ndarray], wanted: bool = False, **values
) -> dict[str, np.ndarray]:
    """What the process answers, without one."""
    from teachers.openvla.server.oft.serving import OFTModel

    options = argparse.Namespace(**{"samples": 1, "std": None, "min_std": 0.05, **values})
    asked = instructions_fields([INSTRUCTION] * len(arrays["rgb"]))
    fields = {**asked, "seed": 0, "score": False, "tokens_wanted": wanted}
    return OFTModel(policy, "made", options).label(arrays, fields)


@pytest.fixture(scope="module")
def bridge(golden: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny checkpoint with its L1 head in one directory, made to read the first seven numbers of the state."""
    import torch

    place = tmp_path_factory.mktemp("oft") / "bridge"
    shutil.copytree(golden / "tiny" / "checkpoint", place)
    shutil.copy(golden / "tiny" / "oft" / "action_head--1000_checkpoint.pt", place)
    name = "proprio_projector--1000_checkpoint.pt"
    tensors = torch.load(golden / "tiny" / "oft" / name, weights_only=True)
    (first,) = (key for key in tensors if key.endswith("fc1.weight"))
    torch.save({**tensors, first: tensors[first][:, :STATE].clone()}, place / name)
    path = place / "dataset_statistics.json"
    statistics = json.loads(path.read_text())
    for each in statistics.values():
        each["proprio"] = {key: value[:STATE] for key, value in each["proprio"].items()}
    path.write_text(json.dumps(statistics))
    return place


@pytest.mark.slow
def test_of_tokens_the_first_action_and_the_spread_of_its_distribution(checkpoint: Path, frames: np.ndarray) -> None:
    from teachers.openvla.server.oft.policy import OFTPolicy
    from teachers.openvla.server.oft.settings import PLATFORMS

    policy = OFTPolicy.load(checkpoint, PLATFORMS["libero-tokens"], **OPTIONS)
    direct = policy.label(frames[:, None], INSTRUCTION)
    labels, spec = ask(checkpoint, 0, {"rgb": frames}, oft="libero-tokens")
    assert (spec.name, spec.observation_keys, spec.chunk) == ("openvla-oft:checkpoint", ("rgb",), 8)
    assert not spec.samples_actions and labels.valid.all()
    np.testing.assert_allclose(labels.action, direct["action"][:, 0], atol=1e-5)
    np.testing.assert_allclose(labels.std, np.maximum(direct["std"][:, 0], 0.05), atol=1e-5)
    assert np.ptp(labels.std) > 0.1
    assert np.abs(direct["action"][:, 0] - direct["action"][:, 1]).max() > 0.1  # chunks do not stand still
    answer = answer_of(policy, {"rgb": frames}, samples=4)
    assert set(answer) == {"action", "std", "valid"}  # tokens were not asked for
    np.testing.assert_allclose(answer["action"], direct["mean"], atol=1e-5)
    assert answer["std"].shape == (len(frames), 8, 7) and answer["valid"].shape == (len(frames), 8)
    np.testing.assert_array_equal(answer_of(policy, {"rgb": frames}, std=0.01)["std"], np.float32(0.01))


def test_tokens_and_their_distributions(checkpoint: Path, frames: np.ndarray) -> None:
    """Of the chunk's first action: 7 of its 56 tokens."""
    from teachers.openvla.server.oft.policy import OFTPolicy
    from teachers.openvla.server.oft.settings import PLATFORMS

    policy = OFTPolicy.load(checkpoint, PLATFORMS["libero-tokens"], **OPTIONS)
    direct = policy.label(frames[:, None], INSTRUCTION)
    observation = {"rgb": frames}
    given = np.random.default_rng(0).integers(0, 256, (len(frames), 7))
    with served(checkpoint, 0, oft="libero-tokens") as teacher:
        assert teacher.spec.token_bins == 256
        found = teacher.label_tokens(observation, INSTRUCTION, KEY)
        scores = teacher.score(observation, INSTRUCTION, given)
        jax.tree.map(np.testing.assert_array_equal, found.labels, teacher.label(observation, INSTRUCTION, KEY))
    np.testing.assert_array_equal(found.tokens, direct["tokens"][:, 0, :7] - 31744)
    assert found.tokens.dtype == np.int32
    np.testing.assert_allclose(found.scores.logits, direct["action_logits"][:, :7], atol=1e-4)
    np.testing.assert_allclose(found.scores.logsumexp, direct["logsumexp"][:, :7], atol=1e-4)
    np.testing.assert_array_equal(found.scores.logits.argmax(-1), found.tokens)
    # The label is what its tokens decode to: column c is token 31744 + c, the centre of bin 255 - c (254 for c = 0).
    low, high = policy.bounds.low, policy.bounds.high
    centres = -1 + (2 * np.minimum(255 - found.tokens, 254) + 1) / 255
    at = np.where(policy.bounds.mask, low + (centres + 1) / 2 * (high - low + 1e-8), centres)
    np.testing.assert_allclose(found.labels.action, at, atol=1e-5)
    jax.tree.map(np.testing.assert_array_equal, scores, found.scores)  # they do not depend on the tokens given
    answer = answer_of(policy, observation, wanted=True, samples=4)
    np.testing.assert_array_equal(answer["tokens"], found.tokens)


def test_a_score_gives_no_label_and_the_tokens_that_were_given(checkpoint: Path, frames: np.ndarray) -> None:
    from teachers.openvla.server.main import load, parse

    flags = ["--contract=maniskill", "--oft=libero-tokens", "--dtype=f32", "--device=cpu", "--max-batch=3"]
    model = load(parse([f"--checkpoint={checkpoint}", "--statistics-key=bridge_orig", *flags]))
    given = np.arange(7, dtype=np.int32)[None].repeat(2, 0)
    asked = instructions_fields([INSTRUCTION] * 2)
    fields = {**asked, "seed": 0, "score": True, "tokens_wanted": True}
    answer = model.label({"rgb": frames[:2], "tokens": given}, fields)
    np.testing.assert_array_equal(answer["tokens"], given)
    assert not answer["valid"].any() and not answer["action"].any() and (answer["std"] == 1).all()
    assert answer["logits"].shape == (2, 7, 256) and answer["logsumexp"].shape == (2, 7)
    assert model._policy.max_batch == 3


def test_platforms_prepare_frames_as_their_data_were(checkpoint: Path, bridge: Path, frames: np.ndarray) -> None:
    """All were trained with random crops; LIBERO's frames went through JPEG and a Lanczos resize besides."""
    from teachers.openvla.server.main import load, parse
    from teachers.openvla.server.oft.settings import PLATFORMS

    found = {name: (its.center_crop, its.libero) for name, its in PLATFORMS.items()}
    assert found == {
        "libero": (True, True),
        "libero-tokens": (True, True),
        "aloha": (True, False),
        "bridge": (True, False),
    }
    flags = ["--contract=maniskill", "--dtype=f32", "--device=cpu", "--statistics-key=bridge_orig"]
    for path, platform, libero in ((checkpoint, "libero-tokens", True), (bridge, "bridge", False)):
        made = load(parse([f"--checkpoint={path}", f"--oft={platform}", *flags]))._policy.parts.preprocessor
        assert (made.center_crop, made.libero) == (True, libero)


def test_where_the_state_is_read_it_is_given(bridge: Path, frames: np.ndarray) -> None:
    from teachers.openvla.server.oft.policy import OFTPolicy
    from teachers.openvla.server.oft.settings import PLATFORMS

    proprio = np.random.default_rng(0).uniform(-0.1, 0.1, (len(frames), STATE)).astype(np.float32)
    policy = OFTPolicy.load(bridge, PLATFORMS["bridge"], **OPTIONS)
    direct, other = (policy.label(frames[:, None], INSTRUCTION, x)["action"] for x in (proprio, -proprio))
    assert np.abs(direct - other).max() > 1e-3
    observation = {"rgb": frames, "proprio": proprio}
    with served(bridge, STATE, oft="bridge", min_std=0.2) as teacher:
        labels, chunks = (each(observation, INSTRUCTION, KEY) for each in (teacher.label, teacher.label_chunk))
        assert teacher.spec.observation_keys == ("rgb", "proprio") and teacher.spec.chunk == 5
    np.testing.assert_allclose(chunks.action, direct, atol=1e-5)
    np.testing.assert_array_equal(chunks.std, np.full_like(direct, 0.2))
    jax.tree.map(np.testing.assert_array_equal, labels, chunks.first())
    answer = answer_of(policy, observation, std=0.01)
    np.testing.assert_array_equal(answer["std"], np.float32(0.01))


class StandIn:
    """An environment of two cameras of different sizes that only draws what it is asked for."""

    def __init__(self, frames: np.ndarray) -> None:
        self.spec = spec_with(LIBERO_STATE, WRIST)
        self._frames = {"rgb": frames, "rgb_wrist": np.ascontiguousarray(frames[::-1, :128, :128])}

    def frames(self, indices, camera: str = "rgb") -> np.ndarray:
        return self._frames[camera][list(indices)]


def test_two_images_and_the_state_of_libero(golden: Path, frames: np.ndarray, tmp_path: Path) -> None:
    """Chunks over the bridge are those of the policy that golden data check, for frames drawn camera by camera."""
    from teachers.openvla.server.oft.policy import OFTPolicy
    from teachers.openvla.server.oft.settings import PLATFORMS

    shutil.copytree(golden / "tiny" / "checkpoint", tmp_path / "libero")
    for name in ("action_head--1000_checkpoint.pt", "proprio_projector--1000_checkpoint.pt"):
        shutil.copy(golden / "tiny" / "oft" / name, tmp_path / "libero")
    env = StandIn(frames)
    proprio = np.random.default_rng(0).uniform(-0.1, 0.1, (len(frames), 8)).astype(np.float32)
    keys = PLATFORMS["libero"].observation_keys
    assert keys == ("rgb", "rgb_wrist", "proprio")
    observation = draw_missing(env, keys, {"proprio": proprio}, range(len(frames)))
    policy = OFTPolicy.load(tmp_path / "libero", PLATFORMS["libero"], **OPTIONS)
    cameras = [observation["rgb"], observation["rgb_wrist"]]
    direct = policy.label(cameras, INSTRUCTION, proprio)["action"]
    assert np.abs(policy.label(cameras[::-1], INSTRUCTION, proprio)["action"] - direct).max() > 1e-3
    with served(tmp_path / "libero", LIBERO_STATE, WRIST, oft="libero", rows=4) as teacher:
        assert teacher.spec.observation_keys == keys and teacher.spec.chunk == 8
        chunks = teacher.label_chunk(observation, INSTRUCTION, KEY)
    np.testing.assert_allclose(chunks.action, direct, atol=1e-5)
    assert chunks.action.shape == (len(frames), 8, 7) and chunks.valid.all()
    # the same in one's own words, the contract being the environment's
    text = "head=l1,images=rgb+rgb_wrist,proprio=eef_pos:3+eef_axis_angle:3+gripper_qpos:2,center_crop=true,libero=true"
    with served(tmp_path / "libero", LIBERO_STATE, WRIST, oft=text, contract="environment") as teacher:
        assert teacher.spec.contract is None
        own = teacher.label_chunk(observation, INSTRUCTION, KEY)
    np.testing.assert_allclose(own.action, direct, atol=1e-5)


def test_own_settings_in_one_string() -> None:
    from teachers.openvla.server.oft.settings import PLATFORMS, OFTSettings, oft_settings

    assert oft_settings("libero") == PLATFORMS["libero"]
    changed = oft_settings("libero,chunk=16,normalization=range,images=rgb")
    assert changed == dataclasses.replace(PLATFORMS["libero"], chunk=16, normalization="range", images=("rgb",))
    assert oft_settings("bins=128,proprio=8") == OFTSettings(bins=128, proprio=("8",))
    assert oft_settings("libero,proprio=").proprio_dim is None and PLATFORMS["aloha"].proprio_dim == 14
    assert PLATFORMS["libero"].parts == tuple(LIBERO_STATE.items())


@pytest.mark.parametrize(
    ("values", "proprio", "message"),
    [
        ({"oft": "bridge"}, 25, "oft='bridge' reads proprio of 7 numbers, made:Up-v0 has 25 numbers"),
        ({"oft": "bridge"}, 0, "oft='bridge' reads proprio of 7 numbers, made:Up-v0 has none"),
        ({"oft": "bridge", "samples": 2}, STATE, "teacher.samples=2: the l1 head of OpenVLA-OFT gives one action"),
        (
            {"oft": "libero,images=rgb"},
            {"qpos": 9, "qvel": 9, "tcp_pose": 7},
            "reads proprio of eef_pos 3 + eef_axis_angle 3 + gripper_qpos 2, made:Up-v0 has qpos 9 + qvel 9",
        ),
        ({"oft": "libero,images=rgb"}, {"tcp_pos": 3, "gripper": 5}, "made:Up-v0 has tcp_pos 3 [+] gripper 5: choose"),
        ({"oft": "libero"}, 8, "needs the cameras rgb, rgb_wrist: made:Up-v0 lacks rgb_wrist, it has rgb; name its"),
        ({"oft": "aloha"}, 14, "made:Up-v0 lacks rgb_left_wrist, rgb_right_wrist"),
        ({"oft": "aloha,images=rgb"}, 14, "gives actions of 14 numbers, made:Up-v0 takes 7"),
        ({"oft": "mars"}, 0, "teacher.oft='mars' is unknown: choose from libero, aloha, bridge, libero-tokens"),
        ({"oft": "chnk=8"}, 0, "teacher.oft.<field>='chnk' is unknown: .*; did you mean 'chunk'"),
        ({"oft": "chunk=0"}, 0, "teacher.oft.chunk=0 cannot work: it must be at least 1"),
        ({"oft": "chunk=many"}, 0, "teacher.oft.chunk='many' cannot work: it must be a whole number"),
        ({"oft": "bridge,film"}, 0, "teacher.oft='bridge,film' cannot work: .* a platform and then FIELD=VALUE"),
        ({"oft": "images=rgb+rgb"}, 0, "teacher.oft.images=.*: it must be no camera twice"),
        ({"oft": "proprio=eef_pos"}, 0, "teacher.oft.proprio='eef_pos' cannot work: it must be NAME:NUMBERS"),
    ],
)
def test_what_does_not_fit_is_said_before_a_process_is_started(
    values: dict, proprio: int | dict[str, int], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message.replace(" + ", " [+] ")) as error:
        ask(tmp_path, proprio, {}, **values)
    assert "\n" not in str(error.value)


def test_without_the_platform_the_error_names_the_setting(bridge: Path) -> None:
    message = r"action_head--1000_checkpoint.pt: it is OpenVLA-OFT's.*--oft=<platform> \(teacher.oft\), one of libero,"
    with pytest.raises(ValueError, match=message):
        ask(bridge, STATE, {})


def test_the_config_knows_the_platforms() -> None:
    config = Config(teacher=TeacherConfig(name="openvla", oft="libero-token"))
    with pytest.raises(ConfigError, match=r"teacher.oft='libero-token' is unknown.*did you mean 'libero-tokens'"):
        config.validate()
    config.teacher.oft = "libero-tokens"
    config.validate()
