"""Networks as ONNX graphs, with the rewrites that make them fast and leave their results equal.

Every graph maps ``image`` (1, H, W, 3) in [0, 1], and ``condition`` (1, 3) where the network is told one, to
``residual`` (1, H, W, 3), in full scale: what to add to the image. Colours come last, as they do in a picture and as
8-bit convolutions like them. What a module of the network gives is named after it, as "stages.0.1.relu", where the
graph computes just that.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, cast

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from napari_car.train.networks import ARCNN, MCU, Block, CarNet, residual_scale

OPSET = 13
"""The lowest that has per-channel quantization; onnxruntime 1.7 and later read it."""

TOLD = "told"
"""Name of the convolution of what is told of the image; it is small and stays in float."""


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


def to_onnx(network: nn.Module, condition: NDArray[np.float32]) -> onnx.ModelProto:
    """The graph of a trained network.

    Parameters
    ----------
    network
        One of ``networks.ARCHITECTURES``, in float32 on the CPU.
    condition
        Shape (3,): what the picture's coding is for weights of one quality; their residual scale is folded in.
    """
    image: dict[str, list[Any]] = {"image": [1, "height", "width", 3]}
    with torch.no_grad():
        scale = residual_scale(torch.from_numpy(condition)[None]).item()
        graph = Graph()
        if isinstance(network, CarNet):
            _carnet(graph, network)
            return graph.model(image | {"condition": [1, 3]})
        layers = cast(nn.Sequential, network.layers)
        (_arcnn if isinstance(network, ARCNN) else _fast_arcnn)(graph, layers, scale)
        return graph.model(image)


def _arcnn(graph: Graph, layers: nn.Sequential, scale: float) -> None:
    *convolutions, last = (layer for layer in layers if isinstance(layer, nn.Conv2d))
    x = graph.channels_first("image")
    for i, (convolution, slope) in enumerate(zip(convolutions, _slopes(layers), strict=True)):
        x = graph.conv(x, convolution.weight, _bias(convolution), output=f"layers.{2 * i}")
        x = graph.leaky(x, slope, output=f"layers.{2 * i + 1}")
    graph.slice(_last(graph, x, last.weight * scale, _bias(last) * scale), 0, 3, 3, output="residual")


def _fast_arcnn(graph: Graph, layers: nn.Sequential, scale: float) -> None:
    convolutions = [layer for layer in layers if isinstance(layer, nn.Conv2d)]
    weights = [polyphase(convolutions[0].weight), *(convolution.weight for convolution in convolutions[1:])]
    x = graph.unshuffle("image", 2)
    for i, (convolution, weight, slope) in enumerate(zip(convolutions, weights, _slopes(layers), strict=True)):
        x = graph.conv(x, weight, _bias(convolution), output=f"layers.{2 * i}")
        x = graph.leaky(x, slope, output=f"layers.{2 * i + 1}")
    last = cast(nn.ConvTranspose2d, layers[-1])
    x = _last(graph, x, polyphase_transposed(last.weight) * scale, _bias(last).repeat(4) * scale)
    graph.shuffle(x, 2, output="residual")


def _last(graph: Graph, x: str, weight: Tensor, bias: Tensor, output: str | None = None) -> str:
    """The last convolution, channels last; it makes at least 16 of them, since fewer take onnxruntime's slow way."""
    more = max(0, 16 - len(weight))
    weight, bias = (nn.functional.pad(values, [0] * (2 * values.dim() - 1) + [more]) for values in (weight, bias))
    return graph.channels_last(graph.conv(x, weight, bias, output=output))


def _slopes(layers: nn.Sequential) -> list[nn.PReLU]:
    """The rectifiers of a network, in order."""
    return [layer for layer in layers if isinstance(layer, nn.PReLU)]


def _bias(layer: nn.Conv2d | nn.ConvTranspose2d) -> Tensor:
    """The bias of a layer that has one."""
    assert layer.bias is not None
    return layer.bias


def _carnet(graph: Graph, network: CarNet) -> None:
    side = network.unshuffle
    image = graph.unshuffle("image", side)
    head = network.head
    weight = _colours_last(head.weight[:, : 3 * side**2], side, 1)
    seen = graph.conv(image, weight, torch.zeros(len(weight)), output="head.seen")
    x = graph.node("Add", seen, _told(graph, network), output="head")
    skips: list[str] = []
    for i, stage in enumerate(network.stages):
        if i > len(network.downs):
            nth = i - len(network.downs) - 1
            up = cast(nn.Conv2d, network.ups[nth])
            fine = up.out_channels // 4
            x = graph.conv(x, _colours_last(up.weight, 2), _colours_last(_bias(up), 2), output=f"ups.{nth}")
            x = graph.channels_first(graph.shuffle(graph.channels_last(x), 2, fine))
            x = graph.node("Add", x, skips.pop(), output=f"sums.{nth}")
        for j, block in enumerate(cast(Iterable[Block], stage)):
            name = f"stages.{i}.{j}"
            inner = graph.node("Relu", graph.conv(x, block.first.weight, _bias(block.first)), output=f"{name}.relu")
            residual = graph.conv(inner, block.second.weight, _bias(block.second), output=f"{name}.second")
            x = graph.node("Add", x, residual, output=name)
        if i < len(network.downs):
            skips.append(x)
            down = cast(nn.Conv2d, network.downs[i])
            x = graph.conv(x, down.weight, _bias(down), stride=2, output=f"downs.{i}")
    tail = network.tail
    x = _last(graph, x, _colours_last(tail.weight, side), _colours_last(_bias(tail), side), output="tail")
    graph.node("Mul", graph.shuffle(x, side), _residual_scale(graph), output="residual")


