"""What GIMP remembers of a JPEG file: its image parasite ``jpeg-settings``."""

from __future__ import annotations

import struct

import numpy as np

from napari_car.jpeg.header import JpegInfo
from napari_car.jpeg.tables import ijg_table

NAME = "jpeg-settings"
"""Of the parasite. Source: GIMP, ``plug-ins/file-jpeg/jpeg-settings.c``."""

_COLOR_SPACES = {1: "grey", 2: "RGB", 3: "YCbCr", 4: "CMYK", 5: "YCCK"}


def read_parasite(content: bytes, height: int, width: int) -> JpegInfo | None:
    """What the file's header said, as far as GIMP kept it; None where it says nothing usable.

    Parameters
    ----------
    content
        Of the parasite: colour space, IJG quality or 0, numbers of components and of tables, sampling factors, and the
        tables as big-endian 16-bit numbers in natural order.
    height, width
        Of the picture, px; GIMP does not keep those of the file.

    Examples
    --------
    >>> info = read_parasite(bytes([3, 35, 3, 0, 2, 2, 1, 1, 1, 1]), 480, 640)
    >>> info.quality, info.subsampling
    (35, '4:2:0')
    """
    try:
        space, quality, n_components, n_tables = struct.unpack_from("4B", content)
        factors = struct.unpack_from(f"{2 * n_components}B", content, 4)
        numbers = np.frombuffer(content, ">u2", 64 * n_tables, 4 + 2 * n_components)
    except (struct.error, ValueError):
        return None
    expected = {1: 1, 2: 3, 3: 3, 4: 4, 5: 4}.get(space)
    if n_components != expected or not all(1 <= factor <= 4 for factor in factors):
        return None
    kinds = tuple("chroma" if space in (3, 5) and i in (1, 2) else "luma" for i in range(n_components))
    if n_tables:
        tables = numbers.reshape(-1, 8, 8).astype(np.uint16)
        chosen = tuple(tables[1 if kind == "chroma" and n_tables > 1 else 0] for kind in kinds)
    elif 1 <= quality <= 100:
        chosen = tuple(ijg_table(quality, "chroma" if kind == "chroma" else "luma") for kind in kinds)
    else:
        return None
    if not all(table.all() for table in chosen):
        return None
    return JpegInfo(
        height,
        width,
        color_space=_COLOR_SPACES[space],
        quant_tables=chosen,
        sampling=tuple(zip(factors[::2], factors[1::2], strict=True)),
        is_progressive=False,
        is_arithmetic=False,
        restart_interval=0,
        precision=8,
    )
