"""Headers against Pillow's own reading, hand-made damage, and arbitrary bytes."""

import io
import struct
import time

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from napari_car.errors import FileError, InputError, JpegError
from napari_car.jpeg.header import read_jpeg

PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (37, 53, 3), np.uint8))
SUBSAMPLINGS = {"4:4:4": ((1, 1),) * 3, "4:2:2": ((2, 1), (1, 1), (1, 1)), "4:2:0": ((2, 2), (1, 1), (1, 1))}


def encode(picture=PICTURE, **options):
    file = io.BytesIO()
    picture.save(file, "JPEG", **options)
    return file.getvalue()


def segment(marker, payload=b""):
    return struct.pack(">BBH", 0xFF, marker, len(payload) + 2) + payload


def dqt(*values, slot=0, wide=False):
    numbers = list(values) * (64 // len(values))
    return segment(0xDB, bytes([16 * wide + slot]) + struct.pack(">64H" if wide else "64B", *numbers))


def sof(marker=0xC0, *, precision=8, height=30, width=40, components=((1, 0x11, 0),)):
    head = struct.pack(">BHHB", precision, height, width, len(components))
    return segment(marker, head + b"".join(map(bytes, components)))


def sos(*identifiers):
    return segment(0xDA, bytes([len(identifiers)]) + b"".join(bytes([i, 0]) for i in identifiers) + b"\0\x3f\0")


def build(*parts):
    return b"\xff\xd8" + b"".join(parts)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"optimize": True}], ids=str)
@pytest.mark.parametrize("subsampling", ["grey", *SUBSAMPLINGS])
def test_every_ijg_file_tells_its_quality_exactly(subsampling, options):
    picture = PICTURE.convert("L") if subsampling == "grey" else PICTURE
    options = options if subsampling == "grey" else {**options, "subsampling": subsampling}
    for quality in range(1, 101):
        file = encode(picture, quality=quality, **options)
        info = read_jpeg(file)
        assert (info.quality, info.luma_quality, info.is_standard) == (quality, quality, True)
        assert info.chroma_quality in (None if subsampling == "grey" else quality, 1, 2, 3)
        assert (info.height, info.width, info.subsampling) == (37, 53, subsampling)
        assert info.is_progressive == options.get("progressive", False)
        pillow = Image.open(io.BytesIO(file)).quantization
        assert all(np.array_equal(table.ravel(), pillow[min(i, 1)]) for i, table in enumerate(info.quant_tables))


@pytest.mark.parametrize("subsampling", SUBSAMPLINGS)
def test_sampling_and_colour_space(subsampling):
    info = read_jpeg(encode(subsampling=subsampling))
    assert info.sampling == SUBSAMPLINGS[subsampling]
    assert (info.color_space, info.n_components, info.precision) == ("YCbCr", 3, 8)
    assert not info.is_arithmetic
    assert not info.quant_tables[0].flags.writeable


def test_grey_rgb_cmyk_and_ycck():
    grey = read_jpeg(encode(PICTURE.convert("L")))
    assert (grey.color_space, grey.n_components, grey.chroma_quality) == ("grey", 1, None)
    rgb = read_jpeg(encode(keep_rgb=True, quality=60))
    assert (rgb.color_space, rgb.subsampling, rgb.quality, rgb.is_standard) == ("RGB", "4:4:4", 60, True)
    cmyk = encode(PICTURE.convert("CMYK"), quality=60)
    info = read_jpeg(cmyk)
    assert (info.color_space, info.subsampling, info.quality, info.is_standard) == ("CMYK", "4:4:4", 60, True)
    adobe = cmyk.index(b"Adobe") + 11
    assert read_jpeg(cmyk[:adobe] + b"\x02" + cmyk[adobe + 1 :]).color_space == "YCCK"


@pytest.mark.parametrize(
    ("factors", "name"),
    [
        ((0x12, 0x11, 0x11), "4:4:0"),
        ((0x41, 0x11, 0x11), "4:1:1"),
        ((0x42, 0x11, 0x11), "4:1:0"),
        ((0x22, 0x22, 0x22), "4:4:4"),
        ((0x22, 0x12, 0x11), "2x2,1x2,1x1"),
        ((0x11, 0x22, 0x22), "1x1,2x2,2x2"),
    ],
)
def test_names_of_rarer_subsamplings(factors, name):
    components = [(i + 1, factor, 0) for i, factor in enumerate(factors)]
    assert read_jpeg(build(dqt(7), sof(components=components), sos(1, 2, 3))).subsampling == name


def test_custom_tables_are_told_from_standard_ones():
    luma, chroma = [9] * 64, [30] * 64
    info = read_jpeg(encode(qtables=[luma, chroma]))
    assert not info.is_standard
    assert min(info.table_residuals) > 0.1
    assert 1 < info.chroma_quality < info.luma_quality < 100
    mixed = Image.open(io.BytesIO(encode(quality=80))).quantization
    mixed[1] = Image.open(io.BytesIO(encode(quality=40))).quantization[1]
    info = read_jpeg(encode(qtables=mixed))
    assert (info.luma_quality, info.chroma_quality, info.is_standard) == (80, 40, True)


def test_thumbnails_trailing_data_and_further_pictures_are_not_looked_at():
    thumbnail = encode(PICTURE.resize((16, 16)), quality=5)
    exif = segment(0xE1, b"Exif\0\0" + thumbnail)
    main = encode(quality=91)
    info = read_jpeg(main[:2] + exif + main[2:] + thumbnail + b"\xff\xd8\xff trailing")
    assert (info.quality, info.height) == (91, 37)
    file = io.BytesIO()
    PICTURE.save(file, "MPO", save_all=True, append_images=[PICTURE.resize((20, 20))], quality=70)
    assert (read_jpeg(file.getvalue()).quality, read_jpeg(file.getvalue()).width) == (70, 53)


