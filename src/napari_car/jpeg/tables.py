"""Quantization tables, and the IJG quality that stands for them.

Source: ITU-T T.81 (09/1992) Annex K, Tables K.1 and K.2; quality to tables as in libjpeg ``jcparam.c``
(``jpeg_quality_scaling``, ``jpeg_add_quant_table``).
"""

from __future__ import annotations

from functools import cache
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


def table_quality(table: NDArray[np.integer], kind: Kind = "luma") -> int:
    """IJG quality whose table costs a typical photograph as much as this one; exact for IJG tables.

    Parameters
    ----------
    table
        Divisors, shape (8, 8), natural order, 1..65535.
    kind
        The base table to compare with.

    Returns
    -------
    int
        Equivalent quality, 1..100. IJG chroma tables of quality 1 to 3 are the same table.

    Raises
    ------
    InputError
        Shape other than (8, 8), or a divisor below 1.

    Examples
    --------
    >>> table_quality(ijg_table(37)), table_quality(np.full((8, 8), 16))
    (37, 79)
    """
    return round(_interpolate(table, kind, np.arange(1.0, 101.0)))


def table_scale(table: NDArray[np.integer], kind: Kind = "luma") -> float:
    """Equivalent percent scale of any table; that of `quality_to_scale` for IJG tables.

    Tells a network how strongly a picture was quantized, custom tables included.

    Parameters
    ----------
    table
        Divisors, shape (8, 8), natural order, 1..65535.
    kind
        The base table to compare with.

    Returns
    -------
    float
        Percent scale, 1..5000; 1 also stands for quality 100.

    Raises
    ------
    InputError
        Shape other than (8, 8), or a divisor below 1.

    Examples
    --------
    >>> table_scale(ijg_table(10)), table_scale(ijg_table(80, "chroma"), "chroma")
    (500.0, 40.0)
    """
    scales = [max(1.0, quality_to_scale(quality)) for quality in range(1, 101)]
    return _interpolate(table, kind, np.array(scales))


def table_residual(table: NDArray[np.integer], kind: Kind = "luma") -> float:
    """How far a table is from the IJG table of the equivalent quality; 0 says that it is that table.

    Parameters
    ----------
    table
        Divisors, shape (8, 8), natural order, 1..65535.
    kind
        The base table to compare with.

    Returns
    -------
    float
        Root mean square of the difference, relative to that of the IJG table.

    Raises
    ------
    InputError
        Shape other than (8, 8), or a divisor below 1.

    Examples
    --------
    >>> table_residual(ijg_table(37)), table_residual(np.full((8, 8), 16)) > 0.3
    (0.0, True)
    """
    quality = table_quality(table, kind)
    nearest = ijg_table(quality, kind, largest=_largest(table)).astype(np.float64)
    return float(np.linalg.norm(table - nearest) / np.linalg.norm(nearest))


def _largest(table: NDArray[np.integer]) -> int:
    """Where the encoder of this table clipped its divisors."""
    return BASELINE_MAX if table.max() <= BASELINE_MAX else EXTENDED_MAX


def _interpolate(table: NDArray[np.integer], kind: Kind, values: NDArray[np.float64]) -> float:
    """Value at the expected distortion of a table, from the values of IJG quality 1..100."""
    if table.shape != (8, 8) or table.min() < 1:
        raise InputError(
            f"a quantization table has shape (8, 8) and divisors of at least 1; "
            f"this one has shape {table.shape} and a smallest divisor of {table.min(initial=BASELINE_MAX)}"
        )
    ladder = _distortion_ladder(kind, _largest(table))
    return float(np.interp(_distortion(table, kind), ladder, values[::-1]))


@cache
def _distortion_ladder(kind: Kind, largest: int) -> list[float]:
    """Distortion of the IJG tables of quality 100 down to 1."""
    return [_distortion(ijg_table(quality, kind, largest=largest), kind) for quality in range(100, 0, -1)]


def _coefficient_power(sigma: float) -> NDArray[np.float64]:
    """Variance of the DCT coefficients of a first-order Markov field with this standard deviation."""
    # Source: Jain, Fundamentals of Digital Image Processing (1989), 2.9 and 5.6; correlation 0.95 per pixel.
    index = np.arange(8)
    correlation = 0.95 ** np.abs(index[:, None] - index)
    power = np.diag(BLOCK_DCT @ correlation @ BLOCK_DCT.T)
    return sigma**2 * np.outer(power, power)


# Standard deviations in grey levels. Photographs measure 58 and (subsampled chroma) 15; coefficients are heavy-tailed,
# so that 80 for luma foretells the cost of custom tables better (measured by re-compressing 16 photographs).
_POWER: dict[Kind, NDArray[np.float64]] = {"luma": _coefficient_power(80), "chroma": _coefficient_power(15)}


def _distortion(table: NDArray[np.integer], kind: Kind) -> float:
    """Estimate log squared error: that of a uniform quantizer, bounded by what there is to lose."""
    return float(np.log((1 / (12 / table.astype(np.float64) ** 2 + 1 / _POWER[kind])).sum()))
