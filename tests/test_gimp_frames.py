"""Frames: they come out as they went in, and what is no frame is refused without harm."""

from __future__ import annotations

import io
import re
import tracemalloc
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from napari_car.gimp import frames
from napari_car.gimp.frames import CHUNK, HEAD, MAGIC, MAX_JSON, MAX_PIXELS, PROTOCOL, read_frame, write_frame
from napari_car.gimp.install import plugin_file

MESSAGES = st.dictionaries(
    st.text().filter(lambda key: key not in ("shape", "dtype")),
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(),
)
PIXELS = arrays.arrays(st.sampled_from(["uint8", "uint16", "float32", "float64"]), arrays.array_shapes(max_dims=4))


def framed(message: dict[str, Any], pixels: Any = b"") -> bytes:
    """The bytes of a frame."""
    stream = io.BytesIO()
    write_frame(stream, message, pixels)
    return stream.getvalue()


@given(MESSAGES, PIXELS)
def test_what_goes_in_comes_out(message: dict[str, Any], pixels: np.ndarray) -> None:
    message |= {"shape": list(pixels.shape), "dtype": pixels.dtype.name}
    stream = io.BytesIO(framed(message, pixels) + framed({"next": 1}))
    told, content = read_frame(stream)
    assert told == message
    assert bytes(content) == pixels.tobytes()
    assert read_frame(stream) == ({"next": 1}, b"")


@given(MESSAGES, PIXELS, st.integers(min_value=0))
def test_a_stream_that_ends_early_is_told(message: dict[str, Any], pixels: np.ndarray, kept: int) -> None:
    content = framed(message | {"shape": list(pixels.shape), "dtype": pixels.dtype.name}, pixels)
    with pytest.raises(EOFError, match="ended after"):
        read_frame(io.BytesIO(content[: kept % len(content)]))


def lie(text: bytes, n_pixels: int = 0, *, magic: bytes = MAGIC, protocol: int = PROTOCOL) -> bytes:
    """A frame whose head need not be true."""
    return HEAD.pack(magic, protocol, len(text), n_pixels) + text


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (lie(b"{}", magic=b"HTTP"), "no frame"),
        (lie(b"{}", protocol=PROTOCOL + 1), "different versions.*napari-car gimp install"),
        (HEAD.pack(MAGIC, PROTOCOL, MAX_JSON + 1, 0), "claims"),
        (HEAD.pack(MAGIC, PROTOCOL, 2, MAX_PIXELS + 1), "claims"),
        (lie(b"{"), "not JSON"),
        (lie(b"\xff\xfe"), "not JSON"),
        (lie(b"[" * 100_000), "not JSON"),
        (lie(b"[1]"), "a list"),
        (lie(b"{}", 5), "5 bytes of pixels where its message tells of 0"),
        (lie(b'{"shape": [2, 2], "dtype": "uint8"}', 5), "5 bytes of pixels where its message tells of 4"),
        (lie(b'{"shape": [2, -2], "dtype": "uint8"}', 4), "cannot be"),
        (lie(b'{"shape": [2, true], "dtype": "uint8"}', 2), "cannot be"),
        (lie(b'{"shape": [2, 2.0], "dtype": "uint8"}', 4), "cannot be"),
        (lie(b'{"shape": 4, "dtype": "uint8"}', 4), "cannot be"),
        (lie(b'{"shape": [1, 1, 1, 1, 1], "dtype": "uint8"}', 1), "cannot be"),
        (lie(b'{"shape": [4], "dtype": "object"}', 4), "cannot be"),
        (lie(b'{"shape": [4], "dtype": ["uint8"]}', 4), "cannot be"),
        (lie(b'{"shape": [1' + b"0" * 4000 + b'], "dtype": "uint8"}', 4), "cannot be"),
    ],
)
def test_what_is_no_frame_is_refused(content: bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        read_frame(io.BytesIO(content))


# 1,000 frames by hypothesis, each damaged in 100 ways: 100,000 cases.
@settings(max_examples=1_000)
@given(MESSAGES, PIXELS, st.integers(0, 2**32))
def test_damaged_frames_do_no_harm(message: dict[str, Any], pixels: np.ndarray, seed: int) -> None:
    whole = framed(message | {"shape": list(pixels.shape), "dtype": pixels.dtype.name}, pixels)
    random = Random(seed)
    for _ in range(100):
        damaged = damage(whole, random)
        try:
            told, content = read_frame(io.BytesIO(damaged))
        except (ValueError, EOFError):
            continue
        assert isinstance(told, dict)
        assert HEAD.size + len(content) <= len(damaged)


def damage(content: bytes, random: Random) -> bytes:
    """The same with bytes changed, left out, doubled, or cut off; most often in the head."""
    changed = bytearray(content)
    for _ in range(random.randint(1, 4)):
        where = random.randrange(HEAD.size if random.random() < 0.5 else len(changed))
        match random.randrange(4):
            case 0:
                changed[where : where + 1] = random.randbytes(1)
            case 1:
                del changed[where : where + random.randint(1, 8)]
            case 2:
                changed[where:where] = changed[where : where + random.randint(1, 8)]
            case 3:
                changed[where : where + 8] = random.choice([b"\xff", b"\x7f", b"\x00"]) * 8
        if len(changed) < HEAD.size:
            break
    return bytes(changed[: random.randrange(len(changed) + 1)] if random.random() < 0.2 else changed)


@pytest.mark.parametrize("n_pixels", [2**30, MAX_PIXELS])
def test_memory_grows_only_with_what_comes(n_pixels: int) -> None:
    text = b'{"shape": [%d], "dtype": "uint8"}' % n_pixels
    content = io.BytesIO(lie(text, n_pixels) + bytes(1000))
    tracemalloc.start()
    try:
        with pytest.raises(EOFError):
            read_frame(content)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2 * CHUNK


def test_the_filter_speaks_the_same_word_for_word() -> None:
    parts = []
    for text in (Path(frames.__file__).read_text("utf-8"), plugin_file().read_text("utf-8")):
        (part,) = re.findall(r"# ---- the same in [\w./-]+ ----\n(.*?)# ---- end of the same ----", text, re.DOTALL)
        parts.append(part.strip())
    assert parts[0] == parts[1]
