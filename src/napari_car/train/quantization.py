"""Post-training quantization of a graph to int8: QDQ, 8-bit activations, weights per channel.

The image goes in as bytes and the residual comes out as bytes: 8 bits are all that moves.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from torch import Tensor

from napari_car.files.pillow import silent_log
from napari_car.train.graph import TOLD

Feed = dict[str, NDArray[np.float32]]

QUANTIZED = ["Conv", "Relu", "LeakyRelu", "Add"]
"""Operators whose arithmetic is 8-bit; the residual's scale stays in float."""

PERCENTILE = 99.998
"""Share of activations that a range holds, in percent; rare outliers are clipped so that the rest is finer."""

LEVELS = 127
"""Steps of a weight to either side of zero."""

PAIR = 126
"""Steps that two neighbouring weights of one sign may come to, before rounding adds at most two.

Processors without VNNI multiply them with bytes and add the two products in 16 bits: 255 times 128 is the most that
those hold. (onnxruntime's way out, ``reduce_range``, takes a bit from every weight.)
"""

BYTE = {"scale": np.array(1 / 255, np.float32), "zero_point": np.array(0, np.uint8)}
"""How a byte of the image stands for 0..1."""

MOVES = ("Reshape", "Transpose", "Gather", "Slice", "Concat")
"""Operators that move values and leave them as they are, so that bytes may pass."""


def quantize(
    model: onnx.ModelProto,
    feeds: list[Feed],
    levels: Mapping[str, tuple[float, int]] | None = None,
    percentile: float = PERCENTILE,
) -> onnx.ModelProto:
    """Quantize ``model`` with the levels that it was trained with, or ranges of activations seen on ``feeds``.

    Parameters
    ----------
    model
        A float graph of ``graph.to_onnx``.
    feeds
        Inputs by name; the image of each shape (1, 3, H, W).
    levels
        Step and zero of an activation, by its name in the graph.
    percentile
        Share of other activations that a range holds, in percent.
    """
    image = next(node for node in model.graph.node if node.op_type == "Conv").input[0]
    with tempfile.TemporaryDirectory() as folder, silent_log("root", logging.ERROR):  # advice
        source, target = Path(folder, "float.onnx"), Path(folder, "int8.onnx")
        onnx.save(_balanced(model), source)
        quantize_static(
            source, target, _Feeds(feeds), quant_format=QuantFormat.QDQ, op_types_to_quantize=QUANTIZED,
            per_channel=True, activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.Percentile,
            nodes_to_exclude=[TOLD],
            extra_options={
                "CalibPercentile": percentile, "ActivationSymmetric": False, "DedicatedQDQPair": False,
                "TensorQuantOverrides": {image: [BYTE]} | _lattices(model) | _levels(levels or {}),
            },
        )  # fmt: skip
        return _with_bytes(onnx.load(target))


def lattice_steps(weight: Tensor) -> Tensor:
    """Step of the 8-bit lattice of each output of a convolution's weight, (out, in, h, w): the least that holds it.

    Neighbours are inputs 0 and 1, 2 and 3, ... of one place, as 8-bit convolutions with inputs in fours read them; of
    others any two weights may meet.
    """
    most = weight.abs().amax((1, 2, 3))
    pairs = (weight[:, ::2] + weight[:, 1::2]).abs().amax((1, 2, 3)) if weight.shape[1] % 4 == 0 else 2 * most
    return torch.maximum(most / LEVELS, pairs / PAIR).clip(1e-12)


def _lattices(model: onnx.ModelProto) -> dict[str, list[dict[str, Any]]]:
    """The lattices of all weights, as the quantizer wants to be told."""
    constants = {constant.name: numpy_helper.to_array(constant) for constant in model.graph.initializer}
    convolutions = [node for node in model.graph.node if node.op_type == "Conv" and node.name != TOLD]
    return {
        node.input[1]: [
            {"axis": 0, "scale": np.float32(step), "zero_point": np.array(0, np.int8)}
            for step in lattice_steps(torch.tensor(constants[node.input[1]])).tolist()
        ]
        for node in convolutions
    }


def _levels(levels: Mapping[str, tuple[float, int]]) -> dict[str, list[dict[str, Any]]]:
    """Levels of activations, as the quantizer wants to be told."""
    return {
        name: [{"scale": np.array(step, np.float32), "zero_point": np.array(zero, np.uint8)}]
        for name, (step, zero) in levels.items()
    }


def balance(weight: NDArray[np.float32], colours: Sequence[slice]) -> NDArray[np.float32]:
    """Weights that see the image, brought to their 8-bit lattice so that their sums over each colour are kept.

    Pixels are far from zero mean: what rounding adds to the sum over a colour comes back as an error of brightness in
    every flat area, ten times what the rest of the quantization costs.

    Parameters
    ----------
    weight
        Of shape (out, in, h, w); each output has a lattice of its own.
    colours
        Inputs of each colour.
    """
    scale = lattice_steps(torch.tensor(weight)).numpy()[:, None, None, None]
    exact = weight / scale
    rounded = np.round(exact)
    for out in range(len(weight)):
        for colour in colours:
            remainder = exact[out, colour] - rounded[out, colour]
            excess = round(float(remainder.sum()))
            nearest = np.argsort(-np.sign(excess) * remainder, axis=None)[: abs(excess)]
            step = np.zeros(remainder.size)
            step[nearest] = np.sign(excess)
            rounded[out, colour] += step.reshape(remainder.shape)
    balanced: NDArray[np.float32] = (rounded.clip(-LEVELS, LEVELS) * scale).astype(np.float32)
    return balanced


