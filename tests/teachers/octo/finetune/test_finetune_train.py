"""Whole runs of a very small model: learning, resuming, and what is left in the directory."""

import dataclasses
import json
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from made_episodes import made_episode

from rpd_jax.config import ConfigError
from rpd_jax.runs.checkpoint import CheckpointError
from teachers.finetuning.run import Diverged
from teachers.octo.checkpoint import flatten
from teachers.octo.finetune.settings import AugmentSettings, DataSettings, FinetuneSettings, OptimizerSettings
from teachers.octo.finetune.step import Trainer
from teachers.octo.finetune.train import finetune
from teachers.octo.fresh import nano_config
from teachers.octo.model import load_octo
from teachers.octo.text import WordTokenizer
from teachers.serving import read_serving


def small_config() -> dict:
    """octo-nano with a single narrow layer, and a small head of Octo's own kind, whose loss draws random numbers."""
    config = nano_config(WordTokenizer.build([]), head="DiffusionActionHead")
    model = config["model"]
    model["token_embedding_size"] = 32
    model["transformer_kwargs"] |= {"num_layers": 1, "mlp_dim": 32, "num_attention_heads": 2}
    model["observation_tokenizers"]["primary"]["kwargs"]["encoder"]["kwargs"] = {
        "features": [32, 32, 32, 32],
        "num_features": 32,
    }
    model["heads"]["action"]["kwargs"] |= {"hidden_dim": 16, "diffusion_steps": 5, "num_blocks": 1}
    return config


def settings(**values) -> FinetuneSettings:
    made = FinetuneSettings(
        seed=1,
        steps=6,
        log_every=2,
        validate_every=3,
        save_every=0,
        tensorboard=False,
        optimizer=OptimizerSettings(warmup_steps=0, schedule="constant", learning_rate=1e-3),
        data=DataSettings(batch_size=4, window=2, validation_share=0.2, validation_batches=2),
    )
    return dataclasses.replace(made, **values)


EPISODES = [made_episode(n, 6, size=16) for n in range(1, 6)]
OTHER = [made_episode(n, 6, size=16, instruction="lift it") for n in range(1, 6)]


class StopAfter:
    """A callback that asks the run to stop, as a person would."""

    def __init__(self, step: int) -> None:
        self.step = step

    def __call__(self, snapshot) -> None:
        if snapshot.step == self.step:
            signal.raise_signal(signal.SIGTERM)


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    return finetune(small_config(), [EPISODES, OTHER], settings(), tmp_path_factory.mktemp("runs") / "straight")


def leaves(octo) -> dict:
    return {path: np.asarray(leaf) for path, leaf in flatten(octo.params).items()}


def test_what_a_run_leaves_loads_as_octo(straight):
    assert not straight.interrupted
    octo = load_octo(straight.directory)
    assert octo.step == 6 and octo.window == 2 and octo.config["window_size"] == 2
    for path, leaf in leaves(straight.octo).items():
        np.testing.assert_array_equal(leaves(octo)[path], leaf)
    assert octo.statistics["num_trajectories"] == 10
    observation = {"image_primary": np.zeros((1, 2, 16, 16, 3), np.uint8), "timestep_pad_mask": np.ones((1, 2), bool)}
    chunk = octo.sample_actions(observation, octo.create_task(["lift it"]), jax.random.key(0))
    assert chunk.shape == (1, 1, 4, 7)


def test_what_it_was_trained_on_is_written(straight):
    serving = read_serving(straight.directory)
    assert serving.steps == serving.planned > 0 and serving.cameras["image_primary"] == "rgb"
    found = serving.trained_on
    assert found["instructions"] == ["push the cube", "lift it"] and found["image_sizes"] == [16]
    assert found["environments"] == ["made:Up-v0"] and found["cameras"] == []


@pytest.mark.slow
def test_a_resumed_run_of_more_steps_says_that_its_schedule_is_another(tmp_path, caplog):
    """Half a cosine over 3 steps ends near 0; over 6 the fourth step has half of the peak."""
    cosine = OptimizerSettings(warmup_steps=0, learning_rate=1e-3)
    made = settings(steps=3, validate_every=0, optimizer=cosine)
    finetune(small_config(), [EPISODES], made, tmp_path / "run")
    finetune(small_config(), [EPISODES], made, tmp_path / "run", resume=True)
    assert "the schedule of the run to resume" not in caplog.text
    longer = dataclasses.replace(made, steps=6)
    finetune(small_config(), [EPISODES], longer, tmp_path / "run", resume=True)
    assert (
        "steps=6: the schedule of the run to resume was made for 3; the learning rate of the next step, 3"
        in caplog.text
    )
    assert "changes from 0 to 0.0005" in caplog.text
    assert "learning rate is 0 from that step on" not in caplog.text
    fixed = dataclasses.replace(made, optimizer=dataclasses.replace(cosine, decay_steps=2))
    finetune(small_config(), [EPISODES], fixed, tmp_path / "other", callbacks=[StopAfter(1)])
    assert "optimizer.decay_steps=2: the learning rate is 0 from that step on, and steps=3" in caplog.text


