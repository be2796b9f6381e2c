"""The bridge with the slots on the learner's GPU, against the same bridge with them on the host, in the same run.

  python -m benchmarks.bridge_gpu [--quick] [--json=FILE]

A batch of 128 frames 256 x 256 x 3 that JAX has on the GPU goes to a process with torch, which reads seven numbers of
each there; 128 x 7 floats come back. Needs a GPU that jax and torch can use.

ratio_host            seconds for a batch by way of the host / on the device (higher is better)
gigabytes_per_second  frames that were moved on the device
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks.bridge import ACTIONS, BATCH, SIZE, bridge_call
from rpd_jax.ipc.process import SidecarProcess
from rpd_jax.ipc.slot_server import serve_model
from rpd_jax.ipc.slots import Layout, SlotCalls


class EchoOnGPU:
    """The sidecar's side."""

    def spec(self) -> dict[str, Any]:
        return {
            "inputs": {"rgb": {"shape": [None, None, 3], "dtype": "uint8"}},
            "outputs": {"action": {"shape": [ACTIONS], "dtype": "float32"}},
        }

    def label(self, arrays: Mapping[str, Any], fields: Mapping[str, Any]) -> dict[str, np.ndarray]:
        import torch

        frames = torch.from_dlpack(arrays["rgb"]).to("cuda")  # from the host this is a copy
        return {"action": frames[:, 0, :ACTIONS, 0].float().cpu().numpy()}


def open_bridge(batch: int, size: int, device: str) -> SlotCalls:
    """The bridge to an EchoOnGPU, by way of memory on `device`."""
    layout = Layout(batch, {"rgb": ((size, size, 3), "uint8")}, {"action": ((ACTIONS,), "float32")}, device)

    def start(descriptor: int) -> SidecarProcess:
        return SidecarProcess("benchmarks.bridge_gpu", arguments=["--heartbeat=1"], descriptors=[descriptor])

    return SlotCalls(start, lambda spec: layout)


def measure(quick: bool) -> dict[str, float]:
    """All figures."""
    import jax

    from benchmarks.common import median, spread
    from rpd_jax import placement

    device = placement.first_gpu()
    if device is None:
        raise SystemExit(f"bridge_gpu needs a GPU, JAX's first device is {jax.local_devices()[0]}")
    batch, size, repeats = (16, 64, 5) if quick else (BATCH, SIZE, 30)
    frames = jax.random.randint(jax.random.key(0), (batch, size, size, 3), 0, 256, np.uint8).block_until_ready()
    actions = np.empty((batch, ACTIONS), np.float32)
    with open_bridge(batch, size, device) as here, open_bridge(batch, size, "cpu") as by_host:
        if here.device != device:
            raise SystemExit(f"the other process cannot map memory of {device}: see the warning")
        each = {"device": bridge_call(here, frames, actions), "host": bridge_call(by_host, frames, actions)}
        for name, call in each.items():
            if not np.array_equal(call(), np.asarray(frames[:, 0, :ACTIONS, 0], np.float32)):
                raise AssertionError(f"{name} gave a wrong answer")
        seconds: dict[str, list[float]] = {name: [] for name in each}
        for repeat in range(repeats + 1):
            for name, calls in (("device", here), ("host", by_host)):
                # New each time: JAX keeps what it has once copied to the host.
                call = bridge_call(calls, jax.block_until_ready(jax.numpy.copy(frames)), actions)
                started = time.perf_counter()
                call()
                if repeat:
                    seconds[name].append(time.perf_counter() - started)
    own, other = median(seconds["device"]), median(seconds["host"])
    return {
        "device_ms": own * 1e3,
        "host_ms": other * 1e3,
        "ratio_host": other / own,
        "gigabytes_per_second": frames.nbytes / own / 1e9,
        "spread_device": spread(seconds["device"]),
    }


def main() -> None:
    if any(argument.startswith("--socket") for argument in sys.argv[1:]):
        serve_model(EchoOnGPU)
        return
    from benchmarks.common import parse_args, write

    args = parse_args("bridge_gpu")
    write("bridge_gpu", measure(args.quick), args.json)


if __name__ == "__main__":
    main()
