"""The trace of a file in pixels: coefficients that lie on the lattice of its quantization table.

For pixels of which it is not sure that they come from the file that is known. The table may be any, where
``jpeg.estimate`` knows those of the IJG alone.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_car.jpeg.dct import shifted_dcts
from napari_car.jpeg.windows import cut_windows

# Chosen on photographs of the training pool: 48 px of a JPEG's score 10 or more, others up to 3.
_COARSE = 4  # divisors from which rounding to pixels leaves a coefficient near its multiple
_ENOUGH = 6  # standard deviations
_TELLING = 150  # coefficients beside zero of which those of a JPEG would score as much
_MIN_SIZE = 16  # px, so that each grid has a block


def bears_trace(image: NDArray[Any], table: NDArray[np.uint16]) -> bool | None:
    """Whether an image was quantized by a table, on whatever grid, upright or turned; None where it shows too little.

    Parameters
    ----------
    image
        As for ``estimate_jpeg``.
    table
        Of luma, shape (8, 8), natural order.
    """
    windows = cut_windows(image)
    if min(windows[0].luma.shape) < _MIN_SIZE:
        return None
    divisors = np.where(table >= _COARSE, table, np.inf).astype(np.float32)
    divisors[0, 0] = np.inf  # DC lies on some lattice by chance where areas are flat
    most = 0
    for top in range(8):
        for spectra in zip(*(shifted_dcts(window.luma[top:]) for window in windows), strict=True):
            for each in (divisors, divisors.T):
                score, count = _score(spectra, each)
                most = max(most, count)
                if score > _ENOUGH:
                    return True
    return False if most >= _TELLING else None


def _score(spectra: tuple[NDArray[np.float32], ...], divisors: NDArray[np.float32]) -> tuple[float, int]:
    """By how many standard deviations coefficients are nearer to multiples than by chance, and how many there are."""
    total, count = 0.0, 0
    for spectrum in spectra:
        multiples = spectrum / divisors[:, None, :]
        nearest = np.rint(multiples)
        distances = np.abs(multiples - nearest)[nearest != 0]
        total, count = total + float(distances.sum()), count + distances.size
    # By chance they are spread evenly over 0..1/2: their mean is 1/4, their variance 1/48.
    return (count / 4 - total) * math.sqrt(48 / count) if count else 0.0, count
