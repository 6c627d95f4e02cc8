"""Chroma subsampling and MCU phase, from the pixels of a decoded JPEG.

Source: libjpeg ``jdsample.c`` ("fancy" upsampling): each sample is spread with weights 3/4 and 1/4 to its neighbours.
Averaging pairs of pixels gives the samples smoothed with (1/8, 3/4, 1/8), which can be undone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from napari_car.jpeg.dct import block_dct
from napari_car.jpeg.lattice import histogram, quality_evidence

_FACTORS = {"4:4:4": (1, 1), "4:2:2": (1, 2), "4:4:0": (2, 1), "4:2:0": (2, 2)}
_ENOUGH = 30.0  # nats
_LEAST_NOISE = 0.6  # grey levels; rounding of three channels, enlarged where upsampling is undone

# Weights of Cb and Cr. Source: ITU-T T.871 clause 7.
_TO_CHROMA = np.array([[-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]], np.float32)

# Inverse of (1/8, 3/4, 1/8): √2 · r^|n|, with r = 2√2 − 3 the root of r² + 6 r + 1 inside of the unit circle.
_SHARPEN = (np.sqrt(2) * (2 * np.sqrt(2) - 3) ** np.abs(np.arange(-5, 6))).astype(np.float32)


def find_subsampling(
    windows: Sequence[NDArray[np.float32]], quality: int, phase: tuple[int, int], noise: float
) -> tuple[str | None, tuple[int, int]]:
    """The chroma subsampling under which chroma fits its quantization table best.

    Parameters
    ----------
    windows
        RGB cut-outs in grey levels 0..255, shape (H, W, 3), float32; origins are multiples of 16.
    quality
        IJG quality 1..97 of the picture.
    phase
        Row and column of the first block boundary of luma, 0..7.
    noise
        Standard deviation of a coefficient around its multiple, grey levels.

    Returns
    -------
    subsampling
        "4:4:4", "4:2:2", "4:4:0", "4:2:0", or None where the picture has too little colour to tell.
    phase
        Row and column of the first MCU boundary, 0..7 or, along subsampled axes, 0..15.
    """
    chroma = [plane for window in windows for plane in _chroma(window)]
    best: tuple[float, str | None, tuple[int, int]] = (_ENOUGH, None, phase)
    for name, factors in _FACTORS.items():
        samples = [_downsample(plane, factors, phase) for plane in chroma]
        for mcu_phase in _mcu_phases(phase, factors):
            top, left = (start // factor for start, factor in zip(mcu_phase, factors, strict=True))
            blocks = np.concatenate([block_dct(plane[top:, left:]).reshape(-1, 64) for plane in samples])
            counts = histogram(blocks[np.isfinite(blocks).all(1)])
            evidence = quality_evidence(counts, "chroma", max(noise, _LEAST_NOISE))
            best = max(best, (float(evidence.total[quality - 1]), name, mcu_phase), key=lambda found: found[0])
    return best[1:]


def _chroma(window: NDArray[np.float32]) -> NDArray[np.float32]:
    """Cb and Cr, shape (2, H, W), NaN where a clipped pixel falsifies them."""
    chroma = np.moveaxis(window @ _TO_CHROMA.T, -1, 0)
    is_clipped = ((window <= 0.5) | (window >= 254.5)).any(-1)
    return np.where(is_clipped, np.float32(np.nan), chroma)


def _mcu_phases(phase: tuple[int, int], factors: tuple[int, int]) -> Iterator[tuple[int, int]]:
    """The places of the MCU grid that agree with that of the blocks."""
    for top in range(phase[0], 8 * factors[0], 8):
        for left in range(phase[1], 8 * factors[1], 8):
            yield top, left


def _downsample(plane: NDArray[np.float32], factors: tuple[int, int], phase: tuple[int, int]) -> NDArray[np.float32]:
    """The samples that were spread to this plane; the first belongs to row and column 0 or 1."""
    if factors[0] == 2:
        plane = _halve(plane[phase[0] % 2 :])
    if factors[1] == 2:
        plane = _halve(plane[:, phase[1] % 2 :].T).T
    return plane


def _halve(plane: NDArray[np.float32]) -> NDArray[np.float32]:
    """Undo the upsampling of rows."""
    plane = plane[: len(plane) // 2 * 2]
    rows = (plane[::2] + plane[1::2]) / 2
    n_beyond = len(_SHARPEN) // 2
    padded = np.pad(rows, ((n_beyond, n_beyond), (0, 0)), "edge")
    sharp = np.zeros_like(rows)
    for start, weight in enumerate(_SHARPEN):
        sharp += weight * padded[start : start + len(rows)]
    return sharp
