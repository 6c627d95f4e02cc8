"""The compressions that a picture may have gone through: where their blocks lie, and how much speaks for each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from napari_car.jpeg.dct import block_dct, shifted_dcts
from napari_car.jpeg.lattice import MAX_QUALITY, Evidence, quality_evidence
from napari_car.jpeg.tables import quality_to_scale
from napari_car.jpeg.windows import Window

Phase = tuple[int, int]
"""Row and column of the first block boundary, 0..7."""

LATER_NOISE = (1.7, 3.0)
"""Standard deviations that a later compression at quality 90 to 70 leaves, grey levels."""

# Chosen on photographs of the training pool, never on those of the test sets.
_MIN_BLOCKS = 100  # with fewer that are free of clipped pixels, the others must do
_N_MINIMA = 5
_AT_ONCE = 6  # powers are at most 1024² each
_ENOUGH, _ENOUGH_NOISY = 40.0, 60.0  # nats
_ENOUGH_MEAN, _ENOUGH_NOISY_MEAN = 0.05, 0.3  # nats per non-zero coefficient
_COARSER = 1.4  # ratio of scales from which an earlier pass dominates what is seen
_KEYS = np.random.default_rng(0).integers(1, 2**30, 63).astype(np.float64)  # by them blocks are told apart


@dataclass(frozen=True)
class Pass:
    """One compression that the coefficients may have gone through.

    Parameters
    ----------
    phase
        Of its blocks.
    noise
        That is on the coefficients since, standard deviation in grey levels.
    evidence
        For each quality.
    """

    phase: Phase
    noise: float
    evidence: Evidence

    @property
    def is_turned(self) -> bool:
        """Whether the picture was turned by a quarter since."""
        return self._likeliest[0] == 1

    @property
    def quality(self) -> int:
        """The likeliest."""
        return self._likeliest[1] + 1

    @property
    def total(self) -> float:
        """Nats that speak for it."""
        return float(self.evidence.total.max())

    @property
    def mean(self) -> float:
        """The same per non-zero coefficient."""
        return float(self.evidence.mean[self._likeliest])

    @property
    def is_enough(self) -> bool:
        """Whether coefficients that were rounded only surely went through it."""
        return self.total > _ENOUGH and self.mean > _ENOUGH_MEAN

    @property
    def is_enough_noisy(self) -> bool:
        """Whether coefficients that a later compression has blurred surely went through it."""
        return self.total > _ENOUGH_NOISY and self.mean > _ENOUGH_NOISY_MEAN

    def finer(self, among: Iterable[Pass]) -> Pass | None:
        """The pass after this one, of those that fit exactly, where it can be told."""
        is_finer = np.array([is_coarser(self.quality, quality) for quality in range(1, MAX_QUALITY + 1)])
        finer = [
            replace(found, evidence=found.evidence._replace(total=np.where(is_finer, found.evidence.total, 0)))
            for found in among
        ]
        best = max(finer, key=lambda found: found.total)
        return best if best.is_enough else None

    def margin(self, among: Iterable[Pass]) -> float:
        """Nats by which it leads over other phases and over qualities more than two away."""
        others = [found.total for found in among if found.phase != self.phase]
        is_near = np.abs(np.arange(MAX_QUALITY) + 1 - self.quality) <= 2
        others.append(float(np.where(is_near, 0, self.evidence.total[int(self.is_turned)]).max()))
        return self.total - max(0.0, *others)

    @property
    def _likeliest(self) -> tuple[int, int]:
        """Where its evidence is greatest."""
        turned, nth = divmod(int(self.evidence.total.argmax()), MAX_QUALITY)
        return turned, nth


def is_coarser(quality: int, than: int) -> bool:
    """Whether a compression at one quality hides one at another."""
    return quality_to_scale(quality) > _COARSER * quality_to_scale(than)


def rank(windows: Sequence[Window], phases: Iterable[Phase], noises: Sequence[float]) -> list[Pass]:
    """The passes that these phases and amounts of noise suggest, most evidence first."""
    passes: list[Pass] = []
    for phase in phases:
        blocks = blocks_of(windows, phase)
        passes += map(partial(Pass, phase), noises, quality_evidence(blocks, "luma", noises))
    return sorted(passes, key=lambda found: found.total, reverse=True)


def blocks_of(windows: Sequence[Window], phase: Phase) -> NDArray[np.float32]:
    """Coefficients of the usable blocks of a grid, each once, shape (n, 64).

    In a pattern that repeats, the same few values lie on some lattice by chance. Blocks that differ in their mean alone
    count as one, as those of a ramp do.
    """
    top, left = phase
    blocks = np.concatenate([block_dct(window.luma[top:, left:]).reshape(-1, 64) for window in windows])
    blocks = usable(blocks, windows, phase)
    _, first = np.unique(np.rint(blocks[:, 1:]) @ _KEYS, return_index=True)
    return blocks[np.sort(first)]


def usable(blocks: NDArray[np.float32], windows: Sequence[Window], phase: Phase) -> NDArray[np.float32]:
    """Those of the blocks of a grid that are free of clipped pixels; all where these are too few."""
    is_usable = np.concatenate([window.is_usable(phase) for window in windows])
    return blocks[is_usable] if is_usable.sum() > _MIN_BLOCKS else blocks


def grid_sign(windows: Iterable[Window], floor: float) -> NDArray[np.float64]:
    """Mean log power of coefficients at each phase, shape (8, 8): lowest where many were quantized to zero.

    Parameters
    ----------
    windows
        To look at.
    floor
        Grey levels below which a coefficient counts as zero.
    """
    sign = np.zeros((8, 8))
    for window in windows:
        for top in range(8):
            for left, spectra in enumerate(shifted_dcts(window.luma[top:])):
                powers = np.square(spectra) + np.float32(floor**2)
                powers[:, 0, :, 0] = 1  # DC does not count
                sign[top, left] += _sum_of_logs(powers.ravel()) / (powers.size / 64 * 63)
    return sign


def likely_phases(sign: NDArray[np.float64]) -> list[Phase]:
    """The lowest phases of all, and the lowest of those whose eight neighbours are higher."""
    shifts = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if (dy, dx) != (0, 0)]
    neighbours = np.min([np.roll(sign, shift, (0, 1)) for shift in shifts], axis=0)
    order: list[Phase] = [divmod(int(index), 8) for index in np.argsort(sign, axis=None)]
    return order[:2] + [phase for phase in order if sign[phase] < neighbours[phase]][:_N_MINIMA]


def _sum_of_logs(powers: NDArray[np.float32]) -> float:
    """Sum of the logarithms: of products of six, which float32 holds and whose logarithms are as good."""
    n_whole = len(powers) // _AT_ONCE * _AT_ONCE
    products = np.multiply.reduce(powers[:n_whole].reshape(_AT_ONCE, -1), axis=0)
    return float(np.log(products).sum(dtype=np.float64) + np.log(powers[n_whole:]).sum(dtype=np.float64))
