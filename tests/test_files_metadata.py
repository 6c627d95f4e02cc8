"""What a file says beside its pixels goes from every format into every other that can hold it."""

from __future__ import annotations

import io
import itertools
import json
import shutil
import struct
import subprocess
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms
from PIL.ExifTags import IFD, Base

from napari_car.errors import FileError
from napari_car.files import Metadata, Picture, read_image, write_image

XMP = (
    b'<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
    b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
    b'xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:Rating="4"/></rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
)
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
    "jpg": {"exif", "copyright", "icc", "xmp", "iptc", "dpi", "comment"},
    "png": {"exif", "copyright", "icc", "xmp", "iptc", "dpi", "comment", "text"},
    "tif": {"exif", "copyright", "icc", "xmp", "iptc", "dpi", "comment"},
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
        Metadata(exif(orientation), profile(b"GRAY" if channels == 1 else b"RGB "), XMP, IPTC, (300.0, 240.0),
                 "a remark, größer", (("Title", "Boat"), ("Source", "scan"))),
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
    for kind in HOLDS[extension] & {"icc", "xmp", "iptc", "text"}:
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


def test_strip_keeps_what_the_look_depends_on():
    stripped = picture(np.uint8, 3, 6).metadata.strip()
    assert stripped == Metadata(exif=stripped.exif, icc=SRGB)
    assert stripped.orientation == 6
    assert b"Lichtbild" not in stripped.exif
    assert picture(np.uint8, 3, 1).metadata.strip() == Metadata(icc=SRGB)


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
