"""onnxruntime: inference of an ONNX model with all graph optimisations and a fixed batch size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from benchmarks.networks import (
    EPSILON,
    Array,
    BatchNorm,
    Conv,
    Dense,
    Encoder,
    Flatten,
    GlobalAverage,
    Layer,
    MaxPool,
    Offset,
    Recurrent,
    ReLU,
    Residual,
)
from benchmarks.tasks import Task, batches

VERSION = f"onnxruntime {onnxruntime.__version__}"
OPSET = 17


class Graph:
    """An ONNX graph that grows layer by layer."""

    def __init__(self, parameters: Mapping[str, Array]) -> None:
        self.nodes: list[Any] = []
        self.constants: dict[str, np.ndarray] = dict(parameters)

    def node(self, operator: str, *operands: str, **attributes: Any) -> str:
        """One node; returns the name of its result."""
        name = f"{operator.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(operands), [name], **attributes))
        return name

    def integers(self, *values: int) -> str:
        """A constant vector."""
        name = f"integers{len(self.constants)}"
        self.constants[name] = np.array(values, np.int64)
        return name

    def matrix(self, name: str, x: str) -> str:
        """x · Wᵀ + b for a linear map of the last axis."""
        weight, bias = (f"{name}_weight", f"{name}_bias") if name.endswith("in_proj") else (
            f"{name}.weight", f"{name}.bias",
        )  # fmt: skip
        self.constants[f"{weight}.T"] = np.ascontiguousarray(self.constants.pop(weight).T)
        return self.node("Add", self.node("MatMul", x, f"{weight}.T"), bias)

    def normalised(self, name: str, x: str) -> str:
        return self.node("LayerNormalization", x, f"{name}.weight", f"{name}.bias", epsilon=EPSILON)

    def encoder(self, layer: Encoder, own: str, x: str) -> str:
        """A transformer's encoder layer, norm first; the optimiser fuses what it knows."""
        together = self.matrix(own + "self_attn.in_proj", self.normalised(own + "norm1", x))
        size = layer.features // layer.heads
        split = self.integers(0, 0, 3, layer.heads, size)
        parts = self.node("Transpose", self.node("Reshape", together, split), perm=[2, 0, 3, 1, 4])
        q, k, v = (self.node("Gather", parts, self.scalar(p), axis=0) for p in range(3))
        scores = self.node("MatMul", q, self.node("Transpose", k, perm=[0, 1, 3, 2]))
        self.constants["scale"] = np.array(size**-0.5, np.float32)
        weights = self.node("Softmax", self.node("Mul", scores, "scale"), axis=-1)
        mixed = self.node("Transpose", self.node("MatMul", weights, v), perm=[0, 2, 1, 3])
        mixed = self.node("Reshape", mixed, self.integers(0, 0, layer.features))
        x = self.node("Add", x, self.matrix(own + "self_attn.out_proj", mixed))
        hidden = self.matrix(own + "linear1", self.normalised(own + "norm2", x))
        self.constants |= {"half": np.array(0.5, np.float32), "one": np.array(1, np.float32)}
        self.constants["root"] = np.array(2**0.5, np.float32)
        error = self.node("Add", self.node("Erf", self.node("Div", hidden, "root")), "one")
        active = self.node("Mul", self.node("Mul", hidden, error), "half")
        return self.node("Add", x, self.matrix(own + "linear2", active))

    def states(self, layer: Recurrent, own: str, x: str) -> str:
        """The states of an LSTM at all steps; ONNX orders its gates i, o, f, c, and time comes first."""

        def gates(name: str) -> Array:
            i, f, g, o = np.split(self.constants.pop(own + name), 4)
            return np.concatenate((i, o, f, g))[None]

        both = np.concatenate((gates("bias_ih_l0"), gates("bias_hh_l0")), 1)
        self.constants |= {own + "W": gates("weight_ih_l0"), own + "R": gates("weight_hh_l0"), own + "B": both}
        operands = (self.node("Transpose", x, perm=[1, 0, 2]), own + "W", own + "R", own + "B")
        found = self.node("LSTM", *operands, hidden_size=layer.hidden)
        return self.node("Transpose", self.node("Squeeze", found, self.integers(1)), perm=[1, 0, 2])

    def scalar(self, value: int) -> str:
        """A constant number."""
        name = f"scalar{len(self.constants)}"
        self.constants[name] = np.array(value, np.int64)
        return name

    def run(self, layers: tuple[Layer, ...], path: str, x: str) -> str:
        """The layers applied to the value x."""
        for layer in layers:
            own = f"{path}{layer.name}."
            match layer:
                case Dense():
                    x = self.node("Gemm", x, own + "weight", own + "bias", transB=1)
                case Conv():
                    operands = (x, own + "weight", *([own + "bias"] if layer.bias else []))
                    x = self.node("Conv", *operands, strides=[layer.stride] * 2, pads=[layer.padding] * 4)
                case BatchNorm():
                    names = ("weight", "bias", "running_mean", "running_var")
                    x = self.node("BatchNormalization", x, *(own + n for n in names), epsilon=EPSILON)
                case Offset():
                    x = self.node("Add", x, own + "bias")
                case Residual():
                    y = self.run(layer.body, own, x)
                    if layer.stride > 1:
                        limits = self.integers(0, 0), self.integers(1 << 30, 1 << 30), self.integers(2, 3)
                        x = self.node("Slice", x, *limits, self.integers(layer.stride, layer.stride))
                    if layer.channels > layer.inputs:
                        x = self.node("Pad", x, self.integers(0, 0, 0, 0, 0, layer.channels - layer.inputs, 0, 0))
                    x = self.node("Relu", self.node("Add", y, x))
                case Encoder():
                    x = self.encoder(layer, own, x)
                case Recurrent():
                    x = self.states(layer, own, x)
                case MaxPool():
                    x = self.node("MaxPool", x, kernel_shape=[layer.size] * 2, strides=[layer.size] * 2)
                case ReLU():
                    x = self.node("Relu", x)
                case Flatten():
                    x = self.node("Flatten", x)
                case GlobalAverage():
                    x = self.node("Flatten", self.node("GlobalAveragePool", x))
        return x


