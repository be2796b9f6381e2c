"""Four steps of the official optimizer on a tiny Octo, recorded with fixed noise, and the same steps here.

First moments are bfloat16, rounded to 8 bits, so parameters agree to about a hundredth of what they moved (0.0074).
Left out are parameters whose gradient is zero but for rounding, since Adam blows it up to steps of any sign: biases
of attention's keys, and convolutions before a norm of single channels.
"""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import traverse_util
from parity import octo_files
from parity.difference import read_arrays

from teachers.octo.checkpoint import flatten
from teachers.octo.config import ModelConfig
from teachers.octo.finetune.optimizer import frozen_patterns, make_optimizer, partition
from teachers.octo.finetune.settings import FinetuneSettings, OptimizerSettings
from teachers.octo.losses import loss_with_draws
from teachers.octo.network import OctoModule

TINY = Path(__file__).parents[3] / "golden" / "octo" / "tiny"
CASE = "w2_pad_multimodal"
ROUNDING = re.compile(r".*/(key/bias|StdConv_0/(kernel|bias))")


@pytest.fixture(scope="module")
def params() -> dict:
    arrays = read_arrays(TINY / "params.npz")
    return traverse_util.unflatten_dict({path: jnp.asarray(x) for path, x in arrays.items()}, sep="/")


@pytest.fixture(scope="module")
def gradient():
    """Parameters -> (loss, gradient of all of them)."""
    config, t5 = octo_files.read_config(TINY)
    module = OctoModule(ModelConfig.from_dict(config["model"], t5))
    arrays = octo_files.below(read_arrays(TINY / "inputs.npz"), CASE)
    given = traverse_util.unflatten_dict(arrays, sep="/")
    actions = {name: given["loss"][name] for name in ("action", "action_pad_mask")}
    batch = {"observation": given["observation"], "task": given["task"], **actions}
    draws = {"action": {"time": given["loss"]["t"], "noise": given["loss"]["noise"]}}
    return jax.jit(jax.value_and_grad(lambda p: loss_with_draws(module, p, batch, draws)[0]))


@pytest.mark.parametrize("mode", ["full", pytest.param("head_only", marks=pytest.mark.slow)])
def test_four_steps(mode, params, gradient):
    recorded = octo_files.below(read_arrays(TINY / "train.npz"), mode)
    optimizer_settings = OptimizerSettings(learning_rate=3e-3, warmup_steps=2)
    settings = FinetuneSettings(mode=mode, steps=10, optimizer=optimizer_settings).validate()
    patterns = frozen_patterns(settings, {})
    optimizer = make_optimizer(settings, params, patterns)
    update = jax.jit(optimizer.update)
    found = {"loss": [], "grad_norm": [], "update_norm": [], "param_norm": []}
    now, state = params, optimizer.init(params)
    for _ in range(4):
        loss, grads = gradient(now)
        updates, state = update(grads, state, now)
        norms = (optax.tree.norm(tree) for tree in (grads, updates, partition(now, patterns)[0]))
        for name, value in zip(found, (loss, *norms), strict=True):
            found[name].append(float(value))
        now = optax.apply_updates(now, updates)

    for name, values in found.items():
        np.testing.assert_allclose(values, recorded[name], rtol=3e-4, err_msg=name)
    before, after = flatten(params), flatten(now)
    stored = octo_files.below(recorded, "params_after")
    assert len(stored) >= 7
    for path, value in stored.items():
        if not ROUNDING.fullmatch(path):
            np.testing.assert_allclose(after[path], value, atol=1e-4, rtol=0, err_msg=path)
    moved = {path: np.linalg.norm(np.asarray(after[path]) - np.asarray(before[path])) for path in sorted(after)}
    for (path, distance), expected in zip(moved.items(), recorded["delta_norms"], strict=True):
        if not ROUNDING.fullmatch(path):
            assert distance == pytest.approx(expected, rel=3e-3), path
    frozen = {path for path, distance in moved.items() if distance == 0}
    part = {"full": "/hf_model/", "head_only": "octo_transformer/"}[mode]
    assert frozen == {path for path in moved if part in path}
