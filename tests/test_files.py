"""Image files in and out: pixels in full depth, targets, damage."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import threading
import time
import warnings
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image, ImageOps
from skimage import data

from napari_car.errors import FileError, InputError
from napari_car.files import MAX_PIXELS, Metadata, Picture, check_target, read_image, write_image
from napari_car.files.picture import turned

EXTENSIONS = ["png", "tif", "tiff", "jpg", "jpeg", "jpe", "jfif", "webp", "avif", "bmp", "ppm", "pgm", "pnm"]
LOSSLESS = [
    ("png", np.uint8, (1, 3, 4)),
    ("png", np.uint16, (1, 3, 4)),
    ("tif", np.uint8, (1, 3, 4)),
    ("tif", np.uint16, (1, 3, 4)),
    ("tif", np.float32, (1, 3, 4)),
    ("tif", np.float64, (1, 3)),
    ("webp", np.uint8, (3, 4)),
    ("bmp", np.uint8, (1, 3)),
    ("ppm", np.uint8, (1, 3)),
    ("ppm", np.uint16, (1, 3)),
]


def noise(dtype, channels, height=37, width=23, seed=0):
    rng = np.random.default_rng(seed)
    shape = (height, width) if channels == 1 else (height, width, channels)
    if np.dtype(dtype).kind == "f":
        return rng.random(shape).astype(dtype)
    return rng.integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


def encoded(image, kind, **options):
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def photo(size=(96, 80)):
    return Image.fromarray(data.astronaut()).resize(size)


# ---------------------------------------------------------------------------------------------------- pixels


@pytest.mark.parametrize(("extension", "dtype", "channels"), [(e, d, c) for e, d, every in LOSSLESS for c in every])
def test_what_is_written_is_read_back_to_the_bit(tmp_path, extension, dtype, channels):
    pixels = noise(dtype, channels)
    path = write_image(tmp_path / f"a.{extension}", Picture(pixels))
    back = read_image(path)
    assert back.pixels.dtype == dtype
    np.testing.assert_array_equal(back.pixels, pixels)
    assert not back.is_stack
    assert back.format.lower().startswith(extension[:3])


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1), (3, 5), (65, 64), (129, 2)])
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("extension", ["png", "tif"])
def test_deep_pictures_of_odd_sizes_survive(tmp_path, extension, shape, channels):
    pixels = noise(np.uint16, channels, *shape)
    path = write_image(tmp_path / f"a.{extension}", Picture(pixels))
    np.testing.assert_array_equal(read_image(path).pixels, pixels)


@pytest.mark.parametrize(("channels", "kind"), [(1, "P5"), (3, "P6")])
def test_8_bit_reading_by_others_agrees(tmp_path, channels, kind):
    pixels = noise(np.uint8, channels)
    for extension in ("png", "tif", "bmp", "ppm", "webp"):
        path = write_image(tmp_path / f"{kind}.{extension}", Picture(pixels))
        with Image.open(path) as image:
            np.testing.assert_array_equal(np.asarray(image.convert("L" if channels == 1 else "RGB")), pixels)


def test_deep_files_are_read_alike_by_independent_decoders(tmp_path):
    imagecodecs = pytest.importorskip("imagecodecs", reason="needs the extra 'tiff' (imagecodecs)")
    tifffile = pytest.importorskip("tifffile", reason="needs tifffile")
    for channels in (1, 3, 4):
        pixels = noise(np.uint16, channels, 70, 41)
        png = write_image(tmp_path / f"{channels}.png", Picture(pixels))
        np.testing.assert_array_equal(imagecodecs.png_decode(png.read_bytes()), pixels)
        for dtype in (np.uint8, np.uint16, np.float32):
            pixels = noise(dtype, channels, 70, 41)
            tif = write_image(tmp_path / f"{channels}.tif", Picture(pixels), overwrite=True)
            np.testing.assert_array_equal(tifffile.imread(tif), pixels)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_png_that_was_compressed_in_bands_is_one_to_others(tmp_path, dtype, channels):
    pixels = np.asarray(photo((901, 703)).convert({1: "L", 3: "RGB", 4: "RGBA"}[channels])).astype(dtype)
    pixels[100:300] = noise(dtype, channels, 200, 901)
    file = write_image(tmp_path / "a.png", Picture(pixels)).read_bytes()
    rows = zlib.decompress(b"".join(chunks(file, b"IDAT")))  # which checks the sum at its end
    assert len(rows) == 703 * (1 + pixels[0].nbytes)
    assert len(list(chunks(file, b"IDAT"))) > 3
    if dtype == np.uint8:
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(file))), pixels)
        assert len(file) < 1.05 * len(encoded(Image.fromarray(pixels), "PNG", compress_level=2))
    imagecodecs = pytest.importorskip("imagecodecs", reason="needs the extra 'tiff' (imagecodecs)")
    np.testing.assert_array_equal(imagecodecs.png_decode(file), pixels)


def chunks(file, wanted):
    """Bodies of the chunks of a kind."""
    at = 8
    while at < len(file):
        size, kind = struct.unpack_from(">I4s", file, at)
        if kind == wanted:
            yield file[at + 8 : at + 8 + size]
        at += 12 + size


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_deep_png_of_another_encoder_is_read_exactly(channels):
    imagecodecs = pytest.importorskip("imagecodecs", reason="needs the extra 'tiff' (imagecodecs)")
    smooth = np.cumsum(np.cumsum(noise(np.uint16, channels, 60, 70) % 90, 0), 1).astype(np.uint16)
    back = read_image(imagecodecs.png_encode(smooth, level=9)).pixels
    np.testing.assert_array_equal(back, smooth[..., [0, 0, 0, 1]] if channels == 2 else smooth)


@given(
    pixels=arrays(np.uint16, st.tuples(st.integers(1, 9), st.integers(1, 9), st.sampled_from([3, 4]))),
    filters=st.lists(st.integers(0, 4), min_size=9, max_size=9),
)
@settings(max_examples=60, deadline=None)
def test_every_row_filter_of_a_deep_png_is_undone(pixels, filters):
    np.testing.assert_array_equal(read_image(deep_png(pixels, filters)).pixels, pixels)


@given(pixels=arrays(np.uint16, st.tuples(st.integers(1, 19), st.integers(1, 19), st.just(3))))
@settings(max_examples=30, deadline=None)
def test_an_interlaced_deep_png_is_put_together(pixels):
    np.testing.assert_array_equal(read_image(deep_png(pixels, [4, 1, 3] * 7, interlace=1)).pixels, pixels)


def deep_png(pixels, filters, interlace=0, key=b""):
    """Encode by the letter of the PNG specification, a byte at a time."""

    def rows(part):
        stride = 2 * part.shape[2]
        raw = part.astype(">u2").tobytes()
        width = part.shape[1] * stride
        above = bytes(width)
        for y in range(part.shape[0] if width else 0):
            row = raw[y * width : (y + 1) * width]
            yield bytes([filters[y]])
            for i, value in enumerate(row):
                a, c = (row[i - stride], above[i - stride]) if i >= stride else (0, 0)
                b = above[i]
                p = a + b - c
                paeth = min((a, b, c), key=lambda n, p=p: abs(p - n))
                yield bytes([(value - (0, a, b, (a + b) // 2, paeth)[filters[y]]) % 256])
            above = row

    steps = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    passes = steps if interlace else [(0, 0, 1, 1)]
    body = b"".join(b"".join(rows(pixels[y::dy, x::dx])) for x, y, dx, dy in passes)
    height, width, samples = pixels.shape
    header = struct.pack(">IIBBBBB", width, height, 16, {1: 0, 3: 2, 4: 6}[samples], 0, 0, interlace)
    chunks = [(b"IHDR", header), (b"tRNS", key), (b"IDAT", zlib.compress(body)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(b)) + k + b + struct.pack(">I", zlib.crc32(k + b)) for k, b in chunks if b or k != b"tRNS"
    )


def test_the_transparent_colour_of_a_deep_png_becomes_alpha():
    pixels = np.array([[[1, 2, 3], [256, 2, 3]]], np.uint16)
    back = read_image(deep_png(pixels, [0], key=struct.pack(">HHH", 1, 2, 3))).pixels
    assert back[..., 3].tolist() == [[0, 65535]]


@pytest.mark.parametrize("interlace", [0, 1])
def test_the_transparent_grey_of_a_deep_png_becomes_alpha(interlace):
    pixels = noise(np.uint16, 1, 9, 11) % 3 + 700
    back = read_image(deep_png(pixels[..., None], [4, 1, 3] * 7, interlace, key=struct.pack(">H", 701))).pixels
    np.testing.assert_array_equal(back, np.dstack([pixels] * 3 + [np.where(pixels == 701, 0, 65535)]))
    assert back.dtype == np.uint16
    opaque = read_image(deep_png(pixels[..., None], [4, 1, 3] * 7, interlace)).pixels
    np.testing.assert_array_equal(opaque, pixels)


@pytest.mark.parametrize("bits", [8, 10, 12])
def test_an_avif_that_loses_bits_is_said(caplog, bits):
    imagecodecs = pytest.importorskip("imagecodecs", reason="needs the extra 'tiff' (imagecodecs)")
    pixels = noise(np.uint16, 3) >> (16 - bits)
    file = imagecodecs.avif_encode(pixels.astype(np.uint8) if bits == 8 else pixels, bitspersample=bits)
    assert read_image(file).pixels.dtype == np.uint8
    said = [record.getMessage() for record in caplog.records]
    assert said == ([] if bits == 8 else ["the AVIF has more than 8 bits a channel, of which 8 are read"])


@pytest.mark.parametrize(
    "options",
    [
        {"quality": 10},
        {"quality": 40, "progressive": True},
        {"quality": 75, "subsampling": "4:4:4"},
        {"quality": 30, "subsampling": "4:2:2", "restart_marker_rows": 1},
    ],
)
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_jpeg_decodes_as_by_pillow(mode, options):
    jpeg = encoded(photo().convert(mode), "JPEG", **options)
    picture = read_image(jpeg)
    np.testing.assert_array_equal(picture.pixels, np.asarray(Image.open(io.BytesIO(jpeg))))
    assert picture.format == "JPEG"
    assert picture.channels == len(mode)


def test_a_jpeg_with_further_pictures_gives_the_first():
    jpeg = encoded(photo(), "MPO", save_all=True, append_images=[photo((40, 30))])
    picture = read_image(jpeg)
    assert picture.format == "JPEG"
    assert picture.pixels.shape == (80, 96, 3)


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_cmyk_becomes_rgb(kind):
    cmyk = Image.fromarray(noise(np.uint8, 4) // 16 * 16, "CMYK").resize((64, 64))
    file = encoded(cmyk, kind)
    picture = read_image(file)
    np.testing.assert_array_equal(picture.pixels, np.asarray(Image.open(io.BytesIO(file)).convert("RGB")))


@pytest.mark.parametrize(
    ("image", "kind", "channels"),
    [
        (photo().convert("1"), "PNG", 1),
        (photo().quantize(16), "PNG", 3),
        (photo().quantize(16), "GIF", 3),
        (photo().convert("LA"), "PNG", 4),
        (photo().convert("1"), "TIFF", 1),
        (photo().convert("RGBX"), "TIFF", 3),
    ],
)
def test_odd_colour_modes_become_plain(image, kind, channels):
    picture = read_image(encoded(image, kind))
    assert picture.channels == channels
    mode = {1: "L", 3: "RGB", 4: "RGBA"}[channels]
    np.testing.assert_array_equal(picture.pixels, np.asarray(image.convert(mode)))


def test_a_transparent_palette_entry_becomes_alpha():
    image = photo().quantize(8)
    picture = read_image(encoded(image, "PNG", transparency=3))
    np.testing.assert_array_equal(picture.pixels[..., 3] == 0, np.asarray(image) == 3)


def test_deep_netpbm_is_scaled_to_its_maximum():
    header = b"P6 # a remark\n2 1\n#another\n1023 "
    pixels = read_image(header + np.array([0, 512, 1023, 1, 2, 3], ">u2").tobytes()).pixels
    assert pixels.dtype == np.uint16
    assert pixels.ravel().tolist() == [0, 32800, 65535, 64, 128, 192]


def test_pages_of_a_tiff_become_a_stack_and_go_back(tmp_path):
    for pixels in (
        np.stack([noise(np.uint16, 1, seed=i) for i in range(3)]),
        np.stack([noise(np.uint8, 3, seed=i) for i in range(4)]),
        np.stack([noise(np.float32, 3, seed=i) for i in range(2)]),
    ):
        path = write_image(tmp_path / "a.tif", Picture(pixels, is_stack=True), overwrite=True)
        back = read_image(path)
        assert back.is_stack
        np.testing.assert_array_equal(back.pixels, pixels)


def pages_turned(pixels, orientations):
    """A TIFF of pages that are stored as they are and seen as each one's tag says."""
    tifffile = pytest.importorskip("tifffile", reason="needs tifffile")
    stream = io.BytesIO()
    with tifffile.TiffWriter(stream) as tiff:
        for page, orientation in zip(pixels, orientations, strict=True):
            more = [(274, 3, 1, orientation, True), (297, 3, 2, (orientation, 8), True), (285, 2, 0, "page", True)]
            tiff.write(page, photometric="rgb", extratags=more, metadata=None)
    return stream.getvalue()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("orientations", [(1, 3, 4), (6, 8, 5), (3, 9, 3)])
