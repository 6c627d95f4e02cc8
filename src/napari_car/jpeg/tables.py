"""Quantization tables of the IJG, and their qualities.

Source: ITU-T T.81 (09/1992) Annex K, Tables K.1 and K.2; quality to tables as in libjpeg ``jcparam.c``
(``jpeg_quality_scaling``, ``jpeg_add_quant_table``).
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from napari_car.errors import InputError

Kind = Literal["luma", "chroma"]

_LUMA = """
    16  11  10  16  24  40  51  61
    12  12  14  19  26  58  60  55
    14  13  16  24  40  57  69  56
    14  17  22  29  51  87  80  62
    18  22  37  56  68 109 103  77
    24  35  55  64  81 104 113  92
    49  64  78  87 103 121 120 101
    72  92  95  98 112 100 103  99
"""
_CHROMA = """
    17  18  24  47  99  99  99  99
    18  21  26  66  99  99  99  99
    24  26  56  99  99  99  99  99
    47  66  99  99  99  99  99  99
    99  99  99  99  99  99  99  99
    99  99  99  99  99  99  99  99
    99  99  99  99  99  99  99  99
    99  99  99  99  99  99  99  99
"""


def _table(text: str) -> NDArray[np.uint16]:
    """Read a table written as in the standard."""
    table = np.array(text.split(), np.uint16).reshape(8, 8)
    table.flags.writeable = False
    return table


BASE_TABLES: dict[Kind, NDArray[np.uint16]] = {"luma": _table(_LUMA), "chroma": _table(_CHROMA)}
"""Tables K.1 (luma) and K.2 (chroma), shape (8, 8), natural order: what IJG quality 50 writes."""

_index = np.arange(8)
BLOCK_DCT = np.sqrt(np.where(_index == 0, 1, 2) / 8)[:, None] * np.cos(np.pi * _index[:, None] * (2 * _index + 1) / 16)
"""The orthonormal DCT-II of eight samples, shape (8, 8), one frequency a row. Source: ITU-T T.81 A.3.3."""

BASELINE_MAX = 255
EXTENDED_MAX = 32767
"""Largest divisor of 8-bit and of 16-bit tables (libjpeg ``jpeg_add_quant_table``)."""


def quality_to_scale(quality: int) -> int:
    """Percentage by which libjpeg scales the base tables at an IJG quality.

    Parameters
    ----------
    quality
        IJG quality, 1..100.

    Returns
    -------
    int
        5000 at quality 1, 100 at 50, 0 at 100 (where every divisor is 1).

    Raises
    ------
    InputError
        Quality outside 1..100.

    Notes
    -----
    Source: libjpeg ``jcparam.c``, ``jpeg_quality_scaling``.

    Examples
    --------
    >>> [quality_to_scale(quality) for quality in (1, 10, 50, 90, 100)]
    [5000, 500, 100, 20, 0]
    """
    if not 1 <= quality <= 100:
        raise InputError(f"quality is {quality}; 1 to 100 is allowed")
    return 5000 // quality if quality < 50 else 200 - 2 * quality


def scale_to_quality(scale: float) -> float:
    """IJG quality, as a fraction, of a percentage; the inverse of `quality_to_scale` up to its rounding.

    Parameters
    ----------
    scale
        Percentage, clipped to 0..5000.

    Examples
    --------
    >>> [scale_to_quality(scale) for scale in (5000, 500, 100, 20)]
    [1.0, 10.0, 50.0, 90.0]
    """
    scale = min(max(scale, 0.0), 5000.0)
    return 5000 / scale if scale > 100 else 100 - scale / 2


def ijg_table(quality: int, kind: Kind = "luma", *, largest: int = BASELINE_MAX) -> NDArray[np.uint16]:
    """Quantization table that libjpeg writes at an IJG quality.

    Parameters
    ----------
    quality
        IJG quality, 1..100.
    kind
        "luma" (also grey, RGB and CMYK components) or "chroma".
    largest
        Divisors are clipped to this: 255 in baseline files, 32767 where 16-bit tables are allowed.

    Returns
    -------
    ndarray
        Divisors, shape (8, 8), uint16, natural order (row is vertical frequency).

    Raises
    ------
    InputError
        Quality outside 1..100.

    Notes
    -----
    Source: libjpeg ``jcparam.c``, ``jpeg_add_quant_table``.

    Examples
    --------
    >>> ijg_table(75)[0].tolist()
    [8, 6, 5, 8, 12, 20, 26, 31]
    """
    scaled = (BASE_TABLES[kind].astype(np.int64) * quality_to_scale(quality) + 50) // 100
    return np.clip(scaled, 1, largest).astype(np.uint16)
