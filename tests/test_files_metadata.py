"""What a file says beside its pixels goes from every format into every other that can hold it."""

from __future__ import annotations

import io
import itertools
import json
import shutil
import struct
import subprocess
import time
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms
from PIL.ExifTags import IFD, Base

from napari_car.errors import FileError
from napari_car.files import Metadata, Picture, read_image, write_image
from napari_car.files.exif import shortened
from napari_car.files.metadata import exif_tags
from napari_car.files.png import UNPACKED_MOST

XMP = (
    b'<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
    b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
    b'xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:Rating="4"/></rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
)


def resource(code, body, name=b""):
    """An image resource of Photoshop."""
    head = b"8BIM" + struct.pack(">H", code) + bytes([len(name)]) + name + bytes((len(name) + 1) % 2)
    return head + struct.pack(">I", len(body)) + body + bytes(len(body) % 2)


PATH = resource(2000, b"a clipping path, of odd length.", b"Outline")
URL = resource(1035, b"https://example.org") + resource(2999, b"\7Outline" + bytes(6))
CAPTION = "Ein Boot im Hafen"
IPTC = b"".join(
    bytes([0x1C, 2, dataset]) + struct.pack(">H", len(value)) + value
    for dataset, value in [(120, CAPTION.encode()), (25, b"boat"), (5, b"Harbour")]
)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
EXIFTOOL = shutil.which("exiftool")


def profile(space):
    """Return the sRGB profile with another colour space in its header, as far as copying is concerned."""
    return SRGB[:16] + space + SRGB[20:]


def exif(orientation=1):
    tags = Image.Exif()
    tags[Base.Orientation] = orientation
    tags[Base.Make], tags[Base.Artist] = "Lichtbild", "A. Nonymous"
    tags[Base.Copyright] = "© 2003".encode()
    tags.get_ifd(IFD.Exif).update(
        {Base.DateTimeOriginal: "2003:04:05 06:07:08", Base.FNumber: 5.6, Base.ISOSpeedRatings: 400}
    )
    tags.get_ifd(IFD.GPSInfo).update({1: "N", 2: (47.0, 22.0, 30.0), 3: "E", 4: (8.0, 33.0, 0.0)})
    return tags.tobytes().removeprefix(b"Exif\0\0")


# extension, dtype, channels, what the format can hold
HOLDS = {
    "jpg": {"exif", "copyright", "icc", "xmp", "iptc", "photoshop", "dpi", "comment"},
    "png": {"exif", "copyright", "icc", "xmp", "iptc", "photoshop", "dpi", "comment", "text"},
    "tif": {"exif", "copyright", "icc", "xmp", "iptc", "photoshop", "dpi", "comment"},
    "webp": {"exif", "copyright", "icc", "xmp", "dpi", "comment"},
    "avif": {"exif", "copyright", "icc", "xmp", "dpi", "comment"},
    "bmp": {"dpi"},
    "ppm": set(),
}
EXIF = ["jpg", "png", "tif", "webp", "avif"]
CROSSINGS = list(itertools.permutations(EXIF, 2))
DEEP = ["png", "tif"]
ALPHA = ["png", "tif", "webp", "avif"]
CORPUS = [
    *((f"{ext}-o{o}", ext, np.uint8, 3, o) for ext in EXIF for o in range(1, 9)),
    *((f"{ext}-deep-{c}", ext, np.uint16, c, 1) for ext in DEEP for c in (1, 3, 4)),
    *((f"{ext}-alpha", ext, np.uint8, 4, 1) for ext in ALPHA),
    *((f"{ext}-grey", ext, np.uint8, 1, 1) for ext in ("jpg", "png", "tif", "bmp", "ppm")),
    *((f"tif-float-{c}", "tif", np.float32, c, 1) for c in (1, 3)),
]  # fmt: skip


def picture(dtype, channels, orientation):
    rng = np.random.default_rng(channels)
    shape = (24, 36) if channels == 1 else (24, 36, channels)
    pixels = rng.random(shape) if np.dtype(dtype).kind == "f" else rng.integers(0, 255, shape)
    return Picture(
        pixels.astype(dtype),
        Metadata(exif(orientation), profile(b"GRAY" if channels == 1 else b"RGB "), XMP, IPTC, PATH + URL,
                 (300.0, 240.0), "a remark, größer", (("Title", "Boat"), ("Source", "scan"))),
    )  # fmt: skip


def kept_by_exiftool(tags):
    """Return which kinds of metadata exiftool, an independent reader, finds whole."""
    found = {
        "exif": (tags.get("Make"), tags.get("Artist"), tags.get("DateTimeOriginal"), tags.get("FNumber"),
                 tags.get("ISO"), round(tags.get("GPSLatitude", 0), 4))
        == ("Lichtbild", "A. Nonymous", "2003:04:05 06:07:08", 5.6, 400, 47.375),
        "copyright": tags.get("Copyright") == "© 2003",
        "xmp": tags.get("Rating") == 4,
        "iptc": (tags.get("Caption-Abstract"), tags.get("Keywords"), tags.get("ObjectName"))
        == (CAPTION, "boat", "Harbour"),
        "photoshop": (tags.get("URL"), tags.get("ClippingPathName")) == ("https://example.org", "Outline"),
        "icc": tags.get("ProfileConnectionSpace") == "XYZ ",
        "comment": "a remark, größer" in (tags.get("Comment"), tags.get("ImageDescription")),
        "dpi": has_dpi(tags),
        "text": (tags.get("Title"), tags.get("Source")) == ("Boat", "scan"),
    }  # fmt: skip
    return {kind for kind, is_kept in found.items() if is_kept}


