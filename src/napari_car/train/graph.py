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
from napari_car.train.nodes import Graph

TOLD = "told"
"""Name of the convolution of what is told of the image; it is small and stays in float."""


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
