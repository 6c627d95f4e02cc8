"""Find out from its pixels how a picture was compressed, however it is stored now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from napari_car.errors import InputError
from napari_car.jpeg.earlier import ENOUGH, passes_before
from napari_car.jpeg.header import JpegInfo
from napari_car.jpeg.lattice import EXACT_NOISE
from napari_car.jpeg.passes import LATER_NOISE, Pass, Phase, grid_sign, likely_phases, rank
from napari_car.jpeg.subsampling import find_subsampling
from napari_car.jpeg.tables import ijg_table
from napari_car.jpeg.windows import Window, cut_windows

# Chosen on photographs of the training pool, never on those of the test sets.
_MIN_SIZE = 16  # pixels, so that each phase has a block
_SHARP, _BLUNT = 0.5, 4.0  # grey levels below which a coefficient counts as zero: as it was decoded; compressed again
_N_SIGNS = 2  # windows that tell where blocks lie
_NATS_PER_DOUBT = 20.0  # coefficients are not independent: tempers evidence into confidence


@dataclass(frozen=True)
class JpegEstimate:
    """What the pixels of a picture say of its compression.

    Parameters
    ----------
    quality
        IJG quality 1..97 of the compression that dominates what is seen; None if no compression is found.
    grid_phase
        Row and column of the first block boundary inside of the image, 0..7; (0, 0) if it was not cropped.
    mcu_phase
        The same for the MCU, 0..15 along subsampled axes.
    subsampling
        "grey", "4:4:4", "4:2:2", "4:4:0" or "4:2:0"; None where there is too little colour to tell.
    confidence
        How likely it is that quality (to within 2) and phase are right, 0..1.
    last_quality, last_grid_phase
        Of the last compression; those of the dominating one where no other is found.
    is_turned
        Whether the picture was turned by a quarter since the compression that dominates: rows and columns of its tables
        have changed places.
    """

    quality: int | None
    grid_phase: Phase
    mcu_phase: Phase
    subsampling: str | None
    confidence: float
    last_quality: int | None
    last_grid_phase: Phase
    is_turned: bool = False

    @property
    def is_double(self) -> bool:
        """Whether the picture was compressed again, at a better quality, after the dominating compression."""
        return (self.quality, self.grid_phase) != (self.last_quality, self.last_grid_phase)

    @property
    def is_aligned(self) -> bool:
        """Whether the block grids of all compressions found coincide."""
        return self.grid_phase == self.last_grid_phase


class _Found(NamedTuple):
    """The dominating compression and one after it, where they can be told, and how sure that is."""

    main: Pass | None
    finer: Pass | None
    confidence: float


_NOTHING = _Found(None, None, 0.0)


def estimate_jpeg(image: NDArray[Any], *, in_full: bool = True, last: JpegInfo | None = None) -> JpegEstimate:
    """Find quality, grid phase and subsampling of the JPEG compression that a picture went through.

    Looks at a bounded number of windows, so that the time hardly grows with the size of the picture. One that
    was turned by a quarter since is recognised too.

    Parameters
    ----------
    image
        Shape (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), alpha being ignored; leading axes are a stack of pictures that
        were compressed alike. uint8, uint16, or float in [0, 1].
    in_full
        Whether to find ``subsampling`` and ``mcu_phase`` as well, half of the work; else they are None and
        ``grid_phase``.
    last
        Header of the JPEG file, grey or YCbCr, that the picture was just read from. Its compression is known then, and
        only a coarser one before it is looked for, in half the time.

    Returns
    -------
    JpegEstimate
        With quality None where no compression is found. If the last one is known, and none before it is found, it is
        that one, whose quality may be up to 100.

    Raises
    ------
    InputError
        Another dtype or shape.

    Examples
    --------
    >>> import io
    >>> from PIL import Image
    >>> from skimage import data
    >>> file = io.BytesIO()
    >>> Image.fromarray(data.astronaut()).save(file, "JPEG", quality=35)
    >>> found = estimate_jpeg(np.asarray(Image.open(file))[3:, 6:])
    >>> found.quality, found.grid_phase, found.subsampling, found.is_double
    (35, (5, 2), '4:2:0', False)
    >>> estimate_jpeg(data.astronaut()).quality is None
    True
    """
    if not isinstance(image, np.ndarray):
        raise InputError(f"the image is a {type(image).__name__}; it must be a numpy array")
    windows = cut_windows(image)
    main, finer, confidence = _NOTHING
    if min(windows[0].luma.shape) >= _MIN_SIZE:
        if last is None:
            main, finer, confidence = _passes(windows)
        else:
            main, finer, confidence = _pass_before(windows, (0, 0), last.quant_tables[0], last.quality)
    known = None if last is None else last.quality
    if main is None:
        return JpegEstimate(known, (0, 0), (0, 0), None, confidence if last is None else 1.0, known, (0, 0))
    subsampling, mcu_phase = None, main.phase
    colored = [window.rgb for window in windows if window.rgb is not None]
    if not colored:
        subsampling = "grey"
    elif in_full:
        # Off the grid, another pass is surely one; on it, its lattice may be that of a divisor.
        is_blurred = last is not None or (finer is not None and finer.phase != main.phase)
        noise = main.noise if is_blurred else EXACT_NOISE
        subsampling, mcu_phase = find_subsampling(
            colored, main.quality, main.phase, noise=noise, is_turned=main.is_turned
        )
    finer = finer or main
    return JpegEstimate(
        quality=main.quality,
        grid_phase=main.phase,
        mcu_phase=mcu_phase,
        subsampling=subsampling,
        confidence=confidence,
        last_quality=known or finer.quality,
        last_grid_phase=finer.phase if last is None else (0, 0),
        is_turned=main.is_turned,
    )


def _passes(windows: Sequence[Window]) -> _Found:
    """The compressions that show."""
    exact = rank(windows, {(0, 0), *likely_phases(grid_sign(windows[:_N_SIGNS], _SHARP))}, (EXACT_NOISE,))
    last = exact[0]
    if last.is_enough:
        table = ijg_table(last.quality, "luma")
        before = _pass_before(windows, last.phase, table.T if last.is_turned else table, last.quality)
        if before.main is not None:
            return before._replace(finer=last)
        is_blurred = rank(windows, {last.phase}, LATER_NOISE)[0].total > last.total
        return _Found(last, last.finer(exact) if is_blurred else None, _confidence(last.margin(exact)))
    noisy = rank(windows, {last.phase, *likely_phases(grid_sign(windows[:_N_SIGNS], _BLUNT))}, LATER_NOISE)
    if noisy[0].is_enough_noisy:
        return _Found(noisy[0], None, _confidence(noisy[0].margin(noisy)))
    return _Found(None, None, _confidence(-last.total))


def _pass_before(windows: Sequence[Window], phase: Phase, table: NDArray[np.uint16], quality: int) -> _Found:
    """The compression that dominates one that is known, if there is one."""
    passes = passes_before(windows, phase, table, quality)
    if not passes or passes[0].total < ENOUGH:
        return _NOTHING
    return _Found(passes[0], None, _confidence(passes[0].margin(passes)))


def _confidence(nats: float) -> float:
    """Probability that evidence amounts to."""
    return float(1 / (1 + np.exp(-np.clip(nats / _NATS_PER_DOUBT, -50, 50))))
