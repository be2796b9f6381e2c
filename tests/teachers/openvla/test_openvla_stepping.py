"""Decoding in fixed memory gives what decoding with growing keys and values gives."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

if TYPE_CHECKING:
    from teachers.openvla.server.decoding import Decoded
    from teachers.openvla.server.policy import OpenVLAPolicy
    from teachers.openvla.server.stepping import Stepping

SHORT, LONG = "push", "move the green cube next to the RED block and then open the drawer"


def run(
    policy: OpenVLAPolicy, frames: np.ndarray, instructions: list[str], stepping: Stepping | None, samples: int = 1
) -> Decoded:
    import torch

    from teachers.openvla.server.batching import uniform_numbers
    from teachers.openvla.server.decoding import decode

    with torch.inference_mode():
        images = policy._images(frames[: len(instructions)])
        ids = [policy.parts.prompter(each) for each in instructions]
        device = policy.parts.model.device
        uniform = uniform_numbers((len(ids), samples, 7), seed=1).to(device) if samples > 1 else None
        return decode(policy.parts.model, images, ids, policy.parts.tokens, 7, uniform=uniform, stepping=stepping)


def same(policy: OpenVLAPolicy, frames: np.ndarray, stepping: Stepping, tolerance: float = 1e-4) -> None:
    """Batches one after the other in the same memory: smaller, padded, sampled, and of another length."""
    import torch

    for instructions, samples in (
        ([SHORT] * 3, 1),
        ([SHORT], 1),  # other memory
        ([SHORT, LONG, SHORT], 1),  # padded
        ([LONG, SHORT], 1),
        ([LONG, SHORT], 3),  # six rows
        ([SHORT, LONG, SHORT], 4),  # twelve
        ([SHORT] * 3, 1),
    ):
        expected = run(policy, frames, instructions, None, samples)
        got = run(policy, frames, instructions, stepping, samples)
        assert torch.equal(got.tokens, expected.tokens)
        torch.testing.assert_close(got.action_logits, expected.action_logits, atol=tolerance, rtol=0)


def test_fixed_memory_gives_the_same(policy: OpenVLAPolicy, frames: np.ndarray) -> None:
    from teachers.openvla.server.stepping import Fixed

    same(policy, frames, Fixed(graph=False))


def test_memory_is_used_again(policy: OpenVLAPolicy, frames: np.ndarray) -> None:
    from teachers.openvla.server.stepping import Fixed

    stepping = Fixed(graph=False)

    def memory_of(instructions: list[str], samples: int = 1) -> tuple[tuple[int, int], int]:
        """(rows and tokens that there is room for, its identity)."""
        run(policy, frames, instructions, stepping, samples)
        size, memory = list(stepping._memories.items())[-1]
        return size, id(memory)

    eight, again, one = memory_of([SHORT] * 3), memory_of([SHORT] * 2), memory_of([SHORT])
    assert eight == again and eight[0][0] == 8 and one[0] == (1, eight[0][1])
    assert memory_of([SHORT] * 3, samples=4)[0][0] == 32
    assert memory_of([SHORT] * 4) == eight  # kept
    assert memory_of([SHORT] * 3, samples=11)[0][0] == 64  # and what would be too much beside it goes, the oldest first
    assert [rows for rows, _ in stepping._memories] == [8, 64]


def test_results_do_not_depend_on_earlier_batches(policy: OpenVLAPolicy, frames: np.ndarray) -> None:
    import torch

    from teachers.openvla.server.stepping import Fixed

    used = Fixed(graph=False)
    run(policy, frames, [LONG] * 4, used)
    for a, b in zip(*(run(policy, frames, [SHORT] * 2, each) for each in (used, Fixed(graph=False))), strict=True):
        assert torch.equal(a, b)


def test_without_a_gpu_there_is_no_graph(
    policy: OpenVLAPolicy, frames: np.ndarray, caplog: pytest.LogCaptureFixture
) -> None:
    from teachers.openvla.server.policy import OpenVLAPolicy
    from teachers.openvla.server.stepping import Fixed, Growing

    assert isinstance(policy._stepping, Growing)
    with pytest.raises(ValueError, match="graphs=True: CUDA graphs need a model on a GPU"):
        OpenVLAPolicy(policy.parts, graphs=True)
    same(policy, frames, Fixed(graph=True))  # it says so, and goes on
    assert caplog.text.count("decoding goes on without a CUDA graph") == 1


@pytest.mark.gpu
def test_graphs_give_the_same(checkpoint, frames: np.ndarray, caplog: pytest.LogCaptureFixture) -> None:
    from teachers.openvla.server.policy import OpenVLAPolicy

    policy = OpenVLAPolicy.load(checkpoint, dtype="f32", device="cuda", statistics_key="bridge_orig")
    same(policy, frames, policy._stepping, tolerance=1e-3)
    assert "without a CUDA graph" not in caplog.text
    assert policy._stepping.has_graphs