def has_dpi(tags):
    if "PixelsPerUnitX" in tags or "PixelsPerMeterX" in tags:
        x = tags.get("PixelsPerUnitX", tags.get("PixelsPerMeterX"))
        y = tags.get("PixelsPerUnitY", tags.get("PixelsPerMeterY"))
        return (round(x * 0.0254), round(y * 0.0254)) == (300, 240)
    inch = {1, 2} if tags["FileType"] == "JPEG" else {2}  # in JFIF and in EXIF
    return (tags.get("XResolution"), tags.get("YResolution")) == (300, 240) and tags["ResolutionUnit"] in inch


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """Write the corpus and return what exiftool finds in it, in one call: it starts slowly."""
    if EXIFTOOL is None:
        pytest.skip("needs exiftool (Debian: libimage-exiftool-perl)")
    folder = tmp_path_factory.mktemp("corpus")
    for name, extension, dtype, channels, orientation in CORPUS:
        write_image(folder / f"{name}.{extension}", picture(dtype, channels, orientation))
    for source, target in CROSSINGS:
        first = folder / f"{source}-o6.{source}"
        write_image(folder / f"from-{source}.{target}", read_image(first))
    command = [EXIFTOOL, "-json", "-n", "-q", "-a", str(folder)]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return {tags["FileName"]: tags for tags in found}


@pytest.mark.parametrize(("name", "extension", "orientation"), [(c[0], c[1], c[4]) for c in CORPUS])
def test_exiftool_finds_everything_that_was_written(found, name, extension, orientation):
    tags = found[f"{name}.{extension}"]
    assert kept_by_exiftool(tags) == HOLDS[extension]
    if "exif" in HOLDS[extension] and extension != "avif":  # exiftool 12 does not say how an AVIF is turned
        assert tags["Orientation"] == orientation


@pytest.mark.parametrize(("source", "target"), CROSSINGS)
def test_metadata_crosses_formats(found, source, target):
    tags = found[f"from-{source}.{target}"]
    expected = HOLDS[source] & HOLDS[target]
    if source == "avif":  # Pillow writes the EXIF of a turned AVIF anew as it reads it, in plain ASCII
        expected -= {"copyright", "comment"}
    assert kept_by_exiftool(tags) == expected
    assert tags.get("Orientation", 6) == 6
    assert "Orientation" in tags or target == "avif"


@pytest.mark.parametrize(("extension", "dtype", "channels", "orientation"),
                         [c[1:] for c in CORPUS], ids=[c[0] for c in CORPUS])  # fmt: skip
def test_everything_comes_back_and_goes_on(tmp_path, extension, dtype, channels, orientation):
    first = picture(dtype, channels, orientation)
    read = read_image(write_image(tmp_path / f"a.{extension}", first)).metadata
    again = read_image(write_image(tmp_path / f"b.{extension}", Picture(first.pixels, read))).metadata
    assert again == read
    for kind in HOLDS[extension] & {"icc", "xmp", "iptc", "photoshop", "text"}:
        assert getattr(read, kind) == getattr(first.metadata, kind), kind
    if "exif" in HOLDS[extension]:
        assert read.orientation == orientation
    if "dpi" in HOLDS[extension]:
        assert read.dpi == (300, 240)


def test_exif_is_kept_to_the_byte_so_that_maker_notes_survive(tmp_path):
    tags = Image.Exif()
    tags[Base.Orientation] = 8
    tags.get_ifd(IFD.Exif)[0x927C] = b"Maker\0\x01\x02note" * 20
    block = tags.tobytes().removeprefix(b"Exif\0\0") + b"what Pillow does not know"
    for extension in ("jpg", "png", "webp"):
        path = write_image(tmp_path / f"a.{extension}", Picture(np.zeros((4, 4, 3), np.uint8), Metadata(block)))
        assert read_image(path).metadata.exif == block


@pytest.mark.parametrize(
    ("space", "channels", "is_kept"),
    [(b"RGB ", 3, True), (b"RGB ", 1, True), (b"GRAY", 1, True), (b"GRAY", 3, False), (b"CMYK", 3, False)],
)
def test_a_profile_for_other_pixels_is_left_out(tmp_path, caplog, space, channels, is_kept):
    first = picture(np.uint8, channels, 1)
    icc = profile(space)
    back = read_image(write_image(tmp_path / "a.png", Picture(first.pixels, Metadata(icc=icc)))).metadata
    assert back.icc == (icc if is_kept else b"")
    assert ("left out a colour profile" in caplog.text) == (not is_kept)