def test_pages_that_are_turned_differently_are_turned_upright(tmp_path, dtype, orientations):
    pixels = [noise(dtype, 3, seed=i) for i in range(3)]
    back = read_image(pages_turned(pixels, orientations))
    for page, stored, orientation in zip(back.pages, pixels, orientations, strict=True):
        np.testing.assert_array_equal(page, turned(stored, orientation))
    assert back.metadata.orientation == 1
    again = read_image(write_image(tmp_path / "a.tif", back))
    assert again.metadata.orientation == 1
    assert b"page" in again.metadata.exif
    np.testing.assert_array_equal(again.pixels, back.pixels)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_pages_that_are_turned_alike_stay_as_stored(tmp_path, dtype):
    pixels = [noise(dtype, 3, seed=i) for i in range(2)]
    back = read_image(pages_turned(pixels, (6, 6)))
    np.testing.assert_array_equal(back.pixels, pixels)
    assert back.metadata.orientation == 6
    path = write_image(tmp_path / "a.tif", back)
    with Image.open(path) as image:
        for index in range(2):
            image.seek(index)
            assert image.tag_v2[274] == 6
            assert 297 not in image.tag_v2  # the number of the first page on all of them would be wrong


def test_pages_of_which_one_lies_on_its_side_are_refused():
    with pytest.raises(FileError, match="has 2 pages of different size or depth"):
        read_image(pages_turned([noise(np.uint8, 3)] * 2, (1, 6)))


