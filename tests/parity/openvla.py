"""Compares this package's OpenVLA with golden data of the official one, stage by stage, in float32 on the CPU.

A golden directory holds `tiny/` (a checkpoint, heads, inputs, outputs of the official code), `preproc224/`
(preprocessing at the real size) and the manifest of the real model's tensors; or an archive of these, reduced: fewer
images in preproc224, and of the largest arrays only the columns that `<name>_columns` lists.
"""

from __future__ import annotations

import json
import math
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from parity import openvla_network
from parity.difference import Difference, difference, read_arrays
from parity.openvla_network import Recorder

EXACT, FEATURES, LOGITS, UNITS = 0.0, 2e-5, 1e-4, 1e-12
LEVELS, JPEG_LEVELS = 1.0, 8.0
"""Levels of a colour. One: two ways of rounding. The reference's codec decodes JPEG with a faster, less exact
transform, which shows in single pixels."""
DIFFUSION = 0.25
"""Of the median error of a chunk in normalised units. The tiny head has random weights and amplifies rounding: a start
that differs by 1e-6 gives chunks that differ by 0.05 to 0.29 in the median. What is really wrong gives more than 0.38
(the order of sines and cosines, the timesteps, the place of their token, no clipping)."""
TEMPERATURE = 1.6
PACKED = "golden.tar.xz"


def check(directory: Path) -> list[Difference]:
    """Every array of a golden directory, or of its archive, against this package's.

    Raises OSError or ValueError if the directory is not one.
    """
    if (directory / "tiny").is_dir():
        return list(_check(directory))
    if not (directory / PACKED).is_file():
        raise ValueError(f"{directory} is no golden directory: it has neither tiny/ nor {PACKED}")
    with tempfile.TemporaryDirectory(prefix="openvla_golden_") as place:
        unpack(directory / PACKED, Path(place))
        return list(_check(Path(place)))


def unpack(archive: Path, place: Path) -> None:
    """Writes an archive's files below a directory; those that would lie elsewhere are refused."""
    with tarfile.open(archive, "r:xz") as files:
        files.extractall(place, filter="data")


def _check(place: Path) -> Iterator[Difference]:
    tiny = place / "tiny"
    meta = json.loads((tiny / "meta.json").read_text())
    images = read_arrays(tiny / "inputs.npz")["images"]
    outputs, oft = read_arrays(tiny / "outputs.npz"), read_arrays(tiny / "outputs_oft.npz")
    oft_meta = json.loads((tiny / "oft" / "meta.json").read_text())
    cases = meta["cases"]
    instructions = [meta["instructions"][case["prompt"]] for case in cases]
    keys = [case["unnorm_key"] for case in cases]
    recorder = Recorder(tiny, images[[case["image"] for case in cases]], instructions, keys)
    yield from _check_manifest(place / "manifest_openvla_7b.json", tiny / "checkpoint" / "config.json")
    yield from _check_preprocessing(place / "preproc224", images)
    yield from _check_text(recorder, meta, outputs)
    for name, got in recorder.features(images).items():
        stage = "pixels" if name == "pixel_values" else "vision"
        yield difference(stage, name, got, outputs[name], EXACT if stage == "pixels" else FEATURES)
    yield from _check_prompts(recorder, outputs)
    same = [row for row, case in enumerate(cases) if case["prompt"] == 0]
    every = list(range(len(cases)))
    for rows in [*([row] for row in every), same, every]:
        yield from _check_decoding(recorder, rows, outputs)
    for rows in [*([row] for row in every), same, every]:
        yield from _check_oft_tokens(recorder, rows, oft)
    yield from _check_oft_rest(recorder, oft, oft_meta, images)


def real_config(tiny: Mapping[str, Any]) -> dict[str, Any]:
    """config.json of the real model, from the tiny one's: the sizes are those that the names stand for."""
    text = {name: tiny["text_config"][name] for name in ("model_type", "pad_token_id", "torch_dtype", "vocab_size")}
    kept = {name: value for name, value in tiny.items() if name != "timm_model_kwargs"}
    return {**kept, "image_sizes": [224, 224], "text_config": text}


