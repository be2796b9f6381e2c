"""Seconds per image of Octo's two published sizes, with random weights.

    python -m benchmarks.octo --json=octo.json    # about two minutes on two cores
    python -m benchmarks.octo --quick
    python -m benchmarks.octo --bfloat16          # only what an accelerator is for; --tiny: a model of one layer

The very program that `OctoTeacher` labels with. One primary camera (256 x 256), a window of one frame, no goal image,
20 diffusion steps, float32, 8 images at once. The instruction is encoded beforehand, as a teacher does once for a task,
so T5 is not part of it.
`s_per_image_small`, `s_per_image_base`: from pixels to an action chunk. `compile_s_small`, `compile_s_base`: tracing
and compiling that program once; `compile_s` is the larger of the two. `gflop_per_image_SIZE`: as XLA counts it.
`ratio_10_samples`: the time with ten chunks drawn for each image over the time with one, taking turns, for the small
model. Medians.

The aims, on two CPU cores: 0.25 and 0.65 s per image, 20 s to compile, a ratio of 1.15.

On an accelerator the same is measured in bfloat16 for other batches: `images_per_s_SIZE_BATCH`, `ratio_SIZE_BATCH` over
one image at a time, and where the peak rate of the device is known `mfu_SIZE_BATCH`, the share of it that the counted
operations come to.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import common
from rpd_jax.types import Array
from teachers.octo.config import ModelConfig
from teachers.octo.model import LANGUAGE, Octo
from teachers.octo.network import OctoModule
from teachers.octo.pretrained_configs import octo_base, octo_small
from teachers.octo.teacher import FRAMES_AT_ONCE, OctoTeacher
from teachers.sampling import Sampling


def octo_tiny() -> dict[str, Any]:
    """One layer of the small model, to try this out."""
    config = octo_small()
    config["model"]["transformer_kwargs"]["num_layers"] = 1
    return config


SIZES: Mapping[str, Callable[[], dict[str, Any]]] = {"small": octo_small, "base": octo_base, "tiny": octo_tiny}
PUBLISHED = ("small", "base")
PEAK_TFLOPS = {"H100": 989.0, "H200": 989.0, "A100": 312.0, "L40S": 362.0, "L4": 121.0}
"""Dense bfloat16 rate by a word in the device's name (the SXM model where there are several)."""
BATCH = 8
ACCELERATOR_BATCHES = (1, 32, 128, 512)
PIXELS, TEXT_TOKENS, TEXT_WIDTH = 256, 16, 768


@dataclasses.dataclass(frozen=True, eq=False)
class RandomOcto(Octo):
    """Its tasks are encoded already, by noise."""

    def create_task(
        self, texts: Sequence[str] | None = None, goals: Mapping[str, Array] | None = None
    ) -> dict[str, Any]:
        return task(len(texts or ()))


class Policy:
    """A teacher of one size that turns frames into action chunks."""

    def __init__(self, size: str, dtype: Any) -> None:
        config = SIZES[size]()
        module = OctoModule(ModelConfig.from_dict(config["model"]), dtype)
        example = {
            "image_primary": np.zeros((1, 1, PIXELS, PIXELS, 3), np.uint8),
            "timestep_pad_mask": np.ones((1, 1), bool),
        }
        params = jax.jit(module.init)(jax.random.key(0), example, task(1))["params"]
        statistics = {"action": {"mean": np.zeros(7, np.float32), "std": np.ones(7, np.float32)}}
        self.octo = RandomOcto(module, params, config, {"observation": example}, statistics)

    def compile(self, batch: int, samples: int) -> tuple[Callable[[], Any], float, float]:
        """A call for `batch` frames that waits for its result, the seconds of compiling it, and FLOP per image."""
        teacher = OctoTeacher(self.octo, None, sampling=Sampling(samples), contract="maniskill")
        rng = np.random.default_rng(0)
        frames = jnp.asarray(rng.integers(0, 256, (batch, 1, PIXELS, PIXELS, 3), np.uint8))
        tasks, index = task(1)[LANGUAGE], jnp.zeros(batch, jnp.int32)
        arguments = (self.octo.params, frames, tasks, index, jax.random.key(1))
        started = time.perf_counter()
        lowered = teacher._label.lower(*arguments)  # which `label_chunk` calls
        compiled = lowered.compile()
        seconds = time.perf_counter() - started
        # Counted before XLA replaces products by calls of libraries, in whose cost it does not look on every device.
        # It counts the body of a loop once: the one over passes matters, that over diffusion steps is below 1 %.
        flops = lowered.cost_analysis()["flops"] / min(batch, FRAMES_AT_ONCE)
        return lambda: jax.block_until_ready(compiled(*arguments)), seconds, flops