def test_pages_count_against_the_limit_together(tmp_path):
    path = write_image(tmp_path / "a.tif", Picture(np.zeros((5, 40, 50), np.uint8), is_stack=True))
    assert read_image(path, max_pixels=10_000).pixels.shape == (5, 40, 50)
    with pytest.raises(FileError, match="more than the limit of 9999"):
        read_image(path, max_pixels=9_999)


@pytest.mark.parametrize(
    ("dtype", "channels", "options"),
    [
        (np.uint8, 3, {"tile": (16, 16), "compression": "zlib"}),
        (np.uint16, 3, {"tile": (16, 16), "compression": "zlib", "predictor": True}),
        (np.uint16, 3, {"planarconfig": "separate"}),
        (np.uint16, 4, {"byteorder": ">", "extrasamples": ["unassalpha"]}),
        (np.uint16, 3, {"bigtiff": True}),
        (np.uint16, 1, {"bigtiff": True, "tile": (32, 16)}),
        (np.float32, 1, {"byteorder": ">"}),
        (np.float64, 1, {}),
        (np.uint16, 3, {"compression": "lzw"}),
    ],
)
def test_tiff_of_another_writer_is_read_exactly(dtype, channels, options):
    options = dict(options)
    tifffile = pytest.importorskip("tifffile", reason="needs tifffile")
    if options.get("compression") == "lzw":
        pytest.importorskip("imagecodecs", reason="needs the extra 'tiff' (imagecodecs)")
    pixels = noise(dtype, channels)
    stored = np.moveaxis(pixels, 2, 0) if "planarconfig" in options else pixels
    stream = io.BytesIO()
    with tifffile.TiffWriter(
        stream, bigtiff=options.pop("bigtiff", False), byteorder=options.pop("byteorder", None)
    ) as tiff:
        tiff.write(stored, photometric="rgb" if channels > 1 else "minisblack", **options)
    back = read_image(stream.getvalue())
    assert back.pixels.dtype == dtype
    np.testing.assert_array_equal(back.pixels, pixels)


