"""The pixels of a Pillow image as an array, and back, without a copy: a large picture is in memory once."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_CHANNELS = {"L": 1, "RGB": 3, "RGBA": 4}
_MOST_PIXELS = (2**31 - 1) // 4  # four bytes each; Pillow's C code counts them in an int
_core: Any = Image.core  # type: ignore[attr-defined]
_lock = threading.Lock()
_readers: list[int] = []  # what is to be set again when the last has gone


class _ArrowArray(ctypes.Structure):
    """Start of ``struct ArrowArray``. Source: the Arrow C data interface, 'Structure definitions'."""


_ArrowArray._fields_ = [
    ("length", ctypes.c_int64),
    ("null_count", ctypes.c_int64),
    ("offset", ctypes.c_int64),
    ("n_buffers", ctypes.c_int64),
    ("n_children", ctypes.c_int64),
    ("buffers", ctypes.POINTER(ctypes.c_void_p)),
    ("children", ctypes.POINTER(ctypes.POINTER(_ArrowArray))),
]


class _Surface:
    """The memory of an image in numpy's array interface; keeps the image alive."""

    def __init__(self, image: Image.Image) -> None:
        self.image = image
        self._capsule = image.__arrow_c_array__()[1]
        pointer = ctypes.pythonapi.PyCapsule_GetPointer
        pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
        array = _ArrowArray.from_address(pointer(self._capsule, b"arrow_array"))
        leaf = array.children[0].contents if array.n_children else array
        channels, step = _CHANNELS[image.mode], 4 if array.n_children else 1  # Pillow keeps RGB in four bytes a pixel
        self.__array_interface__ = {
            "version": 3,
            "typestr": "|u1",
            "shape": (image.height, image.width, channels)[: 2 if channels == 1 else 3],
            "strides": (image.width * step, step, 1)[: 2 if channels == 1 else 3],
            "data": (leaf.buffers[1], False),
        }


@contextmanager
def in_one_piece(max_pixels: int) -> Iterator[None]:
    """Let Pillow lay images out in one piece of memory, as sharing them asks for; the setting is global.

    Where larger ones than Pillow can lay out so are to be expected, all stay in pieces and are copied.
    """
    if max_pixels > _MOST_PIXELS:
        yield
        return
    with _lock:
        _readers.append(_core.get_use_block_allocator())
        _core.set_use_block_allocator(1)
    try:
        yield
    finally:
        with _lock:
            first = _readers.pop(0)
            if _readers:
                _readers[0] = first
            else:
                _core.set_use_block_allocator(first)


def pixels_of(image: Image.Image) -> NDArray[Any]:
    """Return the pixels of an image, shared with it where it is 8-bit and in one piece, else a copy."""
    if image.mode in _CHANNELS:
        image.load()
        try:
            return np.asarray(_Surface(_bare(image)))
        except ValueError:  # "Image rows are not contiguous in memory."
            pass
    return np.asarray(image)


def image_of(pixels: NDArray[Any]) -> Image.Image:
    """Return a bare image of pixels of shape (H, W), (H, W, 3) or (H, W, 4); shared where they are those of one."""
    base: Any = pixels
    while isinstance(base, np.ndarray):
        base = base.base
    if isinstance(base, _Surface) and _place(np.asarray(base)) == _place(pixels):
        return base.image
    return Image.fromarray(np.ascontiguousarray(pixels))


def _bare(image: Image.Image) -> Image.Image:
    """The same pixels without metadata, and without the decoder, which may hold as much again.

    Not by ``fromarrow``, whose images end the process in Pillow before 13 when they are shared once more.
    """
    bare = image._new(image.im)
    bare.info = {}
    return bare


def _place(pixels: NDArray[Any]) -> tuple[Any, ...]:
    """Where an array lies in memory."""
    return pixels.ctypes.data, pixels.shape, pixels.strides
