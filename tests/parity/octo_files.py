"""Files of a golden directory, and the parameters of whole models by name and shape; see `octo`."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from parity.difference import Difference

from teachers.octo.checkpoint import check_params, flatten
from teachers.octo.config import ModelConfig
from teachers.octo.network import OctoModule
from teachers.octo.t5 import T5Config

TEXT_LENGTH = 16
T = TypeVar("T")


def read_json(path: Path) -> dict[str, Any]:
    """JSON, gzipped or not."""
    content = path.read_bytes()
    return json.loads(gzip.decompress(content) if path.suffix == ".gz" else content)


def read_config(directory: Path) -> tuple[dict[str, Any], T5Config | None]:
    """config.json, and the text encoder's constants from t5_config.json if it is there."""
    t5 = directory / "t5_config.json"
    return read_json(directory / "config.json"), T5Config.from_dict(read_json(t5)) if t5.is_file() else None


def below(values: Mapping[str, T], path: str) -> dict[str, T]:
    """The entries below a path, which is taken off their names."""
    return {name.removeprefix(f"{path}/"): value for name, value in values.items() if name.startswith(f"{path}/")}


def check_manifests(directory: Path) -> Iterator[Difference]:
    """For every manifest, names and shapes of the parameters that its configuration leads to; nothing is computed."""
    for path in sorted(directory.glob("manifest_*.json*")):
        model = path.name.removeprefix("manifest_").partition(".json")[0]
        config = read_json(next(iter(sorted(directory.glob(f"config_{model}*.json*")))))
        listed = read_json(path)["params"]
        want = {name: jnp.zeros(0) if each is None else _described(each) for name, each in listed.items()}
        got = parameter_shapes(config)
        try:
            check_params(got, want)
            problem, count = "", 0
        except ValueError as error:
            problem, count = f": {error}", 1
        types = [name for name, leaf in flatten(got).items() if name in want and leaf.dtype != want[name].dtype]
        yield Difference("manifests", f"{model}, {len(want)} parameters{problem}", float(count), 0.0)
        yield Difference("manifests", f"{model}, types {types[:3]}", float(len(types)), 0.0)


def _described(entry: Mapping[str, Any]) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(tuple(entry["shape"]), entry["dtype"])


def parameter_shapes(config: Mapping[str, Any]) -> dict[str, Any]:
    """The parameter tree of an official configuration, as shapes, with image sizes from its training data's entry."""
    window = config["window_size"]
    sizes = config["dataset_kwargs"]["frame_transform_kwargs"]["resize_size"]
    images = {f"image_{name}": jnp.zeros((1, *size, 3), jnp.uint8) for name, size in sizes.items()}
    tokens = jnp.zeros((1, TEXT_LENGTH), jnp.int32)
    observation = {name: jnp.broadcast_to(x[:, None], (1, window, *x.shape[1:])) for name, x in images.items()}
    observation["timestep_pad_mask"] = jnp.ones((1, window), bool)
    task = {**images, "language_instruction": {"input_ids": tokens, "attention_mask": tokens}}
    module = OctoModule(ModelConfig.from_dict(config["model"]))
    return jax.eval_shape(module.init, jax.random.key(0), observation, task)["params"]