def bare_tiff(pixels, bits, photometric=1, order="<"):
    """A grey or RGB TIFF of packed samples, by the letter of the TIFF specification."""
    height, width = pixels.shape[:2]
    samples = pixels[0, 0].size
    rows = pixels.reshape(height, -1).tolist()
    packed = b"".join(
        int("".join(f"{v:0{bits}b}" for v in row).ljust(-(-width * samples * bits // 8) * 8, "0"), 2).to_bytes(
            -(-width * samples * bits // 8)
        )
        for row in rows
    )
    tags = {256: width, 257: height, 258: bits, 259: 1, 262: photometric, 277: samples, 278: height, 279: len(packed)}
    start = 8 + 2 + 12 * 9 + 4
    entries = sorted([*tags.items(), (273, start)])
    head = b"II*\0" if order == "<" else b"MM\0*"
    return (
        head + struct.pack(order + "IH", 8, 9)
        + b"".join(struct.pack(order + "HHII", tag, 4, 1, value) for tag, value in entries)
        + bytes(4) + packed
    )  # fmt: skip


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("bits", [4, 10, 12, 14])
def test_samples_of_any_number_of_bits_take_the_whole_range(bits, channels, order):
    pytest.importorskip("imagecodecs", reason="needs the extra 'tiff' (imagecodecs)")
    stored = noise(np.uint16, channels) >> (16 - bits)
    stored[0, 0], stored[0, 1] = 0, 2**bits - 1
    full = 255 if bits < 8 else 65535
    back = read_image(bare_tiff(stored, bits, 1 if channels == 1 else 2, order)).pixels
    np.testing.assert_array_equal(back, np.rint(stored * (full / (2**bits - 1))))
    assert back.dtype == (np.uint8 if bits < 8 else np.uint16)


@pytest.mark.parametrize("byteorder", "<>")
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_grey_whose_0_is_white_is_turned_round(dtype, byteorder):
    tifffile = pytest.importorskip("tifffile", reason="needs tifffile")
    stream, pixels = io.BytesIO(), noise(dtype, 1)
    tifffile.imwrite(stream, np.iinfo(dtype).max - pixels, photometric="miniswhite", byteorder=byteorder)
    np.testing.assert_array_equal(read_image(stream.getvalue()).pixels, pixels)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_floats_whose_0_is_white_are_refused(dtype):
    tifffile = pytest.importorskip("tifffile", reason="needs tifffile")
    stream = io.BytesIO()
    tifffile.imwrite(stream, noise(dtype, 1), photometric="miniswhite")
    with pytest.raises(FileError, match=r"^is a TIFF of floats whose 0 is white; floats are taken where 0 is black$"):
        read_image(stream.getvalue())


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_premultiplied_alpha_is_divided_by(tmp_path, dtype):
    tifffile = pytest.importorskip("tifffile", reason="needs tifffile")
    most = 1 if dtype == np.float32 else np.iinfo(dtype).max
    alpha = np.array([0, 0.25, 0.5, 1])
    stored = (np.array([0.0, 0.1, 0.25, 0.5])[:, None] * [1, 0.5, 0, 1] * most).astype(dtype)
    stored[:, 3] = alpha * most
    for kind, expected in [("assocalpha", [0, 0.4, 0.5, 0.5]), ("unassalpha", [0, 0.1, 0.25, 0.5])]:
        stream = io.BytesIO()
        tifffile.imwrite(stream, np.tile(stored, (4, 1, 1)), photometric="rgb", extrasamples=[kind])
        back = read_image(stream.getvalue())
        np.testing.assert_allclose(back.pixels[2, :, 0] / most, expected, atol=0.01)
        np.testing.assert_array_equal(back.pixels[2, :, 3], stored[:, 3])
        again = read_image(write_image(tmp_path / "a.tif", back, overwrite=True))
        np.testing.assert_array_equal(again.pixels, back.pixels)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_fourth_sample_of_no_meaning_is_no_alpha(dtype):
    tifffile = pytest.importorskip("tifffile", reason="needs tifffile")
    stream, pixels = io.BytesIO(), noise(dtype, 4)
    tifffile.imwrite(stream, pixels, photometric="rgb", extrasamples=["unspecified"])
    np.testing.assert_array_equal(read_image(stream.getvalue()).pixels, pixels[..., :3])


def test_a_missing_decoder_is_named_with_its_extra(tmp_path):
    pytest.importorskip("imagecodecs", reason="needs the extra 'tiff' (imagecodecs)")
    tifffile = pytest.importorskip("tifffile", reason="needs tifffile")
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, noise(np.uint16, 3), photometric="rgb", compression="lzw")
    for module, compression in [("imagecodecs", "compressed by LZW "), ("tifffile", "")]:
        program = (
            f"import sys; sys.modules[{module!r}] = None\n"
            "from napari_car.files import read_image\n"
            "from napari_car.errors import MissingExtraError\n"
            f"try: read_image({str(path)!r})\n"
            "except MissingExtraError as error: print(error)\n"
        )
        run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        assert run.stdout.strip() == (
            f"Reading a TIFF of deep colour {compression}needs: pip install 'napari-car[tiff]'"
        )
        assert run.stderr == ""


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "JPEG"])
def test_limits_do_not_touch_those_of_pillow(monkeypatch, kind):
    file = encoded(photo(), kind)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert read_image(file).pixels.shape == (80, 96, 3)  # 7680 pixels, beyond Pillow's limit, within ours
    assert Image.MAX_IMAGE_PIXELS == 100


