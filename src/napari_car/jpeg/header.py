"""What the header of a JPEG file says.

The parsing is done in ``frame`` and ``markers``; here is what it means to a user.
"""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from functools import cached_property
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from napari_car.errors import FileError, InputError, JpegError
from napari_car.jpeg.equivalence import equivalent_quality, table_residual
from napari_car.jpeg.frame import Frame
from napari_car.jpeg.tables import Kind

_SUBSAMPLING = {
    (1, 1): "4:4:4",
    (2, 1): "4:2:2",
    (2, 2): "4:2:0",
    (1, 2): "4:4:0",
    (4, 1): "4:1:1",
    (4, 2): "4:1:0",
}


@dataclass(frozen=True, eq=False)
class JpegInfo:
    """How a JPEG file was coded, as its header says.

    Parameters
    ----------
    height, width
        Size in pixels.
    color_space
        "grey", "YCbCr", "RGB", "CMYK" or "YCCK".
    quant_tables
        Quantization table of each component, shape (8, 8), uint16, natural order.
    sampling
        Sampling factors (horizontal, vertical) of each component, 1..4.
    is_progressive
        Whether the picture comes in several scans of growing accuracy.
    is_arithmetic
        Whether it is coded arithmetically, which many decoders refuse.
    restart_interval
        MCUs between restart markers; 0 means none.
    precision
        Bits per sample.
    """

    height: int
    width: int
    color_space: str
    quant_tables: tuple[NDArray[np.uint16], ...]
    sampling: tuple[tuple[int, int], ...]
    is_progressive: bool
    is_arithmetic: bool
    restart_interval: int
    precision: int

    @property
    def n_components(self) -> int:
        """Number of components: 1, 3 or 4."""
        return len(self.sampling)

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """Base table that each component calls for: "chroma" for Cb and Cr, "luma" for all others."""
        has_chroma = self.color_space in ("YCbCr", "YCCK")
        return tuple("chroma" if has_chroma and i in (1, 2) else "luma" for i in range(self.n_components))

    @cached_property
    def quality(self) -> int:
        """IJG quality 1..100 that stands for all tables of the file; exact where they are IJG tables of one quality."""
        return equivalent_quality(self.quant_tables, self.kinds)

    @property
    def luma_quality(self) -> int:
        """Equivalent IJG quality 1..100 of the first component, exact for IJG tables."""
        return equivalent_quality(self.quant_tables[:1], self.kinds[:1])

    @property
    def chroma_quality(self) -> int | None:
        """Equivalent IJG quality 1..100 of Cb and Cr; None where there is no chroma."""
        if "chroma" not in self.kinds:
            return None
        return equivalent_quality(self.quant_tables[1:3], self.kinds[1:3])

    @property
    def table_residuals(self) -> tuple[float, ...]:
        """Relative distance of each table from the IJG table of its equivalent quality, at least 0."""
        return tuple(map(table_residual, self.quant_tables, self.kinds))

    @cached_property
    def is_standard(self) -> bool:
        """Whether every table is an IJG table; Photoshop, cameras and mozjpeg write tables of their own."""
        return not any(self.table_residuals)

    @property
    def subsampling(self) -> str:
        """Chroma subsampling, "4:4:4" to "4:1:0"; "grey", or all factors ("2x2,1x2,1x1") where unusual."""
        if self.n_components == 1:
            return "grey"
        full, first, second, *rest = self.sampling
        if first == second and all(factors == full for factors in rest):
            for (horizontal, vertical), name in _SUBSAMPLING.items():
                if full == (first[0] * horizontal, first[1] * vertical):
                    return name
        return ",".join(f"{horizontal}x{vertical}" for horizontal, vertical in self.sampling)


def read_jpeg(path_or_bytes: str | os.PathLike[str] | bytes | bytearray | memoryview) -> JpegInfo:
    """Read what the header of a JPEG file says, decoding no pixel.

    Thumbnails inside EXIF, further pictures of an MPO file and data after the picture are not looked at.

    Parameters
    ----------
    path_or_bytes
        The file, or its content.

    Returns
    -------
    JpegInfo
        Size, tables, sampling and kind of the first picture.

    Raises
    ------
    FileError
        The file cannot be opened or read.
    JpegError
        Not a JPEG, damaged, or of a kind outside 8-bit DCT with 1, 3 or 4 components.
    InputError
        Neither a path nor bytes.

    Examples
    --------
    >>> import io
    >>> from PIL import Image
    >>> file = io.BytesIO()
    >>> Image.new("RGB", (40, 30)).save(file, "JPEG", quality=23, subsampling="4:2:0")
    >>> info = read_jpeg(file.getvalue())
    >>> info.height, info.width, info.quality, info.subsampling
    (30, 40, 23, '4:2:0')
    """
    if isinstance(path_or_bytes, (bytes, bytearray, memoryview)):
        return _read(io.BytesIO(path_or_bytes), None)
    try:
        path = os.fsdecode(path_or_bytes)
    except TypeError as error:
        raise InputError(f"a path or bytes is needed, not {type(path_or_bytes).__name__}") from error
    try:
        with open(path, "rb") as file:
            return _read(file, path)
    except JpegError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        raise FileError(f"cannot be read: {getattr(error, 'strerror', None) or error}", path) from error


def _read(file: BinaryIO, path: str | None) -> JpegInfo:
    """Read an open file."""
    frame = Frame(file, path)
    return JpegInfo(
        *frame.size,
        color_space=frame.color_space,
        quant_tables=frame.quant_tables,
        sampling=tuple(component.sampling for component in frame.components.values()),
        is_progressive=frame.is_progressive,
        is_arithmetic=frame.is_arithmetic,
        restart_interval=frame.restart_interval,
        precision=frame.precision,
    )
