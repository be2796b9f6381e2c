"""Seconds per image of Octo's two published sizes, with random weights.

    python -m benchmarks.octo --json=octo.json    # about two minutes on two cores
    python -m benchmarks.octo --quick

One primary camera (256 x 256), a window of one frame, no goal image, 20 diffusion steps, float32, 8 images at once.
The instruction is encoded beforehand, as a teacher does once for a task, so T5 is not part of it.
`s_per_image_small`, `s_per_image_base`: from pixels to an action chunk. `compile_s_small`, `compile_s_base`: tracing
and compiling that program once; `compile_s` is the larger of the two. `ratio_10_samples`: the time with ten chunks
drawn for each image over the time with one, taking turns, for the small model. Medians.

The aims, on two CPU cores: 0.25 and 0.65 s per image, 20 s to compile, a ratio of 1.15.

On an accelerator the same is measured in bfloat16 for other batches: `images_per_s_SIZE_BATCH`, and where the peak rate
of the device is known `mfu_SIZE_BATCH`, the share of it that 17.8 or 56.4 GFLOP per image come to.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import common
from teachers.octo.config import ModelConfig
from teachers.octo.model import sample_chunks
from teachers.octo.network import OctoModule
from teachers.octo.pretrained_configs import octo_base, octo_small

SIZES: Mapping[str, Callable[[], dict[str, Any]]] = {"small": octo_small, "base": octo_base}
GFLOP_PER_IMAGE = {"small": 17.8, "base": 56.4}
PEAK_TFLOPS = {"H100": 989.0, "H200": 989.0, "A100": 312.0, "L40S": 362.0, "L4": 121.0}
"""Dense bfloat16 rate by a word in the device's name (the SXM model where there are several)."""
BATCH = 8
ACCELERATOR_BATCHES = (1, 32, 128, 512)
PIXELS, TEXT_TOKENS, TEXT_WIDTH = 256, 16, 768


class Policy:
    """A model of one size that turns frames into action chunks."""

    def __init__(self, size: str, dtype: Any) -> None:
        self.module = OctoModule(ModelConfig.from_dict(SIZES[size]()["model"]), dtype)
        self.params = jax.jit(self.module.init)(jax.random.key(0), *inputs(1))["params"]
        self.key = jax.random.key(1)

    def compile(self, batch: int, samples: int) -> tuple[Callable[[], Any], float]:
        """A call for `batch` frames that waits for its result, and the seconds that compiling it took."""

        def act(params: Any, observation: Any, task: Any, key: Any) -> Any:
            embedding = self.module.apply({"params": params}, observation, task, method="embed")
            return sample_chunks(self.module, params, embedding[:, -1], key, samples)

        arguments = (self.params, *inputs(batch), self.key)
        started = time.perf_counter()
        compiled = jax.jit(act).lower(*arguments).compile()
        seconds = time.perf_counter() - started
        return lambda: jax.block_until_ready(compiled(*arguments)), seconds


def inputs(batch: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Random frames and an encoded instruction: (observation, task)."""
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (batch, 1, PIXELS, PIXELS, 3), np.uint8)
    text = rng.standard_normal((batch, TEXT_TOKENS, TEXT_WIDTH), np.float32)
    observation = {"image_primary": jnp.asarray(frames), "timestep_pad_mask": jnp.ones((batch, 1), bool)}
    return observation, {"language_instruction": jnp.asarray(text)}


def peak_flops() -> float | None:
    """Of the device, per second; None where it is not known."""
    kind = jax.devices()[0].device_kind
    return next((1e12 * rate for word, rate in PEAK_TFLOPS.items() if word in kind.replace("-", " ").split()), None)


def measure_float32(repeats: int) -> dict[str, float]:
    """The figures that have an aim."""
    figures: dict[str, float] = {}
    for size in SIZES:
        policy = Policy(size, jnp.float32)
        one, figures[f"compile_s_{size}"] = policy.compile(BATCH, samples=1)
        if size == "small":
            ten, _ = policy.compile(BATCH, samples=10)
            one(), ten()
            turns = [(common.timed(one, 1, 0)[0], common.timed(ten, 1, 0)[0]) for _ in range(repeats)]
            figures["ratio_10_samples"] = common.median([with_ten / with_one for with_one, with_ten in turns])
            seconds = [with_one for with_one, _ in turns]
        else:
            seconds = common.timed(one, repeats)
        figures[f"s_per_image_{size}"] = common.median(seconds) / BATCH
        figures[f"spread_{size}"] = common.spread(seconds)
    figures["compile_s"] = max(figures[f"compile_s_{size}"] for size in SIZES)
    return figures


def measure_bfloat16(repeats: int) -> dict[str, float]:
    """Throughput by batch, for an accelerator."""
    figures: dict[str, float] = {}
    peak = peak_flops()
    for size in SIZES:
        policy = Policy(size, jnp.bfloat16)
        for batch in ACCELERATOR_BATCHES:
            call, _ = policy.compile(batch, samples=1)
            rate = batch / common.median(common.timed(call, repeats, warmup=2))
            figures[f"images_per_s_{size}_{batch}"] = rate
            if peak is not None:
                figures[f"mfu_{size}_{batch}"] = rate * GFLOP_PER_IMAGE[size] * 1e9 / peak
    return figures


def main() -> None:
    arguments = common.parse_args("octo")
    repeats = 3 if arguments.quick else 7
    figures = measure_float32(repeats)
    if jax.default_backend() != "cpu":
        figures |= measure_bfloat16(10 * repeats)
    common.write("octo", figures, arguments.json)


if __name__ == "__main__":
    main()
