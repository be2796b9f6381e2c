"""What must hold on an accelerator: the same update as on the CPU, and training with physics on the device."""

import jax
import numpy as np
import pytest
from test_update import SPEC, data, make_config

from rpd_jax.training.population import Population

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def devices():
    if jax.default_backend() == "cpu":
        pytest.fail("jax sees no accelerator: the test was asked for with -m gpu")
    return jax.devices("cpu")[0], jax.devices()[0]


def test_an_update_is_the_same_as_on_the_cpu(devices):
    results = []
    with jax.default_matmul_precision("highest"):
        for device in devices:
            with jax.default_device(device):
                population = Population(make_config(seeds=(0,)), SPEC)
                rollout, labels = data(population)
                members, metrics = population.update(population.init(), rollout, labels, 0.25)
                results.append(jax.device_get((members.params, metrics)))
    (params, metrics), (other_params, other_metrics) = results
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4), params, other_params)
    for name, value in metrics.items():
        np.testing.assert_allclose(value, other_metrics[name], rtol=1e-2, atol=1e-3, err_msg=name)


def test_tabletop_trains_in_mjx_as_one_program(devices, tmp_path):
    import rpd_jax
    from teachers.settings import teacher_factory

    config = rpd_jax.get_preset("quickstart")
    config.variants, config.seeds = ("ppo", "rpd-mse"), (0,)
    config.env.physics = "mjx"
    config.algorithm.total_steps = 2 * 32 * 50
    config.eval.curve_episodes = config.eval.episodes = config.eval.num_envs = 8
    config.run.directory, config.run.tensorboard = str(tmp_path / "run"), False
    result = rpd_jax.train(config, teacher_factory(config.teacher))
    assert len(result.history) == 2
    for leaf in jax.tree.leaves(result.params):
        assert np.isfinite(leaf).all()
