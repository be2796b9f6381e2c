"""Official Octo configs, read into the dataclasses from which the network is built.

An official config names each part as `{"module", "name", "args", "kwargs"}`: a Python class and its arguments. Only
the names are used here; they are mapped to this package's own parts and nothing is imported on a file's say-so.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from teachers.octo.stems import NORM_TYPES, StemConfig
from teachers.octo.t5 import NAMED, T5Config
from teachers.octo.transformer import TransformerConfig

SPEC_KEYS = {"module", "name", "args", "kwargs"}
STEM_PATCHES = {"SmallStem16": 16, "SmallStem": 32}


@dataclasses.dataclass(frozen=True)
class ImageTokenizerConfig:
    """Which images are stacked on channels, by prefix-anchored regular expressions, and their stem."""

    stem: StemConfig
    obs_stack_keys: tuple[str, ...] = ("image_.*", "depth_.*")
    task_stack_keys: tuple[str, ...] = ()
    proper_pad_mask: bool = True


@dataclasses.dataclass(frozen=True)
class LanguageTokenizerConfig:
    """The text encoder; `t5` is None where the task comes as embeddings."""

    t5: T5Config | None
    finetune_encoder: bool = False
    proper_pad_mask: bool = True


@dataclasses.dataclass(frozen=True)
class HeadConfig:
    """An action head. `kind` is the official class: see `heads.HEADS`; each uses the fields that concern it."""

    kind: str
    readout_key: str
    action_horizon: int = 1
    action_dim: int = 7
    max_action: float = 5.0
    loss_type: str = "mse"
    # of the diffusion head
    time_dim: int = 32
    num_blocks: int = 3
    hidden_dim: int = 256
    use_layer_norm: bool = True
    dropout_rate: float = 0.0
    diffusion_steps: int = 20
    n_diffusion_samples: int = 1
    # of the discrete head
    vocab_size: int = 256
    normalization_type: str = "uniform"  # uniform bins | bins of equal probability under a normal distribution


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """Everything that shapes the network; pairs are (name, ...) in the config's order."""

    observation_tokenizers: tuple[tuple[str, ImageTokenizerConfig], ...]
    task_tokenizers: tuple[tuple[str, LanguageTokenizerConfig], ...]
    heads: tuple[tuple[str, HeadConfig], ...]
    readouts: tuple[tuple[str, int], ...]
    token_embedding_size: int
    transformer: TransformerConfig
    max_horizon: int
    repeat_task_tokens: bool = False
    use_correct_attention: bool = False

    @classmethod
    def from_dict(cls, model: Mapping[str, Any], t5: T5Config | None = None) -> ModelConfig:
        """From the entry "model" of an official config.

        Args:
          model: the entry.
          t5: constants of the text encoder, for one that is not among the published ones.
        Raises:
          ValueError: something that this network does not have, by name.
        """
        known = {field.name for field in dataclasses.fields(cls)} - {"transformer"} | {"transformer_kwargs"}
        _refuse_unknown("model", model, known)
        transformer = dict(model["transformer_kwargs"])
        if transformer.pop("add_position_embedding", False):
            raise ValueError("model.transformer_kwargs.add_position_embedding=True is not supported: no model has it")
        return cls(
            observation_tokenizers=_named(model["observation_tokenizers"], _image_tokenizer),
            task_tokenizers=_named(model["task_tokenizers"], lambda w, s: _language_tokenizer(w, s, t5)),
            heads=_named(model["heads"], _head),
            readouts=tuple((name, int(count)) for name, count in model["readouts"].items()),
            token_embedding_size=int(model["token_embedding_size"]),
            transformer=_build(TransformerConfig, "model.transformer_kwargs", transformer),
            max_horizon=int(model["max_horizon"]),
            repeat_task_tokens=bool(model.get("repeat_task_tokens", False)),
            use_correct_attention=bool(model.get("use_correct_attention", False)),
        )


def part(module: str, name: str, **kwargs: Any) -> dict[str, Any]:
    """A `{"module", "name", "args", "kwargs"}` entry; `module` is the official one."""
    return {"module": module, "name": name, "args": [], "kwargs": kwargs}