def task(batch: int) -> dict[str, Any]:
    """Encoded instructions."""
    rng = np.random.default_rng(0)
    return {LANGUAGE: jnp.asarray(rng.standard_normal((batch, TEXT_TOKENS, TEXT_WIDTH), np.float32))}


def peak_flops() -> float | None:
    """Of the device, per second; None where it is not known."""
    kind = jax.devices()[0].device_kind
    return next((1e12 * rate for word, rate in PEAK_TFLOPS.items() if word in kind.replace("-", " ").split()), None)


def measure_float32(sizes: Iterable[str], repeats: int) -> dict[str, float]:
    """The figures that have an aim."""
    figures: dict[str, float] = {}
    for size in sizes:
        policy = Policy(size, jnp.float32)
        one, figures[f"compile_s_{size}"], flops = policy.compile(BATCH, samples=1)
        figures[f"gflop_per_image_{size}"] = flops / 1e9
        if size != "base":
            ten, *_ = policy.compile(BATCH, samples=10)
            one(), ten()
            turns = [(common.timed(one, 1, 0)[0], common.timed(ten, 1, 0)[0]) for _ in range(repeats)]
            figures["ratio_10_samples"] = common.median([with_ten / with_one for with_one, with_ten in turns])
            seconds = [with_one for with_one, _ in turns]
        else:
            seconds = common.timed(one, repeats)
        figures[f"s_per_image_{size}"] = common.median(seconds) / BATCH
        figures[f"spread_{size}"] = common.spread(seconds)
    figures["compile_s"] = max(value for name, value in figures.items() if name.startswith("compile_s_"))
    return figures


def measure_bfloat16(sizes: Iterable[str], batches: Iterable[int], repeats: int, path: Path | None) -> dict[str, float]:
    """Throughput by batch, for an accelerator; written after every batch, should the time run out."""
    figures: dict[str, float] = {}
    peak = peak_flops()
    for size in sizes:
        policy = Policy(size, jnp.bfloat16)
        for batch in batches:
            call, _, flops = policy.compile(batch, samples=1)
            rate = batch / common.median(common.timed(call, repeats, warmup=2))
            figures[f"images_per_s_{size}_{batch}"] = rate
            figures[f"gflop_per_image_{size}"] = flops / 1e9
            if batch > 1:
                figures[f"ratio_{size}_{batch}"] = rate / figures[f"images_per_s_{size}_1"]
            if peak is not None:
                figures[f"mfu_{size}_{batch}"] = rate * flops / peak
            common.save("octo", figures, path)
    return figures


def main() -> None:
    parser = common.make_parser("octo")
    parser.add_argument("--bfloat16", action="store_true", help="measure bfloat16 only")
    parser.add_argument("--tiny", action="store_true", help="a model of one layer and small batches")
    arguments = parser.parse_args()
    repeats = 3 if arguments.quick else 7
    sizes = ("tiny",) if arguments.tiny else PUBLISHED
    batches = (1, 4) if arguments.tiny else ACCELERATOR_BATCHES
    figures = {} if arguments.bfloat16 else measure_float32(sizes, repeats)
    if arguments.bfloat16 or jax.default_backend() != "cpu":
        figures |= measure_bfloat16(sizes, batches, 3 if arguments.tiny else 10 * repeats, arguments.json)
    common.write("octo", figures, arguments.json)


if __name__ == "__main__":
    main()
