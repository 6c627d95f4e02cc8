"""PNG: written on several cores, where Pillow uses one; and read in 16 bits a sample, which it cuts to 8 in colour.

Source: W3C Portable Network Graphics (PNG) Specification, Third Edition; clauses named below.
"""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import closing
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from napari_car.steps import side_by_side

UNPACKED_MOST = 8_000_000
"""Bytes that a text or a profile may unpack to; libpng's own limit, Pillow's is 1 MiB."""

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_SAMPLES = {0: 1, 2: 3, 4: 2, 6: 4}  # 11.2.1: colour type -> samples a pixel
_COLOUR_TYPE = {1: 0, 3: 2, 4: 6}
# 11.3.2: what colours depend on beside a profile, and its size in bytes
_COLOUR = {b"cHRM": 32, b"gAMA": 4, b"sRGB": 1, b"cICP": 4, b"mDCV": 24, b"cLLI": 8}
# 8.1: first column, first row, column step, row step of the seven passes
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
# Three restored photos, in all as 12 megapixels of 8 bits (36 MB raw), two cores and zlib 1.2.13: level 0 takes 0.11 s,
# 1: 0.42 s 15.1 MB, 2: 0.42 s 14.7 MB, 3: 0.69 s 14.3 MB, 4: 0.58 s 14.1 MB, 6: 1.74 s 13.5 MB. Pillow 13 with zlib-ng:
# 2: 1.36 s 14.6 MB, 6 (its own): 4.94 s 13.1 MB. In 16 bits 2: 1.0 s 42 MB; the low bytes are noise to any compressor.
_LEVEL = 2
_SUB, _UP = 1, 2  # 9.2: filter types
_BAND = 2**18  # bytes compressed at a time
_THREADS = 8  # at most, to bound the memory: a few bands each
_ADLER = 65521  # RFC 1950, 8.2


def colour_chunks(stream: IO[bytes]) -> tuple[tuple[bytes, bytes], ...]:
    """Return kind and body of the chunks, but the profile, that say what the colours of a PNG are."""
    stream.seek(len(_SIGNATURE))
    found: dict[bytes, bytes] = {}
    while len(head := stream.read(8)) == 8:
        size, kind = struct.unpack(">I4s", head)
        if kind in (b"PLTE", b"IDAT"):  # which they must come before
            break
        body = stream.read(size) if _COLOUR.get(kind) == size else b""
        if len(body) == _COLOUR.get(kind):
            found.setdefault(kind, body)
        stream.seek(size - len(body) + 4, os.SEEK_CUR)
    return tuple(found.items())


def without_texts(stream: IO[bytes], longest: int) -> IO[bytes]:
    """Return a PNG without its texts, and without its profile where that unpacks to the longest or more."""
    stream.seek(0)
    short = io.BytesIO()
    short.write(_SIGNATURE)
    for kind, body in _chunks(stream.read()):
        is_long = kind == b"iCCP" and _unpacked_size(body, longest) == longest
        if kind not in (b"tEXt", b"zTXt", b"iTXt") and not is_long:
            _put(short, kind, body)
    short.seek(0)
    return short


def _unpacked_size(profile: bytes, most: int) -> int:
    """Size of what an iCCP chunk (11.3.2.3: name, method, profile) unpacks to, which is not done beyond a limit."""
    try:
        return len(zlib.decompressobj().decompress(profile.partition(b"\0")[2][1:], most))
    except zlib.error:
        return 0


def is_deep(stream: IO[bytes]) -> bool:
    """Say whether a PNG has 16 bits a sample."""
    stream.seek(24)
    return stream.read(1) == b"\x10"