# --------------------------------------------------------------------------------------------------- targets


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_every_extension_writes(tmp_path, extension):
    path = write_image(tmp_path / f"A.{extension.upper()}", Picture(np.asarray(photo())))
    assert read_image(path).pixels.shape == (80, 96, 3)


@pytest.mark.parametrize("name", ["a.xyz", "a", "a.gif", ".png"])
def test_an_unknown_extension_names_the_known(tmp_path, name):
    with pytest.raises(FileError, match=r"\.png .*\.tif .*\.jpg .*\.webp"):
        write_image(tmp_path / name, Picture(noise(np.uint8, 3)))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("extension", "pixels", "is_stack", "message"),
    [
        ("jpg", noise(np.uint16, 3), False, "JPEG cannot hold uint16 pixels; write PNG or TIFF or PPM"),
        ("jpg", noise(np.uint8, 4), False, "JPEG cannot hold alpha; write PNG or TIFF or WEBP or AVIF"),
        ("bmp", noise(np.uint8, 4), False, "BMP cannot hold alpha"),
        ("png", noise(np.float32, 3), False, "PNG cannot hold float32 pixels; write TIFF"),
        ("png", noise(np.int32, 1), False, "PNG cannot hold int32 pixels; write uint8, uint16"),
        ("png", np.zeros((3, 4, 4), np.uint8), True, "PNG cannot hold 3 pages; write TIFF"),
    ],
)
def test_what_a_format_cannot_hold_is_refused(tmp_path, extension, pixels, is_stack, message):
    with pytest.raises(FileError, match=message):
        write_image(tmp_path / f"a.{extension}", Picture(pixels, is_stack=is_stack))
    assert list(tmp_path.iterdir()) == []


def test_bad_targets_are_refused_before_the_work(tmp_path):
    (tmp_path / "taken.png").write_bytes(b"mine")
    (tmp_path / "folder.png").mkdir()
    for name, message in [
        ("taken.png", "exists already"),
        ("folder.png", "is a folder"),
        ("no/where.png", "folder does not exist"),
        ("taken.png/a.png", "folder does not exist"),
        ("nu\0ll.png", "not a possible file name"),
    ]:
        with pytest.raises(FileError, match=message):
            check_target(tmp_path / name)
        with pytest.raises(FileError, match=message):
            write_image(tmp_path / name, Picture(noise(np.uint8, 3)))
    assert (tmp_path / "taken.png").read_bytes() == b"mine"
    with pytest.raises(FileError, match="is a folder"):
        check_target(tmp_path / "folder.png", overwrite=True)
    check_target(tmp_path / "taken.png", overwrite=True)
    check_target(tmp_path / "free.png")


def test_a_folder_without_permission_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)  # root, who may run this, may write everywhere
    with pytest.raises(FileError, match="no permission"):
        check_target(tmp_path / "a.png")


def test_a_name_too_long_is_one_sentence(tmp_path):
    with pytest.raises(FileError, match="could not be written: File name too long"):
        write_image(tmp_path / ("a" * 300 + ".png"), Picture(noise(np.uint8, 3)))
    assert list(tmp_path.iterdir()) == []


def test_overwriting_replaces_whole_and_keeps_the_permissions(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(b"old")
    path.chmod(0o640)
    pixels = noise(np.uint8, 3)
    write_image(path, Picture(pixels), overwrite=True)
    np.testing.assert_array_equal(read_image(path).pixels, pixels)
    assert path.stat().st_mode & 0o777 == 0o640
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]


def test_a_new_file_has_the_permissions_of_any_other(tmp_path):
    (tmp_path / "plain").touch()
    path = write_image(tmp_path / "a.png", Picture(noise(np.uint8, 3)))
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_symbolic_link_is_replaced_never_followed(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "mine").write_bytes(b"mine")
    link = tmp_path / "out" / "a.png"
    link.symlink_to(tmp_path / "mine")
    with pytest.raises(FileError, match="exists already"):
        check_target(link)
    write_image(link, Picture(noise(np.uint8, 3)), overwrite=True)
    assert (tmp_path / "mine").read_bytes() == b"mine"
    assert not link.is_symlink()


def interrupt(monkeypatch, error, then=lambda: None):
    """Make the encoder fail after it has written something."""

    def save(image, stream, *args, **options):
        stream.write(b"half a picture")
        then()
        raise error

    monkeypatch.setattr(Image.Image, "save", save)


