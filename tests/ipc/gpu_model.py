"""A model for the tests of slots on a GPU, whose driver is a stand-in; it numbers the GPUs its own way.

With --torch: on a GPU, with its driver.
"""

import argparse
import ctypes
import os
import signal
from pathlib import Path

import numpy as np
from host_driver import HostDriver

from rpd_jax.ipc import cuda
from rpd_jax.ipc.dlpack import Borrowed, ForeignArray
from rpd_jax.ipc.slot_server import serve_model


def on_host(array):
    """The host's memory behind an array that says it is on a GPU."""
    seen = Borrowed(array)
    nbytes = int(np.prod(seen.shape)) * np.dtype(seen.dtype).itemsize
    return np.frombuffer((ctypes.c_char * nbytes).from_address(seen.pointer), seen.dtype).reshape(seen.shape)


class GPUModel:
    def __init__(self, options):
        self.options = options

    def spec(self):
        return {
            "gpus": [cuda.gpu_uuid(0)],
            "inputs": {"x": {"shape": [None], "dtype": "float32"}},
            "outputs": {"y": {"shape": [2], "dtype": "float32"}, "where": {"shape": [2], "dtype": "int64"}},
        }

    def label(self, arrays, fields):
        if fields.get("fail"):
            try:
                self.options.once.touch(exist_ok=False)
            except FileExistsError:
                pass
            else:
                os.kill(os.getpid(), signal.SIGKILL)
        given = arrays["x"]
        device = given.__dlpack_device__()
        x = given if isinstance(given, np.ndarray) else on_host(given)
        y = np.stack([x.sum(-1), x[:, 0]], -1)
        if fields.get("on_gpu"):
            y = ForeignArray(y.ctypes.data, y.shape, "float32", device, owner=y)
        return {"y": y, "where": np.tile(np.array(device), (len(x), 1))}


class TorchModel(GPUModel):
    """With a GPU and its driver."""

    def label(self, arrays, fields):
        import torch

        x = torch.from_dlpack(arrays["x"])
        where = torch.tensor([[2 if x.is_cuda else 1, x.device.index or 0]]).expand(len(x), 2)
        y = torch.stack([x.sum(-1), x[:, 0]], -1)
        torch.cuda.synchronize()
        return {"y": y if fields.get("on_gpu") else y.cpu().numpy(), "where": where.numpy()}


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--once", type=Path, default=None)
    parser.add_argument("--failing", default="")
    parser.add_argument("--torch", action="store_true")
    options, _ = parser.parse_known_args()
    if not options.torch:
        driver = HostDriver(order=(2, 3), failing=options.failing)
        cuda.load_driver = lambda: driver
    serve_model(lambda: TorchModel(options) if options.torch else GPUModel(options))