def _colours_last(values: Tensor, side: int, axis: int = 0) -> Tensor:
    """Weights of the channels of a pixel block, which PyTorch's pixel_shuffle orders by colour, ordered by place."""
    shape = values.shape
    blocks = values.reshape(*shape[:axis], -1, side**2, *shape[axis + 1 :])
    return blocks.transpose(axis, axis + 1).reshape(shape)


def _told(graph: Graph, network: CarNet) -> str:
    """What the head makes of condition and phase, as large as what it makes of the image.

    It has the period of the phase but for the outermost pixels, whose neighbours are missing. Three periods squared are
    computed and their rows and columns repeated, which is equal and costs next to nothing.
    """
    period = MCU // network.unshuffle
    side = 3 * period
    planes = graph.node("Expand", _condition_planes(graph), graph.constant([1, 3, side, side], np.int64))
    phase = graph.constant(network.phase_planes().repeat(1, 1, 3, 3).numpy())
    known = 3 * network.unshuffle**2
    weight, bias = network.head.weight[:, known:], _bias(network.head)
    told = graph.conv(graph.node("Concat", planes, phase, axis=1), weight, bias, output=TOLD)
    told = graph.channels_last(told)
    shape = graph.node("Div", graph.node("Shape", "image"), graph.constant(network.unshuffle, np.int64))
    middle = graph.constant(np.arange(period, 2 * period), np.int64)
    for axis in (2, 1):  # rows last: they are copied whole
        size = graph.node("Gather", shape, graph.constant(axis, np.int64))
        one = graph.constant(1, np.int64)
        inside = graph.node("Range", one, graph.node("Sub", size, one), one)
        repeated = graph.node("Gather", middle, graph.node("Mod", inside, graph.constant(period, np.int64)))
        ends = (graph.constant([n], np.int64) for n in (0, side - 1))
        index = graph.node("Concat", next(ends), repeated, next(ends), axis=0)
        told = graph.node("Gather", told, index, axis=axis)
    return graph.channels_first(told, output="head.told")


def _scales(graph: Graph, count: int) -> str:
    """The first ``count`` of the condition, within the range of IJG scales."""
    told = graph.slice("condition", 0, count, 1)
    return graph.node("Clip", told, graph.constant(1.0), graph.constant(5000.0))


def _condition_planes(graph: Graph) -> str:
    """``networks.condition_planes``, shape (1, 3, 1, 1)."""
    scales = graph.node("Div", graph.node("Log", _scales(graph, 2)), graph.constant(math.log(5000)))
    told = graph.node("Concat", scales, graph.slice("condition", 2, 3, 1), axis=1)
    return graph.node("Reshape", told, graph.constant([1, 3, 1, 1], np.int64))


def _residual_scale(graph: Graph) -> str:
    """``networks.residual_scale`` times ``networks.fade``, a scalar."""
    scales = _scales(graph, 1)
    power = graph.node("Pow", scales, graph.constant(0.375))
    scale = graph.node("Mul", power, graph.constant(0.0044))
    tenth = graph.node("Min", graph.node("Div", scales, graph.constant(10.0)), graph.constant(1.0))
    scale = graph.node("Mul", scale, graph.node("Pow", tenth, graph.constant(0.435)))
    return graph.reshape(scale)


def polyphase(weight: Tensor) -> Tensor:
    """A 9x9 stride-2 convolution (out, in, 9, 9) as the 5x5 one (out, 4 in, 5, 5) that follows SpaceToDepth(2).

    With k - 4 = 2 a + b, tap k of the stride-2 kernel is tap a + 2 of phase b.
    """
    out, channels = weight.shape[:2]
    result = weight.new_zeros(out, 2, 2, channels, 5, 5)
    taps = [(k, *divmod(k - 4, 2)) for k in range(9)]
    for ky, ay, by in taps:
        for kx, ax, bx in taps:
            result[:, by, bx, :, ay + 2, ax + 2] = weight[:, :, ky, kx]
    return result.view(out, 4 * channels, 5, 5)


def polyphase_transposed(weight: Tensor) -> Tensor:
    """A 9x9 stride-2 transposed convolution (in, out, 9, 9) as the 5x5 one (4 out, in, 5, 5) before DepthToSpace(2).

    Output 2 j + b takes input j + a with tap k = b + 4 - 2 a.
    """
    channels, out = weight.shape[:2]
    result = weight.new_zeros(2, 2, out, channels, 5, 5)
    taps = [(b + 4 - 2 * a, a, b) for b in (0, 1) for a in range(-2, 3) if b + 4 - 2 * a <= 8]
    for ky, ay, by in taps:
        for kx, ax, bx in taps:
            result[by, bx, :, :, ay + 2, ax + 2] = weight[:, :, ky, kx].T
    return result.view(4 * out, channels, 5, 5)


def halve_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """Store weights as float16 and cast them when the session starts; the arithmetic stays float32."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    kept, casts = [], []
    for constant in result.graph.initializer:
        values = numpy_helper.to_array(constant)
        if values.dtype == np.float32 and values.size > 64:
            kept.append(numpy_helper.from_array(values.astype(np.float16), constant.name + "_half"))
            casts.append(helper.make_node("Cast", [constant.name + "_half"], [constant.name], to=TensorProto.FLOAT))
        else:
            kept.append(constant)
    del result.graph.initializer[:]
    result.graph.initializer.extend(kept)
    nodes = [*casts, *result.graph.node]
    del result.graph.node[:]
    result.graph.node.extend(nodes)
    return result
