"""A picture as it stands in a file: pixels and what is said about them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from napari_car.errors import InputError
from napari_car.files.metadata import Metadata


@dataclass(frozen=True, eq=False)
class Picture:
    """Pixels in the depth and the position in which the file stores them.

    Parameters
    ----------
    pixels
        Shape (H, W) for grey, (H, W, 3) for RGB, (H, W, 4) for RGB with alpha (not premultiplied);
        uint8, uint16, or float32/float64 of the range the file has. With `is_stack` one leading axis more.
    metadata
        What the file says beside the pixels.
    format
        Name of the format it was read from, such as ``"JPEG"``; empty where it was read from none.
    is_stack
        Whether the first axis counts the pages of a multi-page TIFF.

    Raises
    ------
    InputError
        The array has another shape.

    Examples
    --------
    >>> import numpy as np
    >>> Picture(np.zeros((4, 6, 3), np.uint8)).channels
    3
    >>> Picture(np.zeros((4, 5, 2), np.uint8))
    Traceback (most recent call last):
    ...
    napari_car.errors.InputError: a picture has shape (H, W) or (H, W, 3 or 4), not (4, 5, 2)
    """

    pixels: NDArray[Any]
    metadata: Metadata = field(default_factory=Metadata)
    format: str = ""
    is_stack: bool = False

    def __post_init__(self) -> None:
        page = self.pixels.shape[self.is_stack :]
        is_image = len(page) == 2 or (len(page) == 3 and page[2] in (3, 4))
        if not is_image or self.pixels.ndim != len(page) + self.is_stack or 0 in self.pixels.shape:
            what, lead = ("a stack of pages", "pages, ") if self.is_stack else ("a picture", "")
            raise InputError(f"{what} has shape ({lead}H, W) or ({lead}H, W, 3 or 4), not {self.pixels.shape}")

    @property
    def pages(self) -> list[NDArray[Any]]:
        """The pages, each of shape (H, W), (H, W, 3) or (H, W, 4); one where there is no stack."""
        return list(self.pixels) if self.is_stack else [self.pixels]

    @property
    def channels(self) -> int:
        """Number of channels: 1, 3, or 4 with alpha."""
        page = self.pixels.shape[self.is_stack :]
        return int(page[2]) if len(page) == 3 else 1


def turned(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Return stored pixels, shape (H, W) or (H, W, C), turned upright as the EXIF orientation asks."""
    # Source: Exif 2.32, 4.6.4 A: the side that row 0 and the side that column 0 of the pixels is seen at
    if orientation in (5, 6, 7, 8):  # other values, which damage makes, say nothing
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels
