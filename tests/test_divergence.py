"""What is not finite stays where it came from: a label, a member, never the population."""

import json
import logging

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_update import SPEC, data, make_config, run

import rpd_jax
from rpd_jax.guidance.labels import checked
from rpd_jax.report.results import read_results
from rpd_jax.training.population import Population
from rpd_jax.types import TeacherError, TeacherLabels, TeacherSpec

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("action", "std", "usable"),
    [(0.5, 1.0, True), (100.0, 1e-6, True), (NAN, 1.0, False), (-INF, 1.0, False), (1e30, 1.0, False)]
    + [(0.0, std, False) for std in (0.0, -1.0, NAN, INF, 1e-20, 1e30)],
)
def test_labels_that_no_loss_can_bear_are_not_valid(action, std, usable):
    labels = TeacherLabels(np.array([[0.1, 0.2], [0.3, action]]), np.ones(2, bool), np.array([[1.0, 1.0], [1.0, std]]))
    found = checked(labels)
    assert found.valid.tolist() == [True, usable]
    assert np.isfinite(found.action).all() and (found.std > 0).all()
    np.testing.assert_allclose(found.action[0], [0.1, 0.2])
    np.testing.assert_allclose(found.action[1], [0.3, action] if usable else [0.0, 0.0])


def test_what_is_not_valid_stays_so():
    found = checked(TeacherLabels(np.full((1, 2), NAN), np.zeros(1, bool), np.ones((1, 2))))
    assert not found.valid.any() and (found.action == 0).all()


def members_after(config, spoil):
    """(population, members before, members after one update, metrics); `spoil` changes rollout and labels."""
    population = Population(config, SPEC)
    rollout, labels = spoil(*jax.tree.map(np.array, data(population)))
    members = population.init()
    before = jax.tree.map(np.array, members.params)
    after, metrics = population.update(members, rollout, labels if population.terms else None, 0.25)
    return population, before, after, metrics


def test_a_label_that_is_not_valid_may_be_nan():
    def spoil(rollout, labels):
        labels.action[~labels.valid] = NAN
        labels.std[~labels.valid] = 0.0
        return rollout, labels

    _, _, members, metrics = members_after(make_config(), spoil)
    _, clean, _ = run(make_config(), updates=1)
    assert not np.asarray(metrics["diverged"]).any()
    jax.tree.map(np.testing.assert_array_equal, members.params, clean.params)


@pytest.mark.parametrize("what", ["reward", "observation"])
def test_a_member_that_diverges_stays_as_it_was_and_the_others_do_not_notice(what):
    def spoil(rollout, labels):
        (rollout.reward if what == "reward" else rollout.observation["state"])[2, 1, 3] = NAN
        return rollout, labels

    config = make_config(variants=("ppo", "rpd-mse"), seeds=(0, 3))
    _, before, members, metrics = members_after(config, spoil)
    _, clean, _ = run(config, updates=1)
    assert np.asarray(metrics["diverged"]).tolist() == [0, 1, 0, 0]
    assert np.asarray(members.diverged).tolist() == [False, True, False, False]
    for leaf, old, other in zip(*map(jax.tree.leaves, (members.params, before, clean.params)), strict=True):
        np.testing.assert_array_equal(leaf[1], old[1])
        np.testing.assert_array_equal(np.delete(leaf, 1, 0), np.delete(other, 1, 0))


def test_a_step_too_large_is_undone_even_if_it_was_the_last():
    # one minibatch in one epoch: the loss before the only step is finite, what the step leaves behind is not
    config = make_config(variants=("ppo", "ppo:learning_rate=1e35:name=mad"), seeds=(0,), minibatches=1, epochs=1)
    _, before, members, metrics = members_after(config, lambda *given: given)
    assert np.asarray(metrics["diverged"]).tolist() == [0, 1]
    for leaf, old in zip(jax.tree.leaves(members.params), jax.tree.leaves(before), strict=True):
        np.testing.assert_array_equal(leaf[1], old[1])
    assert (members.params["actor_0"]["kernel"][0] != before["actor_0"]["kernel"][0]).any()


def test_a_diverged_member_learns_no_more():
    population, _, _ = run(make_config(variants=("ppo",), seeds=(0,)), updates=1)
    rollout, _ = data(population)
    members = population.init()
    members = members._replace(diverged=jnp.ones(1, bool))
    before = jax.tree.map(np.array, members.params)
    members, metrics = population.update(members, rollout, None, 0.0)
    jax.tree.map(np.testing.assert_array_equal, members.params, before)
    assert metrics["updates_applied"][0] == 0 and metrics["diverged"][0] == 1


def settings(tmp_path, *variants):
    config = rpd_jax.get_preset("debug")
    config.variants, config.seeds = variants, (0,)
    config.run.directory, config.run.tensorboard = str(tmp_path / "run"), False
    return config


def test_a_run_goes_on_without_its_diverged_members(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        result = rpd_jax.train(settings(tmp_path, "ppo", "ppo:learning_rate=1e35:name=mad"))
    assert result.diverged == {"mad/0": 1}
    assert "mad/0: diverged at iteration 1: " in caplog.text
    rows = [json.loads(line) for line in (result.directory / "metrics.jsonl").read_text().splitlines()]
    assert [row["update/diverged/mad/0"] for row in rows] == [1.0] * len(rows)
    assert [row["update/diverged/ppo/0"] for row in rows] == [0.0] * len(rows)
    notes = {row.variant: row.note for row in read_results(result.directory / "results.json").rows}
    assert notes == {"ppo": "", "mad": "diverged at iteration 1 (1 of 1 seeds)"}
    assert "diverged at iteration 1" in (result.directory / "table.md").read_text()
    again = settings(tmp_path, "ppo", "ppo:learning_rate=1e35:name=mad")
    again.algorithm.total_steps += 320
    assert rpd_jax.train(again, resume=True).diverged == {"mad/0": 1}


class Bad:
    """A teacher whose labels are wrong from the `first`-th call on."""

    spec = TeacherSpec("bad", ("state",), None)

    def __init__(self, first: int, value: float, rows: slice) -> None:
        self.calls, self.first, self.value, self.rows = 0, first, value, rows

    def label(self, observation, instruction, key):
        self.calls += 1
        action = np.zeros((len(observation["state"]), 7), np.float32)
        if self.calls >= self.first:
            action[self.rows] = self.value
        return TeacherLabels(action, np.ones(len(action), bool), np.ones_like(action))


@pytest.mark.parametrize("value", [NAN, INF, 1e30])
def test_single_bad_labels_are_left_out_and_counted(tmp_path, caplog, value):
    with caplog.at_level(logging.WARNING):
        result = rpd_jax.train(settings(tmp_path, "rpd-mse"), Bad(2, value, slice(0, 3)))
    assert result.diverged == {}
    assert "3 of 160 labels of iteration 2 cannot be used" in caplog.text
    assert [row["teacher/refused"] for row in result.history] == [0, 3, 6, 9]
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(result.params))


def test_a_teacher_without_one_good_label_ends_the_run_which_is_saved(tmp_path):
    with pytest.raises(TeacherError, match="none of the 160 labels of iteration 3 can be used") as caught:
        rpd_jax.train(settings(tmp_path, "rpd-mse"), Bad(3, NAN, slice(None)))
    assert "saved at iteration 3: resume=True goes on" in caught.value.__notes__[0]