@pytest.mark.slow
def test_a_run_that_diverges_stops_and_keeps_its_checkpoint(tmp_path):
    """The second step begins with parameters of 1e15, and would be saved in place of the first."""
    wild = OptimizerSettings(warmup_steps=0, schedule="constant", learning_rate=1e15)
    made = settings(save_every=1, validate_every=0, log_every=100, optimizer=wild)
    with pytest.raises(
        Diverged, match=r"is (nan|inf) at step 2: training stopped, the checkpoint of step 1 in"
    ) as error:
        finetune(small_config(), [EPISODES], made, tmp_path / "run")
    assert "\n" not in str(error.value) and not (tmp_path / "run" / "6").exists()
    steps = [path.name for path in (tmp_path / "run" / "checkpoints").iterdir() if path.name.isdigit()]
    assert steps == ["1"]


def test_metrics_are_written(straight):
    rows = [json.loads(line) for line in (straight.directory / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [2, 3, 4, 6]
    assert ["validation/loss" in row for row in rows] == [False, True, False, True]
    parts = rows[1]["validation/image_conditioned"], rows[1]["validation/language_conditioned"]
    assert rows[1]["validation/loss"] == pytest.approx(np.mean(parts))
    assert all(row["train/learning_rate"] == pytest.approx(1e-3) for row in rows)
    assert len(straight.history) == 4


def test_resuming_is_exact(straight, tmp_path):
    """Six steps are three, a stop and three more, bit by bit."""
    first = finetune(small_config(), [EPISODES, OTHER], settings(), tmp_path / "run", callbacks=[StopAfter(3)])
    assert first.interrupted and first.octo.step == 3
    assert not (tmp_path / "run" / "3").exists()
    second = finetune(small_config(), [EPISODES, OTHER], settings(), tmp_path / "run", resume=True)
    assert not second.interrupted
    expected = leaves(straight.octo)
    for path, leaf in leaves(second.octo).items():
        np.testing.assert_array_equal(leaf, expected[path], err_msg=path)
    assert any(np.any(leaf != leaves(first.octo)[path]) for path, leaf in expected.items())
    names = [name for name in straight.history[-1] if not name.startswith("time")]
    assert [second.history[-1][name] for name in names] == [straight.history[-1][name] for name in names]


@pytest.mark.slow
def test_a_pretrained_model_goes_on(straight, tmp_path):
    """Another window and horizon, the head alone: the transformer stays, what does not fit starts anew."""
    octo = load_octo(straight.directory)
    data = dataclasses.replace(settings().data, window=1, horizon=2)
    made = settings(mode="head_only", steps=2, data=data)
    result = finetune(octo, [EPISODES], made, tmp_path / "run")
    before, after = leaves(octo), leaves(result.octo)
    assert list(after) == list(before)
    frozen = [path for path in before if not path.startswith("heads_action/")]
    assert frozen and all(np.array_equal(before[path], after[path]) for path in frozen)
    # In go 32 numbers of the time, 32 of the readout and the noisy chunk, 4 x 7 or now 2 x 7; out comes its noise.
    network = "heads_action/diffusion_model/reverse_network"
    first, last = f"{network}/Dense_0/kernel", f"{network}/Dense_1/kernel"
    new = [path for path in before if before[path].shape != after[path].shape]
    assert sorted(new) == [first, f"{network}/Dense_1/bias", last]
    assert (before[first].shape, after[first].shape) == ((92, 16), (78, 16))
    assert (before[last].shape, after[last].shape) == ((16, 28), (16, 14))
    kept = [path for path in before if path.startswith("heads_action/") and path not in new]
    for path in kept:  # taken, and moved by two steps of 1e-3
        np.testing.assert_allclose(after[path], before[path], atol=3e-3, err_msg=path)
        assert np.any(after[path] != before[path]), path
    again = load_octo(tmp_path / "run")
    assert again.window == 1 and again.head().action_horizon == 2


@pytest.mark.slow
def test_bfloat16_computes_and_leaves_float32(tmp_path):
    result = finetune(small_config(), [EPISODES], settings(steps=1, dtype="bfloat16"), tmp_path / "run")
    assert {leaf.dtype for leaf in leaves(result.octo).values()} == {np.dtype(np.float32)}
    assert np.isfinite(result.history[-1]["train/loss"])


def test_directories_are_not_overwritten_unasked(straight, tmp_path):
    arguments = (small_config(), [EPISODES], settings(), straight.directory)
    with pytest.raises(ConfigError, match="use resume=True, overwrite=True or another path"):
        finetune(*arguments)
    with pytest.raises(CheckpointError, match="demonstrations differ from those of the run to resume"):
        finetune(small_config(), [EPISODES, EPISODES], settings(), straight.directory, resume=True)
    with pytest.raises(ConfigError, match="seed=2 cannot work: the run to resume has 1"):
        finetune(small_config(), [EPISODES], settings(seed=2), straight.directory, resume=True)
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(ConfigError, match="will not be overwritten: it is not a run"):
        finetune(small_config(), [EPISODES], settings(), tmp_path, overwrite=True)


def test_data_that_does_not_fit_leaves_no_directory(tmp_path):
    data = dataclasses.replace(settings().data, window=11)
    with pytest.raises(ConfigError, match=r"data.window=11 cannot work: it must be at most the 10 frames"):
        finetune(small_config(), [EPISODES], settings(data=data), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_another_frozen_part_is_noticed(straight, tmp_path):
    octo = load_octo(straight.directory)
    made = settings(mode="head_only", steps=4)
    finetune(octo, [EPISODES], made, tmp_path / "run", callbacks=[StopAfter(1)])
    other = dataclasses.replace(octo, params=jax.tree.map(lambda x: x + 1, octo.params))
    with pytest.raises(CheckpointError, match="frozen parameters differ"):
        finetune(other, [EPISODES], made, tmp_path / "run", resume=True)


PARAMS = {"octo_transformer": {"kernel": jnp.ones((3,))}, "heads_action": {"kernel": jnp.full((3,), 2.0)}}


def quadratic(params, batch, key, train):
    """A stand-in: mean squared distance of the head's parameters from each example's numbers."""
    assert train is True or train is False
    error = params["heads_action"]["kernel"][None] * params["octo_transformer"]["kernel"][None] - batch["action"]
    return jnp.mean(jnp.square(error)), {}


def test_accumulation_averages_the_gradients_of_its_parts():
    batch = {"action": np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32)}
    states = []
    for parts in (1, 4):
        made = settings(accumulation=parts, augment=AugmentSettings(enabled=False))
        made.data.batch_size = 8
        made.optimizer = OptimizerSettings(warmup_steps=0, schedule="constant", learning_rate=0.1, clip=0.0)
        trainer = Trainer(quadratic, PARAMS, made)
        state, metrics = trainer.step(trainer.init(), batch | {"task": {}})
        states.append((trainer.params(state), metrics["grad_norm"]))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), *states)


