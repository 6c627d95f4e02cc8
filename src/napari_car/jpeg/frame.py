"""Frame, tables and scans of a JPEG file, gathered segment by segment.

Source: ITU-T T.81 (09/1992) Annex B for the syntax; the colour space that the Adobe marker and the component
identifiers imply, as in libjpeg ``jdapimin.c`` (``default_decompress_parms``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import BinaryIO, Never

import numpy as np
from numpy.typing import NDArray

from napari_car.errors import JpegError
from napari_car.jpeg.markers import APP0, APP14, DQT, DRI, SOS, Segment, read_segments

# Source: ITU-T T.81 Table B.1.
_FRAMES = {0xC0, 0xC1, 0xC2, 0xC9, 0xCA}
_PROGRESSIVE, _ARITHMETIC = {0xC2, 0xCA}, {0xC9, 0xCA}
_REFUSED_FRAMES = {
    **dict.fromkeys((0xC3, 0xCB), "lossless"),
    **dict.fromkeys((0xC5, 0xC6, 0xC7, 0xCD, 0xCE, 0xCF, 0xDE), "hierarchical"),
    0xC8: "extended (JPG)",
    0xF7: "JPEG-LS",
}


def _zigzag_key(index: int) -> tuple[int, int]:
    """Sort row-major positions by diagonal, going up the even ones and down the odd ones."""
    row, column = divmod(index, 8)
    return row + column, row if (row + column) % 2 else column


# Source: ITU-T T.81 Figure A.6.
_ZIGZAG = sorted(range(64), key=_zigzag_key)


@dataclass
class Component:
    """What frame and first scan say of one component."""

    sampling: tuple[int, int]
    selector: int
    quant_table: NDArray[np.uint16] | None = None


class Frame:
    """What a decoder knows when the last component meets its table.

    Parameters
    ----------
    file
        Open for binary reading, at its start; read no further than needed.
    path
        Its name, for errors.

    Raises
    ------
    JpegError
        Not a JPEG, damaged, or of a kind outside 8-bit DCT with 1, 3 or 4 components.
    """

    def __init__(self, file: BinaryIO, path: str | None) -> None:
        self.path = path
        self.offset = 0
        self.marker: int | None = None
        self.size = (0, 0)
        self.precision = 8
        self.components: dict[int, Component] = {}
        self.tables: dict[int, NDArray[np.uint16]] = {}
        self.restart_interval = 0
        self.has_jfif = False
        self.adobe_transform: int | None = None
        for segment in read_segments(file, path):
            self.offset = segment.offset
            self.take(segment)
            if segment.marker == SOS and all(c.quant_table is not None for c in self.components.values()):
                return
        self.fail("the picture ends before each of its components had a scan")

    def fail(self, sentence: str) -> Never:
        """Give up at this segment."""
        raise JpegError(sentence, self.path, self.offset)

    def take(self, segment: Segment) -> None:
        """Learn from one segment."""
        marker, payload = segment.marker, segment.payload
        if marker == DQT:
            self.take_tables(payload)
        elif marker == SOS:
            self.take_scan(payload)
        elif marker in _FRAMES:
            self.take_frame(marker, payload)
        elif marker in _REFUSED_FRAMES:
            self.fail(f"{_REFUSED_FRAMES[marker]} JPEG is not supported; baseline and progressive are")
        elif marker == DRI and len(payload) >= 2:
            self.restart_interval = int.from_bytes(payload[:2])
        elif marker == APP0 and payload.startswith(b"JFIF\0"):
            self.has_jfif = True
        elif marker == APP14 and payload.startswith(b"Adobe") and len(payload) >= 12:
            self.adobe_transform = payload[11]

    def take_tables(self, payload: bytes) -> None:
        """Quantization tables. Source: ITU-T T.81 B.2.4.1."""
        while payload:
            precision, destination = divmod(payload[0], 16)
            size = 64 * (precision + 1)
            if precision > 1 or destination > 3 or len(payload) <= size:
                self.fail(f"a damaged quantization table of {len(payload)} bytes, starting {payload[0]:02x}")
            table = np.zeros(64, np.uint16)
            table[_ZIGZAG] = np.frombuffer(payload[1 : 1 + size], ">u2" if precision else np.uint8)
            if table.min() == 0:
                self.fail(f"quantization table {destination} holds a divisor of 0; 1 or more is allowed")
            table.flags.writeable = False
            self.tables[destination] = table.reshape(8, 8)
            payload = payload[1 + size :]

    def take_frame(self, marker: int, payload: bytes) -> None:
        """Size and components. Source: ITU-T T.81 B.2.2."""
        if self.marker is not None:
            self.fail("the picture has a second frame header")
        if len(payload) < 6 or len(payload) < 6 + 3 * payload[5]:
            self.fail(f"the frame header is cut off after {len(payload)} bytes")
        self.marker, self.precision = marker, payload[0]
        self.size = (int.from_bytes(payload[1:3]), int.from_bytes(payload[3:5]))
        if self.precision != 8:
            self.fail(f"{self.precision} bits per sample are not supported; 8 are")
        if 0 in self.size:
            self.fail(f"the size is {self.size[0]} × {self.size[1]} pixels; 1 or more is allowed")
        for i in range(6, 6 + 3 * payload[5], 3):
            sampling = divmod(payload[i + 1], 16)
            if not all(1 <= factor <= 4 for factor in sampling):
                self.fail(f"sampling factors {sampling[0]}x{sampling[1]}; 1 to 4 are allowed")
            self.components[payload[i]] = Component(sampling, payload[i + 2])
        if len(self.components) != payload[5] or payload[5] not in (1, 3, 4):
            self.fail(f"{len(self.components)} distinct of {payload[5]} components; 1, 3 or 4 are supported")

    def take_scan(self, payload: bytes) -> None:
        """Give each component its table in force when its first scan begins. Source: ITU-T T.81 B.2.3."""
        if self.marker is None:
            self.fail("a scan comes before the frame header")
        count = payload[0] if payload else 0
        if not 1 <= count <= 4 or len(payload) < 1 + 2 * count:
            self.fail(f"a damaged scan header ({len(payload)} bytes for {count} components)")
        for identifier in payload[1 : 1 + 2 * count : 2]:
            if identifier not in self.components:
                self.fail(f"a scan names component {identifier}; the frame has {sorted(self.components)}")
            component = self.components[identifier]
            if component.quant_table is None and component.selector not in self.tables:
                self.fail(f"component {identifier} needs quantization table {component.selector}, not defined")
            if component.quant_table is None:
                component.quant_table = self.tables[component.selector]

    @property
    def color_space(self) -> str:
        """Colour space by the rules of libjpeg."""
        identifiers = tuple(self.components)
        if len(identifiers) == 1:
            return "grey"
        if len(identifiers) == 4:
            return "YCCK" if self.adobe_transform else "CMYK"
        if self.has_jfif or (self.adobe_transform is None and identifiers != tuple(b"RGB")):
            return "YCbCr"
        return "YCbCr" if self.adobe_transform else "RGB"

    @property
    def is_progressive(self) -> bool:
        """Whether several scans refine the picture."""
        return self.marker in _PROGRESSIVE

    @property
    def is_arithmetic(self) -> bool:
        """Whether coding is arithmetic, not Huffman."""
        return self.marker in _ARITHMETIC

    @property
    def quant_tables(self) -> tuple[NDArray[np.uint16], ...]:
        """Table of each component."""
        return tuple(c.quant_table for c in self.components.values() if c.quant_table is not None)