def _check_manifest(path: Path, config: Path) -> Iterator[Difference]:
    """The number of tensors that are missing, superfluous or of another shape."""
    listed = {name: tuple(each["shape"]) for name, each in json.loads(path.read_text())["tensors"].items()}
    got = openvla_network.manifest_shapes(real_config(json.loads(config.read_text())))
    wrong = sorted(name for name in listed.keys() | got.keys() if listed.get(name) != got.get(name))
    said = f"{len(listed)} tensors" + (f", wrong: {', '.join(wrong[:3])}" if wrong else "")
    yield Difference("manifest", said, float(len(wrong)), EXACT)


def _check_preprocessing(place: Path, images: np.ndarray) -> Iterator[Difference]:
    arrays = read_arrays(place / "preproc.npz")
    config = json.loads((place / "preprocessor_config.json").read_text())
    kept = arrays.get("kept_images", np.arange(len(images)))
    squares, pixels = openvla_network.resize(images[kept], config)
    yield difference("resize", "resized_u8_256", squares, arrays["resized_u8_256"], EXACT)
    if "pixel_values_256_img3" in arrays:
        yield difference("resize", "pixel_values_256_img3", pixels[3], arrays["pixel_values_256_img3"], EXACT)
    for size in ("480x640", "120x96"):
        if f"image_{size}" in arrays:
            squares, pixels = openvla_network.resize(arrays[f"image_{size}"][None], config)
            yield difference("resize", f"resized_u8_{size}", squares[0], arrays[f"resized_u8_{size}"], EXACT)
            if f"pixel_values_{size}" in arrays:
                yield difference("resize", f"pixel_values_{size}", pixels[0], arrays[f"pixel_values_{size}"], EXACT)
    for name, got in openvla_network.libero_steps(images[kept], None, config).items():
        jpeg = name in ("tf_lanczos224_after_jpeg", "tf_oft_eval_pipeline")
        yield difference("jpeg" if jpeg else "tensorflow", name, got, arrays[name], JPEG_LEVELS if jpeg else LEVELS)
    if "tf_jpeg_roundtrip_img3" in arrays:
        decoded = arrays["tf_jpeg_roundtrip_img3"][None]
        got = openvla_network.libero_steps(images[3:4], decoded, config)["tf_lanczos224_after_jpeg"][0]
        want = arrays["tf_lanczos224_after_jpeg"][3]
        yield difference("tensorflow", "tf_lanczos224_after_jpeg, from tf_jpeg_roundtrip_img3", got, want, LEVELS)


def _check_text(recorder: Recorder, meta: Mapping[str, Any], outputs: Mapping[str, np.ndarray]) -> Iterator[Difference]:
    for text, want in meta["tokenizations"].items():
        yield difference("tokens of text", text[:40], recorder.tokenized(text), np.array(want), EXACT)
    for row, length in enumerate(outputs["input_len"]):
        want = outputs["input_ids"][row, :length]
        yield difference("tokens of text", f"input_ids {row}", recorder.prompt_ids(row), want, EXACT)
    table = meta["action_tokenizer"]
    ids, values, centers = recorder.action_tokens(np.array(table["actions"]))
    yield difference("action tokens", "token_ids", ids, np.array(table["token_ids"]), EXACT)
    yield difference("action tokens", "decoded", values, np.array(table["decoded"]), EXACT)
    yield difference("action tokens", "bin_centers", centers, outputs["bin_centers"], EXACT)


def _columns(outputs: Mapping[str, np.ndarray], name: str) -> np.ndarray | slice:
    return outputs.get(f"{name}_columns", slice(None))


def _check_prompts(recorder: Recorder, outputs: Mapping[str, np.ndarray]) -> Iterator[Difference]:
    for row in (0, 3):
        hidden, logits = recorder.prompt_outputs(row)
        yield difference("hidden", f"final_hidden_case{row}", hidden, outputs[f"final_hidden_case{row}"], FEATURES)
        name = f"prompt_logits_case{row}"
        if name in outputs:
            yield difference("logits", name, logits[:, _columns(outputs, name)], outputs[name], LOGITS)
        name = "first_step_logits_full_vocab"
        yield difference("logits", f"{name} {row}", logits[-1, _columns(outputs, name)], outputs[name][row], LOGITS)


