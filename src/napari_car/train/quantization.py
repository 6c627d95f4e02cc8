"""Post-training quantization of a graph to int8: QDQ, 8-bit activations, weights per channel."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
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
        onnx.save(model, source)
        quantize_static(
            source, target, _Feeds(feeds), quant_format=QuantFormat.QDQ, op_types_to_quantize=QUANTIZED,
            per_channel=True, activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.Percentile,
            extra_options={"CalibPercentile": percentile, "ActivationSymmetric": False, "DedicatedQDQPair": False},
        )  # fmt: skip
        return onnx.load(target)


class _Feeds(CalibrationDataReader):  # type: ignore[misc]
    """Feeds one after the other, as the quantizer asks for them."""

    def __init__(self, feeds: list[Feed]) -> None:
        self.feeds: Iterator[Feed] = iter(feeds)

    def get_next(self) -> Feed | None:
        return next(self.feeds, None)
