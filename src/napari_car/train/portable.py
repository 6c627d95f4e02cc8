"""Quantized graphs for other runtimes than onnxruntime's CPU, OpenVINO above all.

`graph` rearranges pixels as onnxruntime does it fastest: rows cut out and joined, colours last. Others know
``SpaceToDepth`` and ``DepthToSpace``, and keep what these give in the order that their convolutions want; and they
rectify what a convolution gives before they round it.
"""

from __future__ import annotations

import onnx

from napari_car.train.nodes import Graph

MOVES = ("Slice", "Reshape", "Concat", "Transpose")
"""Of which rearrangements are made."""

CHANNELS_LAST = [0, 2, 3, 1]
"""Order of axes."""


def portable(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same graph in operators that every runtime knows; without LeakyRelu its results are the same to the bit.

    Parameters
    ----------
    model
        Of ``quantization.quantize``.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = _Portable(result)
    for node in result.graph.node:
        if node.op_type == "LeakyRelu":
            graph.rectify(node)
        elif node.op_type == "Transpose" and list(node.attribute[0].ints) == CHANNELS_LAST:
            graph.depth_to_space(node)
        elif node.output[0] == "head.told":
            graph.tell(node)
        elif node.op_type == "DequantizeLinear" and graph.is_image(node.input[0]):
            graph.space_to_depth(node)
            graph.quantize_again(node)
    graph.take_place(result)
    return result


class _Portable(Graph):
    """What takes the place of nodes, and all the others."""

    def __init__(self, model: onnx.ModelProto) -> None:
        super().__init__("portable.")
        self.nodes = list(model.graph.node)
        self.makers = {name: node for node in self.nodes for name in node.output}
        self.takers: dict[str, list[onnx.NodeProto]] = {}
        for node in self.nodes:
            for name in node.input:
                self.takers.setdefault(name, []).append(node)

    def rectify(self, node: onnx.NodeProto) -> None:
        """Take what the convolution gives, before it is rounded."""
        rounded = self.makers[node.input[0]]
        node.input[0] = self.makers[rounded.input[0]].input[0]

    def tell(self, node: onnx.NodeProto) -> None:
        """Repeat rows and columns with channels first."""
        rows = self.makers[node.input[0]]
        columns = self.makers[rows.input[0]]
        planes = self.makers[columns.input[0]].input[0]
        wide = self.node("Gather", planes, columns.input[1], axis=3)
        self._redirect(node, self.node("Gather", wide, rows.input[1], axis=2))

    def is_image(self, name: str) -> bool:
        """Whether a value is the image, moved at most."""
        node = self.makers.get(name)
        return name == "image" or (node is not None and node.op_type in MOVES and self.is_image(node.input[0]))

    def quantize_again(self, node: onnx.NodeProto) -> None:
        """Quantize the image, though it is made of bytes: OpenVINO computes in floats what comes from no quantizer."""
        bytes_ = self.node("QuantizeLinear", node.output[0], *node.input[1:])
        self._redirect(node, self.node("DequantizeLinear", bytes_, *node.input[1:]))

    def space_to_depth(self, node: onnx.NodeProto) -> None:
        """Pixel blocks of the image as channels."""
        rows = sum(move.op_type == "Slice" for move in self._moves_before(node.input[0]))
        if rows:
            planes = self.channels_first("image")
            node.input[0] = self.node("SpaceToDepth", planes, blocksize=rows)

    def depth_to_space(self, node: onnx.NodeProto) -> None:
        """Channels as pixel blocks."""
        moves = self._moves_behind(node)
        rows, last = sum(move.op_type == "Slice" for move in moves), moves[-1]
        if not rows:
            return
        x, ends_first = node.input[0], last.op_type == "Transpose"
        if not ends_first:
            x = self.slice(x, 0, 3 * rows**2, 1)
        if rows > 1:
            x = self.node("DepthToSpace", x, blocksize=rows, mode="DCR")
        self._redirect(last, x if ends_first else self.channels_last(x))

    def _redirect(self, node: onnx.NodeProto, name: str) -> None:
        """Let all that takes what a node gives take another value."""
        for taker in self.takers[node.output[0]]:
            taker.input[:] = [name if taken == node.output[0] else taken for taken in taker.input]

    def _moves_before(self, name: str) -> list[onnx.NodeProto]:
        """Nodes that move the image into its place."""
        node = self.makers.get(name)
        if node is None or node.op_type not in MOVES:
            return []
        found = {id(move): move for taken in node.input for move in self._moves_before(taken)}
        return [*found.values(), node]

    def _moves_behind(self, node: onnx.NodeProto) -> list[onnx.NodeProto]:
        """A node and those that move on what it gives."""
        found, ahead = {id(node): node}, [node]
        while ahead:
            for taker in self.takers.get(ahead.pop(0).output[0], []):
                if taker.op_type in MOVES:
                    found.pop(id(taker), None)
                    found[id(taker)] = taker
                    ahead.append(taker)
        return list(found.values())
