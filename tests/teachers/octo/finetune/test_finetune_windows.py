"""Windows of tiny episodes, worked out by hand."""

import numpy as np
import pytest

from teachers.octo.finetune.windows import actions, completed, draw_goals, history


def test_history_before_the_first_frame_is_clamped_and_masked():
    frames, real = history(np.array([0, 1, 5]), window=3)
    np.testing.assert_array_equal(frames, [[0, 0, 0], [0, 0, 1], [3, 4, 5]])
    np.testing.assert_array_equal(real, [[False, False, True], [False, True, True], [True, True, True]])


def test_actions_stop_at_the_last_one():
    # window 2 at t=3 of 5 actions (0..4): frame 2 -> actions 2, 3, 4, 5; frame 3 -> 3, 4, 5, 6; 5 and 6 become 4
    found = actions(np.array([3]), np.array([5]), window=2, horizon=4)
    np.testing.assert_array_equal(found, [[[2, 3, 4, 4], [3, 4, 4, 4]]])


def test_actions_of_a_padded_frame_stay_in_the_episode():
    # frame -1 -> actions -1, 0; frame 0 -> 0, 1
    np.testing.assert_array_equal(actions(np.array([0]), np.array([2]), 2, 2), [[[0, 0], [0, 1]]])


def test_actions_from_the_goal_on_are_completed():
    # window 2 at t=3: actions 2, 3, 4, 5 and 3, 4, 5, 6; the goal is frame 4, so actions 4, 5, ... are past it
    found = completed(np.array([3]), np.array([4]), window=2, horizon=4, official=False)
    np.testing.assert_array_equal(found, [[[False, False, True, True], [False, True, True, True]]])


def test_the_official_mask_is_two_actions_late():
    # t-(W+1)+w+h: 0, 1, 2, 3 and 1, 2, 3, 4, compared with goal 2
    found = completed(np.array([3]), np.array([2]), window=2, horizon=4)
    np.testing.assert_array_equal(found, [[[False, False, True, True], [False, True, True, True]]])


def test_goals_are_uniform_over_the_frames_that_follow():
    count = 40_000
    t, length = np.full(count, 2), np.full(count, 5)
    goals = draw_goals(np.random.default_rng(0), t, length, np.ones(count, bool), "image_conditioned")
    assert goals.is_image.all()
    share = np.bincount(goals.frame, minlength=7) / count
    # frames 2, 3, 4 and 5; the standard error of a share of 1/4 is 0.0022
    np.testing.assert_allclose(share, [0, 0, 0.25, 0.25, 0.25, 0.25, 0], atol=0.01)


def test_instructions_put_the_goal_at_the_end():
    t, length = np.zeros(3, int), np.array([4, 5, 6])
    goals = draw_goals(np.random.default_rng(0), t, length, np.array([True, True, False]), "language_conditioned")
    assert not goals.is_image.any()
    np.testing.assert_array_equal(goals.frame, length)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_multimodal_keeps_images_as_often_as_asked(share):
    count = 20_000
    t, length = np.zeros(count, int), np.full(count, 9)
    goals = draw_goals(np.random.default_rng(1), t, length, np.ones(count, bool), "multimodal", share)
    assert goals.is_image.mean() == pytest.approx(share, abs=0.015)  # 4 standard errors: 0.013


def test_without_an_instruction_the_image_stays():
    t, length = np.zeros(50, int), np.full(50, 9)
    goals = draw_goals(np.random.default_rng(1), t, length, np.zeros(50, bool), "multimodal", 0.5)
    assert goals.is_image.all()
