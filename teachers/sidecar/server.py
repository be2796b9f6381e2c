"""What a teacher's process says of itself. Imports neither jax nor torch.

A server is a module whose main program is

  serve_model(load)

where `load()` gives an object with `spec()`, which returns `describe(...)`, and `label(arrays, fields)`. The arrays
are the observations [B, ...] (histories [B, history, ...], newest last); `fields` has "seed" (uint32) and the
instructions, which `instructions_of` reads: the answer is a function of these alone. It maps to "action" [B, A],
"std" [B, A] and "valid" [B]; where the spec has a `chunk` of C > 1 actions, to whole chunks: "action" [B, C, A], "std"
[B, C, A] and "valid" [B, C].
Where the spec has `token_bins`, there is "tokens" [B, A] int32 among the arrays, and "score" among the fields: if it
is true, the answer is about these tokens and not the model's own. Where the field "tokens_wanted" is true, it has
"tokens" [B, A] int32, "logits" [B, A, bins] and "logsumexp" [B, A] besides (`rpd_jax.types.TokenScores`), of a chunk's
first action.
The arrays are numpy's; those that come in memory of a GPU that `describe` names are taken by `torch.from_dlpack`, which
takes numpy's too.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from rpd_jax.ipc.slot_server import Model, serve_model
from rpd_jax.types import ActionContract, ActionStatistics, TeacherSpec, TokenContract

__all__ = ["Model", "describe", "instructions_fields", "instructions_of", "outputs_of", "serve_model", "teacher_spec"]


def describe(
    spec: TeacherSpec,
    action_dim: int,
    inputs: Mapping[str, tuple[Sequence[int | None], str]],
    gpus: Sequence[str] = (),
    remarks: Sequence[str] = (),
) -> dict[str, Any]:
    """The account that a server gives of itself, plain data.

    Args:
      spec: of the teacher.
      action_dim: A.
      inputs: for each of `spec.observation_keys` the shape of one observation, without the history's axis, None being
        any size; and the dtype name.
      gpus: whose memory it reads, by `rpd_jax.ipc.cuda.gpu_uuid`; a learner that uses one leaves the arrays there.
      remarks: sentences for the learner's log.

    Raises:
      ValueError: inputs for other keys.
    """
    if set(inputs) != set(spec.observation_keys):
        raise ValueError(f"inputs: need {sorted(spec.observation_keys)}, got {sorted(inputs)}")
    history = [spec.history] if spec.history > 1 else []
    given = {name: {"shape": [*history, *shape], "dtype": dtype} for name, (shape, dtype) in inputs.items()}
    if spec.token_bins:
        given["tokens"] = {"shape": [action_dim], "dtype": "int32"}
    fields = dataclasses.asdict(spec)
    del fields["in_graph"]  # it cannot be
    return {
        **_plain(fields),
        "inputs": given,
        "outputs": outputs_of(action_dim, spec.token_bins, spec.chunk),
        "gpus": list(gpus),
        "remarks": list(remarks),
    }


def instructions_fields(texts: Sequence[str]) -> dict[str, Any]:
    """The instructions of a request's rows, as its fields have them: each text once, and which of them a row has."""
    known = list(dict.fromkeys(texts))
    return {"instructions": known, "index": [known.index(text) for text in texts]}


def instructions_of(fields: Mapping[str, Any]) -> list[str]:
    """The inverse of `instructions_fields`: the text of every row."""
    return [fields["instructions"][position] for position in fields["index"]]


def outputs_of(action_dim: int, token_bins: int = 0, chunk: int = 1) -> dict[str, Any]:
    """The answer's arrays, one row of each."""
    tokens = {
        "tokens": {"shape": [action_dim], "dtype": "int32"},
        "logits": {"shape": [action_dim, token_bins], "dtype": "float32"},
        "logsumexp": {"shape": [action_dim], "dtype": "float32"},
    }
    several = [chunk] if chunk > 1 else []
    return {
        "action": {"shape": [*several, action_dim], "dtype": "float32"},
        "std": {"shape": [*several, action_dim], "dtype": "float32"},
        "valid": {"shape": several, "dtype": "bool"},
        **(tokens if token_bins else {}),
    }


def teacher_spec(account: Mapping[str, Any]) -> TeacherSpec:
    """The inverse of `describe`.

    Raises:
      ValueError: a field is missing or unknown.
    """
    names = [field.name for field in dataclasses.fields(TeacherSpec) if field.name != "in_graph"]
    missing = [name for name in names if name not in account]
    if missing:
        raise ValueError(f"the teacher's account of itself lacks {', '.join(missing)}")
    fields = {name: account[name] for name in names}
    fields["observation_keys"] = tuple(fields["observation_keys"])
    if fields["contract"] is not None:
        contract = dict(fields["contract"])
        if contract["statistics"] is not None:
            statistics: dict[str, Any] = {
                name: tuple(value) if isinstance(value, list) else value
                for name, value in contract["statistics"].items()
            }
            contract["statistics"] = ActionStatistics(**statistics)
        fields["contract"] = ActionContract(**contract)
    if fields["tokens"] is not None:
        tokens = fields["tokens"]
        fields["tokens"] = TokenContract(tokens["bins"], tuple(tokens["low"]), tuple(tokens["high"]))
    return TeacherSpec(**fields)


def _plain(value: Any) -> Any:
    """As it comes out of a message: lists for tuples."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value
