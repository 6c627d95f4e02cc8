"""What a file says beside its pixels, and how each format is told to say it."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from PIL import Image, PngImagePlugin
from PIL.ExifTags import Base

from napari_car.files.exif import (
    PREFIX,
    completed,
    exif_block,
    exif_dpi,
    load_tags,
    sane_dpi,
    shortened,
    value_of,
    writable,
)
from napari_car.files.extended_xmp import divided, joined, segments_of
from napari_car.files.iptc import from_hex, photoshop_segments, resources_within, to_hex, within_segments
from napari_car.files.png import UNPACKED_MOST

_log = logging.getLogger(__name__)

# Source: ITU-T T.81, B.1.1.4: a marker segment holds 65533 bytes, here less the longest of the names inside
_JPEG_SEGMENT = 65533 - 29
# PNG has no IPTC chunk; ImageMagick's hexadecimal text chunk is what others read. EXIF was kept so, too.
_PNG_IPTC, _PNG_PHOTOSHOP = "Raw profile type iptc", "Raw profile type 8bim"
_PNG_EXIF = "Raw profile type exif"
_PNG_XMP = "XML:com.adobe.xmp"
# Source: PNG, third edition, 11.3.2.5: sRGB as gAMA has it; white, red, green and blue, x and y each, as cHRM has it
_SRGB_GAMMA, _SRGB_POINTS = 45455, np.array([31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000], np.uint32)
_NAMES = 300  # characters of what a warning names, at most


@dataclass(frozen=True)
class Metadata:
    """What a file says beside its pixels; whatever is absent is empty.

    Parameters
    ----------
    exif
        EXIF block: a TIFF structure, without the ``Exif`` prefix of JPEG.
    icc
        ICC profile.
    xmp
        XMP packet.
    iptc
        IPTC-IIM records.
    photoshop
        Photoshop's image resources beside those records, such as clipping paths.
    dpi
        Pixels per inch, horizontal and vertical.
    comment
        The comment of a JPEG, GIF or PNG.
    text
        Other text of a PNG: pairs of keyword and text.
    colour
        What else a PNG says of its colours: pairs of the kind of a chunk and its body.
    page_exif
        Of a stack, the EXIF block of each page, where they say different things; ``exif`` is that of the first.

    Examples
    --------
    >>> Metadata(comment="a boat").orientation
    1
    """

    exif: bytes = b""
    icc: bytes = b""
    xmp: bytes = b""
    iptc: bytes = b""
    photoshop: bytes = b""
    dpi: tuple[float, float] | None = None
    comment: str = ""
    text: tuple[tuple[str, str], ...] = ()
    colour: tuple[tuple[bytes, bytes], ...] = ()
    page_exif: tuple[bytes, ...] = ()

    @property
    def orientation(self) -> int:
        """EXIF orientation 1–8 of the stored pixels; 1, upright, where nothing is said."""
        value = value_of(exif_tags(self), Base.Orientation) if self.exif else 1
        return int(value) if value in range(1, 9) else 1

    def upright(self) -> Metadata:
        """Return what is said of pixels that have been turned upright."""
        return replace(self, exif=_upright(self.exif), page_exif=tuple(map(_upright, self.page_exif)))

    def strip(self) -> Metadata:
        """Return only what the picture needs to look the same: what its colours are, and orientation."""
        tags = Image.Exif()
        tags[Base.Orientation] = self.orientation
        is_turned = self.orientation != 1
        return Metadata(exif=exif_block(tags) if is_turned else b"", icc=self.icc, colour=self.colour)


def _upright(exif: bytes) -> bytes:
    """Return a block without orientation."""
    tags = load_tags(exif)
    if Base.Orientation not in tags:
        return exif
    del tags[Base.Orientation]
    return exif_block(tags)


def exif_tags(metadata: Metadata) -> Image.Exif:
    """Return the EXIF tags, empty where the block is damaged."""
    return load_tags(metadata.exif)


def tags_anew(exif: bytes) -> Image.Exif:
    """Return the tags of a block for a format that they are written anew in; a warning where it is damaged."""
    tags = load_tags(exif)
    if exif and not len(tags):
        _log.warning("left out the EXIF block, which is damaged")
    return writable(tags)


def metadata_of(image: Image.Image) -> Metadata:
    """Return what a Pillow image, already loaded, says beside its pixels."""
    info = image.info
    text = {k: str(v) for k, v in getattr(image, "text", {}).items()}
    segments = getattr(image, "applist", ())  # of a JPEG
    records = from_hex(text.pop(_PNG_IPTC, ""))  # or Photoshop's block with them
    block = from_hex(text.pop(_PNG_PHOTOSHOP, "")) or within_segments(
        body for kind, body in segments if kind == "APP13"
    )
    (iptc, resources), (further_iptc, further_resources) = resources_within(records), resources_within(block)
    comments = [body for kind, body in segments if kind == "COM"]  # info has the last
    comments = comments or [text.pop("Comment", None) or info.get("comment", "")]
    text.pop(_PNG_XMP, None)
    exif = from_hex(text.pop(_PNG_EXIF, "")) or info.get("exif", b"")
    metadata = Metadata(
        exif=exif.removeprefix(PREFIX).removeprefix(PREFIX),
        icc=info.get("icc_profile") or b"",
        xmp=joined(_as_bytes(info.get("xmp", b"")), (body for kind, body in segments if kind == "APP1")),
        iptc=iptc or (b"" if resources else records) or further_iptc,
        photoshop=further_resources or resources,
        comment="\n".join(filter(None, map(_as_text, comments))),
        text=tuple(text.items()),
    )
    dpi = _jfif_dpi(info) if image.format in ("JPEG", "MPO") else info.get("dpi")
    return replace(metadata, dpi=sane_dpi(dpi) or exif_dpi(exif_tags(metadata)))


def _jfif_dpi(info: dict[Any, Any]) -> tuple[float, float] | None:
    """Return the resolution that a JPEG states outside of its EXIF; Pillow makes up 72 dpi where there is none."""
    # Source: ITU-T T.871, 10.1: unit 1 is dots per inch, 2 per centimetre, 0 none
    per_inch = {1: 1.0, 2: 2.54}.get(info.get("jfif_unit", 0))
    if per_inch is None:
        return None
    x, y = info["jfif_density"]
    return x * per_inch, y * per_inch


def fitting_icc(metadata: Metadata, channels: int) -> bytes:
    """Return the profile unless it describes another colour space than the pixels have."""
    # Source: ICC.1:2022, 7.2.8: bytes 16–19 of the header name the colour space of the data
    space = metadata.icc[16:20]
    if space == b"RGB " or (space == b"GRAY" and channels == 1):
        return metadata.icc
    if metadata.icc:
        pixels = "grey" if channels == 1 else "RGB"
        _log.warning("left out a colour profile for %r: the pixels are %s", space.decode("latin-1"), pixels)
    return b""


def say_what_is_lost(metadata: Metadata, format_name: str) -> None:
    """Warn of what was said in a PNG and has no place in any other format."""
    if format_name == "PNG":
        return
    if not _is_srgb(metadata):
        _log.warning("%s cannot say of its colours what the PNG did: they will look different; PNG can", format_name)
    if metadata.text:
        names = ", ".join(repr(keyword) for keyword, _ in metadata.text)
        _log.warning("left out the texts of the PNG, which %s has no place for: %s", format_name, names[:_NAMES])


def _is_srgb(metadata: Metadata) -> bool:
    """Whether the chunks of a PNG say nothing else than a profile does, or than that its colours are sRGB."""
    # Source: PNG, third edition, 4.3: cICP goes before iCCP, that before sRGB, that before gAMA and cHRM; 11.3.2.6:
    # cICP of sRGB. Gammas within 5 % are taken for the same, as by libpng, and points within 0.01.
    chunks = dict(metadata.colour)
    if b"cICP" in chunks:
        return chunks[b"cICP"] == bytes([1, 13, 0, 1])
    if b"sRGB" in chunks or metadata.icc:
        return True
    gamma, points = int.from_bytes(chunks.get(b"gAMA", b"")) or _SRGB_GAMMA, _SRGB_POINTS
    if b"cHRM" in chunks:
        points = np.frombuffer(chunks[b"cHRM"], ">u4")
    return abs(gamma / _SRGB_GAMMA - 1) < 0.05 and bool(np.allclose(points, _SRGB_POINTS, atol=1000))


def save_options(metadata: Metadata, format_name: str, channels: int) -> dict[str, Any]:
    """Return the keywords that make Pillow write the metadata, as far as the format can hold it."""
    icc = fitting_icc(metadata, channels)
    if format_name == "PNG" and _is_too_long("colour profile", icc):
        icc = b""
    match format_name:
        case "JPEG":
            return _jpeg_options(metadata, icc)
        case "PNG":
            return _given(exif=metadata.exif, icc_profile=icc, dpi=metadata.dpi, pnginfo=_png_text(metadata))
        case "WEBP":
            exif = completed(metadata.exif, metadata.dpi, metadata.comment)
            return _given(exif=exif, icc_profile=icc, xmp=metadata.xmp)
        case "AVIF":  # Pillow moves the orientation out of the block and writes the tags anew
            exif = completed(metadata.exif, metadata.dpi, metadata.comment)
            return _given(exif=tags_anew(exif), icc_profile=icc, xmp=metadata.xmp)
        case "BMP":
            return _given(dpi=metadata.dpi)
    return {}


def _given(**options: Any) -> dict[str, Any]:
    """Return the options that say something."""
    return {key: value for key, value in options.items() if value}


def _jpeg_options(metadata: Metadata, icc: bytes) -> dict[str, Any]:
    """Return the options of a JPEG, leaving out, with a warning, what exceeds a marker segment."""
    try:
        xmp, extension = divided(metadata.xmp)
    except ValueError:  # left out below
        xmp, extension = metadata.xmp, b""
    fitting = dict.fromkeys(("exif", "iptc", "xmp", "comment"), b"")
    for name, block in zip(
        fitting, (shortened(metadata.exif, _JPEG_SEGMENT), metadata.iptc, xmp, metadata.comment.encode()), strict=True
    ):
        if len(block) > _JPEG_SEGMENT:
            _log.warning("left out the %s of %d bytes: longer than a JPEG can hold", name, len(block))
        else:
            fitting[name] = block
    return _given(
        icc_profile=icc,
        dpi=metadata.dpi if metadata.dpi and max(metadata.dpi) < 65535 else None,
        exif=PREFIX + fitting["exif"] if fitting["exif"] else b"",
        comment=fitting["comment"],
        extra=photoshop_segments(fitting["iptc"], metadata.photoshop) + segments_of(fitting["xmp"], extension),
    )


def _png_text(metadata: Metadata) -> PngImagePlugin.PngInfo:
    """Return the text chunks of a PNG."""
    chunks = PngImagePlugin.PngInfo()
    if metadata.xmp:
        chunks.add_itxt(_PNG_XMP, metadata.xmp.decode("utf-8", "replace"))
    if metadata.comment:
        chunks.add_text("Comment", metadata.comment)
    kept_so = (("iptc", _PNG_IPTC, metadata.iptc), ("8bim", _PNG_PHOTOSHOP, metadata.photoshop))
    for name, keyword, block in kept_so:
        if block and not _is_too_long(f"{name} profile", text := to_hex(name, block)):
            chunks.add_text(keyword, text, zip=True)
    for keyword, value in metadata.text:
        chunks.add_text(keyword, value)
    return chunks


def _is_too_long(what: str, block: bytes | str) -> bool:
    """Whether a PNG with that block, compressed, could not be read; with a warning."""
    is_too_long = len(block) >= UNPACKED_MOST
    if is_too_long:
        _log.warning("left out the %s of %d bytes: longer than a PNG is read with", what, len(block))
    return is_too_long


def _as_bytes(value: Any) -> bytes:
    return value.encode() if isinstance(value, str) else bytes(value)


def _as_text(value: Any) -> str:
    """Return a comment as text; JPEG and GIF leave its encoding open, and some end it as C does."""
    if isinstance(value, str):
        return value.rstrip("\0")
    try:
        return bytes(value).rstrip(b"\0").decode()
    except UnicodeDecodeError:
        return bytes(value).rstrip(b"\0").decode("latin-1")
