"""The compressions that a picture may have gone through before one that is known.

On the same grid they leave multiples of the divisor empty (``jpeg.requantization``). On others their coefficients lie
near a lattice, blurred by the errors of the last quantization: uniform for what was not rounded to 0, and what was
there for the rest. A block of another grid is made of parts of four, whose errors add up.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from napari_car.jpeg.dct import shifted_dcts
from napari_car.jpeg.lattice import MAX_QUALITY, Evidence, blurred_evidence
from napari_car.jpeg.passes import LATER_NOISE, Pass, Phase, blocks_of, is_coarser, usable
from napari_car.jpeg.requantization import earlier_evidence
from napari_car.jpeg.tables import BLOCK_DCT
from napari_car.jpeg.windows import Window

ENOUGH = 100.0
"""Nats from which there was one: of 1,920 files compressed once, of the training pool, most come to 0 and one to 61."""

_N_WINDOWS = 2  # that tell which grids are worth a look
_N_GRIDS = 3
_LOW = np.array([1, 8, 9, 2, 16, 10])  # frequencies that tell it: those that are seldom rounded to 0
_AC = np.arange(1, 64)
_FINE = 3  # divisors whose own lattice is too fine to be seen behind a coarse one's
_DECODED = 0.1  # square grey levels that rounding to 8 bits adds


def passes_before(windows: Sequence[Window], phase: Phase, table: NDArray[np.uint16], quality: int) -> list[Pass]:
    """Coarser passes before one that is known, most evidence first; those beyond ``ENOUGH`` are to be believed.

    Parameters
    ----------
    windows
        To look at.
    phase, table, quality
        Of the one that is known: where its blocks begin, its divisors, shape (8, 8), natural order, and IJG quality.
    """
    own = blocks_of(windows, phase)
    is_coarse = np.array([is_coarser(earlier, quality) for earlier in range(1, MAX_QUALITY + 1)])
    if not is_coarse.any():
        return []
    blurs = _Blurs(own, table, phase)
    evidences = {phase: earlier_evidence(own, table)}
    divisors = table.ravel()
    fine = _AC[divisors[_AC] <= _FINE]
    if fine.size:
        blurred = blurred_evidence(own[:, fine], fine, blurs[phase][fine], divisors[fine])
        evidences[phase] = np.maximum(evidences[phase], blurred)
    for grid in _likely_grids(windows, blurs, is_coarse):
        evidences[grid] = blurred_evidence(blocks_of(windows, grid)[:, 1:], _AC, blurs[grid][_AC])
    passes = [
        Pass(grid, LATER_NOISE[0], Evidence(np.where(is_coarse, total, 0), np.zeros_like(total)))
        for grid, total in evidences.items()
    ]
    return sorted(passes, key=lambda found: found.total, reverse=True)


class _Blurs:
    """Standard deviations that a quantization leaves on the coefficients of other grids, flat, grey levels."""

    def __init__(self, blocks: NDArray[np.float32], table: NDArray[np.uint16], phase: Phase) -> None:
        divisors = table.ravel().astype(np.float64)
        share = np.clip((np.abs(blocks) > divisors / 2).mean(0), 1e-4, 1 - 1e-4)
        # What is rounded to 0 is taken to fall off exponentially, as fast as the share beyond half a step tells.
        errors = np.square(divisors) * np.minimum(1 / 12, 0.5 / np.square(np.log(share)))
        errors[0] = divisors[0] ** 2 / 12
        self._errors, self.phase = errors.reshape(8, 8), phase

    def __getitem__(self, grid: Phase) -> NDArray[np.float64]:
        down, across = (_MIXING[(other - own) % 8] for other, own in zip(grid, self.phase, strict=True))
        blur: NDArray[np.float64] = np.sqrt(down @ self._errors @ across.T + _DECODED).ravel()
        return blur


def _mixing() -> Iterator[NDArray[np.float64]]:
    """How power of two blocks in a row goes into the frequencies of a block that begins 0..7 samples later."""
    samples = np.kron(np.eye(2), BLOCK_DCT.T)
    for start in range(8):
        powers = np.square(BLOCK_DCT @ samples[start : start + 8])
        yield powers[:, :8] + powers[:, 8:]


_MIXING = list(_mixing())


def _likely_grids(windows: Sequence[Window], blurs: _Blurs, is_coarse: NDArray[np.bool_]) -> list[Phase]:
    """The grids, other than that of the blurs, for which low frequencies speak most."""
    rows, columns = _LOW // 8, _LOW % 8
    nats = np.zeros((8, 8))
    for top in range(8):
        shifted = zip(*(shifted_dcts(window.luma[top:]) for window in windows[:_N_WINDOWS]), strict=True)
        for left, spectra in enumerate(shifted):
            low = np.concatenate([each[:, rows, :, columns].reshape(len(_LOW), -1) for each in spectra], axis=1)
            blocks = usable(low.T, windows[:_N_WINDOWS], (top, left))
            nats[top, left] = blurred_evidence(blocks, _LOW, blurs[top, left][_LOW])[:, is_coarse].max()
    nats[blurs.phase] = -np.inf
    order = np.argsort(-nats, axis=None)[:_N_GRIDS]
    return [divmod(int(index), 8) for index in order]
