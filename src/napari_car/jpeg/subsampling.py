"""Chroma subsampling and MCU phase, from the pixels of a decoded JPEG.

Source: libjpeg ``jdsample.c`` ("fancy" upsampling): each sample is spread with weights 3/4 and 1/4 to its neighbours.
Averaging pairs of pixels gives the samples smoothed with (1/8, 3/4, 1/8), which can be undone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from napari_car.jpeg.dct import block_dct
from napari_car.jpeg.lattice import quality_evidence

_FACTORS = {"4:4:4": (1, 1), "4:2:2": (1, 2), "4:4:0": (2, 1), "4:2:0": (2, 2)}
_NOISE = 0.6  # grey levels that rounding alone leaves, enlarged where upsampling is undone
_LEAD = 0.05  # nats by which one subsampling must fit better than all others

# Weights of Cb and Cr. Source: ITU-T T.871 clause 7.
_TO_CHROMA = np.array([[-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]], np.float32)

# Inverse of (1/8, 3/4, 1/8): √2 · r^|n|, with r = 2√2 − 3 the root of r² + 6 r + 1 inside of the unit circle.
_SHARPEN = (np.sqrt(2) * (2 * np.sqrt(2) - 3) ** np.abs(np.arange(-5, 6))).astype(np.float32)


def find_subsampling(
    windows: Sequence[NDArray[np.float32]], quality: int, phase: tuple[int, int], *, noise: float, is_turned: bool
) -> tuple[str | None, tuple[int, int]]:
    """The chroma subsampling, of the picture as it lies, under which chroma fits its quantization table best.

    Parameters
    ----------
    windows
        RGB cut-outs in grey levels 0..255, shape (H, W, 3), float32; origins are multiples of 16.
    quality
        IJG quality 1..97 of the picture.
    phase
        Row and column of the first block boundary of luma, 0..7.
    noise
        That is on the coefficients of luma since, standard deviation in grey levels.
    is_turned
        Whether the picture was turned by a quarter since it was compressed.

    Returns
    -------
    subsampling
        "4:4:4", "4:2:2", "4:4:0", "4:2:0", or None where the picture has too little colour to tell.
    phase
        Row and column of the first MCU boundary, 0..7 or, along subsampled axes, 0..15.
    """
    chroma = [plane for window in windows for plane in _chroma(window)]
    fits = {
        (name, mcu_phase): float(_fit(chroma, factors, mcu_phase, max(noise, _NOISE))[int(is_turned), quality - 1])
        for name, factors in _FACTORS.items()
        for mcu_phase in _mcu_phases(phase, factors)
    }
    name, mcu_phase = max(fits, key=fits.__getitem__)
    rival = max(fit for (other, _), fit in fits.items() if other != name)
    return (name, mcu_phase) if fits[name, mcu_phase] > rival + _LEAD else (None, phase)


def _fit(
    chroma: Sequence[NDArray[np.float32]], factors: tuple[int, int], mcu_phase: tuple[int, int], noise: float
) -> NDArray[np.float32]:
    """Nats per non-zero coefficient, as ``Evidence.mean``; without DC, which is a multiple at full resolution, too."""
    top, left = (start // factor for start, factor in zip(mcu_phase, factors, strict=True))
    samples = [_downsample(plane, factors, mcu_phase)[top:, left:] for plane in chroma]
    blocks = np.concatenate([block_dct(plane).reshape(-1, 64) for plane in samples])
    blocks = blocks[np.isfinite(blocks).all(1)]
    blocks[:, 0] = 0
    return quality_evidence(blocks, "chroma", (noise,))[0].mean


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
    rows = (plane[::2] + plane[1::2]) * np.float32(0.5)
    n_beyond = len(_SHARPEN) // 2
    padded: NDArray[np.float32] = np.pad(rows, ((n_beyond, n_beyond), (0, 0)), "edge")
    sharp = np.zeros_like(rows)
    for start, weight in enumerate(_SHARPEN):
        sharp += weight * padded[start : start + len(rows)]
    return sharp
