"""The PyTorch baseline learns from its labels and has the networks it says."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from benchmarks.torch_baseline import ImageAgent, Sizes, StateAgent, make_torch_update  # noqa: E402

SMALL = Sizes(batch=64, minibatch=16, minibatches=3, epochs=4)


def count(module: torch.nn.Module) -> int:
    return sum(parameters.numel() for parameters in module.parameters())


def test_networks_have_the_published_sizes() -> None:
    hidden = 256 * 257
    actor = 42 * 256 + 256 + 2 * hidden + 256 * 7 + 7
    critic = 42 * 256 + 256 + 2 * hidden + 256 + 1
    assert count(StateAgent(Sizes())) == actor + critic + 7
    # At the paper's 256 x 256 pixels 28 x 28 x 64 = 50,176 features are left; at 128 x 128, 12 x 12 x 64.
    encoder = ImageAgent(Sizes(pixels=128)).encoder
    assert count(encoder[1]) == 12 * 12 * 64 * 256 + 256


@pytest.mark.parametrize("kind", ["state", pytest.param("rgb36", marks=pytest.mark.slow)])
def test_updates_pull_the_student_to_the_labels(kind: str) -> None:
    update = make_torch_update(kind, SMALL, seed=1)
    losses = [update() for _ in range(6)]
    assert losses[-1].distillation < 0.5 * 0.25  # at first the mean action is about 0, the labels are 0.5


def test_the_same_seed_gives_the_same_update() -> None:
    assert make_torch_update(sizes=SMALL, seed=2)() == make_torch_update(sizes=SMALL, seed=2)()
    assert make_torch_update(sizes=SMALL, seed=2)() != make_torch_update(sizes=SMALL, seed=3)()


@pytest.mark.parametrize("kind", ["rgb", "depth64", ""])
def test_unknown_kinds_are_refused(kind: str) -> None:
    with pytest.raises(ValueError, match="is unknown"):
        make_torch_update(kind)
