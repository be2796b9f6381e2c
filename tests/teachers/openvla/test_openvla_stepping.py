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
        ([SHORT], 1),  # takes the first row
        ([SHORT, LONG, SHORT], 1),  # padded, and longer: other memory
        ([LONG, SHORT], 1),
        ([LONG, SHORT], 3),  # six rows
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

    stepping, seen = Fixed(graph=False), []
    for instructions in ([SHORT] * 3, [SHORT] * 2, [SHORT] * 3, [LONG] * 3, [LONG] * 4):
        run(policy, frames, instructions, stepping)
        seen.append(stepping._memory)
    assert seen[0] is seen[1] is seen[2] and len({id(each) for each in seen[2:]}) == 3


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
    assert "without a CUDA graph" not in caplog.text and policy._stepping._memory.graph is not None
