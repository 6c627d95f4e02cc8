"""Graphs with their arithmetic in half precision, which GPUs are faster in."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from napari_car.train.nodes import Graph

HALF = "residual.half"
"""Name of the residual in float16."""


def in_half(model: onnx.ModelProto) -> onnx.ModelProto:
    """A graph in float16 from image to residual, both of which stay float32, as does what is made of the condition.

    Parameters
    ----------
    model
        A graph in float32, whose weights may be stored as ``graph.halve_weights`` does.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    constants = {constant.name: constant for constant in model.graph.initializer}
    graph = Graph("half_")
    of_image = {"image"}
    halves: dict[str, str] = {}

    def half(name: str) -> str:
        """What holds a value in float16; whole numbers stay as they are."""
        if name not in halves:
            constant = constants.get(name)
            if constant is None:
                halves[name] = graph.node("Cast", name, to=TensorProto.FLOAT16)
            elif constant.data_type == TensorProto.FLOAT:
                halves[name] = graph.constant(numpy_helper.to_array(constant), np.float16)
            else:
                halves[name] = name
        return halves[name]

    for node in model.graph.node:
        moved = onnx.NodeProto()
        moved.CopyFrom(node)
        if node.op_type == "Cast" and node.input[0] in constants:  # a weight that is stored as float16
            halves[node.output[0]] = node.input[0]
        elif node.op_type != "Shape" and of_image.intersection(node.input):
            of_image.update(node.output)
            moved.input[:] = [half(name) for name in node.input]
            halves |= {name: name for name in node.output}
            if "residual" in node.output:
                moved.name, moved.output[:] = HALF, [HALF]
        graph.nodes.append(moved)
    graph.node("Cast", HALF, output="residual", to=TensorProto.FLOAT)
    graph.take_place(result)
    return result