def _balanced(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with its first weights on their lattice."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    first = next(node for node in result.graph.node if node.op_type == "Conv").input[1]
    constant = next(constant for constant in result.graph.initializer if constant.name == first)
    colours = [slice(colour, None, 3) for colour in range(3)]  # the last axis of what SpaceToDepth makes of a block
    balanced = balance(numpy_helper.to_array(constant), colours)
    constant.CopyFrom(numpy_helper.from_array(balanced, first))
    return result


def _with_bytes(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same results, with values that are only moved moved as bytes, from the image to the residual."""
    nodes = list(model.graph.node)
    while any(change(nodes, node) for change in (_widen_behind, _join, _narrow_before) for node in nodes):
        pass
    first = next(node for node in nodes if node.input[0] == "image" and node.op_type == "QuantizeLinear")
    nodes.remove(first)
    _rename(nodes, first.output[0], "image")
    _give_bytes(model, nodes)
    for value in (next(value for value in model.graph.input if value.name == "image"), model.graph.output[0]):
        value.type.tensor_type.elem_type = TensorProto.UINT8
    del model.graph.node[:], model.graph.value_info[:]
    model.graph.node.extend(nodes)
    onnx.checker.check_model(model, full_check=True)
    return model


def _give_bytes(model: onnx.ModelProto, nodes: list[onnx.NodeProto]) -> None:
    """Let the residual go out as bytes, and beside it what they stand for: ``(byte - zero) * step``."""
    wide = next(node for node in nodes if node.output[0] == "residual")
    nodes.remove(wide)
    values, step, zero = wide.input
    nodes += [
        helper.make_node("Identity", [values], ["residual"], name="give_residual"),
        helper.make_node("Identity", [step], ["step"], name="give_step"),
        helper.make_node("Cast", [zero], ["zero"], name="give_zero", to=TensorProto.FLOAT),
    ]
    model.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, []) for name in ("step", "zero"))


def _narrow_before(nodes: list[onnx.NodeProto], move: onnx.NodeProto) -> bool:
    """Quantize what a node moves before it does, where all that takes its output would quantize it alike."""
    takers = [node for node in nodes if move.output[0] in node.input]
    if move.op_type not in MOVES or not takers or not _are_alike("QuantizeLinear", takers):
        return False
    for taker in takers:
        nodes.remove(taker)
        _rename(nodes, taker.output[0], move.output[0])
    for i, name in enumerate(_moved(move)):
        move.input[i] = f"{move.name}_{i}"
        quantize = helper.make_node("QuantizeLinear", [name, *takers[0].input[1:]], [move.input[i]], name=move.input[i])
        nodes.insert(nodes.index(move), quantize)
    return True


def _widen_behind(nodes: list[onnx.NodeProto], move: onnx.NodeProto) -> bool:
    """Dequantize what a node moves only behind it, where all of it was dequantized alike."""
    makers = {node.output[0]: node for node in nodes}
    before = [makers[name] for name in _moved(move) if name in makers]
    if move.op_type not in MOVES or len(before) < len(_moved(move)) or not _are_alike("DequantizeLinear", before):
        return False
    for i, maker in enumerate(before):
        move.input[i] = maker.input[0]
        if maker in nodes and not any(maker.output[0] in node.input for node in nodes):
            nodes.remove(maker)
    name, move.output[0] = move.output[0], f"{move.name}_bytes"
    after = helper.make_node("DequantizeLinear", [move.output[0], *before[0].input[1:]], [name], name=f"{name}_wide")
    nodes.insert(nodes.index(move) + 1, after)
    return True


def _join(nodes: list[onnx.NodeProto], after: onnx.NodeProto) -> bool:
    """Leave out a second quantization of the same values, and give the last factor to the scale of the first."""
    before = next((node for node in nodes if node.output[0] == after.input[0]), None)
    if before is None or before.op_type != "DequantizeLinear" or sum(n.input[0] == after.input[0] for n in nodes) > 1:
        return False
    if after.op_type == "QuantizeLinear":
        again = next(node for node in nodes if node.input[0] == after.output[0])
        nodes.remove(after)
        nodes.remove(again)
        _rename(nodes, again.output[0], before.output[0])
        return True
    if after.op_type == "Mul":
        scale = helper.make_node("Mul", [before.input[1], after.input[1]], [before.output[0]], name="scale")
        before.input[1], before.output[0] = scale.output[0], after.output[0]
        nodes.remove(before)
        nodes[nodes.index(after)] = before
        nodes.insert(nodes.index(before), scale)
        return True
    return False


def _moved(move: onnx.NodeProto) -> list[str]:
    """The inputs of a node that moves values which are such values."""
    return list(move.input if move.op_type == "Concat" else move.input[:1])


def _are_alike(operator: str, nodes: list[onnx.NodeProto]) -> bool:
    """Whether all nodes are of one kind and have one scale and zero point."""
    return all(node.op_type == operator and node.input[1:] == nodes[0].input[1:] for node in nodes)


def _rename(nodes: list[onnx.NodeProto], old: str, new: str) -> None:
    """Let all that takes ``old`` take ``new``."""
    for node in nodes:
        node.input[:] = [new if name == old else name for name in node.input]


class _Feeds(CalibrationDataReader):  # type: ignore[misc]
    """Feeds one after the other, as the quantizer asks for them."""

    def __init__(self, feeds: list[Feed]) -> None:
        self.feeds: Iterator[Feed] = iter(feeds)

    def get_next(self) -> Feed | None:
        return next(self.feeds, None)
