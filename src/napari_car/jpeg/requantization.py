"""Evidence that coefficients were quantized before, on the same grid, by a coarser table.

Rounded to multiples of one divisor and then to those of a finer one, magnitudes meet few of the latter and heap up
there. Without the former they fall off from each multiple to the next, about as a geometric series.

Source: J. Lukáš and J. Fridrich, "Estimation of Primary Quantization Matrix in Double Compressed JPEG Images", 2003.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from napari_car.jpeg.lattice import ladders

# Chosen on photographs of the training pool: compressed once none comes to -180 nats, twice most come to 1000.
_N_FREQUENCIES = 24  # those with most that is not zero; the others tell little
_N_MULTIPLES = 64
_NEAR_ZERO = 2.0  # grey levels up to which it may have been 0 before it was decoded in between: tells nothing
_ROUNDING = 0.5  # grey levels by which the picture in between, in 8 bits, moves a coefficient
_OUTLIERS = 0.02  # share of coefficients that clipping or an edit has moved anywhere
_MOST = 4.0  # nats that one coefficient may give
_STEEPEST, _FLATTEST = 1e-3, 1 - 1e-3  # ratios of the series


def earlier_evidence(coefficients: NDArray[np.float32], table: NDArray[np.uint16]) -> NDArray[np.float32]:
    """Nats for each IJG quality of an earlier compression, upright and turned, shape (2, 97); of finer ones about 0.

    Parameters
    ----------
    coefficients
        In grey levels, shape (n, 64).
    table
        By which they were quantized last, shape (8, 8), natural order.
    """
    counts, frequencies = _multiples(coefficients, table)
    last = table.ravel()[frequencies, None].astype(np.float32)
    nth = np.arange(1, counts.shape[1] + 1, dtype=np.float32)
    total = counts.sum(1, keepdims=True)
    falloff = np.clip(1 - total / np.maximum((counts * nth).sum(1, keepdims=True), 1), _STEEPEST, _FLATTEST)
    # Shape (2, 97, frequency, multiple) from here on: the multiple of the earlier divisor that is nearest, how surely
    # it is rounded to this one of the last, and the same of its neighbour, which two may share.
    earlier = np.maximum(ladders("luma")[..., frequencies, None].astype(np.float32), last)
    source = np.rint(nth * last / earlier)
    distance = nth * last - source * earlier
    side = np.where(distance > 0, np.float32(1), np.float32(-1))
    reach = last / 2 + _ROUNDING
    near = np.clip(reach - np.abs(distance), 0, 1) * (source >= 1)
    beside = np.clip(reach - np.abs(distance - side * earlier), 0, 1) * (source + side >= 1)
    heaps = counts * near
    heaped = np.maximum((heaps * source).sum(-1, keepdims=True), 1e-6)
    falloff_before = np.clip(1 - heaps.sum(-1, keepdims=True) / heaped, _STEEPEST, _FLATTEST)
    log_ratio = (
        np.log((1 - falloff_before) / (1 - falloff))
        + np.maximum(source - 1, 0) * np.log(falloff_before)
        - (nth - 1) * np.log(falloff)
    )
    ratio = np.exp(np.minimum(log_ratio, 2 * _MOST)) * (near + beside * falloff_before**side)
    gain = np.clip(np.log((1 - _OUTLIERS) * ratio + _OUTLIERS), -_MOST, _MOST)
    gain *= nth * last > _NEAR_ZERO
    nats: NDArray[np.float32] = (counts * gain).sum((-1, -2))
    return nats


def _multiples(
    coefficients: NDArray[np.float32], table: NDArray[np.uint16]
) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
    """How often each multiple from 1 on occurs, shape (frequency, multiple), and at which frequencies; never at DC."""
    n_bins = _N_MULTIPLES + 2  # with 0 and with all beyond
    multiples = np.minimum(np.rint(np.abs(coefficients) / table.ravel().astype(np.float32)), n_bins - 1)
    bins = multiples.astype(np.int32) + np.arange(64, dtype=np.int32) * n_bins
    counts = np.bincount(bins.ravel(), minlength=64 * n_bins).reshape(64, n_bins)[:, 1:-1].astype(np.float32)
    counts[0] = 0
    frequencies = np.argsort(-counts.sum(1))[:_N_FREQUENCIES]
    n_used = int(np.flatnonzero(counts.any(0)).max(initial=0)) + 1
    return counts[frequencies, :n_used], frequencies
