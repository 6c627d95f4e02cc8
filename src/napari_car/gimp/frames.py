"""Frames: messages with pixels between the filter in GIMP and its worker, over a pair of pipes.

GIMP's own Python has neither numpy nor this package, so the filter carries the part below the line in its own file,
word for word (tested). A frame is a head of fixed size, a JSON object and, where that has a "shape", the pixels.
Everything that a head claims is checked before it is believed, and memory grows only with what really arrives. Errors
are those of Python, since the filter knows no others: ValueError for what is no frame of ours, EOFError for a stream
that ends within one.
"""

from __future__ import annotations

import json
import math
import struct
from typing import Any, BinaryIO

# ---- the same in napari-car.py ----
PROTOCOL = 1
MAGIC = b"NCAR"
HEAD = struct.Struct(">4sIIQ")  # magic, protocol, bytes of JSON, bytes of pixels; the first two fields never change
MAX_JSON = 2**20  # bytes
MAX_PIXELS = 2**34  # bytes
CHUNK = 2**20  # bytes
ITEM_SIZE = {"uint8": 1, "uint16": 2, "float32": 4, "float64": 8}


def write_frame(stream: BinaryIO, message: dict[str, Any], pixels: Any = b"") -> None:
    """Write a message, and the pixels of its "shape" and "dtype", in the byte order of the machine."""
    text = json.dumps(message).encode()
    payload = memoryview(pixels).cast("B")
    stream.write(HEAD.pack(MAGIC, PROTOCOL, len(text), len(payload)) + text)
    stream.write(payload)
    stream.flush()


def read_frame(stream: BinaryIO) -> tuple[dict[str, Any], bytearray]:
    """Read a message and its pixels."""
    magic, protocol, n_json, n_pixels = HEAD.unpack(read_exactly(stream, HEAD.size))
    if magic != MAGIC:
        raise ValueError(f"what came is no frame of napari-car: it starts with {magic!r} in place of {MAGIC!r}")
    if protocol != PROTOCOL:
        raise ValueError(
            f"the filter in GIMP and its worker are of different versions: protocol {protocol} came where {PROTOCOL} "
            "is spoken; run 'napari-car gimp install' and start GIMP anew"
        )
    if n_json > MAX_JSON or n_pixels > MAX_PIXELS:
        raise ValueError(f"a frame claims {n_json} and {n_pixels} bytes; {MAX_JSON} and {MAX_PIXELS} are allowed")
    try:
        message = json.loads(bytes(read_exactly(stream, n_json)))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the message of a frame is not JSON: {error}") from error
    if not isinstance(message, dict):
        raise ValueError(f"the message of a frame is a {type(message).__name__}; it must be an object")
    if n_pixels != size_of(message):
        raise ValueError(f"a frame brings {n_pixels} bytes of pixels where its message tells of {size_of(message)}")
    return message, read_exactly(stream, n_pixels)


def size_of(message: dict[str, Any]) -> int:
    """Bytes of the pixels that a message tells of; 0 where it has no "shape"."""
    if "shape" not in message:
        return 0
    shape, dtype = message["shape"], message.get("dtype")
    sizes = shape if isinstance(shape, list) and len(shape) <= 4 else [None]
    are_sizes = all(type(size) is int and 0 < size <= MAX_PIXELS for size in sizes)
    if not are_sizes or not isinstance(dtype, str) or dtype not in ITEM_SIZE:
        raise ValueError(f"a frame tells of pixels of shape {shape!r:.60} and dtype {dtype!r:.60}, which cannot be")
    return math.prod(sizes) * ITEM_SIZE[dtype]


def read_exactly(stream: BinaryIO, size: int) -> bytearray:
    """Read so many bytes, taking memory only as they come."""
    content = bytearray()
    while len(content) < size:
        piece = stream.read(min(size - len(content), CHUNK))
        if not piece:
            raise EOFError(f"the stream ended after {len(content)} of {size} bytes")
        content += piece
    return content


# ---- end of the same ----
