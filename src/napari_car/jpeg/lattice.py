"""Evidence that DCT coefficients lie on the lattice that a quantization table allows.

After decoding, each coefficient is a multiple of its divisor plus the noise of rounding to pixels. How much better that
explains coefficients than a smooth distribution does is counted in nats.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from napari_car.jpeg.tables import BASELINE_MAX, Kind, ijg_table

MAX_QUALITY = 97
"""Above, divisors are as small as the noise of rounding, and nothing can be told."""

EXACT_NOISE = 0.3
"""Standard deviation of a coefficient that was only rounded to 8 bits, 1/√12, in grey levels."""

_LARGEST = 1024  # a coefficient of the orthonormal 8×8 DCT of level-shifted samples is at most that, grey levels
_OUTLIERS = 0.02  # share of coefficients that clipping or an edit has moved anywhere
# Rounding errors add up in smooth blocks, where few coefficients carry them all: a second, wider normal.
_WIDE_SHARE, _WIDENING = 0.2, 4
_FAR = 9  # standard deviations at which a normal adds nothing that float32 could hold beside the outliers
_DC_NOISE = 1.7  # in flat blocks, all 64 rounding errors agree and land in the DC coefficient
_LEAST_LEVEL = 0.5  # of noise that depends on the frequency, grey levels
_ZERO_MARGIN = 4.5  # nats: a coefficient within three standard deviations of 0 says nothing against it


class Evidence(NamedTuple):
    """Evidence for each IJG quality 1..97, of a picture that lies as it was compressed, and of one turned by a quarter.

    Turning exchanges the rows and columns of tables, which are not symmetric.

    Parameters
    ----------
    total
        Nats gained over a smooth distribution, shape (2, 97).
    mean
        The same per non-zero AC coefficient, shape (2, 97).
    """

    total: NDArray[np.float32]
    mean: NDArray[np.float32]


def quality_evidence(coefficients: NDArray[np.float32], kind: Kind, noises: Sequence[float]) -> list[Evidence]:
    """Evidence for the table of each IJG quality, for each amount of noise.

    Parameters
    ----------
    coefficients
        In grey levels, shape (n, 64).
    kind
        Luma or chroma tables.
    noises
        Standard deviations of a coefficient around its multiple, grey levels.
    """
    steps = math.ceil(1 / min(noises))  # bins a grey level, none wider than the noise
    counts, ends = _histogram(coefficients, steps)
    # How many lie in each bin or above; none in the one that is added.
    n_used = int(ends[1:].max())
    beyond = np.zeros((64, n_used + 1), np.float32)
    beyond[1:, :n_used] = np.cumsum(counts[1:, n_used - 1 :: -1], axis=1)[:, ::-1]
    divisors, frequency = ladders(kind), np.arange(64)
    n_nonzero = beyond[frequency, np.minimum((divisors * steps + 1) // 2, n_used)].sum(-1)
    found = []
    for noise in noises:
        each = _gains(counts, ends, [max(noise, _DC_NOISE), *[noise] * 63], steps)[frequency, divisors]
        total = each[..., 1:].sum(-1)
        # Flat areas have a few values of DC, on some lattice by chance: alone, they are no evidence.
        total += np.minimum(each[..., 0], np.maximum(total, 0))
        found.append(Evidence(total, total / np.maximum(n_nonzero, 1)))
    return found


def blurred_evidence(
    coefficients: NDArray[np.float32],
    frequencies: NDArray[np.intp],
    noises: NDArray[np.float64],
    known: NDArray[np.integer] | int = 0,
) -> NDArray[np.float32]:
    """Nats for each IJG quality, upright and turned, shape (2, 97), of luma where noise depends on the frequency.

    Parameters
    ----------
    coefficients
        In grey levels, shape (n, F).
    frequencies
        Which they are, 8 · vertical + horizontal, shape (F,).
    noises
        Standard deviations around their multiples, grey levels, shape (F,); rounded to powers of two.
    known
        Divisors that they are known to be multiples of, shape (F,); none up to them gains or loses anything.
    """
    levels = np.exp2(np.rint(np.log2(np.maximum(noises, _LEAST_LEVEL))))
    steps = math.ceil(1 / levels.min())
    counts, ends = _histogram(coefficients, steps)
    gains = _gains(counts, ends, levels.tolist(), steps)
    divisors = ladders("luma")[..., frequencies]
    nats: NDArray[np.float32] = np.where(divisors > known, gains[np.arange(len(frequencies)), divisors], 0).sum(-1)
    return nats


def _histogram(coefficients: NDArray[np.float32], steps: int) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
    """How often each magnitude occurs at each frequency, shape (F, bins), in parts of a grey level up to the largest.

    And for each frequency where the last bin ends that counts, or all bins where none does.
    """
    bins = (np.abs(coefficients) * np.float32(steps) + np.float32(0.5)).astype(np.int32)
    np.minimum(bins, _LARGEST * steps - 1, out=bins)
    n_bins, n_frequencies = int(bins.max(initial=0)) + 1, bins.shape[1]
    bins += np.arange(n_frequencies, dtype=np.int32) * n_bins
    counts = np.bincount(bins.ravel(), minlength=n_frequencies * n_bins).reshape(-1, n_bins).astype(np.float32)
    return counts, n_bins - (counts[:, ::-1] > 0).argmax(1)


def _gains(
    counts: NDArray[np.float32], ends: NDArray[np.intp], noises: Sequence[float], steps: int
) -> NDArray[np.float32]:
    """Nats that each divisor gains at each frequency, shape (F, 256); by BLAS it would keep all cores busy."""
    rows = zip(counts, ends, noises, strict=True)
    return np.stack([np.einsum("b,bd->d", row[:end], _gain_table(noise, steps)[:end]) for row, end, noise in rows])


@cache
def ladders(kind: Kind) -> NDArray[np.intp]:
    """Divisors of each quality, upright and turned, shape (2, 97, 64)."""
    tables = np.stack([ijg_table(quality, kind) for quality in range(1, MAX_QUALITY + 1)])
    return np.stack([tables, tables.swapaxes(1, 2)]).reshape(2, MAX_QUALITY, 64).astype(np.intp)


@cache
def _gain_table(noise: float, steps: int) -> NDArray[np.float32]:
    """Nats that a coefficient in each bin gives each divisor, shape (1024 · steps, 256)."""
    n_bins = _LARGEST * steps
    table = np.zeros((BASELINE_MAX + 1, n_bins), np.float32)
    densities = np.log(_density(noise, steps))
    at_zero = np.minimum(0, _ZERO_MARGIN + densities - densities[:, :1])
    for divisor in range(1, BASELINE_MAX + 1):
        period = divisor * steps
        half = period // 2 + 1  # behind halfway between two multiples, from where the distance falls again
        falling = period - half + 1
        gain = densities[divisor - 1, :half] + np.float32(math.log(divisor))
        cycle = np.concatenate([gain, gain[falling - 1 : 0 : -1]])
        table[divisor] = np.tile(cycle, -(-n_bins // period))[:n_bins]
        # A zero is what smooth pictures have too: it may speak against a divisor, never for it.
        table[divisor, :falling] = at_zero[divisor - 1, :falling]
    return np.ascontiguousarray(table.T)  # row by row, as it is summed


def _density(noise: float, steps: int) -> NDArray[np.float32]:
    """Probability density of the distance to the nearest multiple of each divisor, in bins up to half of the last."""
    divisors = np.arange(1, BASELINE_MAX + 1, dtype=np.float32)
    halves = (divisors * steps // 2).astype(np.intp)
    distance = np.arange(halves[-1] + 1, dtype=np.float32) / steps
    density = np.repeat(np.float32(_OUTLIERS) / divisors[:, None], len(distance), axis=1)
    for share, sigma in ((1 - _WIDE_SHARE, noise), (_WIDE_SHARE, _WIDENING * noise)):
        weight = np.float32((1 - _OUTLIERS) * share / (sigma * np.sqrt(2 * np.pi)))
        for neighbour in (-2, -1, 0, 1, 2):
            n_near = int(((abs(neighbour) - 0.5) * divisors <= _FAR * sigma).sum())
            from_it = distance[: halves[n_near - 1] + 1] + np.float32(neighbour) * divisors[:n_near, None]
            density[:n_near, : from_it.shape[1]] += weight * np.exp(np.float32(-0.5 / sigma**2) * from_it**2)
    return density
