"""The tiny OpenVLA of the golden data, unpacked once for the tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

if TYPE_CHECKING:
    from teachers.openvla.server.policy import OpenVLAPolicy

pytest.importorskip("torch", reason="the OpenVLA teacher needs torch: pip install -r teachers/openvla/requirements.txt")
pytest.importorskip("transformers", reason="the OpenVLA teacher needs transformers")

PACKED = Path(__file__).resolve().parents[2] / "golden" / "openvla" / "golden.tar.xz"


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny products are slower with several threads, and tests run side by side."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def golden(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from parity.openvla import unpack

    place = tmp_path_factory.mktemp("openvla")
    unpack(PACKED, place)
    return place


@pytest.fixture(scope="session")
def checkpoint(golden: Path) -> Path:
    return golden / "tiny" / "checkpoint"


@pytest.fixture(scope="session")
def policy(checkpoint: Path) -> OpenVLAPolicy:
    from teachers.openvla.server.policy import OpenVLAPolicy

    return OpenVLAPolicy.load(checkpoint, dtype="f32", device="cpu", statistics_key="bridge_orig")


@pytest.fixture(scope="session")
def frames(golden: Path) -> np.ndarray:
    """[6, 256, 256, 3] uint8."""
    with np.load(golden / "tiny" / "inputs.npz") as arrays:
        return arrays["images"]