def class_and_arguments(where: str, spec: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The class's name and keyword arguments of a `{"module", "name", "args", "kwargs"}` entry."""
    if not isinstance(spec, Mapping) or set(spec) != SPEC_KEYS:
        raise ValueError(f"{where}={spec!r} cannot be read: it must have exactly the keys {sorted(SPEC_KEYS)}")
    if spec["args"]:
        raise ValueError(f"{where}.args={spec['args']!r} cannot be read: only kwargs are understood")
    return spec["name"], dict(spec["kwargs"])


def _named(specs: Mapping[str, Any], build: Any) -> tuple[tuple[str, Any], ...]:
    return tuple((name, build(name, spec)) for name, spec in specs.items())


def _image_tokenizer(name: str, spec: Mapping[str, Any]) -> ImageTokenizerConfig:
    where = f"model.observation_tokenizers.{name}"
    kind, kwargs = class_and_arguments(where, spec)
    if kind != "ImageTokenizer":
        raise ValueError(f"{where}.name={kind!r} is not supported: only ImageTokenizer is")
    off = {"use_token_learner": False, "conditioning_type": "none", "task_film_keys": ()}
    _drop_unused(where, kwargs, off)
    kwargs.pop("num_tokens", None)  # of the token learner
    stem, stem_kwargs = class_and_arguments(f"{where}.encoder", kwargs.pop("encoder"))
    if stem not in STEM_PATCHES:
        raise ValueError(f"{where}.encoder.name={stem!r} is not supported: choose from {sorted(STEM_PATCHES)}")
    _drop_unused(f"{where}.encoder", stem_kwargs, {"use_film": False})
    config = _build(StemConfig, f"{where}.encoder", {"name": stem, "patch_size": STEM_PATCHES[stem]} | stem_kwargs)
    if config.img_norm_type not in NORM_TYPES:
        raise ValueError(f"{where}.encoder.img_norm_type={config.img_norm_type!r}: choose from {NORM_TYPES}")
    return _build(ImageTokenizerConfig, where, {"stem": config} | kwargs)


def _language_tokenizer(name: str, spec: Mapping[str, Any], t5: T5Config | None) -> LanguageTokenizerConfig:
    where = f"model.task_tokenizers.{name}"
    kind, kwargs = class_and_arguments(where, spec)
    if kind != "LanguageTokenizer":
        raise ValueError(f"{where}.name={kind!r} is not supported: only LanguageTokenizer is")
    encoder = kwargs.pop("encoder", None)
    if encoder is not None and encoder not in NAMED and t5 is None:
        raise ValueError(
            f"{where}.encoder={encoder!r} is unknown: choose from {sorted(NAMED)}, or give its constants as `t5`"
        )
    constants = None if encoder is None else NAMED.get(encoder, t5)
    return _build(LanguageTokenizerConfig, where, {"t5": constants} | kwargs)


def _head(name: str, spec: Mapping[str, Any]) -> HeadConfig:
    from teachers.octo.heads import HEADS

    where = f"model.heads.{name}"
    kind, kwargs = class_and_arguments(where, spec)
    if kind not in HEADS:
        raise ValueError(f"{where}.name={kind!r} is not supported: choose from {sorted(HEADS)}")
    _drop_unused(where, kwargs, {"use_map": False})
    if "pred_horizon" in kwargs:  # its name in older configs
        kwargs["action_horizon"] = kwargs.pop("pred_horizon")
    return _build(HeadConfig, where, {"kind": kind} | kwargs)


def _drop_unused(where: str, kwargs: dict[str, Any], off: Mapping[str, Any]) -> None:
    """Removes switches of what this network does not have; refuses them where they are on."""
    for key, value in off.items():
        given = kwargs.pop(key, value)
        if (tuple(given) if isinstance(given, list) else given) != value:
            raise ValueError(f"{where}.{key}={given!r} is not supported: only {value!r} is")


def _build(cls: Any, where: str, values: Mapping[str, Any]) -> Any:
    _refuse_unknown(where, values, {field.name for field in dataclasses.fields(cls)})
    return cls(**{key: tuple(value) if isinstance(value, list) else value for key, value in values.items()})


def _refuse_unknown(where: str, values: Iterable[str], known: set[str]) -> None:
    unknown = sorted(set(values) - known)
    if unknown:
        raise ValueError(f"{where}.{unknown[0]} is unknown: choose from {sorted(known)}")