def test_only_trainable_parameters_count_in_the_norms():
    """d/dk mean((k * t - 0)^2) over 3 numbers with k = 2, t = 1: 2 * 2 / 3 each, norm 4 / sqrt(3)."""
    made = settings(augment=AugmentSettings(enabled=False))
    trainer = Trainer(quadratic, PARAMS, made, frozen=("octo_transformer.*",))
    state, metrics = trainer.step(trainer.init(), {"action": np.zeros((4, 3), np.float32), "task": {}})
    assert metrics["grad_norm"] == pytest.approx(4 / np.sqrt(3))
    assert metrics["param_norm"] == pytest.approx(np.sqrt(12))
    np.testing.assert_array_equal(trainer.params(state)["octo_transformer"]["kernel"], 1.0)


def test_merging_takes_what_fits():
    from teachers.octo.finetune.adapt import merge_params

    pretrained = {"a": {"b": np.ones(2), "c": np.ones(3)}, "gone": np.ones(1)}
    fresh = {"a": {"b": np.zeros(2), "c": np.zeros(4)}, "new": np.zeros(1)}
    merged, names = merge_params(pretrained, fresh)
    assert names == ["a/c", "new"]
    np.testing.assert_array_equal(merged["a"]["b"], np.ones(2))
    np.testing.assert_array_equal(merged["a"]["c"], np.zeros(4))
    assert set(merged) == {"a", "new"}