def _check_decoding(recorder: Recorder, rows: Sequence[int], outputs: Mapping[str, np.ndarray]) -> Iterator[Difference]:
    rows = list(rows)
    where = f"rows {rows}"
    got = recorder.decoded(rows)
    yield difference("tokens", where, got["generated_ids"], outputs["generated_ids"][rows], EXACT)
    for name in ("step_action_logits", "step_logsumexp"):
        yield difference("decoding", f"{name} {where}", got[name], outputs[name][rows], LOGITS)
        scored = got[name.replace("step", "scored")]
        yield difference("scoring", f"{name} in one pass, {where}", scored, outputs[name][rows], LOGITS)
    for name in ("normalized_actions", "actions"):
        yield difference("actions", f"{name} {where}", got[name], outputs[name][rows], EXACT)
    for name, value in recorder.scored(rows, outputs["tf_action_ids"][rows]).items():
        yield difference("scoring", f"{name} {where}", value, outputs[name][rows], LOGITS)


def _check_oft_tokens(recorder: Recorder, rows: Sequence[int], oft: Mapping[str, np.ndarray]) -> Iterator[Difference]:
    rows = list(rows)
    got = recorder.oft_tokens(rows)
    yield difference("oft tokens", f"rows {rows}", got["argmax_restricted"], oft["disc_argmax_restricted"][rows], EXACT)
    for name in ("action_logits", "logsumexp_full"):
        yield difference("oft logits", f"disc_{name} {rows}", got[name], oft[f"disc_{name}"][rows], LOGITS)
    yield difference("oft hidden", f"disc_hidden {rows}", got["hidden"], oft["disc_hidden"][rows], FEATURES)
    yield difference("oft actions", f"disc_actions {rows}", got["actions"], oft["disc_actions"][rows], UNITS)
    verl = recorder.verl(got["action_logits"], oft["verl_response_ids"][rows], TEMPERATURE)
    for name, value in zip(("verl_logprobs_T1.6", "verl_entropy_T1.6"), verl, strict=True):
        yield difference("oft log-prob", f"{name} {rows}", value, oft[name][rows], LOGITS)


def _check_oft_rest(
    recorder: Recorder, oft: Mapping[str, np.ndarray], meta: Mapping[str, Any], images: np.ndarray
) -> Iterator[Difference]:
    every = list(range(len(recorder.instructions)))
    got = recorder.oft_tokens(every)
    yield difference("oft tokens", "SimpleVLA-RL", got["argmax_restricted"], oft["svrl_batch_response_ids"], EXACT)
    normalized = recorder.parts.tokens.decode(oft["svrl_batch_response_ids"]).reshape(-1, 8, 7)
    svrl = recorder.unnormalized("bridge_orig", normalized)
    yield difference("oft actions", "SimpleVLA-RL", svrl, oft["svrl_batch_actions_bridge_orig"], UNITS)
    l1 = recorder.oft_l1(every, images[meta["wrist_image_index"]], oft["l1_proprio_raw"])
    tolerances = {"l1_proprio_norm": EXACT, "l1_hidden": FEATURES, "l1_actions": FEATURES}
    for name, tolerance in tolerances.items():
        yield difference("oft l1", name, l1[name], oft[name], tolerance)
    chunks = recorder.oft_diffusion(every[:2], oft["diff_noise"], len(meta["diffusion_timesteps"]))
    for row, chunk in enumerate(chunks):
        want = recorder.normalized(recorder.keys[row], oft["diff_actions"][row])
        median = float(np.median(np.abs(chunk - want))) if chunk.shape == want.shape else math.inf
        yield Difference("oft diffusion", f"diff_actions {row}, median", median, DIFFUSION)
    for position, row in enumerate(meta["film_cases"]):
        film = recorder.oft_tokens([row], film=True)
        yield difference(
            "oft film", f"logits {row}", film["action_logits"][0], oft["film_action_logits"][position], LOGITS
        )
        yield difference("oft film", f"actions {row}", film["actions"][0], oft["film_actions"][position], UNITS)