def png_with(*chunks):
    """A PNG of one colour with further chunks before its pixels."""
    stream = io.BytesIO()
    Image.new("RGB", (4, 4), (9, 99, 199)).save(stream, "PNG")
    file = stream.getvalue()
    return file[:33] + b"".join(chunk(kind, body) for kind, body in chunks) + file[33:]


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


COLOUR = (
    (b"cHRM", struct.pack(">8I", 31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000)),
    (b"gAMA", struct.pack(">I", 100_000)),
    (b"sRGB", b"\1"),
    (b"cICP", bytes([9, 16, 0, 1])),
    (b"mDCV", bytes(range(24))),
    (b"cLLI", bytes(range(8))),
)


@pytest.mark.parametrize("strip", [False, True])
def test_what_a_png_says_of_its_colours_goes_along(tmp_path, strip):
    read = read_image(png_with(*COLOUR))
    metadata = read.metadata.strip() if strip else read.metadata
    for pixels in (read.pixels, read.pixels.astype(np.uint16)):
        path = write_image(tmp_path / "a.png", Picture(pixels, metadata), overwrite=True)
        assert read_image(path).metadata.colour == COLOUR
        file = path.read_bytes()
        assert all(file.index(kind) < file.index(b"IDAT") for kind, _ in COLOUR)
        with Image.open(path) as image:
            assert image.info["gamma"] == 1


@pytest.mark.parametrize(
    ("chunks", "looks_different"),
    [
        ([(b"gAMA", struct.pack(">I", 100_000))], True),
        ([(b"gAMA", struct.pack(">I", 45455))], False),
        ([(b"cHRM", struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000))], False),
        ([(b"cHRM", struct.pack(">8I", 31270, 32900, 64000, 33000, 21000, 71000, 15000, 6000))], True),  # Adobe RGB
        ([(b"gAMA", struct.pack(">I", 100_000)), (b"sRGB", b"\0")], False),
        ([(b"gAMA", struct.pack(">I", 100_000)), (b"iCCP", b"name\0\0" + zlib.compress(SRGB))], False),
        ([(b"cICP", bytes([9, 16, 0, 1])), (b"iCCP", b"name\0\0" + zlib.compress(SRGB))], True),
        ([(b"cICP", bytes([1, 13, 0, 1])), (b"gAMA", struct.pack(">I", 100_000))], False),
    ],
)
@pytest.mark.parametrize("extension", ["png", "jpg", "tif", "webp", "ppm"])
def test_colours_that_will_look_different_are_said(tmp_path, caplog, chunks, looks_different, extension):
    write_image(tmp_path / f"a.{extension}", read_image(png_with(*chunks)))
    assert ("they will look different" in caplog.text) == (looks_different and extension != "png")


def test_chunks_of_another_size_say_nothing():
    assert read_image(png_with((b"cICP", b"\1"), (b"cICP", bytes(5)), (b"tIME", bytes(7)))).metadata.colour == ()


@pytest.mark.parametrize("extension", ["png", "jpg", "tif", "webp", "avif", "bmp"])
def test_texts_that_are_left_out_are_named_once(tmp_path, caplog, extension):
    metadata = Metadata(text=(("Title", "My title"), ("a\nb", "Zoë")))
    write_image(tmp_path / f"a.{extension}", Picture(np.zeros((4, 4, 3), np.uint8), metadata))
    said = [record.getMessage() for record in caplog.records]
    name = {"jpg": "JPEG", "tif": "TIFF"}.get(extension, extension.upper())
    sentence = f"left out the texts of the PNG, which {name} has no place for: 'Title', 'a\\nb'"
    assert said == ([] if extension == "png" else [sentence])


def test_a_cmyk_file_comes_out_without_its_profile():
    stream = io.BytesIO()
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(stream, "JPEG", icc_profile=profile(b"CMYK"))
    read = read_image(stream.getvalue())
    assert read.metadata.icc in (b"", SRGB)
    assert read.pixels[0, 0].tolist() == pytest.approx([255, 0, 0], abs=3)


def test_a_jpeg_leaves_out_what_it_cannot_hold_and_says_so(tmp_path, caplog):
    long = Metadata(xmp=XMP + b" " * 70_000, iptc=IPTC + bytes(70_000), comment="x" * 70_000, icc=SRGB + bytes(200_000))
    path = write_image(tmp_path / "a.jpg", Picture(np.zeros((4, 4, 3), np.uint8), long))
    read = read_image(path).metadata
    assert read.icc == long.icc  # goes into several segments
    assert (read.xmp, read.iptc, read.comment) == (b"", b"", "")
    for name in ("xmp", "iptc", "comment"):
        assert f"left out the {name}" in caplog.text


