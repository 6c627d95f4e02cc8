"""The marker segments of a JPEG file, one after the other.

Source: ITU-T T.81 (09/1992) Annex B.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from napari_car.errors import JpegError

# Source: ITU-T T.81 Table B.1.
SOI, EOI, SOS, DQT, DRI, APP0, APP14 = 0xD8, 0xD9, 0xDA, 0xDB, 0xDD, 0xE0, 0xEE
_TEM = 0x01

# Neither a stuffed byte, nor fill, nor one of the restart markers inside of coded data (B.1.1.2, B.1.1.5).
_MARKER = re.compile(rb"\xff([^\x00\xff\xd0-\xd7])")
_CHUNK = 1 << 16


class Segment(NamedTuple):
    """One marker with its parameters.

    Parameters
    ----------
    marker
        Second byte of the marker.
    payload
        What follows the two bytes of length.
    offset
        Byte position of the payload in the file.
    """

    marker: int
    payload: bytes
    offset: int


def read_segments(file: BinaryIO, path: str | None = None) -> Iterator[Segment]:
    """Yield the marker segments of the first picture in a file, skipping coded data and stray bytes.

    Holds one segment and one chunk of 64 KiB at most, and reads no further than it is asked to.

    Parameters
    ----------
    file
        Open for binary reading, at its start; need not be seekable.
    path
        Its name, for errors.

    Raises
    ------
    JpegError
        The file does not start with SOI, a segment is cut off, or no EOI comes.
    """
    window = file.read(_CHUNK)
    if window[:2] != bytes((0xFF, SOI)):
        start = window[:2].hex(" ") or "nothing"
        raise JpegError(f"not a JPEG: it starts with {start}, where ff d8 is expected", path, 0)
    offset, position = 0, 2  # of the window in the file, and in the window
    while True:
        found = _MARKER.search(window, position)
        if found is None:
            more = file.read(_CHUNK)
            if not more:
                raise JpegError("the file ends before the picture does", path, offset + len(window))
            kept = window[-1:]  # may be the first byte of a marker
            offset, position = offset + len(window) - len(kept), 0
            window = kept + more
            continue
        marker, position = found[1][0], found.end()
        if marker == EOI:
            return
        if marker in (SOI, _TEM):
            continue
        if len(window) < position + 2 + 0xFFFF:
            window, offset, position = window[position:] + file.read(_CHUNK), offset + position, 0
        length = int.from_bytes(window[position : position + 2])
        payload = window[position + 2 : position + length]
        if length < 2 or len(payload) < length - 2:
            name, end = f"marker ff {marker:02x}", offset + position
            raise JpegError(f"the segment of {name} claims {length} bytes and is cut off", path, end)
        yield Segment(marker, payload, offset + position + 2)
        position += length