def read_png16(stream: IO[bytes]) -> NDArray[np.uint16]:
    """Return the pixels of a whole, valid PNG of 16 bits, in colour or with alpha: shape (H, W, 3) or (H, W, 4)."""
    stream.seek(0)
    parts = list(_chunks(stream.read()))
    width, height, _, colour, _, _, interlace = struct.unpack(">IIBBBBB", parts[0][1])
    samples = _SAMPLES[colour]
    passes = _ADAM7 if interlace else ((0, 0, 1, 1),)
    shapes = [((height - y + dy - 1) // dy, (width - x + dx - 1) // dx) for x, y, dx, dy in passes]
    stride = 2 * samples
    sizes = [h * (1 + w * stride) if h > 0 and w > 0 else 0 for h, w in shapes]
    total = sum(sizes)
    # Never inflate more than the header promises, however small the file.
    raw = zlib.decompressobj().decompress(b"".join(body for kind, body in parts if kind == b"IDAT"), total)
    if len(raw) < total:
        raise ValueError("image file is truncated")
    image = np.empty((height, width, samples), np.uint16)
    at = 0
    for (x, y, dx, dy), (h, w), size in zip(passes, shapes, sizes, strict=True):
        if size:
            rows = np.frombuffer(raw, np.uint8, size, at).reshape(h, 1 + w * stride)
            image[y::dy, x::dx] = _unfilter(rows, stride).view(">u2")
        at += size
    key = next((body for kind, body in parts if kind == b"tRNS"), None)
    if key and samples in (1, 3):  # 11.3.1.1: one colour is fully transparent
        opaque = (image != struct.unpack_from(f">{samples}H", key)).any(axis=2)
        image = np.dstack([image, opaque * np.uint16(65535)])
    return image[..., [0, 0, 0, 1]] if image.shape[2] == 2 else image


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield kind and body of the chunks up to the end chunk (5.3)."""
    at = len(_SIGNATURE)
    while at + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        yield kind, data[at + 8 : at + 8 + size]
        if kind == b"IEND":
            return
        at += 12 + size


def _unfilter(rows: NDArray[np.uint8], stride: int) -> NDArray[np.uint8]:
    """Undo the row filters (9.2) of rows that begin with their filter type; shape (H, W, stride).

    A pixel needs its left, upper and upper left neighbours, so that all pixels of an antidiagonal can be
    computed at once: height + width vector steps in place of height × width scalar ones.
    """
    height, width = rows.shape[0], rows.shape[1] // stride
    kinds = rows[:, 0, None]
    if kinds.max() > 4:
        raise ValueError(f"unknown PNG row filter {kinds.max()}")
    padded = np.zeros((height + 1, width + 1, stride), np.uint8)
    padded[1:, 1:] = rows[:, 1:].reshape(height, width, stride)
    flat = padded.reshape(-1, stride)
    for diagonal in range(height + width - 1):
        top, bottom = max(0, diagonal - width + 1), min(diagonal, height - 1) + 1
        start = (top + 1) * (width + 1) + diagonal - top + 1  # one row down, one column left: width further
        stop = start + (bottom - top - 1) * width + 1
        left = flat[start - 1 : stop - 1 : width].astype(np.int16)
        above = flat[start - width - 1 : stop - width - 1 : width].astype(np.int16)
        corner = flat[start - width - 2 : stop - width - 2 : width].astype(np.int16)
        kind = kinds[top:bottom]
        predicted = np.where(kind == 4, _paeth(left, above, corner), (left + above) >> 1)
        predicted = np.where(kind == 2, above, np.where(kind == 1, left, predicted))
        flat[start:stop:width] += np.where(kind == 0, 0, predicted).astype(np.uint8)
    return np.ascontiguousarray(padded[1:, 1:])


def _paeth(left: NDArray[np.int16], above: NDArray[np.int16], corner: NDArray[np.int16]) -> NDArray[np.int16]:
    """Return whichever neighbour is nearest to left + above - corner (9.4)."""
    to_left, to_above = np.abs(above - corner), np.abs(left - corner)
    to_corner = np.abs(left + above - 2 * corner)
    second = np.where(to_above <= to_corner, above, corner)
    return np.where((to_left <= to_above) & (to_left <= to_corner), left, second)


def write_png(
    stream: IO[bytes], pixels: NDArray[Any], template: bytes, colour: tuple[tuple[bytes, bytes], ...], threads: int
) -> None:
    """Write uint8 or uint16 pixels of shape (H, W), (H, W, 3) or (H, W, 4) as PNG, on ``threads`` at most.

    The other chunks, which hold the metadata, are taken from a PNG of any size and from ``colour_chunks``.
    """
    height, width = pixels.shape[:2]
    pixels = pixels.reshape(height, width, -1)
    depth, colour_type = 8 * pixels.itemsize, _COLOUR_TYPE[pixels.shape[2]]
    stream.write(_SIGNATURE)
    has_data = False
    for kind, body in _chunks(template):
        if kind == b"IHDR":
            _put(stream, kind, struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0))
            for chunk in colour:
                _put(stream, *chunk)
        elif kind != b"IDAT":
            _put(stream, kind, body)
        elif not has_data:
            has_data = True
            for part in _compressed(pixels, threads):
                _put(stream, kind, part)


def _put(stream: IO[bytes], kind: bytes, body: bytes) -> None:
    """Write one chunk with its checksum (5.3)."""
    checksum = zlib.crc32(body, zlib.crc32(kind))
    stream.write(struct.pack(">I4s", len(body), kind) + body + struct.pack(">I", checksum))


def _compressed(pixels: NDArray[Any], threads: int) -> Iterator[bytes]:
    """Yield the zlib stream of the filtered rows, a band at a time; no band refers to what is in another.

    Source: RFC 1950, 2.2 (what surrounds the compressed data) and RFC 1951, 2.3 (blocks, which can be joined).
    """
    n_rows = max(1, _BAND // pixels[0].nbytes)
    tops = range(0, len(pixels), n_rows)
    parts: dict[int, tuple[bytes, int, int]] = {}

    def compress(top: int) -> None:
        rows = _filtered(pixels, top, min(top + n_rows, len(pixels)))
        deflate = zlib.compressobj(_LEVEL, wbits=-zlib.MAX_WBITS)
        end = zlib.Z_FINISH if top == tops[-1] else zlib.Z_SYNC_FLUSH
        parts[top] = deflate.compress(rows.data) + deflate.flush(end), zlib.adler32(rows.data), rows.size

    checksum = zlib.adler32(b"")
    yield zlib.compress(b"", _LEVEL)[:2]
    with closing(side_by_side(compress, ((top,) for top in tops), len(tops), min(threads, _THREADS))) as steps:
        next(steps)
        for top, _ in zip(tops, steps, strict=True):
            part, own, n_bytes = parts.pop(top)
            checksum = _joined(checksum, own, n_bytes)
            yield part
    yield struct.pack(">I", checksum)


def _joined(first: int, second: int, n_bytes: int) -> int:
    """Adler-32 of data and what follows it, ``n_bytes`` long, from that of each.

    Source: RFC 1950, 8.2: the low half is one more than the sum of the bytes, the high half the sum of all values
    that the low one takes.
    """
    low, high = first & 0xFFFF, first >> 16
    high += (second >> 16) + n_bytes * (low - 1)
    low += (second & 0xFFFF) - 1
    return high % _ADLER << 16 | low % _ADLER


def _filtered(pixels: NDArray[Any], top: int, bottom: int) -> NDArray[np.uint8]:
    """Rows as differences to the pixel before or to that above, whichever are smaller in all (12, Filter selection)."""
    _, width, samples = pixels.shape
    lines = np.zeros((bottom - top + 1, width, samples), pixels.dtype.newbyteorder(">"))  # and the row above
    first = max(top - 1, 0)
    for channel in range(samples):  # faster where Pillow keeps three in four bytes
        lines[first - bottom :, :, channel] = pixels[first:bottom, :, channel]
    raw = lines.view(np.uint8).reshape(len(lines), -1)
    rows = np.empty((bottom - top, 1 + raw.shape[1]), np.uint8)
    up = np.subtract(raw[1:], raw[:-1], out=rows[:, 1:])
    sub = raw[1:].copy()
    stride = samples * pixels.itemsize
    sub[:, stride:] -= raw[1:, :-stride]
    is_sub = _size(sub) < _size(up)
    rows[:, 0] = np.where(is_sub, _SUB, _UP)
    np.copyto(up, sub, where=is_sub[:, None])
    return rows


def _size(differences: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """Sum of the magnitudes in each row of differences modulo 256."""
    magnitudes = np.abs(differences.view(np.int8)).view(np.uint8)
    sizes: NDArray[np.uint32] = magnitudes.sum(1, dtype=np.uint32)
    return sizes
