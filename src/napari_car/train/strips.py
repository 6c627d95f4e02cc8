"""Quantized graphs that take a picture strip by strip, from top to bottom, and compute no row twice.

A tile reads a halo that is thrown away; on large pictures that is a tenth to a half of all work. Here each convolution
keeps the rows that the next strip needs of what it has seen (a line buffer), and where two branches meet, the one that
is ahead waits. Such a graph maps

    image (1, h, W, 3), condition, state (n,), is_last (1,)  to  residual (1, h', W, 3), step, zero, next_state (n',)

An empty state begins a picture. The residual lags behind the image by ``lead`` rows, which come with the last strip.
Rows above the first and below the last are zero to each convolution, as they are to that of a whole picture: results
are the same to the bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from napari_car.tiling import BLOCK, round_up
from napari_car.train.nodes import Graph

END = 2**31
"""Beyond any row, for slices."""

HEIGHT = 64
"""Of a picture by which the scales of values are found, px."""


def in_strips(model: onnx.ModelProto, align: int) -> tuple[onnx.ModelProto, dict[str, int]]:
    """The graph that takes strips, and what its card has to tell of it.

    Parameters
    ----------
    model
        Of ``quantization.quantize``.
    align
        Grid of the network, px: heights and widths are multiples of it.

    Returns
    -------
    model, facts
        ``lead``, how many rows the residual lags behind, whole blocks on the grid, and ``state_per_px``, bytes that are
        kept for each pixel across.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph, lead = _Strips(result, align), 0
    for node in result.graph.node:
        is_of_image = node.input[0] in graph.late
        if node.op_type == "Conv" and is_of_image:
            graph.convolve(node)
        elif node.op_type == "Add" and is_of_image:
            graph.add(node)
        elif node.output[0] == "residual":
            lead = graph.finish(node)
        else:
            graph.keep(node)
    graph.mark_ends()
    graph.finish_model(result)
    return result, {"lead": lead, "state_per_px": -(-sum(length for length, _ in graph.states) // align)}


class _Strips(Graph):
    """The graph as it grows; values are named as in the graph for tiles, and what is added ``strips.``."""

    def __init__(self, model: onnx.ModelProto, align: int) -> None:
        super().__init__("strips.")
        self.align = align
        self.sizes = _sizes(model)
        self.makers = {node.output[0]: node for node in model.graph.node}
        self.known = {constant.name: numpy_helper.to_array(constant) for constant in model.graph.initializer}
        self.late = {"image": 0}
        """How many rows of the image a value lags behind, px."""
        self.ranks: dict[str, int] = {}
        """Channels of values whose shape the graph computes."""
        self.states: list[tuple[int, str]] = []  # bytes for each step of the grid across, and the next one's name
        self.seen: dict[str, tuple[str, int]] = {}
        """What a convolution takes in all, for the value it takes, and the rows of zeros at either end."""
        self._made: dict[Hashable, str] = {}
        self.width = self.node("Div", self.node("Gather", self.node("Shape", "image"), self.ints(2)), self.ints(align))
        is_empty = self.node("Equal", self.node("Shape", "state"), self.ints(0))
        self.is_first = self.node("Cast", is_empty, to=TensorProto.INT64)

    def ints(self, *values: int) -> str:
        """A constant vector."""
        return self._once(("ints", values), lambda: self.constant(values, np.int64))

    def keep(self, node: onnx.NodeProto) -> None:
        """A node as it is; what it gives lags as what it takes."""
        self.nodes.append(node)
        if lags := [self.late[name] for name in node.input if name in self.late]:
            self.late[node.output[0]] = max(lags)

    def convolve(self, node: onnx.NodeProto) -> None:
        """A convolution of the strip and the rows before it that it needs as well."""
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        side, stride = attributes["kernel_shape"][0], attributes["strides"][0]
        if side == 1:
            self.keep(node)
            return
        (bytes_, *levels), (scale, channels) = self.makers[node.input[0]].input, self._scale(node)
        late, pad = self.late[node.input[0]], side // 2 if side % 2 else 0
        self.late[node.output[0]] = round_up(late, scale * stride) + pad * scale
        rows = 2 * pad if pad else (round_up(late, scale * stride) - late) // scale
        ends = [self._zeros(levels, flag, pad, scale, channels) for flag in (self.is_first, "is_last")] if pad else []
        pieces = [*ends[:1], self.channels_last(bytes_), *ends[1:]]
        taken = self._joined(pieces, rows, scale, channels) if rows else pieces[0]
        self.seen[bytes_] = taken, pad
        wide = self.node("DequantizeLinear", self.channels_first(taken), *levels)
        pads = [0, attributes["pads"][1], 0, attributes["pads"][3]]
        self.node("Conv", wide, *node.input[1:], output=node.output[0], **attributes | {"pads": pads})

    def add(self, node: onnx.NodeProto) -> None:
        """A sum, for which the branch that is ahead waits."""
        most = max(self.late[name] for name in node.input)
        inputs, (scale, channels) = list(node.input), self._scale(node)
        for i, name in enumerate(inputs):
            bytes_, *levels = self.makers[name].input
            ahead = (most - self.late[name]) // scale
            if not ahead:
                continue
            taken, pad = self.seen.get(bytes_, ("", 0))
            if ahead == 2 * pad:  # a block adds what its first convolution took, which is there
                start, stop = self._times(self.is_first, pad), self._times("is_last", pad)
                rows = self.node("Slice", taken, start, self.node("Sub", stop, self.ints(ahead)), self.ints(1))
            else:
                rows = self._delayed(self.channels_last(bytes_), ahead, scale, channels, levels)
            inputs[i] = self.node("DequantizeLinear", self.channels_first(rows), *levels)
        self.node("Add", *inputs, output=node.output[0])
        self.late[node.output[0]] = most

    def finish(self, node: onnx.NodeProto) -> int:
        """The residual, which lags behind by whole blocks."""
        late = self.late[node.input[0]]
        lead = round_up(late, math.lcm(self.align, BLOCK))
        levels = self.makers["zero"].input[0]
        if lead > late:
            node.input[0] = self._delayed(node.input[0], lead - late, 1, 3, ["", levels])
        self.nodes.append(node)
        return lead

    def mark_ends(self) -> None:
        """Let the rows of what is told of the picture know the first and the last of it: see ``graph._told``."""
        by_output = {name: node for node in self.nodes for name in node.output}
        for gather in self.nodes:
            axes = [a.i for a in gather.attribute if a.name == "axis"]
            if gather.op_type != "Gather" or axes != [1]:
                continue
            # Of the first row, of those inside, which a Gather picks by the Mod of a Range, and of the last.
            index = by_output[gather.input[1]]
            inside = by_output[by_output[by_output[index.input[1]].input[1]].input[0]]
            size = by_output[inside.input[1]].input[0]
            inside.input[0] = self.node("Squeeze", self.is_first)
            inside.input[1] = self.node("Sub", size, self.node("Squeeze", "is_last"))
            for i, flag in ((0, self.is_first), (2, "is_last")):
                index.input[i] = self.node("Expand", index.input[i], flag)
            return

    def finish_model(self, model: onnx.ModelProto) -> None:
        """Keep what the next strip needs, and put the finished graph in place of that of the model."""
        lengths = self.constant([length for length, _ in self.states], np.int64)
        is_later = self.node("Sub", self.ints(1), self.is_first)
        split = self.node("Mul", self.node("Mul", self.width, is_later), lengths)
        parts = [_state(i) for i in range(len(self.states))]
        self.nodes.append(helper.make_node("Split", ["state", split], parts, name="strips.states", axis=0))
        self.node("Concat", *(name for _, name in self.states), output="next_state", axis=0)
        graph, info = model.graph, helper.make_tensor_value_info
        graph.input.extend([info("state", TensorProto.UINT8, ["held"]), info("is_last", TensorProto.INT64, [1])])
        graph.output.append(info("next_state", TensorProto.UINT8, ["kept"]))
        self.take_place(model)
        # Without these onnxruntime does not know their rank, and takes convolutions its slow way.
        graph.value_info.extend(info(name, TensorProto.UINT8, [1, None, None, n]) for name, n in self.ranks.items())

    def _scale(self, node: onnx.NodeProto) -> tuple[int, int]:
        """Rows of the image for each row that a node takes, and its channels."""
        channels, height = next(self.sizes[name] for name in node.input if name in self.sizes)
        return HEIGHT // height, channels

    def _joined(self, pieces: list[str], rows: int, scale: int, channels: int) -> str:
        """Pieces of a value below the rows that are kept of the strip above; as many of it are kept in turn."""
        held = self.node("Reshape", _state(len(self.states)), self._shape(self.ints(-1), scale, channels))
        self.ranks[held] = channels
        joined = self.node("Concat", held, *pieces, axis=1)
        last = self.node("Slice", joined, self.ints(-rows), self.ints(END), self.ints(1))
        self.states.append((rows * channels * self.align // scale, self.node("Reshape", last, self.ints(-1))))
        return joined

    def _delayed(self, x: str, rows: int, scale: int, channels: int, levels: list[str]) -> str:
        """A value so many rows later; with the last strip what is left."""
        joined = self._joined([x, self._zeros(levels, "is_last", rows, scale, channels)], rows, scale, channels)
        return self.node("Slice", joined, self.ints(0), self.ints(-rows), self.ints(1))

    def _zeros(self, levels: list[str], flag: str, rows: int, scale: int, channels: int) -> str:
        """Rows of zeros where the flag is 1, none where it is 0."""
        zero = int(self.known[levels[1]])

        def make() -> str:
            value = self._once(("zero", zero), lambda: self.constant([[[[zero]]]], np.uint8))
            return self.node("Expand", value, self._shape(self._times(flag, rows), scale, channels))

        name = self._once(("zeros", zero, flag, rows, scale, channels), make)
        self.ranks[name] = channels
        return name

    def _shape(self, rows: str, scale: int, channels: int) -> str:
        """The shape of rows as wide as the picture."""
        width = self._times(self.width, self.align // scale)
        sizes = self.ints(1), rows, width, self.ints(channels)
        return self._once(("shape", *sizes), lambda: self.node("Concat", *sizes, axis=0))

    def _times(self, x: str, factor: int) -> str:
        """A number that the graph computes, times a constant."""
        return x if factor == 1 else self._once((x, factor), lambda: self.node("Mul", x, self.ints(factor)))

    def _once(self, key: Hashable, make: Callable[[], str]) -> str:
        """What was made under a key before, or is made now."""
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]


def _state(number: int) -> str:
    """Name of a part of the state."""
    return f"strips.state_{number}"


def _sizes(model: onnx.ModelProto) -> dict[str, tuple[int, int]]:
    """Channels and height of the values of a graph, each (1, C, H, W), for a picture ``HEIGHT`` high."""
    known = onnx.ModelProto()
    known.CopyFrom(model)
    known.graph.input[0].type.tensor_type.shape.dim[1].dim_value = HEIGHT
    known = onnx.shape_inference.infer_shapes(known, data_prop=True)
    shapes = {value.name: [n.dim_value for n in value.type.tensor_type.shape.dim] for value in known.graph.value_info}
    return {name: (shape[1], shape[2]) for name, shape in shapes.items() if len(shape) == 4 and shape[2]}
