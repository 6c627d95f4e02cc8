"""An ONNX graph, node by node: what all that writes or rewrites graphs is made with."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

OPSET = 13
"""The lowest that has per-channel quantization; onnxruntime 1.7 and later read it."""


class Graph:
    """An ONNX graph that grows by one node a call; every method returns the name of its output.

    Parameters
    ----------
    prefix
        Of the names of nodes and constants that are not given.
    """

    def __init__(self, prefix: str = "") -> None:
        self.prefix = prefix
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[TensorProto] = []

    def node(self, operator: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        """Append a node."""
        output = output or f"{self.prefix}{operator}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [output], name=output, **attributes))
        return output

    def constant(self, values: Any, dtype: Any = np.float32) -> str:
        """Append a constant."""
        name = f"{self.prefix}constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(values, dtype), name))
        return name

    def conv(self, x: str, weight: Tensor, bias: Tensor, stride: int = 1, output: str | None = None) -> str:
        """Convolution with "same" padding for odd kernels and none for even ones."""
        side = weight.shape[-1]
        pads = [side // 2 if side % 2 else 0] * 4
        return self.node(
            "Conv", x, self.constant(weight.numpy()), self.constant(bias.numpy()), output=output,
            kernel_shape=[side, side], pads=pads, strides=[stride, stride],
        )  # fmt: skip

    def reshape(self, x: str, *sizes: int, output: str | None = None) -> str:
        """Another shape of the same order; 0 keeps the size of that axis, -1 is what remains."""
        return self.node("Reshape", x, self.constant(sizes, np.int64), output=output)

    def channels_first(self, x: str, output: str | None = None) -> str:
        """(1, H, W, C) as (1, C, H, W); onnxruntime undoes it before 8-bit convolutions."""
        return self.node("Transpose", x, perm=[0, 3, 1, 2], output=output)

    def channels_last(self, x: str) -> str:
        """(1, C, H, W) as (1, H, W, C)."""
        return self.node("Transpose", x, perm=[0, 2, 3, 1])

    def slice(self, x: str, start: int, stop: int, axis: int, output: str | None = None) -> str:
        """``x`` from ``start`` to ``stop`` along ``axis``."""
        return self.node("Slice", x, *(self.constant([n], np.int64) for n in (start, stop, axis)), output=output)

    def unshuffle(self, x: str, side: int, channels: int = 3) -> str:
        """(1, H, W, C) as (1, side² C, H / side, W / side): the rows of a pixel block one after the other.

        Rows are cut out and joined: a Transpose of such short pieces takes onnxruntime two to four times as long.
        """
        width = side * channels
        rows = self.reshape(self.reshape(x, 0, 0, -1, width), -1, side, 0, width)
        blocks = self.node("Concat", *(self.slice(rows, i, i + 1, 1) for i in range(side)), axis=3)
        return self.channels_first(self.reshape(blocks, 1, -1, 0, side * width))

    def shuffle(self, x: str, side: int, channels: int = 3, output: str | None = None) -> str:
        """(1, h, w, at least side² C) as (1, side h, side w, C), the inverse of ``unshuffle``."""
        width = side * channels
        rows = [self.slice(x, i * width, (i + 1) * width, 3) for i in range(side)]
        blocks = self.node("Concat", *(self.reshape(row, -1, 1, 0, width) for row in rows), axis=1)
        return self.reshape(self.reshape(blocks, 1, -1, 0, width), 0, 0, -1, channels, output=output)

    def leaky(self, x: str, prelu: nn.PReLU, output: str) -> str:
        """PReLU with one slope for the layer is LeakyRelu, which runs in int8."""
        return self.node("LeakyRelu", x, output=output, alpha=float(prelu.weight.item()))

    def model(self, inputs: dict[str, list[Any]]) -> onnx.ModelProto:
        """The finished model; its output is the node named ``residual``."""
        infos = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in inputs.items()]
        output = helper.make_tensor_value_info("residual", TensorProto.FLOAT, [1, "height", "width", 3])
        graph = helper.make_graph(self.nodes, "napari-car", infos, [output], self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
        onnx.checker.check_model(model, full_check=True)
        return model

    def take_place(self, model: onnx.ModelProto) -> None:
        """Put what this graph has of a model's outputs in place of its graph; what nothing depends on is left out."""
        graph = model.graph
        nodes = _in_order(self.nodes, [output.name for output in graph.output])
        used = {name for node in nodes for name in node.input}
        constants = [constant for constant in (*graph.initializer, *self.constants) if constant.name in used]
        del graph.node[:], graph.initializer[:], graph.value_info[:]
        graph.node.extend(nodes)
        graph.initializer.extend(constants)
        onnx.checker.check_model(model, full_check=True)


def _in_order(nodes: Iterable[onnx.NodeProto], outputs: Iterable[str]) -> list[onnx.NodeProto]:
    """Those of the nodes that outputs depend on, each behind what it depends on."""
    makers = {name: node for node in nodes for name in node.output}
    done: dict[str, onnx.NodeProto] = {}

    def place(name: str) -> None:
        node = makers.get(name)
        if node is None or node.output[0] in done:
            return
        for source in node.input:
            place(source)
        done[node.output[0]] = node

    for name in outputs:
        place(name)
    return list(done.values())
