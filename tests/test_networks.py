"""Students: parameter shapes, initial scales, what they see, gradients that reach everything."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rpd_jax.algorithms.base import register_algorithm
from rpd_jax.algorithms.sft import SFT
from rpd_jax.config import ConfigError, EnvConfig, NetworkConfig, SFTConfig
from rpd_jax.envs.base import ArraySpec, EnvSpec
from rpd_jax.policies.base import make_policy, register_policy
from rpd_jax.policies.nature_cnn import convolve_by_matmul, convolve_natively

SHAPES = {"state": (42,), "proprio": (25,), "ee": (28,), "rgb": (128, 128, 3)}


def build(observation="state", image_size=128, head="gaussian", **network):
    shapes = SHAPES | {"rgb": (image_size, image_size, 3)}
    entries = {name: ArraySpec(shape, "uint8" if name == "rgb" else "float32") for name, shape in shapes.items()}
    spec = EnvSpec("toy:x", "", 10, 7, (-1.0,) * 7, (1.0,) * 7, entries, {})
    env = EnvConfig(observation=observation, image_size=image_size)
    return make_policy(env, NetworkConfig(**network), spec, head)


def count(tree) -> int:
    return sum(np.prod(leaf.shape, dtype=int) for leaf in jax.tree.leaves(tree))


def test_mlp_has_separate_orthogonal_trunks():
    network = build()
    params = network.init(jax.random.key(0))
    # two trunks of 42-256-256-256 and heads of 7 and 1, and the log std
    trunk = 42 * 256 + 256 + 2 * (256 * 256 + 256)
    assert count(params) == 2 * trunk + 256 * 7 + 7 + 256 + 1 + 7
    kernel = np.asarray(params["actor_1"]["kernel"])
    np.testing.assert_allclose(kernel.T @ kernel, 2 * np.eye(256), atol=1e-4)  # scale sqrt(2)
    head = np.asarray(params["actor_out"]["kernel"])
    np.testing.assert_allclose(head.T @ head, 2e-4 * np.eye(7), atol=1e-7)  # 0.01 sqrt(2)
    np.testing.assert_array_equal(params["log_std"], np.full(7, -0.5))
    policy, value = network.apply(params, {"state": jnp.ones((3, 42))})
    assert policy.mean.shape == policy.log_std.shape == (3, 7) and value.shape == (3,)


def test_an_ee_student_sees_its_entry_alone():
    network = build("ee", hidden=(8,))
    params = network.init(jax.random.key(0))
    assert params["actor_0"]["kernel"].shape == (28, 8)
    entries = {"ee": jnp.ones((3, 28)), "state": jnp.ones((3, 42)), "proprio": jnp.ones((3, 25))}
    policy, value = network.apply(params, entries)
    others = network.apply(params, entries | {"state": jnp.zeros((3, 42))})
    np.testing.assert_array_equal(policy.mean, others[0].mean)
    moved = network.apply(params, entries | {"ee": jnp.zeros((3, 28))})
    assert not np.allclose(value, moved[1])


@pytest.mark.parametrize(("image_size", "flat"), [(256, 50_176), (128, 9_216)])
def test_nature_cnn_sizes(image_size, flat):
    # methods of RPD: 50,176 features at 256 px; ManiSkill's baseline flattens 9,216 at 128 px
    network = build("rgb", image_size)
    params = jax.eval_shape(network.init, jax.random.key(0))
    assert params["encoder"]["kernel"].shape == (flat, 256)
    assert params["actor_0"]["kernel"].shape == (256, 512)


def test_torch_like_initialisation():
    params = build("rgb", 64).init(jax.random.key(0))
    bound = 1 / np.sqrt(8 * 8 * 3)
    for leaf in (params["conv_0_kernel"], params["conv_0_bias"]):
        assert np.abs(leaf).max() <= bound
    # 6,144 uniform draws: the standard error of their std is 0.6 %
    kernel = np.asarray(params["conv_0_kernel"], np.float64)
    np.testing.assert_allclose(np.std(kernel), bound / np.sqrt(3), rtol=0.025)


MORE = [pytest.param(11, 3, 2, marks=pytest.mark.slow), pytest.param(8, 8, 4, marks=pytest.mark.slow)]


@pytest.mark.parametrize(("pixels", "size", "stride"), [(37, 8, 4), (12, 4, 2), (9, 3, 1), *MORE])
def test_convolution_by_matmul_is_the_convolution(pixels, size, stride):
    keys = jax.random.split(jax.random.key(0), 3)
    x = jax.random.normal(keys[0], (2, pixels, pixels, 3))
    kernel = jax.random.normal(keys[1], (size, size, 3, 5))
    native, by_matmul = (f(x, kernel, stride) for f in (convolve_natively, convolve_by_matmul))
    np.testing.assert_allclose(by_matmul, native, rtol=1e-4, atol=1e-4)
    cotangent = jax.random.normal(keys[2], native.shape)
    for argument in (0, 1):
        gradients = [
            jax.grad(lambda *a, f=f: jnp.sum(f(*a, stride) * cotangent), argument)(x, kernel)
            for f in (convolve_natively, convolve_by_matmul)
        ]
        np.testing.assert_allclose(gradients[1], gradients[0], rtol=1e-4, atol=1e-4)


def test_vision_student_uses_frames_and_proprioception():
    network = build("rgb+proprio", 64)
    params = network.init(jax.random.key(0))
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    proprio = rng.normal(size=(2, 25)).astype(np.float32)

    def value(frames, proprio):
        return np.asarray(network.apply(params, {"rgb": frames, "proprio": proprio})[1])

    base = value(frames, proprio)
    assert base.shape == (2,)
    assert not np.allclose(base, value(255 - frames, proprio))
    assert not np.allclose(base, value(frames, proprio + 1))


def test_a_token_student_sees_frames_with_the_same_trunk():
    network, gaussian = (build("rgb", 64, head, bins=5) for head in ("tokens", "gaussian"))
    params, others = (each.init(jax.random.key(0)) for each in (network, gaussian))
    assert set(others) - set(params) == {"log_std", "critic_0", "critic_out"}
    frames = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    tokens, value = network.apply(params, {"rgb": frames})
    assert tokens.logits.shape == (2, 7, 5) and value is None and network.tokens.bins == 5
    assert not np.allclose(tokens.logits[0], tokens.logits[1])


def test_the_student_does_not_see_more_than_it_should():
    network = build("rgb", 64)
    params = network.init(jax.random.key(0))
    observation = {"rgb": np.zeros((1, 64, 64, 3), np.uint8), "state": np.full((1, 42), np.nan, np.float32)}
    assert np.isfinite(network.apply(params, observation)[1]).all()


@pytest.mark.parametrize("observation", ["state", "rgb+proprio"])
def test_gradients_reach_every_parameter(observation):
    network = build(observation, 64, hidden=(16, 16))
    params = network.init(jax.random.key(0))
    rng = np.random.default_rng(0)
    inputs = {
        "state": rng.normal(size=(4, 42)).astype(np.float32),
        "proprio": rng.normal(size=(4, 25)).astype(np.float32),
        "rgb": rng.integers(0, 256, (4, 64, 64, 3), dtype=np.uint8),
    }

    def loss(params):
        policy, value = network.apply(params, inputs)
        return jnp.sum(policy.mean**2) + jnp.sum(policy.std) + jnp.sum(value**2)

    for path, gradient in jax.tree_util.tree_leaves_with_path(jax.grad(loss)(params)):
        assert np.abs(gradient).max() > 0, path


def test_a_policy_of_a_taken_or_unknown_name_is_refused():
    with pytest.raises(ConfigError, match="policy 'standard' is already registered"):
        register_policy("standard", lambda network, spec, keys, head: None)
    with pytest.raises(ConfigError, match=r"network.name='standart' is unknown: .*did you mean 'standard'"):
        build(name="standart")


def test_an_algorithm_of_a_taken_name_is_refused():
    with pytest.raises(ConfigError, match="algorithm 'ppo' is already registered"):
        register_algorithm("ppo", SFTConfig, SFT.of)