@pytest.mark.parametrize("long", [{0x927C: 70_000}, {0x927C: 30_000, 0x9286: 30_000, 0xC000: 9_000}, {}])
def test_exif_too_long_for_a_jpeg_goes_without_what_is_long(tmp_path, caplog, long):
    tags = Image.Exif()
    tags[Base.Orientation], tags[Base.Make] = 6, "Lichtbild"
    tags.get_ifd(IFD.Exif).update({Base.FNumber: 5.6} | {tag: bytes(size) for tag, size in long.items()})
    block = tags.tobytes().removeprefix(b"Exif\0\0") + bytes(0 if long else 70_000)  # as a thumbnail might be
    read = read_image(write_image(tmp_path / "a.png", Picture(np.zeros((4, 9, 3), np.uint8), Metadata(block))))
    assert read.metadata.exif == block
    back = read_image(write_image(tmp_path / "a.jpg", read)).metadata
    assert back.orientation == 6
    found = exif_tags(back)
    assert (found[Base.Make], found.get_ifd(IFD.Exif)[Base.FNumber]) == ("Lichtbild", 5.6)
    (said,) = (record.getMessage() for record in caplog.records)
    assert said.startswith(f"left out of the EXIF of {len(block)} bytes what makes it longer")
    assert ("37500" in said) == (0x927C in long)


def test_exif_of_many_tags_is_shortened_soon():
    entries = [(tag, 7, 60, bytes(60)) for tag in range(50_000, 55_000)]
    started = time.process_time()
    assert 0 < len(shortened(block(*entries), 65_000)) <= 65_000
    numbers = [(tag, 3, 1, b"\1\0") for tag in range(50_000, 55_461)]
    assert 0 < len(shortened(block(*numbers), 65_000)) <= 65_000
    assert shortened(bytes(70_000), 65_000) == b""
    assert time.process_time() - started < 5


def test_strip_keeps_what_the_look_depends_on():
    stripped = picture(np.uint8, 3, 6).metadata.strip()
    assert stripped == Metadata(exif=stripped.exif, icc=SRGB)
    assert stripped.orientation == 6
    assert b"Lichtbild" not in stripped.exif
    assert picture(np.uint8, 3, 1).metadata.strip() == Metadata(icc=SRGB)


LONG = UNPACKED_MOST


