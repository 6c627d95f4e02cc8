"""The IJG quality that stands for tables of any kind: what a network that learned IJG tables is best told of them.

A restorer shrinks every decoded coefficient x̂ to what is to be expected of the original x, by the gain E[x x̂] / E[x̂²]
that follows from divisor and amplitude. Told of another table it takes that one's gains, which costs the squared error
E[x̂²] (gain' - gain)². The equivalent quality is that whose tables cost least: 0 where they are the same. Divisors that
leave next to nothing of their frequency hardly count, nor do those far below its amplitude.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from napari_car.errors import InputError
from napari_car.jpeg.tables import BASELINE_MAX, EXTENDED_MAX, Kind, ijg_table

Floats = NDArray[np.float64]

# Root mean square of the DCT coefficients of a typical photograph, grey levels, natural order: the geometric mean over
# 37 pictures of the training pool; chroma at half its resolution.
_LUMA = """
      546  67.6  33.7  21.3  14.5  10.2   7.2   5.2
     67.6  33.3  22.5  15.4  11.3   8.2   6.0   4.4
     33.7  22.5  17.2  12.6   9.5   7.1   5.3   3.9
     21.3  15.4  12.6  10.0   7.7   6.0   4.5   3.5
     14.5  11.3   9.5   7.7   6.3   5.0   3.8   3.0
     10.2   8.2   7.1   6.0   5.0   4.0   3.1   2.5
      7.2   6.0   5.3   4.5   3.8   3.1   2.5   2.1
      5.2   4.4   3.9   3.5   3.0   2.5   2.1   1.8
"""
_CHROMA = """
     89.0  15.3   8.1   5.0   3.5   2.6   2.1   1.8
     15.3   7.8   5.2   3.6   2.7   2.0   1.7   1.4
      8.1   5.2   3.8   2.8   2.2   1.8   1.5   1.3
      5.0   3.6   2.8   2.2   1.8   1.5   1.3   1.1
      3.5   2.7   2.2   1.8   1.5   1.3   1.1   1.0
      2.6   2.0   1.8   1.5   1.3   1.1   1.0   0.9
      2.1   1.7   1.5   1.3   1.1   1.0   0.9   0.8
      1.8   1.4   1.3   1.1   1.0   0.9   0.8   0.7
"""
_AMPLITUDE: dict[Kind, Floats] = {
    "luma": np.array(_LUMA.split(), np.float64).reshape(8, 8),
    "chroma": np.array(_CHROMA.split(), np.float64).reshape(8, 8),
}
# Blocks differ: the logarithms of their variances have a standard deviation of 2, as the ratio of mean magnitude to
# root mean square tells in the same pictures, at every frequency of luma and chroma (1.8 to 2.1).
_LOG_SPREAD = 2.0
_nodes, _weights = np.polynomial.hermite_e.hermegauss(12)
_VARIANCES = np.exp(_LOG_SPREAD * _nodes - _LOG_SPREAD**2 / 2)  # of the kinds of block, 1 on average
_SHARES = _weights / _weights.sum()


def equivalent_quality(tables: Sequence[NDArray[np.integer]], kinds: Sequence[Kind]) -> int:
    """IJG quality that tells a network most about pictures coded with these tables; that of IJG tables themselves.

    Parameters
    ----------
    tables
        Divisors of each component, shape (8, 8), natural order, 1..65535. All count alike: an error of one grey level
        in Y, Cb or Cr is one of 2.5 to 3.3 squared levels in RGB.
    kinds
        The base table to compare each with.

    Returns
    -------
    int
        1..100. IJG chroma tables of quality 1 to 3 are the same table.

    Raises
    ------
    InputError
        Shape other than (8, 8), or a divisor below 1.

    Examples
    --------
    >>> equivalent_quality([ijg_table(37)], ["luma"])
    37
    >>> equivalent_quality([np.full((8, 8), 16)], ["luma"])
    82
    """
    costs = [_costs(table, kind) for table, kind in zip(tables, kinds, strict=True)]
    return int(np.sum(costs, axis=0).argmin()) + 1


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
    quality = equivalent_quality([table], [kind])
    nearest = ijg_table(quality, kind, largest=_largest(table)).astype(np.float64)
    return float(np.linalg.norm(table - nearest) / np.linalg.norm(nearest))


def _costs(table: NDArray[np.integer], kind: Kind) -> Floats:
    """Squared error that it costs to be told IJG quality 1..100 in place of this table, shape (100,)."""
    if table.shape != (8, 8) or table.min() < 1:
        raise InputError(
            f"a quantization table has shape (8, 8) and divisors of at least 1; "
            f"this one has shape {table.shape} and a smallest divisor of {table.min(initial=BASELINE_MAX)}"
        )
    power, gain = _decoded(table, kind)
    costs: Floats = (power * (_gains(kind, _largest(table)) - gain) ** 2).sum((1, 2, 3))
    return costs


def _largest(table: NDArray[np.integer]) -> int:
    """Where the encoder of this table clipped its divisors."""
    return BASELINE_MAX if table.max() <= BASELINE_MAX else EXTENDED_MAX


@cache
def _gains(kind: Kind, largest: int) -> Floats:
    """Gains for the IJG tables of quality 1 to 100, shape (100, 8, 8, kinds of block)."""
    ladder = np.stack([ijg_table(quality, kind, largest=largest) for quality in range(1, 101)])
    return _decoded(ladder, kind)[1]


def _decoded(tables: NDArray[np.integer], kind: Kind) -> tuple[Floats, Floats]:
    """Power of the decoded coefficients of each kind of block, and their gains; shape (..., 8, 8, kinds of block)."""
    variances = _AMPLITUDE[kind][..., None] ** 2 * _VARIANCES
    ratios = tables[..., None] / np.sqrt(variances)
    coarse, power_of_coarse, gain_of_coarse = _quantized()
    # Below half a standard deviation, the error of quantization is as good as uniform and independent.
    fine = 1 + ratios**2 / 12
    power = np.where(ratios < coarse[0], fine, np.interp(ratios, coarse, power_of_coarse))
    gain = np.where(ratios < coarse[0], 1 / fine, np.interp(ratios, coarse, gain_of_coarse))
    return power * variances * _SHARES, gain


@cache
def _quantized() -> tuple[Floats, Floats, Floats]:
    """Divisors 0.5 to 16 of a normal variable of variance 1: the power of what is decoded, and its gain."""
    divisors = np.linspace(0.5, 16, 125)
    multiples = np.arange(1, 21)
    edges = divisors[:, None] * (multiples - 0.5)
    beyond = np.vectorize(math.erfc)(edges / math.sqrt(2))  # probability of a magnitude above each edge
    density = np.exp(-(edges**2) / 2) * math.sqrt(2 / math.pi)
    # E[x̂²] and E[x x̂], summed over the steps of x̂ at the edges: each adds one divisor to it.
    power = divisors**2 * (beyond * (2 * multiples - 1)).sum(1)
    return divisors, power, divisors * density.sum(1) / power
