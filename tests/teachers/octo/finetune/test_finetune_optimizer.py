"""Schedules and AdamW, against the official optimizer's recorded values and by hand."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rpd_jax.config import ConfigError
from teachers.octo.finetune.optimizer import (
    MODE_PATTERNS,
    combine,
    frozen_patterns,
    is_frozen,
    make_optimizer,
    make_schedule,
    partition,
)
from teachers.octo.finetune.settings import FinetuneSettings

GOLDEN = Path(__file__).parents[3] / "golden" / "octo" / "tiny"


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    with np.load(GOLDEN / "train.npz") as stored:
        return dict(stored)


def settings(mode: str = "full", steps: int = 50_000, **optimizer) -> FinetuneSettings:
    made = FinetuneSettings(mode=mode, steps=steps)
    for name, value in optimizer.items():
        setattr(made.optimizer, name, value)
    return made.validate()


def test_default_schedule_is_the_official_one(golden):
    schedule = make_schedule(settings())
    lr = [schedule(int(step)) for step in golden["lr_finetune_default/steps"]]
    np.testing.assert_allclose(lr, golden["lr_finetune_default/lr"], rtol=1e-6, atol=1e-12)


def test_rsqrt_schedule_is_the_official_one(golden):
    schedule = make_schedule(settings(schedule="rsqrt"))
    lr = [schedule(int(step)) for step in golden["lr_pretrain_rsqrt/steps"]]
    np.testing.assert_allclose(lr, golden["lr_pretrain_rsqrt/lr"], rtol=1e-6)


def test_schedule_of_the_recorded_runs(golden):
    schedule = make_schedule(settings(steps=10, learning_rate=3e-3, warmup_steps=2))
    np.testing.assert_allclose([schedule(step) for step in range(4)], golden["full/lr"], rtol=1e-6)


def test_constant_schedule_without_warmup():
    schedule = make_schedule(settings(schedule="constant", warmup_steps=0, learning_rate=0.5))
    assert [float(schedule(step)) for step in (0, 1, 10**6)] == [0.5, 0.5, 0.5]


PARAMS = {
    "heads_action": {"dense": {"kernel": jnp.array([2.0]), "bias": jnp.array([2.0])}},
    "octo_transformer": {"norm": {"scale": jnp.array([2.0])}, "hf_model": {"kernel": jnp.array([2.0])}},
}


@pytest.mark.parametrize(
    ("mode", "trained"),
    [
        ("full", {"heads_action/dense/kernel", "heads_action/dense/bias", "octo_transformer/norm/scale"}),
        ("head_only", {"heads_action/dense/kernel", "heads_action/dense/bias"}),
    ],
)
def test_frozen_leaves_get_zero_updates_and_no_moments(mode, trained):
    made = settings(mode, schedule="constant", warmup_steps=0)
    optimizer = make_optimizer(made, PARAMS, frozen_patterns(made, {}))
    state = optimizer.init(PARAMS)
    updates, _ = optimizer.update(jax.tree.map(jnp.ones_like, PARAMS), state, PARAMS)
    moved = {path for path, value in flat(updates).items() if value != 0}
    assert moved == trained
    assert sum(leaf.size for leaf in jax.tree.leaves(state)) == 2 * len(trained) + count_of_scalars(state)


def flat(tree) -> dict[str, float]:
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {"/".join(key.key for key in path): float(leaf[0]) for path, leaf in leaves}


def count_of_scalars(state) -> int:
    return sum(leaf.ndim == 0 for leaf in jax.tree.leaves(state))


def test_one_update_by_hand():
    """Gradients 3 and 4 have norm 5, clipped to 1: 0.6 and 0.8. Adam's first step is -lr * g / (|g| + eps) = -lr;
    the kernel decays by lr * 0.01 * 2 besides, the bias does not. The frozen gradient counts in no norm."""
    made = settings(
        "head_only", schedule="constant", warmup_steps=0, learning_rate=0.1, eps=0.2, b1=0.5, b2=0.5, mu_dtype="float32"
    )
    optimizer = make_optimizer(made, PARAMS, frozen_patterns(made, {}))
    gradient = {
        "heads_action": {"dense": {"kernel": jnp.array([3.0]), "bias": jnp.array([4.0])}},
        "octo_transformer": {"norm": {"scale": jnp.array([1e6])}, "hf_model": {"kernel": jnp.array([1e6])}},
    }
    updates, _ = optimizer.update(gradient, optimizer.init(PARAMS), PARAMS)
    # eps = 0.2 shows that the clip comes before Adam: -0.1 * 0.6 / (0.6 + 0.2) = -0.075, -0.1 * 0.8 / 1 = -0.08
    assert flat(updates)["heads_action/dense/kernel"] == pytest.approx(-0.075 - 0.1 * 0.01 * 2)
    assert flat(updates)["heads_action/dense/bias"] == pytest.approx(-0.08)


def test_updates_of_the_trainable_part_alone_are_the_same():
    made = settings("head_only", schedule="constant", warmup_steps=0)
    patterns = frozen_patterns(made, {})
    trainable, frozen = partition(PARAMS, patterns)
    assert combine(trainable, frozen) == PARAMS
    gradient = jax.tree.map(lambda x: 0.3 * x, PARAMS)
    whole = make_optimizer(made, PARAMS, patterns)
    part = make_optimizer(made, trainable)
    updates, _ = whole.update(gradient, whole.init(PARAMS), PARAMS)
    alone, _ = part.update(partition(gradient, patterns)[0], part.init(trainable), trainable)
    assert flat(alone) == {path: value for path, value in flat(updates).items() if path.startswith("heads")}


def test_freezing_everything_is_refused():
    with pytest.raises(ConfigError, match="leave no parameter to train"):
        partition(PARAMS, ["*"])


@pytest.mark.parametrize(
    ("path", "mode", "frozen"),
    [
        ("heads_action/map_head/probe", "head_mlp_only", True),
        ("heads_action/map_head/MultiHeadDotProductAttention_0/key/kernel", "head_mlp_only", True),
        ("heads_action/map_head/probe", "head_only", False),
        ("heads_action/diffusion_model/reverse_network/Dense_0/kernel", "head_mlp_only", False),
    ],
)
def test_patterns_of_the_modes(path, mode, frozen):
    assert is_frozen(path, MODE_PATTERNS[mode]) == frozen


def test_the_models_own_frozen_keys_count():
    made = settings("head_only", frozen=("*.bias",))
    assert frozen_patterns(made, {}) == ("*hf_model*", "octo_transformer.*", "*.bias")
    assert frozen_patterns(settings(), {"optimizer": {"frozen_keys": None}}) == ()
    assert frozen_patterns(settings(), {"optimizer": {"frozen_keys": ["a*"]}}) == ("a*",)


def test_the_first_moment_is_stored_in_its_type():
    optimizer = make_optimizer(settings(), PARAMS)
    kinds = {leaf.dtype for leaf in jax.tree.leaves(optimizer.init(PARAMS)) if leaf.ndim}
    assert kinds == {jnp.dtype("bfloat16"), jnp.dtype("float32")}
    assert isinstance(optimizer, optax.GradientTransformation | optax.GradientTransformationExtraArgs)