def model(task: Task, parameters: Mapping[str, Array]) -> Any:
    """The ONNX model of a task, with its parameters inside."""
    graph = Graph(parameters)
    shape = [task.batch, *task.network.image]
    result = graph.run(task.network.layers, "", "images")
    inputs = [helper.make_tensor_value_info("images", TensorProto.FLOAT, shape)]
    outputs = [helper.make_tensor_value_info(result, TensorProto.FLOAT, None)]
    constants = [numpy_helper.from_array(v, n) for n, v in graph.constants.items()]
    whole = helper.make_graph(graph.nodes, task.name, inputs, outputs, constants)
    return helper.make_model(whole, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)


class Contender:
    """A session whose inputs and outputs are bound to memory, which spares each call the lookup and the allocation."""

    modes = ("infer",)

    def __init__(self, task: Task, parameters: Mapping[str, Array], threads: int) -> None:
        self.model = onnx.shape_inference.infer_shapes(model(task, parameters))
        onnx.checker.check_model(self.model)
        self.options = onnxruntime.SessionOptions()
        self.options.intra_op_num_threads, self.options.inter_op_num_threads = threads, 1
        self.options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        self.options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        self.options.log_severity_level = 3
        self.images = [x for x, _ in batches(task)]
        self.session: Any = None

    def prepare(self, mode: str) -> None:
        if self.session is not None:
            return
        serialised = self.model.SerializeToString()
        self.session = onnxruntime.InferenceSession(serialised, self.options, providers=["CPUExecutionProvider"])
        (output,) = self.session.get_outputs()
        self.result = onnxruntime.OrtValue.ortvalue_from_numpy(np.empty(output.shape, np.float32))
        self.bindings = [self.session.io_binding() for _ in self.images]
        for binding, x in zip(self.bindings, self.images, strict=True):
            binding.bind_ortvalue_input("images", onnxruntime.OrtValue.ortvalue_from_numpy(x))
            binding.bind_ortvalue_output(output.name, self.result)

    def train(self, k: int) -> Any:
        raise NotImplementedError("onnxruntime is here for inference only")

    def infer(self, k: int) -> Any:
        self.session.run_with_iobinding(self.bindings[k])
        return self.result

    def logits(self, k: int) -> Array:
        return self.infer(k).numpy().copy()

    def parameters(self) -> dict[str, Array]:
        return {}


def warm_up() -> None:
    """Nothing is loaded late."""
