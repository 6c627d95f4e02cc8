"""A picture that is read is in memory once: pixels and Pillow's image are the same bytes."""

from __future__ import annotations

import io
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from napari_car.files import MAX_PIXELS, read_image, write_image
from napari_car.files.surface import image_of, in_one_piece, pixels_of

LARGE = (2500, 2000)  # more than the 16 MB that Pillow lays out in one piece by itself


def noise(mode: str, size: tuple[int, int]) -> Image.Image:
    channels = len(mode)
    shape = (size[1], size[0], channels) if channels > 1 else (size[1], size[0])
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, shape, np.uint8))


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
@pytest.mark.parametrize("size", [(1, 1), (37, 21), LARGE])
def test_pixels_and_image_are_one(mode: str, size: tuple[int, int]) -> None:
    image = noise(mode, size)
    expected = np.asarray(image)
    with in_one_piece(MAX_PIXELS):
        image = image.copy()
    pixels = pixels_of(image)
    np.testing.assert_array_equal(pixels, expected)
    pixels[0, 0] = 7
    assert np.all(np.asarray(image)[0, 0] == 7)
    again = image_of(pixels)
    pixels[0, 0] = 9
    assert np.all(np.asarray(again)[0, 0] == 9)


def test_pixels_outlive_the_image() -> None:
    with in_one_piece(MAX_PIXELS):
        pixels = pixels_of(noise("RGB", LARGE).copy())
    kept = pixels.copy()
    noise("RGB", LARGE).copy()  # would take its place
    np.testing.assert_array_equal(pixels, kept)


def test_an_image_in_pieces_is_copied() -> None:
    image = noise("RGB", LARGE).copy()
    np.testing.assert_array_equal(pixels_of(image), np.asarray(image))


def test_what_is_not_the_whole_image_is_copied() -> None:
    with in_one_piece(MAX_PIXELS):
        pixels = pixels_of(noise("RGB", (40, 30)).copy())
    for part in (pixels[::-1], pixels[:, ::-1], pixels[3:], pixels[..., 0], pixels.swapaxes(0, 1)):
        np.testing.assert_array_equal(np.asarray(image_of(part)), part)


def test_what_an_image_tells_is_left_behind() -> None:
    file = io.BytesIO()
    noise("RGB", (40, 30)).save(file, "JPEG", dpi=(300, 300), comment="secret", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0")
    assert image_of(read_image(file.getvalue()).pixels).info == {}


def test_the_setting_of_pillow_is_put_back_after_the_last_reader() -> None:
    before = Image.core.get_use_block_allocator()
    inside, done = threading.Event(), threading.Event()

    def read() -> None:
        with in_one_piece(MAX_PIXELS):
            inside.set()
            done.wait(10)

    first = threading.Thread(target=read)
    with in_one_piece(MAX_PIXELS):
        first.start()
        inside.wait(10)
    assert Image.core.get_use_block_allocator() == 1, "another still reads"
    done.set()
    first.join()
    assert Image.core.get_use_block_allocator() == before


@pytest.mark.parametrize("extension", ["png", "tif", "webp", "bmp", "ppm"])
def test_shared_pixels_are_written_as_they_are(tmp_path: Path, extension: str) -> None:
    file = io.BytesIO()
    noise("RGB", (70, 50)).save(file, "JPEG", quality=30)
    picture = read_image(file.getvalue())
    picture.pixels[10:20] = 250
    path = write_image(tmp_path / f"out.{extension}", picture)
    np.testing.assert_array_equal(np.asarray(Image.open(path).convert("RGB")), picture.pixels)


def test_leave_for_more_pixels_than_pillow_lays_out_in_one_piece() -> None:
    before = Image.core.get_use_block_allocator()
    with in_one_piece(2**30):
        assert Image.core.get_use_block_allocator() == before
    file = io.BytesIO()
    image = noise("RGB", (70, 50))
    image.save(file, "PNG")
    np.testing.assert_array_equal(read_image(file.getvalue(), max_pixels=2**30).pixels, np.asarray(image))
