"""Keep a restored picture within what its file allows.

The original's DCT coefficients lie in the quantization intervals of the file: a box, hence convex. Projecting onto a
convex set that contains the original moves no picture away from the original. (Encoders compute in integers: of an
original's coefficients, up to 0.3 % stick out of the box, nearly all of them by less than 0.2 grey levels.)

Source: Bauschke & Combettes, Convex Analysis and Monotone Operator Theory (2011), Theorem 3.14 and Proposition 4.8.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_car.errors import InputError
from napari_car.jpeg.coefficients import Coefficients
from napari_car.jpeg.dct import block_dct, inverse_block_dct

_LEVEL_SHIFT = np.float32(128)  # Source: ITU-T T.81 A.3.1

# RGB to Y, Cb, Cr without the offset of 128, and back. Source: ITU-T T.871 clause 7.
TO_YCBCR = np.array(
    [[0.299, 0.587, 0.114], [-0.299 / 1.772, -0.587 / 1.772, 0.5], [0.5, -0.587 / 1.402, -0.114 / 1.402]], np.float32
)
TO_RGB = np.linalg.inv(TO_YCBCR).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Consistency:
    """How a picture agrees with a file.

    Parameters
    ----------
    share_outside
        Share of the coefficients that can be checked which lie outside of their interval, 0..1.
    share_known
        Share of coefficients that can be checked, 0..1.
    is_outside
        Blocks of 8×8 pixels with such a coefficient, shape (rows, columns).
    """

    share_outside: float
    share_known: float
    is_outside: NDArray[np.bool_]

    @property
    def is_consistent(self) -> bool:
        """Whether the file could have come from this picture."""
        return not self.is_outside.any()


def make_consistent(
    planes: NDArray[np.float32], coefficients: Sequence[Coefficients], margin: float = 0.0
) -> tuple[NDArray[np.float32], float]:
    """Clip the DCT coefficients of a picture into the quantization intervals of its file.

    With a margin of 0, the squared error of each known component, in its own block DCT, never grows.

    Parameters
    ----------
    planes
        Restored picture in [0, 1], shape (1, H, W) or (3, H, W) RGB, float32; not changed.
    coefficients
        What `read_coefficients` returns for the file.
    margin
        How far inside of its bounds every coefficient comes to lie, grey levels, but never more than half its interval.
        0 keeps the guarantee; 1.5 lets rounding to 8 bits carry few coefficients out again.

    Returns
    -------
    planes
        The picture with clipped coefficients, clipped to [0, 1].
    share
        Share of the known coefficients that had to be clipped, 0..1.

    Raises
    ------
    InputError
        Picture and file differ in size or components.
    """
    components = _components(planes, coefficients)
    changes = np.zeros_like(components)
    n_clipped = n_known = 0
    for component, change, known in zip(components, changes, coefficients, strict=True):
        spectrum = block_dct(component)
        low, high = known.low, known.high
        is_outside = (spectrum < low) | (spectrum > high)
        if margin:
            inset = np.where(known.is_known[..., None], np.minimum(margin, (high - low) / 2), 0).astype(np.float32)
            low, high = low + inset, high - inset
        clipped = np.clip(spectrum, low, high)
        n_clipped += int(np.count_nonzero(is_outside))
        n_known += 64 * int(known.is_known.sum())
        rows, columns = spectrum.shape[:2]
        change[: rows * 8, : columns * 8] = inverse_block_dct(clipped - spectrum)
    if len(planes) == 3:
        changes = np.tensordot(TO_RGB[:, : len(changes)], changes, 1)
    return np.clip(planes + changes / np.float32(255), 0, 1), n_clipped / max(n_known, 1)


def check_consistency(
    planes: NDArray[np.float32],
    coefficients: Sequence[Coefficients],
    tolerance: float = 2.0,
    *,
    decoded: NDArray[np.float32] | None = None,
) -> Consistency:
    """Say whether a picture agrees with a file, and where it does not.

    Parameters
    ----------
    planes
        Picture in [0, 1], shape (1, H, W) or (3, H, W) RGB, float32.
    coefficients
        What `read_coefficients` returns for the file.
    tolerance
        How far outside a coefficient may lie, grey levels; rounding a picture to 8 bits moves one by 0.3 on average.
    decoded
        The picture that the file itself decodes to, of the same shape. Blocks in which that sticks out as well, since
        its colours were clipped to 0..255, cannot be checked and are left out.

    Raises
    ------
    InputError
        Picture and file differ in size or components.
    """
    rows, columns = coefficients[0].is_known.shape
    # Without the decoder's picture, every block is checked that could be read.
    can_tell = np.full((rows, columns, 1), True)
    if decoded is not None:
        can_tell = ~check_consistency(decoded, coefficients, tolerance).is_outside[..., None]
    is_outside = np.zeros((rows, columns), np.bool_)
    n_outside = n_known = 0
    for component, known in zip(_components(planes, coefficients), coefficients, strict=True):
        spectrum = block_dct(component)
        outside = (spectrum < known.low - tolerance) | (spectrum > known.high + tolerance)
        outside &= can_tell
        is_outside |= outside.any(-1)
        n_outside += int(np.count_nonzero(outside))
        n_known += 64 * int((known.is_known & can_tell[..., 0]).sum())
    n_all = planes.shape[1] * planes.shape[2] * len(coefficients)
    return Consistency(n_outside / max(n_known, 1), n_known / n_all, is_outside)


def _components(planes: NDArray[np.float32], coefficients: Sequence[Coefficients]) -> NDArray[np.float32]:
    """Components that the file knows, level-shifted grey levels, shape (n, H, W)."""
    size = (coefficients[0].height, coefficients[0].width)
    if planes.ndim != 3 or planes.shape[0] not in (1, 3) or planes.shape[0] < len(coefficients):
        raise InputError(f"the picture has shape {planes.shape}; (1 or 3, H, W) with the file's components is needed")
    if planes.shape[1:] != size:
        raise InputError(f"the picture is {planes.shape[1]} × {planes.shape[2]} px, its file {size[0]} × {size[1]} px")
    if len(planes) == 1:
        return planes * np.float32(255) - _LEVEL_SHIFT
    components: NDArray[np.float32] = np.tensordot(TO_YCBCR[: len(coefficients)] * np.float32(255), planes, 1)
    components[0] -= _LEVEL_SHIFT
    return components