@pytest.mark.parametrize("overwrite", [False, True])
def test_an_interrupted_write_leaves_nothing(tmp_path, monkeypatch, overwrite):
    path = tmp_path / "a.png"
    if overwrite:
        path.write_bytes(b"old")
    interrupt(monkeypatch, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        write_image(path, Picture(noise(np.uint8, 3)), overwrite=overwrite)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == ({"a.png": b"old"} if overwrite else {})


def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path, monkeypatch):
    interrupt(monkeypatch, OSError(28, "No space left on device"))
    with pytest.raises(FileError, match=r"a\.png: could not be written: No space left on device$"):
        write_image(tmp_path / "a.png", Picture(noise(np.uint8, 3)))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("has_links", [True, False])
def test_a_file_that_appears_meanwhile_is_not_overwritten(tmp_path, monkeypatch, has_links):
    path = tmp_path / "a.png"
    save = Image.Image.save

    def slow_save(image, stream, *args, **options):
        save(image, stream, *args, **options)
        path.write_bytes(b"theirs")

    if not has_links:
        monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError("no hard links here")))
    monkeypatch.setattr(Image.Image, "save", slow_save)
    with pytest.raises(FileError, match="appeared"):
        write_image(path, Picture(noise(np.uint8, 3)))
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {"a.png": b"theirs"}


def test_file_systems_without_hard_links_are_written_to(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError("no hard links here")))
    pixels = noise(np.uint8, 3)
    path = write_image(tmp_path / "a.png", Picture(pixels))
    np.testing.assert_array_equal(read_image(path).pixels, pixels)
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]


def test_quality_is_for_formats_that_have_one(tmp_path):
    picture = Picture(np.asarray(photo()))
    sizes = [write_image(tmp_path / f"{q}.jpg", picture, quality=q).stat().st_size for q in (10, 50, 90)]
    assert sizes == sorted(set(sizes))
    for name, quality in [("a.png", 90), ("a.jpg", 0), ("a.jpg", 101)]:
        with pytest.raises(InputError, match="it is 1 to 100 for JPEG, WEBP, AVIF"):
            write_image(tmp_path / name, picture, quality=quality)


def test_a_picture_that_its_encoder_refuses_is_one_sentence(tmp_path, monkeypatch):
    def fail(_):
        raise ValueError("too\nlarge")

    monkeypatch.setattr("napari_car.files.writing.image_of", fail)
    with pytest.raises(FileError, match=r"a\.jpg: could not be written: too large$"):
        write_image(tmp_path / "a.jpg", Picture(np.zeros((1, 7), np.uint8)))
    assert list(tmp_path.iterdir()) == []


def test_a_picture_too_large_for_its_format_is_one_sentence(tmp_path):
    with pytest.raises(FileError, match=r"a\.jpg: JPEG cannot hold 70000 x 1 pixels; write PNG or TIFF or BMP or PPM$"):
        write_image(tmp_path / "a.jpg", Picture(np.zeros((1, 70_000), np.uint8)))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("shape", [(5,), (2, 3, 2), (2, 3, 5), (0, 4), (2, 2, 2, 3)])
def test_other_shapes_are_no_picture(shape):
    with pytest.raises(InputError, match="has shape"):
        Picture(np.zeros(shape, np.uint8))


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_an_orientation_that_does_not_exist_says_nothing(tmp_path, kind):
    tags = Image.Exif()
    tags[0x0112] = 262
    picture = read_image(encoded(photo((40, 24)), kind, exif=tags))
    assert picture.metadata.orientation == 1
    assert picture.pixels.shape == (24, 40, 3)
    assert read_image(write_image(tmp_path / "a.ppm", picture)).pixels.shape == (24, 40, 3)
    assert read_image(write_image(tmp_path / "a.tif", picture)).pixels.shape == (24, 40, 3)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP", "AVIF"])
def test_pixels_stay_as_stored_and_the_tag_stays(tmp_path, kind, orientation):
    image = photo((40, 24))
    tags = Image.Exif()
    tags[0x0112] = orientation
    options = {"lossless": True} if kind == "WEBP" else {}
    stored = np.asarray(Image.open(io.BytesIO(encoded(image, "PNG" if kind == "TIFF" else kind, **options))))
    picture = read_image(encoded(image, kind, exif=tags, **options))
    np.testing.assert_array_equal(picture.pixels, stored)
    for extension in ("png", "tif", "webp"):
        back = read_image(write_image(tmp_path / f"a.{extension}", picture))
        np.testing.assert_array_equal(back.pixels, stored)
        assert back.metadata.orientation == picture.metadata.orientation == orientation


@pytest.mark.parametrize("orientation", range(1, 9))
def test_formats_without_exif_get_upright_pixels(tmp_path, orientation):
    image = photo((40, 24))
    tags = Image.Exif()
    tags[0x0112] = orientation
    tagged = encoded(image, "PNG", exif=tags)
    picture = read_image(tagged)
    np.testing.assert_array_equal(picture.pixels, np.asarray(image))  # as stored
    assert picture.metadata.orientation == orientation
    path = write_image(tmp_path / "a.ppm", picture)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(tagged)))
    np.testing.assert_array_equal(read_image(path).pixels, np.asarray(upright))
    kept = ImageOps.exif_transpose(Image.open(write_image(tmp_path / "a.png", picture)))
    np.testing.assert_array_equal(np.asarray(kept), np.asarray(upright))


# ---------------------------------------------------------------------------------------------------- damage