@pytest.mark.parametrize("size", [LONG - 1, LONG, LONG + 600_000])
def test_a_png_is_not_given_more_than_it_is_read_with(tmp_path, caplog, size):
    icc = SRGB + bytes(size - len(SRGB))
    metadata = Metadata(icc=icc, iptc=IPTC + bytes(size // 2), comment="a remark")
    path = write_image(tmp_path / "a.png", Picture(np.zeros((4, 4, 3), np.uint8), metadata))
    read = read_image(path).metadata
    assert read.icc == (icc if size < LONG else b"")
    assert (read.iptc, read.comment) == (b"", "a remark")
    said = [record.getMessage() for record in caplog.records]
    assert [sentence[:12] for sentence in said] == ["left out the"] * (1 + (size >= LONG))


@pytest.mark.parametrize("where", ["before", "after"])
@pytest.mark.parametrize("size", [2 * LONG, 900_000])
@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt"])
def test_a_png_with_texts_that_are_too_long_is_read_without_them(caplog, kind, size, where):
    between = b"\0\0" if kind == b"zTXt" else b"\0\1\0\0\0"
    packed = zlib.compress(b"a" * size, 9)
    texts = [chunk(kind, b"%d" % i + between + packed) for i in range(1 if size > LONG else 80)]
    file = png_with(COLOUR[0], (b"iCCP", b"name\0\0" + zlib.compress(SRGB)))
    at = 33 if where == "before" else len(file) - 12
    read = read_image(file[:at] + b"".join(texts) + file[at:])
    assert read.pixels[0, 0].tolist() == [9, 99, 199]
    assert read.metadata == Metadata(icc=SRGB, colour=COLOUR[:1])
    said = [record.getMessage() for record in caplog.records]
    assert said == ["left out the texts of the PNG, or its profile: they are longer than is read"]


def test_a_png_with_a_profile_that_is_too_long_is_read_without_it(caplog):
    read = read_image(png_with((b"iCCP", b"name\0\0" + zlib.compress(SRGB + bytes(LONG)))))
    assert read.pixels[0, 0].tolist() == [9, 99, 199]
    assert read.metadata == Metadata()
    assert "longer than is read" in caplog.text


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-8"])
def test_xmp_in_utf_16_is_readable_in_a_png(tmp_path, encoding):
    packet = "\ufeff" + XMP.decode().replace("\ufeff", "")
    metadata = Metadata(xmp=packet.encode(encoding))
    path = write_image(tmp_path / "a.png", Picture(np.zeros((4, 4, 3), np.uint8), metadata))
    assert read_image(path).metadata.xmp.decode().removeprefix("\ufeff") == packet.removeprefix("\ufeff")


def test_iptc_of_imagemagick_and_photoshop_is_found(tmp_path):
    resource = b"8BIM\x03\xed\0\0\0\0\0\x02ab" + b"8BIM\x04\x04\0\0" + struct.pack(">I", len(IPTC)) + IPTC
    from PIL import PngImagePlugin

    chunks = PngImagePlugin.PngInfo()
    chunks.add_text("Raw profile type iptc", f"\niptc\n{len(resource):8d}\n{resource.hex()}\n", zip=True)
    stream = io.BytesIO()
    Image.new("RGB", (4, 4)).save(stream, "PNG", pnginfo=chunks)
    assert read_image(stream.getvalue()).metadata.iptc == IPTC


def test_a_stack_keeps_its_metadata(tmp_path):
    metadata = picture(np.uint8, 3, 3).metadata
    stack = Picture(np.zeros((3, 8, 9, 3), np.uint8), metadata, is_stack=True)
    read = read_image(write_image(tmp_path / "a.tif", stack)).metadata
    assert (read.icc, read.xmp, read.iptc, read.orientation) == (metadata.icc, metadata.xmp, metadata.iptc, 3)


def test_a_bigtiff_keeps_its_metadata(tmp_path):
    tifffile = pytest.importorskip("tifffile", reason="needs tifffile")
    path = tmp_path / "a.tif"
    more = {"iccprofile": SRGB, "extratags": [(274, 3, 1, 6, True), (315, 2, 0, "me", True)]}
    pixels = np.zeros((8, 9, 3), np.uint16)
    tifffile.imwrite(path, pixels, photometric="rgb", bigtiff=True, resolution=(300, 240), resolutionunit=2, **more)
    read = read_image(path).metadata
    assert (read.icc, read.dpi, read.orientation) == (SRGB, (300, 240), 6)
    assert b"me" in read.exif
    assert kept_profile(write_image(tmp_path / "b.png", read_image(path))) == SRGB


def kept_profile(path):
    with Image.open(path) as image:
        return image.info["icc_profile"]


def block(*entries, within=(), order="<"):
    """An EXIF block of entries: tag, type, count and bytes of the value; ``within`` are those of its Exif directory."""

    def directory(entries, start):
        place, fields, values = start + 2 + 12 * len(entries) + 4, b"", b""
        for tag, kind, count, value in sorted(entries):
            short = len(value) <= 4
            field = value.ljust(4, b"\0") if short else struct.pack(order + "I", place + len(values))
            fields += struct.pack(order + "HHI", tag, kind, count) + field
            values += b"" if short else value + bytes(len(value) % 2)
        return struct.pack(order + "H", len(entries)) + fields + bytes(4) + values

    head = struct.pack(order + "2sHI", b"II" if order == "<" else b"MM", 42, 8)
    if not within:
        return head + directory(entries, 8)
    pointer = (IFD.Exif, 4, 1)
    start = 8 + len(directory([*entries, (*pointer, bytes(4))], 8))
    first = directory([*entries, (*pointer, struct.pack(order + "I", start))], 8)
    return head + first + directory(within, start)


MAKE = (Base.Make, 2, 10, b"Lichtbild\0")
EXPOSED = (Base.DateTimeOriginal, 2, 20, b"2003:04:05 06:07:08\0")
ODD = {
    "orientation as a byte": (block(MAKE, (Base.Orientation, 1, 1, b"\6"), within=[EXPOSED]), "274"),
    "software as a fraction": (block(MAKE, (Base.Software, 5, 1, struct.pack("<II", 1, 2)), within=[EXPOSED]), "305"),
    "more than 32 bits": (block(MAKE, (65009, 16, 1, struct.pack("<Q", 2**40)), within=[EXPOSED]), "65009"),
    "within": (block(MAKE, within=[EXPOSED, (65009, 16, 1, struct.pack("<Q", 2**40))]), "65009"),
    "two": (
        block(MAKE, (Base.Software, 5, 1, bytes(8)), (Base.Orientation, 1, 1, b"\6"), within=[EXPOSED]), "274, 305"
    ),
    "interoperability": (block(MAKE, within=[EXPOSED, (IFD.Interop, 2, 2, b"R\0")]), ""),
}  # fmt: skip


@pytest.mark.parametrize(("exif", "named"), ODD.values(), ids=ODD)
@pytest.mark.parametrize("extension", EXIF)
def test_an_odd_tag_is_left_out_where_it_cannot_be_written(tmp_path, caplog, extension, exif, named):
    metadata = Metadata(exif, dpi=(300, 300), comment="a remark")
    read = read_image(write_image(tmp_path / f"a.{extension}", Picture(np.zeros((4, 4, 3), np.uint8), metadata)))
    tags = exif_tags(read.metadata)
    assert tags[Base.Make] == "Lichtbild"
    assert tags.get_ifd(IFD.Exif)[Base.DateTimeOriginal] == "2003:04:05 06:07:08"
    assert read.metadata.dpi == (300, 300)
    said = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    is_anew = extension in ("tif", "avif") and named
    assert said == ([f"left out EXIF tags that cannot be kept: {named}"] if is_anew else [])


def test_an_orientation_stored_as_a_fraction_is_kept(tmp_path):
    metadata = Metadata(block((Base.Orientation, 5, 1, struct.pack("<II", 6, 1))))
    assert metadata.orientation == metadata.strip().orientation == 6
    for extension in EXIF:
        path = write_image(tmp_path / f"a.{extension}", Picture(np.zeros((4, 9, 3), np.uint8), metadata))
        assert read_image(path).metadata.orientation == 6


TURNED = (Base.Orientation, 3, 1, b"\6\0")


def unsorted(*entries):
    """An EXIF block of entries as they come, each with the four bytes that hold its value or the place of it."""
    fields = b"".join(struct.pack("<HHI", *rest) + value.ljust(4, b"\0") for *rest, value in entries)
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + fields + bytes(8)


@pytest.mark.parametrize("extension", ["webp", "avif"])
@pytest.mark.parametrize(
    "exif",
    [
        b"Exif\0\0" + unsorted(TURNED),  # twice, as some write it
        b"II\0*" + unsorted(TURNED)[4:],  # which is read too
        unsorted(TURNED, (1, 2, 100, b"\xff\xff\xff\0")),  # a value that is nowhere ends what is read
    ],
)
def test_a_block_that_can_be_read_is_kept_beside_a_comment(tmp_path, extension, exif):
    stream = io.BytesIO()
    Image.new("RGB", (16, 16)).save(stream, "JPEG", exif=b"Exif\0\0" + exif, comment=b"hi")
    read = read_image(write_image(tmp_path / f"a.{extension}", read_image(stream.getvalue()))).metadata
    assert read.orientation == 6
    assert exif_tags(read)[Base.ImageDescription] == "hi"


@pytest.mark.parametrize("extension", ["tif", "avif"])
@pytest.mark.parametrize(("kind", "count"), [(1, 4), (2, 4), (7, 4), (11, 1)])
def test_the_place_of_a_directory_where_none_can_be_is_a_tag_like_others(tmp_path, extension, kind, count):
    exif = unsorted(TURNED, (IFD.Interop, kind, count, b"abc\0"))
    image = Picture(np.zeros((8, 8, 3), np.uint8), Metadata(exif=exif))
    assert read_image(write_image(tmp_path / f"a.{extension}", image)).metadata.orientation == 6


@pytest.mark.parametrize("bigtiff", [False, True])
def test_an_odd_tag_of_a_tiff_does_not_take_the_others_along(tmp_path, caplog, bigtiff):
    tifffile = pytest.importorskip("tifffile", reason="needs tifffile")
    path = tmp_path / "a.tif"
    more = [(65009, 16, 1, 2**40, True), (700, 1, len(XMP), XMP, True), (33723, 7, len(IPTC), IPTC, True)]
    options = {"resolution": (300, 240), "resolutionunit": 2, "iccprofile": SRGB, "software": "a scanner"}
    pixels = np.zeros((8, 9, 3), np.uint16)
    tifffile.imwrite(path, pixels, photometric="rgb", bigtiff=bigtiff, extratags=more, metadata=None, **options)
    read = read_image(path).metadata
    assert (read.dpi, read.xmp, read.iptc, read.icc) == ((300, 240), XMP, IPTC, SRGB)
    assert exif_tags(read)[Base.Software] == "a scanner"
    said = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert said == [("WARNING", "left out EXIF tags that cannot be kept: 65009")]


@pytest.mark.parametrize("order", "<>")
def test_what_a_webp_adds_to_a_block_moves_nothing(tmp_path, order):
    thumbnail = b"\xff\xd8 a thumbnail, by its place \xff\xd9"
    number = struct.Struct(order + "I")
    first = block(MAKE, (Base.ResolutionUnit, 3, 1, struct.pack(order + "H", 1)), order=order)
    at = len(first) + 2 + 2 * 12 + 4
    second = struct.pack(order + "H", 2)
    for tag, value in [(513, at), (514, len(thumbnail))]:
        second += struct.pack(order + "HHII", tag, 4, 1, value)
    end = 8 + 2 + 2 * 12
    exif = first[:end] + number.pack(len(first)) + first[end + 4 :] + second + bytes(4) + thumbnail
    metadata = Metadata(exif, dpi=(300, 72.5), comment="größer")
    path = write_image(tmp_path / "a.webp", Picture(np.zeros((4, 4, 3), np.uint8), metadata))
    read = read_image(path).metadata
    assert read.exif[8 : len(exif)] == exif[8:]
    assert read.dpi == (300, 72.5)
    tags = exif_tags(read)
    assert (tags[Base.Make], tags[Base.ImageDescription].encode("latin-1").decode()) == ("Lichtbild", "größer")
    (start,) = number.unpack(number.pack(tags.get_ifd(IFD.IFD1)[513]))
    assert read.exif[start:].startswith(thumbnail)
    again = read_image(write_image(tmp_path / "b.webp", Picture(np.zeros((4, 4, 3), np.uint8), read))).metadata
    assert again == read


@pytest.mark.parametrize(
    ("unit", "density", "exif", "dpi"),
    [
        (0, (1, 1), block(MAKE), None),
        (0, (1, 1), b"", None),
        (1, (300, 240), block(MAKE), (300, 240)),
        (2, (118, 118), block(MAKE), (299.72, 299.72)),
        (1, (0, 0), block(MAKE), None),
        (0, (1, 1), block((282, 5, 1, struct.pack("<II", 90, 1)), (283, 5, 1, struct.pack("<II", 91, 1))), (90, 91)),
    ],
)
def test_a_jpeg_has_the_resolution_that_it_states(tmp_path, unit, density, exif, dpi):
    stream = io.BytesIO()
    Image.new("RGB", (4, 4)).save(stream, "JPEG", exif=b"Exif\0\0" + exif if exif else b"")
    file = bytearray(stream.getvalue())
    struct.pack_into(">BHH", file, 13, unit, *density)
    read = read_image(bytes(file))
    assert read.metadata.dpi == dpi
    path = write_image(tmp_path / "a.webp", read)
    assert (read_image(path).metadata.exif == exif) == (dpi is None or unit == 0)


def test_every_comment_of_a_jpeg_is_kept_without_the_end_of_a_c_string(tmp_path):
    stream = io.BytesIO()
    Image.new("RGB", (4, 4)).save(stream, "JPEG", comment=b"last \xe9\0\0")
    file = stream.getvalue()
    first = "größer\0".encode()
    read = read_image(file[:2] + b"\xff\xfe" + struct.pack(">H", len(first) + 2) + first + file[2:])
    assert read.metadata.comment == "größer\nlast é"
    for extension in ("jpg", "png"):
        path = write_image(tmp_path / f"a.{extension}", read)
        assert read_image(path).metadata.comment == "größer\nlast é"


def test_a_damaged_block_does_not_keep_the_rest_from_being_read():
    stream = io.BytesIO()
    Image.new("RGB", (4, 4)).save(stream, "JPEG", exif=b"Exif\0\0garbage", comment=b"still \xe9 here")
    read = read_image(stream.getvalue()).metadata
    assert read.orientation == 1
    assert read.comment == "still é here"
    with pytest.raises(FileError):
        read_image(stream.getvalue()[:20])


def test_a_damaged_tag_does_not_keep_a_tiff_from_being_read():
    stream = io.BytesIO()
    tags = Image.Exif()
    tags[Base.Orientation] = 6
    Image.new("L", (4, 4), 7).save(stream, "TIFF", exif=tags)
    short = struct.pack("<HHI", Base.Orientation, 3, 1)
    file = stream.getvalue().replace(short, struct.pack("<HHI", Base.Orientation, 10, 1))  # now a fraction
    assert file != stream.getvalue()
    read = read_image(file)
    assert (read.pixels == 7).all()
    assert read.metadata == Metadata()


@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_iptc_stored_as_numbers_is_found(byteorder):
    tifffile = pytest.importorskip("tifffile", reason="needs tifffile")
    whole = IPTC + bytes(-len(IPTC) % 4)
    numbers = struct.unpack(f"{byteorder}{len(whole) // 4}I", whole)
    stream = io.BytesIO()
    more = [(33723, 4, len(numbers), numbers, True)]
    tifffile.imwrite(stream, np.zeros((4, 4), np.uint8), byteorder=byteorder, extratags=more)
    assert read_image(stream.getvalue()).metadata.iptc == whole


def tiff_with(*tags):
    """A TIFF of one colour with further tags: number, type, bytes."""
    tifffile = pytest.importorskip("tifffile", reason="needs tifffile")
    stream = io.BytesIO()
    more = [(tag, kind, len(value), value, True) for tag, kind, value in tags]
    tifffile.imwrite(stream, np.zeros((4, 4, 3), np.uint8), photometric="rgb", metadata=None, extratags=more)
    return stream.getvalue()


def jpeg_with(*segments):
    """A JPEG of one colour with further segments: marker, body."""
    stream = io.BytesIO()
    Image.new("RGB", (4, 4)).save(stream, "JPEG")
    file = stream.getvalue()
    return file[:2] + b"".join(m + struct.pack(">H", len(body) + 2) + body for m, body in segments) + file[2:]


RECORDS, INKS = resource(1028, IPTC), resource(1039, profile(b"CMYK"))


@pytest.mark.parametrize("kind", [1, 7])
def test_iptc_of_a_tiff_that_only_photoshop_keeps_is_found(kind):
    read = read_image(tiff_with((34377, kind, PATH + INKS + RECORDS + URL))).metadata
    assert (read.iptc, read.photoshop) == (IPTC, PATH + URL)
    both = read_image(tiff_with((34377, kind, resource(1028, b"older") + URL), (33723, 7, IPTC))).metadata
    assert (both.iptc, both.photoshop) == (IPTC, URL)


@pytest.mark.parametrize("extension", ["jpg", "png", "tif"])
def test_resources_in_several_segments_are_one_block(tmp_path, extension):
    long = resource(2001, bytes(range(256)) * 600)
    block = PATH + INKS + RECORDS + long + URL
    parts = [(b"\xff\xed", b"Photoshop 3.0\0" + block[at : at + 65_000]) for at in range(0, len(block), 65_000)]
    read = read_image(jpeg_with(*parts))
    assert (read.metadata.iptc, read.metadata.photoshop) == (IPTC, PATH + long + URL)
    path = write_image(tmp_path / f"a.{extension}", read)
    again = read_image(path).metadata
    assert (again.iptc, again.photoshop) == (IPTC, PATH + long + URL)
    if extension == "jpg":
        with Image.open(path) as image:
            assert image.info["photoshop"][1028] == IPTC  # whole in the first segment, for readers that take that one


@pytest.mark.parametrize(
    ("block", "iptc", "kept"),
    [
        (b"", b"", b""),
        (b"not resources", b"", b""),
        (URL + PATH[:20], b"", URL),
        (URL + b"8BIM", b"", URL),
        (URL + b"8BIM\x04\x0a\0\0" + b"\xff" * 4 + PATH, b"", URL),
        (PATH[:-1] + RECORDS, IPTC, PATH),  # without the byte that makes it even
        (URL + b"MeSa" + resource(7000, b"x")[4:] + RECORDS, IPTC, URL + b"MeSa" + resource(7000, b"x")[4:]),
    ],
)
def test_resources_are_kept_up_to_where_they_are_damaged(block, iptc, kept):
    for file in (jpeg_with((b"\xff\xed", b"Photoshop 3.0\0" + block)), tiff_with((34377, 7, block or b"\0"))):
        read = read_image(file).metadata
        assert (read.iptc, read.photoshop) == (iptc, kept)


def test_layers_that_a_program_would_show_in_place_of_the_picture_are_left_out(tmp_path, caplog):
    layers = b"Adobe Photoshop Document Data Block\x008BIMryaL" + bytes(100_000)
    read = read_image(tiff_with((37724, 7, layers), (315, 2, b"me\0")))
    assert [record.getMessage() for record in caplog.records] == [
        "left out the layers of the TIFF; the picture that they make together is what is read"
    ]
    for extension in ("tif", "jpg"):
        tags = exif_tags(read_image(write_image(tmp_path / f"a.{extension}", read)).metadata)
        assert tags[Base.Artist] == "me"
        assert 37724 not in tags


def stack_of(texts, dtype=np.uint8, **options):
    """A TIFF of pages, each with its description and, where it has one, its name, and a reduced copy of the first."""
    tifffile = pytest.importorskip("tifffile", reason="needs tifffile")
    stream = io.BytesIO()
    with tifffile.TiffWriter(stream, **options) as writer:
        for number, (description, name) in enumerate(texts):
            more = [(297, 3, 2, (number, len(texts)), True)] + ([(285, 2, 0, name, True)] if name else [])
            pixels = np.full((8, 9, 3), number, dtype)
            writer.write(pixels, photometric="rgb", description=description, metadata=None, extratags=more)
            if not number:
                writer.write(pixels[::2, ::2], photometric="rgb", metadata=None, subfiletype=1)
    return stream.getvalue()


PAGES = [("Kapitel 1", "recto"), ("Kapitel 2", "verso"), ("Kapitel 3", "")]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("options", [{}, {"bigtiff": True}, {"byteorder": ">"}], ids=["", "big", "big-endian"])
def test_each_page_keeps_its_own_texts(tmp_path, dtype, options):
    tifffile = pytest.importorskip("tifffile", reason="needs tifffile")
    read = read_image(stack_of(PAGES, dtype, **options))
    assert read.pixels[:, 0, 0, 0].tolist() == [0, 1, 2]
    path = write_image(tmp_path / "a.tif", read)
    with tifffile.TiffFile(path) as tiff:
        found = [(page.description, page.tags.valueof(285, "")) for page in tiff.pages]
        assert found == PAGES
        assert [page.tags.valueof(297) for page in tiff.pages] == [(0, 3), (1, 3), (2, 3)]
    once = read_image(path)
    assert read_image(write_image(tmp_path / "c.tif", once)).metadata == once.metadata
    write_image(tmp_path / "b.tif", Picture(read.pixels, read.metadata.strip(), is_stack=True))
    assert b"Kapitel" not in (tmp_path / "b.tif").read_bytes()


def test_pages_that_are_turned_upright_keep_their_texts(tmp_path):
    file = stack_of(PAGES)
    stream = io.BytesIO(file)
    tifffile = pytest.importorskip("tifffile", reason="needs tifffile")
    with tifffile.TiffWriter(stream, append=True) as writer:
        turned = [(274, 3, 1, 3, True)]
        writer.write(
            np.full((8, 9, 3), 7, np.uint8), photometric="rgb", description="4", metadata=None, extratags=turned
        )
    read = read_image(stream.getvalue())
    path = write_image(tmp_path / "a.tif", read)
    with tifffile.TiffFile(path) as tiff:
        assert [page.description for page in tiff.pages] == ["Kapitel 1", "Kapitel 2", "Kapitel 3", "4"]
        assert [page.tags.valueof(274, 1) for page in tiff.pages] == [1] * 4


def test_pages_that_say_the_same_say_it_once_in_memory():
    assert read_image(stack_of([("the same", "")])).metadata.page_exif == ()
    assert len(read_image(stack_of([("a", ""), ("b", "")])).metadata.page_exif) == 2


def test_tags_of_pages_are_bounded(monkeypatch, caplog):
    monkeypatch.setattr("napari_car.files.tiff_tags._MOST_OF_PAGES", 150)
    read = read_image(stack_of(PAGES)).metadata
    assert exif_tags(read)[Base.ImageDescription] == "Kapitel 1"
    assert read.page_exif == ()
    assert [record.getMessage() for record in caplog.records] == [
        "left out the tags of all pages of the TIFF but the first: they are damaged or too long"
    ]
