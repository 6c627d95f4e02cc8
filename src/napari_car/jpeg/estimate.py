"""Find out from its pixels how a picture was compressed, however it is stored now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_car.errors import InputError
from napari_car.jpeg.dct import block_dct, shifted_dcts
from napari_car.jpeg.lattice import EXACT_NOISE, Evidence, histogram, quality_evidence
from napari_car.jpeg.subsampling import find_subsampling
from napari_car.jpeg.tables import quality_to_scale
from napari_car.jpeg.windows import Window, cut_windows

Phase = tuple[int, int]

# Chosen on photographs of the training pool, never on those of the test sets.
_MIN_SIZE = 16  # pixels, so that each phase has a block
_MIN_BLOCKS = 100  # with fewer that are free of clipped pixels, the others must do
_N_MINIMA = 5
_FLOORS = (0.5, 4.0)  # grey levels below which a coefficient counts as zero: as it was decoded; compressed again
_LATER_NOISE = (1.7, 3.0)  # standard deviations that a later compression at quality 90 to 70 leaves, grey levels
_AT_ONCE = 6  # powers are at most 1024² each
_ENOUGH, _ENOUGH_NOISY = 40.0, 60.0  # nats
_ENOUGH_MEAN, _ENOUGH_NOISY_MEAN = 0.05, 0.3  # nats per non-zero coefficient
_COARSER = 1.5  # ratio of scales from which an earlier pass dominates what is seen
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
        Of the last compression; those of the dominating one where no other is found, as behind one of a picture that
        was turned in between.
    is_turned
        Whether the picture was turned by a quarter since: rows and columns of the tables have changed places.
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
    def back(self) -> JpegEstimate:
        """The same of a picture whose rows are these columns."""
        return replace(
            self,
            grid_phase=self.grid_phase[::-1],
            mcu_phase=self.mcu_phase[::-1],
            subsampling={"4:2:2": "4:4:0", "4:4:0": "4:2:2"}.get(self.subsampling or "", self.subsampling),
            last_grid_phase=self.last_grid_phase[::-1],
            is_turned=not self.is_turned,
        )

    @property
    def is_aligned(self) -> bool:
        """Whether the block grids of all compressions found coincide."""
        return self.grid_phase == self.last_grid_phase


@dataclass(frozen=True)
class _Pass:
    """One compression that the coefficients may have gone through."""

    phase: Phase
    noise: float
    evidence: Evidence

    @property
    def quality(self) -> int:
        return self.evidence.quality

    @property
    def total(self) -> float:
        return float(self.evidence.total.max())

    @property
    def mean(self) -> float:
        return float(self.evidence.mean[self.quality - 1])

    @property
    def is_enough(self) -> bool:
        return self.total > _ENOUGH and self.mean > _ENOUGH_MEAN


def estimate_jpeg(image: NDArray[Any], *, in_full: bool = True) -> JpegEstimate:
    """Find quality, grid phase and subsampling of the JPEG compression that a picture went through.

    Looks at a bounded number of windows, so that the time hardly grows with the size of the picture. One that
    was turned by a quarter since is recognised too.

    Parameters
    ----------
    image
        Shape (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), alpha being ignored; leading axes are a stack of pictures that
        were compressed alike. uint8, uint16, or float in [0, 1].
    in_full
        Whether to find ``subsampling`` and ``mcu_phase`` as well, a third of the work; else they are None and
        ``grid_phase``.

    Returns
    -------
    JpegEstimate
        With quality None where no compression is found.

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
    if min(windows[0].luma.shape) < _MIN_SIZE:
        return _answer(None, None, None, (0, 0), 0.0)
    signs = _grid_signs(windows)
    main, last, confidence = _passes(windows, signs)
    turned, is_turned = [window.turned for window in windows], False
    if main is None or _rank(turned, {main.phase[::-1]}, (main.noise,))[0].total > main.total:
        found = _passes(turned, signs.swapaxes(1, 2))
        is_turned = found[0] is not None
        if is_turned:
            windows, (main, last, confidence) = turned, found
    if main is None:
        return _answer(None, None, None, (0, 0), confidence)
    colored = [window.rgb for window in windows if window.rgb is not None]
    subsampling, mcu_phase = None if colored else "grey", main.phase
    if colored and in_full:
        subsampling, mcu_phase = find_subsampling(colored, main.quality, main.phase)
    answer = _answer(main, last, subsampling, mcu_phase, confidence)
    return answer.back if is_turned else answer


def _passes(windows: Sequence[Window], signs: NDArray[np.float64]) -> tuple[_Pass | None, _Pass | None, float]:
    """The dominating compression and one after it, where they can be told, and how sure that is."""
    sharp, blunt = signs
    exact = _rank(windows, {(0, 0), *_minima(sharp)}, (EXACT_NOISE,))
    noisy = _rank(windows, {exact[0].phase, *_minima(blunt)}, _LATER_NOISE)
    main = next((found for found in noisy if _dominates(found, exact[0])), None)
    if main is not None:
        last = _finer(exact, main)
        rivals = [found for found in noisy if last is None or found.phase != last.phase]
        return main, last, _confidence(_margin(main, rivals))
    if exact[0].is_enough:
        return exact[0], None, _confidence(_margin(exact[0], exact))
    return None, None, _confidence(-exact[0].total)


