"""The protocols of the published tables: what is encoded, and how the result is scored.

A figure is comparable only within its protocol, so the three in use are named here to the digit:

- ``idcn``: the colour table of Zheng et al. (IDCN): cropped to whole blocks, uniform SSIM window,
  PSNR-B per channel in saturating 8-bit arithmetic;
- ``fbcnn``: the colour tables of Jiang et al. (FBCNN), QGAC and SwinIR: no crop, Gaussian SSIM window,
  PSNR-B from the blocking of the luma;
- ``gray``: the same for the luma alone, encoded as a grey JPEG.

PSNR columns of ``idcn`` and ``fbcnn`` may be compared (they differ by less than 0.02 dB); SSIM and PSNR-B
may not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from napari_car.metrics import (
    BLOCK,
    UNIFORM_WINDOW,
    Image8,
    check_pair,
    luma,
    psnr,
    psnr_b,
    psnr_b_saturating,
    ssim,
)


class Scores(NamedTuple):
    """What one protocol says of one image; PSNR and PSNR-B in dB, SSIM from -1 to 1."""

    psnr: float
    ssim: float
    psnr_b: float


@dataclass(frozen=True)
class Protocol:
    """How a published table comes about: what is encoded, and how the result is scored."""

    name: str
    prepare: Callable[[Image8], Image8]
    """Makes of a reference the picture that is encoded and compared, shape (H, W) or (H, W, 3)."""
    score: Callable[[Image8, Image8], Scores]
    """Scores a restored picture against the prepared reference."""


def _colour(image: Image8) -> Image8:
    """Return the image in three channels."""
    return image if image.ndim == 3 else np.stack([image] * 3, axis=-1)


def _score_idcn(reference: Image8, image: Image8) -> Scores:
    """Score by the ``idcn`` protocol: whole blocks only, uniform window, saturating PSNR-B."""
    check_pair(reference, image)  # cropping might hide that the sizes differ
    height, width = (side // BLOCK * BLOCK for side in reference.shape[:2])
    a, b = reference[:height, :width], image[:height, :width]
    return Scores(psnr(a, b), ssim(a, b, UNIFORM_WINDOW), psnr_b_saturating(a, b))


def _score_plainly(reference: Image8, image: Image8) -> Scores:
    """Score by the ``fbcnn`` and ``gray`` protocols: no crop, Gaussian window, float PSNR-B."""
    return Scores(psnr(reference, image), ssim(reference, image), psnr_b(reference, image))


PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol("idcn", _colour, _score_idcn),
        Protocol("fbcnn", _colour, _score_plainly),
        Protocol("gray", luma, _score_plainly),
    )
}
"""The protocols by name."""
