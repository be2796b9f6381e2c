"""Whether an environment and a model in another process fit, and the arrays that pass between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rpd_jax import placement
from rpd_jax.envs.base import EnvSpec
from rpd_jax.ipc.cuda import gpu_uuid
from rpd_jax.ipc.handshake import HandshakeError, compare
from rpd_jax.ipc.slots import Layout
from teachers.sidecar.server import outputs_of, teacher_spec


def layout_of(env_spec: EnvSpec, action_dim: int, rows: int, account: Mapping[str, Any]) -> Layout:
    """The environment's shapes, where the model can take them.

    Args:
      env_spec: of the environment.
      action_dim: of the teacher's actions.
      rows: observations per sidecar request.
      account: what the process says of itself, see `server.describe`.

    Raises:
      HandshakeError: they do not fit.
    """
    spec, inputs = teacher_spec(account), {}
    expected = outputs_of(action_dim, spec.token_bins, spec.chunk)
    compare({"outputs": expected}, account)
    for name in spec.observation_keys:
        shape, dtype = _observed(env_spec, name)
        shape = (spec.history, *shape) if spec.history > 1 else shape
        compare({name: {"shape": shape, "dtype": dtype}}, account["inputs"], "observation")
        inputs[name] = (shape, dtype)
    if spec.token_bins:
        inputs["tokens"] = ((action_dim,), "int32")
    outputs = {name: (tuple(each["shape"]), each["dtype"]) for name, each in expected.items()}
    return Layout(rows, inputs, outputs, _common_gpu(account.get("gpus", ())) or "cpu")


def but_gpus(account: Mapping[str, Any]) -> dict[str, Any]:
    """What processes that serve the same model say alike."""
    return {name: value for name, value in account.items() if name != "gpus"}


def _observed(env_spec: EnvSpec, name: str) -> tuple[tuple[int, ...], str]:
    if name in env_spec.cameras:
        return tuple(env_spec.cameras[name]), "uint8"
    if name not in env_spec.observation:
        raise HandshakeError(f"{env_spec.name} has no {name!r}, which the teacher reads")
    return tuple(env_spec.observation[name].shape), env_spec.observation[name].dtype


def _common_gpu(gpus: Sequence[str]) -> str | None:
    """JAX's first device, where it is one of these GPUs."""
    first = placement.first_gpu() if gpus else None
    return first if first is not None and gpu_uuid(int(first.removeprefix("cuda:"))) in gpus else None