def _answer(
    main: _Pass | None, last: _Pass | None, subsampling: str | None, mcu_phase: Phase, confidence: float
) -> JpegEstimate:
    """Put the findings together."""
    last = last or main
    return JpegEstimate(
        quality=main.quality if main else None,
        grid_phase=main.phase if main else (0, 0),
        mcu_phase=mcu_phase,
        subsampling=subsampling,
        confidence=confidence,
        last_quality=last.quality if last else None,
        last_grid_phase=last.phase if last else (0, 0),
    )


def _grid_signs(windows: Sequence[Window]) -> NDArray[np.float64]:
    """Mean log power of coefficients, shape (2, 8, 8): lowest at the phases where many were quantized to zero."""
    signs = np.zeros((2, 8, 8))
    for window in windows:
        for top in range(8):
            for left, spectra in enumerate(shifted_dcts(window.luma[top:])):
                powers = np.square(spectra)
                for sign, floor in zip(signs, _FLOORS, strict=True):
                    raised = powers + np.float32(floor**2)
                    raised[:, 0, :, 0] = 1  # DC does not count
                    sign[top, left] += _sum_of_logs(raised.ravel()) / (powers.size / 64 * 63)
    return signs


def _sum_of_logs(powers: NDArray[np.float32]) -> float:
    """Sum of the logarithms: of products of six, which float32 holds and whose logarithms are as good."""
    n_whole = len(powers) // _AT_ONCE * _AT_ONCE
    products = np.multiply.reduce(powers[:n_whole].reshape(_AT_ONCE, -1), axis=0)
    return float(np.log(products).sum(dtype=np.float64) + np.log(powers[n_whole:]).sum(dtype=np.float64))


def _minima(sign: NDArray[np.float64]) -> list[Phase]:
    """The lowest phases of all, and the lowest of those whose eight neighbours are higher."""
    shifts = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if (dy, dx) != (0, 0)]
    neighbours = np.min([np.roll(sign, shift, (0, 1)) for shift in shifts], axis=0)
    order: list[Phase] = [divmod(int(index), 8) for index in np.argsort(sign, axis=None)]
    return order[:2] + [phase for phase in order if sign[phase] < neighbours[phase]][:_N_MINIMA]


def _rank(windows: Sequence[Window], phases: set[Phase], noises: Sequence[float]) -> list[_Pass]:
    """The passes that these phases and amounts of noise suggest, most evidence first."""
    passes = []
    for phase in phases:
        top, left = phase
        blocks = np.concatenate([block_dct(window.luma[top:, left:]).reshape(-1, 64) for window in windows])
        is_usable = np.concatenate([window.is_usable(phase) for window in windows])
        counts = histogram(blocks[is_usable] if is_usable.sum() > _MIN_BLOCKS else blocks)
        passes += [_Pass(phase, noise, quality_evidence(counts, "luma", noise)) for noise in noises]
    return sorted(passes, key=lambda found: found.total, reverse=True)


def _dominates(noisy: _Pass, exact: _Pass) -> bool:
    """Whether a compression that a later one has blurred is what is seen, and not the one that fits exactly."""
    if noisy.total < _ENOUGH_NOISY or noisy.mean < _ENOUGH_NOISY_MEAN:
        return False
    if (noisy.phase, noisy.quality) == (exact.phase, exact.quality):
        return noisy.total > exact.total
    return not exact.is_enough or _is_coarser(noisy.quality, exact.quality)


def _finer(exact: Sequence[_Pass], main: _Pass) -> _Pass | None:
    """The pass after the dominating one, where it can be told."""
    qualities = np.arange(1, len(main.evidence.total) + 1)
    is_finer = np.array([_is_coarser(main.quality, int(quality)) for quality in qualities])
    finer = [
        _Pass(found.phase, found.noise, Evidence(np.where(is_finer, found.evidence.total, 0), found.evidence.mean))
        for found in exact
    ]
    best = max(finer, key=lambda found: found.total)
    return best if best.is_enough else None


def _is_coarser(quality: int, than: int) -> bool:
    """Whether one quality dominates the other."""
    return quality_to_scale(quality) > _COARSER * quality_to_scale(than)


def _margin(main: _Pass, ranked: Sequence[_Pass]) -> float:
    """Nats by which a pass leads over other phases and over qualities more than two away."""
    others = [found.total for found in ranked if found.phase != main.phase]
    is_near = np.abs(np.arange(len(main.evidence.total)) + 1 - main.quality) <= 2
    others.append(float(np.where(is_near, 0, main.evidence.total).max()))
    return main.total - max(0.0, *others)


def _confidence(nats: float) -> float:
    """Probability that evidence amounts to."""
    return float(1 / (1 + np.exp(-np.clip(nats / _NATS_PER_DOUBT, -50, 50))))
