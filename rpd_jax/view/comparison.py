"""What comparison.json holds, for the page."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from rpd_jax.algorithms.variants import parse_variant
from rpd_jax.config.validation import ConfigError
from rpd_jax.report.results import COMPARISON_FILE, ResultRow
from rpd_jax.runs.files import read_json
from rpd_jax.view.curves import curve, number, numbers
from rpd_jax.view.places import Place, inside

Json = dict[str, Any]
TEXTS = ("experiment", "title", "source", "command", "date", "machine", "commit", "fingerprint", "rule")
LEVELS = np.linspace(0, 1, 41)  # of the performance profile


def gather(place: Place) -> Json:
    """Everything that there is to see of a comparison.

    Raises:
      ConfigError: one line: comparison.json is damaged, or its text is not what a comparison writes.
    """
    path = inside(place.path, COMPARISON_FILE)
    try:
        if path is None:
            raise ConfigError(f"{COMPARISON_FILE} is missing")
        return {"name": place.name} | _read(read_json(path))
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError) as error:
        said = str(error) if isinstance(error, ConfigError) else f"{COMPARISON_FILE} is damaged: {error!r}"
        raise ConfigError(" ".join(said.replace(str(path), COMPARISON_FILE).split())) from error


def _read(stored: Mapping[str, Any]) -> Json:
    cases = [_case(each) for each in stored["cases"]]
    return {
        **{name: str(stored.get(name, "")) for name in TEXTS},
        "problems": [str(each) for each in stored["problems"]],
        "claims": [_claim(each) for each in stored["claims"]],
        "over_all": {
            str(name): {key: each and _estimate(each) for key, each in found.items() if key in ("iqm", "improvement")}
            for name, found in stored["over_all"].items()
        },
        "cases": cases,
        "profile": _profile(stored["cases"]) if len(cases) > 1 else [],
        "deviations": [str(each) for each in stored["deviations"]],
    }


def _claim(claim: Mapping[str, Any]) -> Json:
    made = {"text": str(claim["text"]), "published": str(claim["published"]), "verdict": str(claim.get("verdict", ""))}
    return made | {key: number(claim.get(key)) for key in ("estimate", "low", "high")}


def _estimate(estimate: Mapping[str, Any]) -> Json:
    return {key: number(estimate[key]) for key in ("value", "low", "high")}


def _case(case: Mapping[str, Any]) -> Json:
    teacher = case["teacher"] and ResultRow.from_json(case["teacher"])
    return {
        "name": str(case["name"]),
        "published": str(case["published"]),
        "steps": number(case["steps"], 9),
        "teacher": teacher
        and {"variant": teacher.variant}
        | _estimate({"value": teacher.success_once, "low": teacher.low, "high": teacher.high}),
        "arms": [_arm(str(name), arm) for name, arm in case["arms"].items()],
    }


def _arm(name: str, arm: Mapping[str, Any]) -> Json:
    low, high = arm["interval"]
    values, steps, queries = (_finite(arm[key]) for key in ("curve", "steps", "queries"))
    if values.ndim != 2 or values.shape[1:] != steps.shape or steps.shape != queries.shape or values.size == 0:
        raise ValueError(f"the curve of {name!r} is {values.shape} at {steps.shape} steps")
    counts = _finite(arm["counts"]) if "counts" in arm else None
    made = curve(name, steps, values, counts, rate=True, seeds=True)
    return {
        "name": name,
        "setting": str(arm["setting"]),
        "score": number(float(values[:, -1].mean())),
        "low": number(low),
        "high": number(high),
        "queries": number(float(queries[-1]), 9),
        "rising": arm["rising"] is True,
        "note": str(arm["note"]),
        "curve": made | ({"queries": numbers(queries, 9)} if queries.any() else {}),
        "tuning": [_setting(str(setting), scores) for setting, scores in arm["tuning"].items()],
    }


def _setting(setting: str, scores: Any) -> Json:
    """A setting that was tried: the coefficient of its first term, which the page draws over, and its success."""
    try:
        coefficient = number(next(iter(parse_variant(setting).terms.values()), None))
    except ValueError:  # of a variant that somebody registered in another process
        coefficient = None
    return {"setting": setting, "coefficient": coefficient, "score": number(float(_finite(scores).mean()))}


def _profile(cases: list[Mapping[str, Any]]) -> list[Json]:
    """Of each arm the share of runs above each success rate, over all cases."""
    found = []
    for name in cases[0]["arms"]:
        scores = np.concatenate([_finite(case["arms"][name]["scores"]).ravel() for case in cases])
        shares = (scores[:, None] > LEVELS).mean(axis=0)
        found.append({"variant": str(name), "x": numbers(LEVELS), "mean": numbers(shares), "n": len(scores)})
    return found


def _finite(values: Any) -> np.ndarray:
    array = np.asarray(values, np.float64)
    if array.size == 0 or not all(map(math.isfinite, array.ravel().tolist())):
        raise ValueError("numbers must be finite")
    return array
