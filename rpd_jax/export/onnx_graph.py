"""A student's actor as an ONNX graph, written from its parameters; the layers are those of `policies/`.

Not called `onnx.py`, which would hide the package of that name from scripts started in this directory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import rpd_jax
from rpd_jax.config.env import is_frames
from rpd_jax.export.parameters import UNUSED, Scale, channels_first, scales
from rpd_jax.runs.checkpoint import to_paths
from rpd_jax.training.student import Student

OPSET = 17  # of 2022: it has all that a student needs, and runtimes of old installations read it
IR_VERSION = 8  # what came with it
STRIDES = (4, 2, 1)  # of NatureCNN's convolutions, see `policies.nature_cnn`
ACTION = "action"
_TYPES = {"float32": TensorProto.FLOAT, "uint8": TensorProto.UINT8}


def export_onnx(student: Student) -> onnx.ModelProto:
    """The student's `act` as a model that passes ONNX's checker.

    Inputs are the entries of its observation, [batch, ...], as the environment gives them; the output "action"
    [batch, A] is limited to the box.

    Raises:
      ValueError: the network has parameters that are not known here.
    """
    graph = _Graph(to_paths(student.member.params), scales(student.member.normalizer))
    if cameras := [entry for entry in student.observation if is_frames(entry)]:
        mean = graph.nature_cnn(cameras, "proprio" in student.observation)
    else:
        (name,) = student.observation
        mean = graph.mlp(graph.normalized(name), "Tanh")
    low, high = student.spec.action_low, student.spec.action_high
    if student.population.algorithm.head == "tokens":
        mean = graph.decoded(mean, student.config.network.bins, low, high)
    graph.box(mean, low, high)
    if graph.unread:
        raise ValueError(
            f"parameters {sorted(graph.unread)} have no place in the ONNX graph: only MLP and NatureCNN do"
        )
    inputs = [
        helper.make_tensor_value_info(name, _TYPES[array.dtype], ["batch", *array.shape])
        for name, array in student.observation.items()
    ]
    output = helper.make_tensor_value_info(ACTION, TensorProto.FLOAT, ["batch", student.spec.action_dim])
    made = helper.make_graph(graph.nodes, "student", inputs, [output], graph.constants)
    model = helper.make_model(
        made,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="rpd_jax",
        producer_version=rpd_jax.__version__,
    )
    onnx.checker.check_model(model, full_check=True)
    return model


class _Graph:
    """Nodes and constants in the order in which they are added; values are known by their names."""

    def __init__(self, params: Mapping[str, np.ndarray], scales: Mapping[str, Scale]) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.unread = {name for name in params if not name.startswith(UNUSED)}
        self._params, self._scales = params, scales

    def normalized(self, entry: str) -> str:
        """An entry (x - mean) / std, limited to +-clip; as it is where it is not normalised."""
        if entry not in self._scales:
            return entry
        scale = self._scales[entry]
        moved = self._add("Sub", entry, self._constant(f"{entry}_mean", [scale.mean]))
        scaled = self._add("Div", moved, self._constant(f"{entry}_std", [scale.std]))
        bounds = (self._constant(f"{entry}_clip_{i}", sign * scale.clip) for i, sign in enumerate((-1, 1)))
        return self._add("Clip", scaled, *bounds)

    def mlp(self, x: str, activation: str) -> str:
        """The actor's trunk and its output."""
        layer = 0
        while f"actor_{layer}/kernel" in self._params:
            x = self._add(activation, self._dense(x, f"actor_{layer}"))
            layer += 1
        return self._dense(x, "actor_out")

    def nature_cnn(self, cameras: Sequence[str], with_proprio: bool) -> str:
        """The mean of a student that sees frames uint8 [batch, H, W, C], of several cameras stacked by channel."""
        stacked = self._add("Concat", *cameras, axis=-1) if len(cameras) > 1 else cameras[0]
        x = self._add("Cast", stacked, to=TensorProto.FLOAT)
        x = self._add("Div", x, self._constant("white", 255.0))
        x = self._add("Transpose", x, perm=(0, 3, 1, 2))  # ONNX wants channels first
        for layer, stride in enumerate(STRIDES):
            kernel = self._param(f"conv_{layer}_kernel")  # [h, w, in, out]
            weights = self._constant(f"conv_{layer}_kernel", kernel.transpose(3, 2, 0, 1))
            bias = self._constant(f"conv_{layer}_bias", self._param(f"conv_{layer}_bias"))
            x = self._add("Relu", self._add("Conv", x, weights, bias, strides=(stride, stride)))
        x = self._add("Flatten", x, axis=1)
        flat = channels_first(self._param("encoder/kernel"), kernel.shape[-1])
        x = self._add("Relu", self._dense(x, "encoder", flat))
        if with_proprio:
            felt = self._add("Relu", self._dense(self.normalized("proprio"), "proprio"))
            x = self._add("Concat", x, felt, axis=1)
        return self.mlp(x, "Relu")

    def decoded(self, logits: str, bins: int, low: tuple[float, ...], high: tuple[float, ...]) -> str:
        """The actions of the most likely tokens, see `policies.tokens`, of logits [batch, A * bins]."""
        shape = numpy_helper.from_array(np.array([-1, len(low), bins], np.int64), "bins")
        self.constants.append(shape)
        token = self._add("ArgMax", self._add("Reshape", logits, "bins"), axis=2, keepdims=0)
        middle = self._add("Add", self._add("Cast", token, to=TensorProto.FLOAT), self._constant("half", 0.5))
        width = (np.asarray(high, np.float32) - np.asarray(low, np.float32))[None]
        along = self._add("Mul", middle, self._constant("range", width))
        share = self._add("Div", along, self._constant("number_of_bins", float(bins)))
        return self._add("Add", share, self._constant("lowest", [low]))

    def box(self, mean: str, low: tuple[float, ...], high: tuple[float, ...]) -> None:
        """Limits the mean to the box, whose sides may differ by dimension, and calls it `ACTION`."""
        above = self._add("Max", mean, self._constant("action_low", [low]))
        self._add("Min", above, self._constant("action_high", [high]), output=ACTION)

    def _dense(self, x: str, layer: str, kernel: np.ndarray | None = None) -> str:
        found = self._param(f"{layer}/kernel")
        weights = self._constant(f"{layer}_kernel", found if kernel is None else kernel)
        return self._add("Gemm", x, weights, self._constant(f"{layer}_bias", self._param(f"{layer}/bias")))

    def _param(self, name: str) -> np.ndarray:
        if name not in self._params:
            raise ValueError(f"parameter {name!r} is missing: only MLP and NatureCNN students can become ONNX")
        self.unread.discard(name)
        return self._params[name]

    def _constant(self, name: str, value: Any) -> str:
        self.constants.append(numpy_helper.from_array(np.array(value, np.float32, order="C"), name))
        return name

    def _add(self, operator: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        output = output or f"{operator.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [output], name=output, **attributes))
        return output