def test_missing_folders_and_empty_files_are_named(tmp_path):
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("not a picture at all")
    for source, message in [
        (tmp_path / "missing.jpg", r"missing\.jpg: does not exist"),
        (tmp_path, "is a folder"),
        (tmp_path / "empty.jpg", "is empty"),
        (tmp_path / "text.jpg", r"is not an image of a kind that is read \(JPEG, PNG"),
        (tmp_path / "text.jpg" / "a.png", "does not exist"),
        ("nu\0ll.jpg", "not a possible file name"),
        (b"", "is empty"),
    ]:
        with pytest.raises(FileError, match=message) as caught:
            read_image(source)
        assert "\n" not in str(caught.value)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_pipes_and_devices_do_not_block(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    for path in (tmp_path / "pipe.jpg", "/dev/zero"):
        with pytest.raises(FileError, match="is not a regular file"):
            read_image(path)


def test_a_file_without_permission_is_refused(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    (tmp_path / "a.jpg").write_bytes(encoded(photo(), "JPEG"))
    monkeypatch.setattr("builtins.open", refuse)  # root, who may run this, may read everything
    with pytest.raises(FileError, match="no permission"):
        read_image(tmp_path / "a.jpg")


def test_the_name_says_nothing_about_what_is_inside(tmp_path):
    (tmp_path / "png.jpg").write_bytes(encoded(photo(), "PNG"))
    assert read_image(tmp_path / "png.jpg").format == "PNG"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP", "BMP", "PPM"])
@pytest.mark.parametrize("kept", [0.5, 0.9])
def test_a_truncated_file_is_refused(kind, kept):
    whole = encoded(photo(), kind)
    with pytest.raises(FileError, match=r"truncated|damaged|not an image"):
        read_image(whole[: int(len(whole) * kept)])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("kept", [0.1, 0.6, 0.95])
def test_a_tiff_of_bare_pixels_cut_short_is_refused(dtype, kept):
    tifffile = pytest.importorskip("tifffile", reason="needs tifffile")
    stream = io.BytesIO()
    tifffile.imwrite(stream, noise(dtype, 3, 200, 100), photometric="rgb", rowsperstrip=8)
    with pytest.raises(FileError, match=r"truncated|damaged"):
        read_image(stream.getvalue()[: int(len(stream.getvalue()) * kept)])


def test_a_tiff_that_claims_more_rows_than_it_stores_is_refused():
    tiff = bytearray(encoded(photo(), "TIFF"))
    at = tiff.index(struct.pack("<HHI", 257, 4, 1))
    tiff[at + 8 : at + 12] = struct.pack("<I", 160)
    with pytest.raises(FileError, match="bytes cannot hold 46080 bytes of pixels"):
        read_image(bytes(tiff))


def test_a_truncated_jpeg_is_called_truncated():
    jpeg = encoded(photo(), "JPEG")
    with pytest.raises(FileError, match="is truncated: the image data end early"):
        read_image(jpeg[: len(jpeg) * 2 // 3])


def bombs():
    def png(width, height):
        header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
        chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(10**6))), (b"IEND", b"")]
        return b"\x89PNG\r\n\x1a\n" + b"".join(
            struct.pack(">I", len(b)) + k + b + struct.pack(">I", zlib.crc32(k + b)) for k, b in chunks
        )

    jpeg = bytearray(encoded(photo(), "JPEG"))
    at = jpeg.index(b"\xff\xc0")
    jpeg[at + 5 : at + 9] = b"\xff\xff\xff\xff"
    tiff = bytearray(encoded(photo(), "TIFF"))
    for tag in (256, 257):
        at = tiff.index(struct.pack("<HHI", tag, 4, 1))
        tiff[at + 8 : at + 12] = struct.pack("<I", 60_000)
    return {
        "png": png(50_000, 50_000),
        "absurd png": png(2**31 - 1, 2**31 - 1),
        "deep png": deep_png(np.zeros((1, 1, 3), np.uint16), [0]).replace(
            struct.pack(">II", 1, 1), struct.pack(">II", 50_000, 50_000)
        ),
        "jpeg": bytes(jpeg),
        "tiff": bytes(tiff),
        "ppm": b"P6 60000 60000 255\n" + bytes(1000),
    }


@pytest.mark.parametrize("name", bombs())
def test_a_bomb_is_refused_at_once(name):
    started = time.perf_counter()
    with pytest.raises(FileError, match=r"more than the limit|damaged"):
        read_image(bombs()[name])
    assert time.perf_counter() - started < 1


def test_a_jpeg_of_endless_scans_is_refused():
    jpeg = encoded(photo(), "JPEG", progressive=True)
    assert 1 < jpeg.count(b"\xff\xda") < 20
    scan = jpeg[jpeg.rindex(b"\xff\xda") : -2]
    with pytest.raises(FileError, match="scans; a JPEG may have 200"):
        read_image(jpeg[:-2] + scan * 200 + jpeg[-2:])
    thumbnail = b"\xff\xe1\0\x08abcd\xff\xd9"  # whose end is not that of the picture
    with pytest.raises(FileError, match="scans; a JPEG may have 200"):
        read_image(jpeg[:2] + thumbnail + jpeg[2:-2] + scan * 200 + jpeg[-2:])
    with pytest.raises(FileError, match="segments before its picture ends"):
        read_image(jpeg[:-2] + b"\xff\xfe\0\4\xff\xda" * 100_000 + jpeg[-2:])


def test_what_is_behind_a_jpeg_has_no_scans():
    jpeg = encoded(photo(), "JPEG", comment=b"\xff\xda" * 300)  # nor has what is within a segment
    picture = read_image(jpeg + b"video" * 10 + b"\xff\xda\xff\xd9" * 300)
    np.testing.assert_array_equal(picture.pixels, np.asarray(Image.open(io.BytesIO(jpeg))))


def test_a_claim_that_the_bytes_cannot_hold_is_refused_before_memory_is_taken():
    header = struct.pack(">IIBBBBB", 12_000, 12_000, 8, 2, 0, 0, 0)
    whole = encoded(photo(), "PNG")
    with pytest.raises(FileError, match="cannot hold the 12000 x 12000 pixels"):
        read_image(whole[:16] + header + struct.pack(">I", zlib.crc32(b"IHDR" + header)) + whole[33:200])


def test_animations_are_refused_not_halved():
    gif = encoded(photo(), "GIF", save_all=True, append_images=[photo().rotate(9), photo().rotate(30)])
    with pytest.raises(FileError, match="an animation of 3 frames"):
        read_image(gif)


def originals():
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a boat"
    image = photo((48, 40))
    yield encoded(image, "JPEG", quality=60, exif=exif, comment=b"hello", dpi=(300, 300))
    yield encoded(image, "JPEG", quality=30, progressive=True)
    yield encoded(image.convert("CMYK"), "JPEG", quality=50)
    yield encoded(image, "PNG", exif=exif)
    yield deep_png(np.asarray(photo((12, 9))).astype(np.uint16) * 257, [4] * 9)
    yield encoded(image.quantize(16), "PNG", transparency=2)
    yield encoded(image, "TIFF", exif=exif)
    yield encoded(image, "TIFF", compression="tiff_lzw")
    yield encoded(image, "WEBP", quality=50)
    yield encoded(image, "AVIF", quality=50)
    yield encoded(image, "BMP")
    yield encoded(image, "PPM")
    yield encoded(image.quantize(16), "GIF")
    yield b"P6 4 4 65535\n" + bytes(range(96))


def deep_tiff():
    stream = io.BytesIO()
    from napari_car.files.tiff import write_tiff

    write_tiff(stream, Picture(noise(np.uint16, 3)))
    return stream.getvalue()


def damaged(whole, rng):
    """Return a file truncated, with flipped bits, with bytes overwritten, or with a piece cut out."""
    file = bytearray(whole)
    match rng.integers(4):
        case 0:
            return bytes(file[: rng.integers(len(file))])
        case 1:
            for at in rng.integers(0, len(file), rng.integers(1, 9)):
                file[at] ^= 1 << rng.integers(8)
        case 2:  # headers are where the claims are
            for at in rng.integers(0, min(200, len(file)), rng.integers(1, 9)):
                file[at] = rng.choice([0, 1, 127, 128, 255])
        case 3:
            at = rng.integers(len(file))
            del file[at : at + rng.integers(1, 60)]
    return bytes(file)


def test_damaged_files_give_a_picture_or_one_sentence(tmp_path, capfd, caplog):
    rng = np.random.default_rng(20240)
    refusals, n_read = [], 0
    for whole in [*originals(), deep_tiff()]:
        for _ in range(40):
            started = time.perf_counter()
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("error")
                    picture = read_image(damaged(whole, rng), max_pixels=10**6)
            except FileError as error:
                refusals.append(str(error))
            else:
                n_read += 1
                write_image(tmp_path / "a.tif", picture, overwrite=True)
                assert picture.metadata.orientation in range(1, 9)
            assert time.perf_counter() - started < 5
    assert len(refusals) > 200
    assert not any("\n" in refusal for refusal in refusals)
    assert n_read > 50
    assert {p.name for p in tmp_path.iterdir()} == {"a.tif"}
    printed = capfd.readouterr()
    assert printed.out + printed.err == ""
    assert {record.name.rpartition(".")[0] for record in caplog.records} <= {"napari_car.files"}


def test_damaged_metadata_does_not_keep_a_picture_from_being_written(tmp_path):
    picture = Picture(np.asarray(photo()), Metadata(exif=b"II*\0garbage", icc=b"short", xmp=b"\xff\xfe"))
    for extension in EXTENSIONS:
        write_image(tmp_path / f"a.{extension}", picture)


def test_many_threads_may_read_at_once():
    jpeg = encoded(photo(), "JPEG")
    expected, results = read_image(jpeg).pixels, []
    threads = [threading.Thread(target=lambda: results.append(read_image(jpeg).pixels)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 8
    for pixels in results:
        np.testing.assert_array_equal(pixels, expected)
    assert MAX_PIXELS > 10**8


@pytest.mark.parametrize(("extension", "longest"), [("jpg", 65500), ("webp", 16383), ("avif", 32768)])
@pytest.mark.parametrize("is_wide", [True, False])
def test_a_side_that_a_format_cannot_hold_is_refused_before_the_work(tmp_path, extension, longest, is_wide):
    path = tmp_path / f"a.{extension}"
    pixels = np.zeros((longest + 1, 2) if is_wide else (2, longest + 1), np.uint8)
    for refused in (check_target, write_image):
        with pytest.raises(FileError, match=r"cannot hold .* pixels; write PNG or TIFF"):
            refused(path, Picture(pixels))
    assert not list(tmp_path.iterdir())
    whole = pixels[:longest, :longest]
    assert read_image(write_image(path, Picture(whole))).pixels.shape[:2] == whole.shape
