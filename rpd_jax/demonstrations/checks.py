"""What is checked of demonstration files before anything in them is believed: links, storage, types, finite numbers."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import h5py
import numpy as np

from rpd_jax.config.validation import ConfigError

T = TypeVar("T")


def open_hdf5(path: Path) -> h5py.File:
    """Opens a file of demonstrations to read it.

    Raises ConfigError if it is missing or damaged, or if part of its content is elsewhere: behind a link, in other
    files, or in a virtual dataset. Such a file could show any other file that the reader may open.
    """
    if not path.is_file():
        raise ConfigError(f"{path} is missing")
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: it is cut off or not HDF5 ({one_line(error)})") from error
    try:
        refused = file.visititems_links(_elsewhere) or file.visititems(_stored_elsewhere)
    except Exception as error:  # of links that h5py does not know, and of damage: it has no common class for them
        file.close()
        raise ConfigError(f"{path} cannot be read: it is damaged ({one_line(error)})") from error
    if refused:
        file.close()
        raise ConfigError(f"{path}: {refused}, which is not followed: copy the data into the file")
    return file


def _elsewhere(at: str, link: object) -> str | None:
    if isinstance(link, h5py.ExternalLink):
        return f"{at} is a link to {link.path} in another file, {link.filename!r}"
    return f"{at} is a soft link to {link.path}" if isinstance(link, h5py.SoftLink) else None


def _stored_elsewhere(at: str, item: object) -> str | None:
    if not isinstance(item, h5py.Dataset):
        return None
    if item.is_virtual:
        return f"{at} is a virtual dataset, made of {item.virtual_sources()[0].file_name!r}"
    return f"{at} is stored in another file, {item.external[0][0]!r}" if item.external else None


def first_not_finite(arrays: Mapping[str, np.ndarray | None]) -> str:
    """ "rewards[3]": where the first NaN or infinity is among arrays [T, ...] by name; empty if there is none."""
    for name, x in arrays.items():
        if x is not None and x.dtype.kind == "f" and not np.isfinite(x).all():
            return f"{name}[{int(np.argwhere(~np.isfinite(x))[0][0])}]"
    return ""


def typed(cls: type[T], values: Any, where: str) -> T:
    """A dataclass from what JSON has of it; lists become tuples where it has tuples.

    Raises ConfigError for fields that are missing or unknown, and for values of other types or that are not finite.
    """
    if not isinstance(values, Mapping):
        raise ConfigError(f"{where}={values!r} cannot work: it must have the fields of {cls.__name__}")
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]  # of a dataclass
    needed = {name for name, field in fields.items() if field.default is dataclasses.MISSING}
    if wrong := (set(values) - set(fields)) | (needed - set(values)):
        raise ConfigError(f"{where}: fields {sorted(wrong)} are missing or unknown, it must have {sorted(fields)}")
    hints = typing.get_type_hints(cls)
    return cls(**{name: _typed(hints[name], value, f"{where}.{name}") for name, value in values.items()})


def _typed(hint: Any, value: Any, where: str) -> Any:
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    plain = [typing.get_origin(option) or option for option in options]
    if value is None and type(None) in plain:
        return None
    for option, kind in zip(options, plain, strict=True):
        if isinstance(kind, type) and dataclasses.is_dataclass(kind):
            return typed(kind, value, where)
        if kind is tuple and isinstance(value, list | tuple):
            item, *others = typing.get_args(option)
            if others == [...] or len(value) == 1 + len(others):
                return tuple(_typed(item, each, f"{where}[{index}]") for index, each in enumerate(value))
        elif isinstance(value, bool) or kind is bool:
            if kind is bool and isinstance(value, bool):
                return value
        elif kind is float and isinstance(value, int | float) and math.isfinite(value):
            return float(value)
        elif kind is not float and isinstance(value, kind):
            return value
    names = " or ".join(str(getattr(option, "__name__", option)) for option in options)
    raise ConfigError(f"{where}={value!r} cannot work: it must be {names}")


def one_line(error: Exception) -> str:
    """An error's text without line breaks."""
    return " ".join(str(error).split())
