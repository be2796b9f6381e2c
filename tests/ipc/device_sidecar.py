"""The torch side for the tests of `rpd_jax.ipc.device`."""

import torch

from rpd_jax.ipc.device import DeviceArrays
from rpd_jax.ipc.sidecar import serve


class Side:
    def attach(self, fields):
        self.arrays = DeviceArrays.attach(fields)
        self.tensors = {name: torch.from_dlpack(self.arrays.view(name)) for name, *_ in fields["table"]}
        again = {name: torch.from_dlpack(self.arrays.view(name)) for name in self.tensors}
        same = all(tensor.data_ptr() == again[name].data_ptr() for name, tensor in self.tensors.items())
        return {"same": same, "devices": [str(tensor.device) for tensor in self.tensors.values()]}

    def double(self, fields):
        self.tensors["y"].copy_(self.tensors["x"] * 2)
        self.tensors["flag"].copy_(self.tensors["x"][:, 0] > 2)
        self.tensors["count"].add_(1)
        self.arrays.synchronize()


if __name__ == "__main__":
    side = Side()
    serve({"attach": side.attach, "double": side.double})