def test_restart_interval_fill_bytes_stray_bytes_and_long_comments():
    assert read_jpeg(encode(restart_marker_blocks=3)).restart_interval == 3
    comments = segment(0xFE, bytes(65533)) * 3
    parts = (comments, b"\xff\xff\xff", dqt(5), b"stray", sof(), b"\xff\xff", sos(1))
    assert read_jpeg(build(*parts)).quant_tables[0].max() == 5


def test_arithmetic_and_wide_tables():
    info = read_jpeg(build(dqt(300, wide=True), sof(0xCA), sos(1)))
    assert info.is_arithmetic
    assert info.is_progressive
    assert info.quant_tables[0].tolist() == [[300] * 8] * 8


def test_a_component_keeps_the_table_in_force_at_its_first_scan():
    components = ((1, 0x11, 0), (2, 0x11, 0), (3, 0x11, 0))
    coded = b"\x12\xff\x00\xff\xd0" * 40_000  # stuffed bytes and restart markers over several chunks
    file = build(dqt(5), sof(components=components), sos(1), coded, dqt(6), sos(2), coded, sos(1), dqt(7), sos(3))
    assert [table.max() for table in read_jpeg(file).quant_tables] == [5, 6, 7]


@pytest.mark.parametrize(
    ("file", "sentence"),
    [
        (b"", "starts with nothing"),
        (b"\x89PNG", "starts with 89 50, where ff d8"),
        (b"\xff\xd8", "ends before"),
        (build(b"\xff\xd9"), "ends before"),
        (build(dqt(5), sof(precision=12), sos(1)), "12 bits"),
        (build(dqt(5), sof(0xC3), sos(1)), "lossless"),
        (build(dqt(5), sof(0xC5), sos(1)), "hierarchical"),
        (build(segment(0xDE, b"abc")), "hierarchical"),
        (build(segment(0xF7, b"abc")), "JPEG-LS"),
        (build(dqt(5), sof(height=0), sos(1)), "0 × 40"),
        (build(dqt(5), sof(components=((1, 0x51, 0),)), sos(1)), "5x1"),
        (build(dqt(5), sof(components=((1, 0x11, 0),) * 2), sos(1)), "1 distinct of 2"),
        (build(dqt(5), sof(components=((1, 0x11, 0), (2, 0x11, 0))), sos(1)), "2 distinct of 2"),
        (build(dqt(5), sof(), sof(), sos(1)), "second frame"),
        (build(dqt(5), sos(1)), "before the frame"),
        (build(dqt(5), sof(), sos(9)), "component 9"),
        (build(dqt(5, slot=1), sof(), sos(1)), "table 0, not defined"),
        (build(dqt(0), sof(), sos(1)), "divisor of 0"),
        (build(segment(0xDB, b"\0" * 30), sof(), sos(1)), "damaged quantization table"),
        (build(segment(0xC0, b"\x08\0\x10\0\x10\x03"), sos(1)), "cut off"),
        (build(dqt(5)[:-1]), "claims 67 bytes"),
        (build(dqt(5), sof(), segment(0xDA)), "damaged scan header"),
    ],
)
def test_damaged_and_unsupported_files_are_refused_in_words(file, sentence):
    with pytest.raises(JpegError, match=sentence):
        read_jpeg(file)


def test_errors_name_path_and_offset(tmp_path):
    path = tmp_path / "cut.jpg"
    path.write_bytes(encode()[:30])
    with pytest.raises(JpegError, match=r"cut\.jpg: .*at byte 2[0-9]") as caught:
        read_jpeg(path)
    assert caught.value.offset > 20


def test_unreadable_paths(tmp_path):
    for path in (tmp_path, tmp_path / "missing.jpg", "nul\0l.jpg"):
        with pytest.raises(FileError, match="cannot be read") as caught:
            read_jpeg(path)
        assert not isinstance(caught.value, JpegError)
    with pytest.raises(InputError, match="not int"):
        read_jpeg(3)


def test_a_path_and_its_bytes_say_the_same(tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(encode(quality=33))
    assert read_jpeg(path).quality == read_jpeg(memoryview(path.read_bytes())).quality == 33


def parse(file):
    try:
        info = read_jpeg(file)
    except JpegError:
        return
    assert 1 <= info.quality <= 100
    assert info.n_components == len(info.quant_tables)


@given(st.binary(max_size=300).map(lambda tail: b"\xff\xd8" + tail) | st.binary(max_size=50))
@example(b"\xff\xd8\xff\xe0\x00\x00")
@example(b"\xff\xd8\xff\xe0\xff")
def test_arbitrary_bytes_never_crash(file):
    parse(file)


@given(st.sampled_from(["4:4:4", "4:2:0"]), st.booleans(), st.data())
def test_mutations_and_truncations_never_crash(subsampling, progressive, data):
    file = bytearray(encode(subsampling=subsampling, progressive=progressive, quality=80))
    for _ in range(data.draw(st.integers(1, 8))):
        file[data.draw(st.integers(0, 700))] = data.draw(st.integers(0, 255))
    parse(bytes(file[: data.draw(st.integers(0, len(file)))]))


@pytest.mark.parametrize("filler", [b"\xff", b"\x00", b"\xff\x00", b"\xff\xd8", b"\xff\xe0\0\x22" + bytes(32)])
def test_megabytes_of_nothing_are_left_quickly(filler):
    start = time.perf_counter()
    with pytest.raises(JpegError):
        read_jpeg(b"\xff\xd8" + filler * (4_000_000 // len(filler)))
    assert time.perf_counter() - start < 5
