"""Evidence that DCT coefficients lie on the lattice that a quantization table allows.

After decoding, each coefficient is a multiple of its divisor plus the noise of rounding to pixels. How much better that
explains coefficients than a smooth distribution does is counted in nats.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from napari_car.jpeg.tables import BASELINE_MAX, Kind, ijg_table

MAX_QUALITY = 97
"""Above, divisors are as small as the noise of rounding, and nothing can be told."""

EXACT_NOISE = 0.3
"""Standard deviation of a coefficient that was only rounded to 8 bits, 1/√12, in grey levels."""

_STEPS = 4  # histogram bins per grey level
_N_BINS = 1024 * _STEPS  # a coefficient of the orthonormal 8×8 DCT of level-shifted samples is at most 1024
_OUTLIERS = 0.02  # share of coefficients that clipping or an edit has moved anywhere
# Rounding errors add up in smooth blocks, where few coefficients carry them all: a second, wider normal.
_WIDE_SHARE, _WIDENING = 0.2, 4
_FAR = 9  # standard deviations at which a normal adds nothing that float32 could hold beside the outliers
_DC_NOISE = 1.7  # in flat blocks, all 64 rounding errors agree and land in the DC coefficient
_ZERO_MARGIN = 4.5  # nats: a coefficient within three standard deviations of 0 says nothing against it


class Evidence(NamedTuple):
    """Evidence for each IJG quality 1..97.

    Parameters
    ----------
    total
        Nats gained over a smooth distribution, shape (97,).
    mean
        The same per non-zero AC coefficient, shape (97,).
    """

    total: NDArray[np.float32]
    mean: NDArray[np.float32]

    @property
    def quality(self) -> int:
        """The quality with most evidence."""
        return int(self.total.argmax()) + 1


def histogram(coefficients: NDArray[np.float32]) -> NDArray[np.float32]:
    """Count the magnitudes of each frequency.

    Parameters
    ----------
    coefficients
        In grey levels, shape (n, 64).

    Returns
    -------
    ndarray
        Shape (64, 4096): bins of a quarter grey level.
    """
    bins = (np.abs(coefficients) * np.float32(_STEPS) + np.float32(0.5)).astype(np.int32)
    np.minimum(bins, _N_BINS - 1, out=bins)
    bins += np.arange(64, dtype=np.int32) * _N_BINS
    return np.bincount(bins.ravel(), minlength=64 * _N_BINS).reshape(64, _N_BINS).astype(np.float32)


def quality_evidence(counts: NDArray[np.float32], kind: Kind, noise: float = EXACT_NOISE) -> Evidence:
    """Evidence for the table of each IJG quality.

    Parameters
    ----------
    counts
        What `histogram` returns.
    kind
        Luma or chroma tables.
    noise
        Standard deviation of a coefficient around its multiple, grey levels.
    """
    divisors = _ladder(kind)
    frequency = np.arange(64)
    ends = _N_BINS - (counts[:, ::-1] > 0).argmax(1)  # behind the last bin that counts, or all bins where none does
    tables = [_gain_table(max(noise, _DC_NOISE)), *[_gain_table(noise)] * 63]
    rows = zip(counts, tables, ends, strict=True)
    gain = np.stack([_weighted(row[:end], table[:end]) for row, table, end in rows])
    each = gain[frequency, divisors]
    total = each[:, 1:].sum(1)
    # Flat areas have a few values of DC, on some lattice by chance: alone, they are no evidence.
    total += np.minimum(each[:, 0], np.maximum(total, 0))
    # How many lie in each bin or above; none in the one that is added.
    n_used = int(ends[1:].max())
    beyond = np.zeros((64, n_used + 1), np.float32)
    beyond[1:, :n_used] = np.cumsum(counts[1:, n_used - 1 :: -1], axis=1)[:, ::-1]
    n_nonzero = beyond[frequency, np.minimum(divisors * _STEPS // 2, n_used)].sum(1)
    return Evidence(total, total / np.maximum(n_nonzero, 1))


def _weighted(counts: NDArray[np.float32], table: NDArray[np.float32]) -> NDArray[np.float32]:
    """Sum of the rows of a table, each as often as it is counted; by BLAS it would keep all cores busy."""
    result: NDArray[np.float32] = np.einsum("b,bd->d", counts, table)
    return result


@cache
def _ladder(kind: Kind) -> NDArray[np.intp]:
    """Divisors of each quality, shape (97, 64)."""
    return np.stack([ijg_table(quality, kind).ravel() for quality in range(1, MAX_QUALITY + 1)]).astype(np.intp)


@cache
def _gain_table(noise: float) -> NDArray[np.float32]:
    """Nats that a coefficient in each bin gives each divisor, shape (4096, 256)."""
    table = np.zeros((BASELINE_MAX + 1, _N_BINS), np.float32)
    for divisor, density in enumerate(_densities(noise), 1):
        half = len(density) - 1  # halfway between two multiples, from where the distance falls again
        gain = np.log(divisor * density)
        table[divisor] = np.resize(np.concatenate([gain, gain[half - 1 : 0 : -1]]), _N_BINS)
        # A zero is what smooth pictures have too: it may speak against a divisor, never for it.
        table[divisor, :half] = np.minimum(0, _ZERO_MARGIN + np.log(density / density[0]))[:half]
    return table.T


def _densities(noise: float) -> Iterator[NDArray[np.float32]]:
    """Probability density of the distance to the nearest multiple of each divisor, in bins up to half of it."""
    divisors = np.arange(1, BASELINE_MAX + 1, dtype=np.float32)
    halves = (divisors * _STEPS // 2).astype(np.intp)
    residue = np.arange(halves[-1] + 1, dtype=np.float32) / _STEPS
    density = np.repeat(np.float32(_OUTLIERS) / divisors[:, None], len(residue), axis=1)
    for share, sigma in ((1 - _WIDE_SHARE, noise), (_WIDE_SHARE, _WIDENING * noise)):
        weight = np.float32((1 - _OUTLIERS) * share / (sigma * np.sqrt(2 * np.pi)))
        for neighbour in (-2, -1, 0, 1, 2):
            n_near = int(((abs(neighbour) - 0.5) * divisors <= _FAR * sigma).sum())
            distance = residue[: halves[n_near - 1] + 1] + np.float32(neighbour) * divisors[:n_near, None]
            density[:n_near, : distance.shape[1]] += weight * np.exp(np.float32(-0.5 / sigma**2) * distance**2)
    for half, row in zip(halves, density, strict=True):
        yield row[: half + 1]
