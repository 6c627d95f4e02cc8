"""Post-training quantization of a graph to int8: QDQ, 8-bit activations, weights per channel."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static

Feed = dict[str, NDArray[np.float32]]

QUANTIZED = ["Conv", "Relu", "LeakyRelu", "Add"]
"""Operators whose arithmetic is 8-bit; the residual's scale and the image itself stay in float."""


def quantize(model: onnx.ModelProto, feeds: list[Feed], percentile: float = 99.99) -> onnx.ModelProto:
    """Quantize ``model`` with ranges of activations seen on ``feeds``.

    Parameters
    ----------
    model
        A float graph of ``graph.to_onnx``.
    feeds
        Inputs by name; the image of each shape (1, 3, H, W).
    percentile
        Share of activations that a range holds, in percent; rare outliers are clipped so that the rest is finer.
    """
    logging.getLogger().setLevel(logging.ERROR)  # the quantizer gives advice through the root logger
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "float.onnx"), Path(folder, "int8.onnx")
        onnx.save(_balanced(model), source)
        quantize_static(
            source, target, _Feeds(feeds), quant_format=QuantFormat.QDQ, op_types_to_quantize=QUANTIZED,
            per_channel=True, activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.Percentile,
            extra_options={"CalibPercentile": percentile, "ActivationSymmetric": False, "DedicatedQDQPair": False},
        )  # fmt: skip
        return onnx.load(target)


def _balanced(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with the weights that see the image on their 8-bit lattice, rounded so that their sums are kept.

    Pixels are far from zero mean: what rounding adds to the sum over a colour comes back as an error of brightness in
    every flat area, ten times what the rest of the quantization costs.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    first = next(node for node in result.graph.node if node.op_type == "Conv").input[1]
    constant = next(constant for constant in result.graph.initializer if constant.name == first)
    weight = numpy_helper.to_array(constant)
    scale = np.abs(weight).max((1, 2, 3), keepdims=True) / 127
    exact = weight / scale
    rounded = np.round(exact)
    for out in range(len(weight)):
        for colour in range(3):  # the last axis of what SpaceToDepth makes of a pixel block
            remainder = exact[out, colour::3] - rounded[out, colour::3]
            excess = round(float(remainder.sum()))
            nearest = np.argsort(-np.sign(excess) * remainder, axis=None)[: abs(excess)]
            step = np.zeros(remainder.size)
            step[nearest] = np.sign(excess)
            rounded[out, colour::3] += step.reshape(remainder.shape)
    constant.CopyFrom(numpy_helper.from_array((rounded.clip(-127, 127) * scale).astype(np.float32), first))
    return result


class _Feeds(CalibrationDataReader):  # type: ignore[misc]
    """Feeds one after the other, as the quantizer asks for them."""

    def __init__(self, feeds: list[Feed]) -> None:
        self.feeds: Iterator[Feed] = iter(feeds)

    def get_next(self) -> Feed | None:
        return next(self.feeds, None)
