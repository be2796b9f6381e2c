"""Compares this package's Octo with golden data of the official one, stage by stage.

A golden directory holds `tiny/` (config.json, t5_config.json, params.npz, inputs.npz, outputs.npz and, if there,
grads_<case>.npz and sample_actions_api.npz), checkpoint directories of the same weights (`*_ckpt*/`), and manifests of
other models' parameters (`manifest_<model>.json` beside `config_<model>*.json`, either of them gzipped or not). Which
cases and arrays there are is read from the files. Random numbers come from the files too; where the official code was
called with a key, they are drawn as it draws them.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import traverse_util
from parity import octo_files
from parity.difference import Difference, difference, read_arrays, relative_difference
from parity.octo_network import Network, eps_of, official_noise, record_of

from rpd_jax.types import Array
from teachers.octo.checkpoint import flatten, read_checkpoint
from teachers.octo.config import ModelConfig
from teachers.octo.diffusion import Noise, cosine_schedule
from teachers.octo.network import OctoModule
from teachers.octo.statistics import select_statistics, unnormalize

TOKENS, SAMPLES, RELATIVE, EXACT = 2e-5, 1e-4, 1e-4, 0.0
SCHEDULE = 5e-6
"""The reference was computed in float32, ours is rounded to it."""
ZERO_GRADIENT = 1e-4
"""Of the norm of all gradients: what is smaller is compared with this. Some gradients are zero but for rounding (a bias
before a norm, a bias of attention's keys)."""
VARIANTS = {
    "variant_legacy_attention": {"use_correct_attention": False},
    "variant_no_repeat_task_tokens": {"repeat_task_tokens": False},
}
_KEYED = re.compile(r"sample_rng(\d+)(?:_embdim(\d+))?(?:_shape(\d+))?/actions")
"""Chunks drawn with a seed: for fewer action dimensions, or several at once."""


def check(directory: Path) -> list[Difference]:
    """Every array of a golden directory against this package's, computed in full float32.

    Raises OSError or ValueError if the directory is not one.
    """
    with jax.default_matmul_precision("highest"):
        return list(_check(directory))


def _check(directory: Path) -> Iterator[Difference]:
    yield from octo_files.check_manifests(directory)
    config, t5 = octo_files.read_config(directory / "tiny")
    module = OctoModule(ModelConfig.from_dict(config["model"], t5))
    params = read_arrays(directory / "tiny" / "params.npz")
    network = Network(module, traverse_util.unflatten_dict(params, sep="/"), next(iter(config["model"]["heads"])))
    inputs = read_arrays(directory / "tiny" / "inputs.npz")
    outputs = read_arrays(directory / "tiny" / "outputs.npz")
    checkpoints = sorted(path for path in directory.glob("*_ckpt*") if path.is_dir())
    for checkpoint in checkpoints:
        yield from _check_checkpoint(checkpoint, params)
    for name, want in octo_files.below(outputs, "schedule").items():
        steps, _, which = name.partition("/")
        got = getattr(cosine_schedule(int(steps)), which)
        yield difference("schedule", name, got, want, SCHEDULE)
    embeddings = {}
    for case in sorted({name.split("/")[0] for name in inputs}):
        given = traverse_util.unflatten_dict(octo_files.below(inputs, case), sep="/")
        record, wanted = record_of(network, given), octo_files.below(outputs, case)
        embeddings[case] = record["head"]["embedding"]
        yield from _check_case(case, record, wanted)
        yield from _check_samples(network, case, given, wanted, embeddings[case])
        yield from _check_loss(network, case, given, wanted, outputs.get("grad_param_names"))
    for variant, switches in VARIANTS.items():
        changed = OctoModule(dataclasses.replace(module.config, **switches))
        for case in sorted({name.split("/")[0] for name in octo_files.below(outputs, variant)}):
            wanted = octo_files.below(outputs, f"{variant}/{case}")
            yield from _check_variant(
                network._replace(module=changed), f"{variant}/{case}", octo_files.below(inputs, case), wanted
            )
    for path in sorted((directory / "tiny").glob("grads_*.npz")):
        case = path.stem.removeprefix("grads_")
        yield from _check_gradients(network, case, octo_files.below(inputs, case), read_arrays(path))
    path = directory / "tiny" / "sample_actions_api.npz"
    if path.is_file() and checkpoints:
        statistics = read_checkpoint(checkpoints[0]).statistics
        yield from _check_api(network, embeddings, read_arrays(path), statistics)


def _check_checkpoint(checkpoint: Path, params: Mapping[str, np.ndarray]) -> Iterator[Difference]:
    found = flatten(read_checkpoint(checkpoint).params)
    for name in sorted(found.keys() | params.keys()):
        want = params.get(name, np.zeros(0))
        yield difference("checkpoint", f"{checkpoint.name}/{name}", found.get(name), want, EXACT)


def _check_case(case: str, record: Mapping[str, Any], wanted: Mapping[str, np.ndarray]) -> Iterator[Difference]:
    mask = wanted.get("sequence/attention_mask")
    attends = None if mask is None else mask.any(axis=(1, 3))  # [B, N]: rows that may attend to something
    for name, want in wanted.items():
        part, _, rest = name.partition("/")
        where = f"{case}/{name}"
        if part in ("tokenizer", "out"):
            group, _, field = rest.rpartition("/")
            found = record[part].get(group)
            got = None if found is None else getattr(found, field)
            if field == "mask":
                yield difference("masks", where, got, want.astype(bool), EXACT)
            else:
                stage = "tokenizers" if part == "tokenizer" else "outputs"
                yield difference(stage, where, got, want, TOKENS, _rows(part, group, wanted))
        elif part == "sequence":
            tolerance = EXACT if want.dtype == bool else TOKENS
            yield difference(part, where, record[part][rest], want, tolerance)
        elif part == "transformer":
            yield difference(part, where, record[part].get(rest), want, TOKENS, attends)
        elif part == "encoderblock_0_parts":
            yield difference("parts", where, record["encoderblock_0"].get(rest), want, TOKENS, attends)
        elif part == "head":
            yield difference(rest, where, record["head"][rest], want, TOKENS)
        elif part == "projection":
            yield difference("projections", where, record[part].get(rest), want, TOKENS)
        elif part.startswith("stem_"):  # of the first sample only
            got = record["stems"].get(f"{part.removeprefix('stem_')}/{rest}")
            # Some are large: convolutions before their norm.
            tolerance = TOKENS * max(1.0, float(np.abs(want).max()))
            yield difference("parts", where, None if got is None else got[: len(want)], want, tolerance)
        elif part in ("t5", "head_parts"):
            if not rest.endswith("/dropout"):  # never active, and not among our modules
                yield difference("parts", where, record[part].get(rest), want, TOKENS)
        elif not part.startswith(("sample_", "loss")):  # those are compared elsewhere
            yield difference(part, where, None, want, EXACT)


def _rows(part: str, group: str, wanted: Mapping[str, np.ndarray]) -> np.ndarray | None:
    """Which tokens of a group to compare: those of a masked prefix have nothing that they may attend to."""
    is_prefix = part == "out" and (group == "task" or group.startswith("task_"))
    mask = wanted.get(f"out/{group}/mask") if is_prefix else None
    return None if mask is None else mask.astype(bool)


def _check_samples(
    network: Network, case: str, given: Mapping[str, Any], wanted: Mapping[str, np.ndarray], embedding: Array
) -> Iterator[Difference]:
    def compare(name: str, got: Array) -> Difference:
        return difference("samples", f"{case}/{name}", got, wanted[name], SAMPLES)

    noise = Noise(given["sample"]["x_T"], given["sample"]["z"])
    every = network.reverse(embedding, noise)
    if "sample_driven/x_trajectory" in wanted:
        xs = wanted["sample_driven/x_trajectory"]
        yield compare("sample_driven/x_trajectory", np.concatenate([noise.start[None], every]))
        times = np.broadcast_to(np.arange(len(every))[::-1][:, None, None, None], (*xs[1:].shape[:-1], 1))
        eps = eps_of(*network, embedding[None], xs[:-1], times)
        yield difference("eps", f"{case}/sample_driven/eps", eps, wanted["sample_driven/eps"], TOKENS)
    if "sample_driven/actions" in wanted:
        yield compare("sample_driven/actions", network.newest(every[-1]))
    for name in wanted:
        drawn_with = _KEYED.fullmatch(name)
        if drawn_with is None:
            continue
        seed, dims, count = (None if each is None else int(each) for each in drawn_with.groups())
        drawn = official_noise(len(every), (*(() if count is None else (count,)), *noise.start.shape), seed)
        chunks = network.reverse(embedding if count is None else embedding[None], drawn, dims)
        yield compare(name, network.newest(chunks[-1]))
        for part, got in (("x_T", drawn.start), ("z", drawn.steps)):
            recorded = name.replace("actions", part)
            if recorded in wanted:
                yield difference("noise", f"{case}/{recorded}", got, wanted[recorded], EXACT)


def _check_loss(
    network: Network, case: str, given: Mapping[str, Any], wanted: Mapping[str, np.ndarray], names: Array | None
) -> Iterator[Difference]:
    def compare(name: str, got: Array) -> Difference:
        return relative_difference("loss", f"{case}/{name}", got, wanted[name], RELATIVE)

    if not any(name.startswith("loss") for name in wanted):
        return
    value, gradients = network.loss(given, given["loss"]["t"], given["loss"]["noise"])
    for name in ("loss/loss", "loss/metric_loss", "loss/metric_mse"):
        if name in wanted:
            yield compare(name, value)
    norms = {path: np.linalg.norm(gradient) for path, gradient in gradients.items()}
    total = float(np.linalg.norm(list(norms.values())))
    if "loss/grad_global_norm" in wanted:
        yield compare("loss/grad_global_norm", total)
    if "loss/grad_norms" in wanted and names is not None:
        for path, want in zip(names, wanted["loss/grad_norms"], strict=True):
            where = f"{case}/loss/grad_norms/{path}"
            yield relative_difference("gradient norms", where, norms[path], want, RELATIVE, ZERO_GRADIENT * total)
    for drawn in sorted({name.split("/")[0] for name in wanted if name.startswith("loss_rng")}):
        value, _ = network.loss(given, wanted[f"{drawn}/t"], wanted[f"{drawn}/noise"])
        yield compare(f"{drawn}/loss", value)


def _check_gradients(
    network: Network, case: str, given: Mapping[str, Array], wanted: Mapping[str, np.ndarray]
) -> Iterator[Difference]:
    nested = traverse_util.unflatten_dict(dict(given), sep="/")
    _, gradients = network.loss(nested, nested["loss"]["t"], nested["loss"]["noise"])
    smallest = ZERO_GRADIENT * float(np.linalg.norm([np.linalg.norm(each) for each in gradients.values()]))
    for path, want in wanted.items():
        where = f"grads_{case}/{path}"
        yield relative_difference("gradients", where, gradients[path], want, RELATIVE, smallest)


def _check_variant(
    network: Network, where: str, given: Mapping[str, Array], wanted: Mapping[str, np.ndarray]
) -> Iterator[Difference]:
    record = record_of(network, traverse_util.unflatten_dict(dict(given), sep="/"))
    for name, want in wanted.items():
        if name == "attention_mask":
            yield difference("variants", f"{where}/{name}", record["sequence"][name], want, EXACT)
        else:
            group, _, field = name.removeprefix("out/").rpartition("/")
            yield difference("variants", f"{where}/{name}", getattr(record["out"][group], field), want, TOKENS)


def _check_api(
    network: Network, embeddings: Mapping[str, Array], wanted: Mapping[str, np.ndarray], statistics: Mapping[str, Any]
) -> Iterator[Difference]:
    """Chunks in units of data sets: `<case>/normalized`, `<case>/<data set>`, `<case>/<data set>_first<n>dims`."""
    steps = network.head_config.diffusion_steps
    for name, want in wanted.items():
        case, _, key = name.partition("/")
        stats: dict[str, np.ndarray] | None = None
        dims = None
        if key != "normalized":
            data_set, _, cut = key.partition("_first")
            dims = int(cut.removesuffix("dims")) if cut else None
            stats = {part: value[:dims] for part, value in select_statistics(statistics, data_set).items()}
        shape = (*embeddings[case].shape[:-1], network.head_config.action_horizon * network.head_config.action_dim)
        action = network.newest(network.reverse(embeddings[case], official_noise(steps, shape, seed=0), dims)[-1])
        yield difference("api", name, action if stats is None else unnormalize(action, stats), want, SAMPLES)
