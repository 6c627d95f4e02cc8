"""What JPEG does to a picture: crops that were encoded and decoded, with what a decoder would know of them."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from napari_car.jpeg.coding import Coding

SUBSAMPLINGS = {"4:4:4": 0, "4:2:2": 1, "4:2:0": 2}
"""Chroma subsampling as Pillow's encoder counts it."""
SHARES = {"4:2:0": 0.65, "4:4:4": 0.25, "4:2:2": 0.1}
"""How often colour pictures are subsampled how."""


class Degraded(NamedTuple):
    """A reference crop, what JPEG made of it (both (H, W, 3) uint8) and the condition (3,) float32 for the network."""

    reference: NDArray[np.uint8]
    degraded: NDArray[np.uint8]
    condition: NDArray[np.float32]


@dataclass(frozen=True)
class Degradation:
    """How pictures are compressed for training.

    Parameters
    ----------
    quality
        One IJG quality for a network of one quality; None draws half from 5..40 and half from 5..100, but for ``fine``.
    double
        Share of crops that are compressed twice, half of them on a shifted grid; the lower quality is the one told.
    grey
        Share of crops that are compressed as grey pictures.
    fine
        Share of crops that are compressed at 85..100, where a network easily does more harm than good.
    clean
        Share of crops that are not compressed at all, and told to be of quality 100.
    """

    quality: int | None = None
    double: float = 0.05
    grey: float = 0.03
    fine: float = 0.08
    clean: float = 0.02

    def __call__(self, crop: NDArray[np.uint8], rng: np.random.Generator) -> Degraded:
        """Compress ``crop`` (H, W, 3), H and W at least 32, and cut what the shift of a second grid costs."""
        if self.quality is not None:
            return Degraded(crop, recompress(crop, self.quality, "4:2:0"), condition(self.quality, "4:2:0"))
        if rng.random() < self.clean:
            return Degraded(crop, crop, condition(100, str(rng.choice(list(SUBSAMPLINGS)))))
        quality = self.draw_quality(rng)
        subsampling = str(rng.choice(list(SHARES), p=list(SHARES.values())))
        if rng.random() < self.grey:
            luma = np.asarray(Image.fromarray(crop).convert("L"))
            crop, subsampling = np.repeat(luma[..., None], 3, axis=2), "grey"
        degraded = recompress(crop, quality, subsampling)
        if rng.random() < self.double:
            again = int(rng.integers(quality, 101))
            dy, dx = rng.integers(0, 16, 2) if rng.random() < 0.5 else (0, 0)
            height, width = ((side - 16) // 16 * 16 for side in crop.shape[:2])
            # The second grid starts at (dy, dx); what is returned starts on the first grid, 16 px further in.
            second = recompress(degraded[dy:, dx:], again, subsampling)
            degraded = second[16 - dy : 16 - dy + height, 16 - dx : 16 - dx + width]
            crop = crop[16 : 16 + height, 16 : 16 + width]
            side = min(degraded.shape[0], degraded.shape[1], crop.shape[0], crop.shape[1]) // 16 * 16
            degraded, crop = degraded[:side, :side], crop[:side, :side]
        return Degraded(crop, degraded, condition(quality, subsampling))

    def draw_quality(self, rng: np.random.Generator) -> int:
        """Quality of one crop."""
        if self.quality is not None:
            return self.quality
        if rng.random() < self.fine:
            return int(rng.integers(85, 101))
        return int(rng.integers(5, 41 if rng.random() < 0.5 else 101))


def condition(quality: int, subsampling: str) -> NDArray[np.float32]:
    """What a network is told, shape (3,): luma and chroma table scale in percent, chroma subsampling 0..1."""
    coding = Coding.from_quality(quality, subsampling)
    return np.array([coding.luma_scale, coding.chroma_scale, coding.chroma_subsampling], np.float32)


def recompress(image: NDArray[np.uint8], quality: int, subsampling: str) -> NDArray[np.uint8]:
    """Encode ``image`` (H, W, 3) as JPEG and decode it; "grey" encodes one component and repeats it."""
    buffer = io.BytesIO()
    if subsampling == "grey":
        Image.fromarray(image[..., 0]).save(buffer, "JPEG", quality=quality)
    else:
        Image.fromarray(image).save(buffer, "JPEG", quality=quality, subsampling=SUBSAMPLINGS[subsampling])
    return np.asarray(Image.open(buffer).convert("RGB"))
