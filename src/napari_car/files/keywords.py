"""How Pillow is told to write what a file says beside its pixels, in each format as far as that can hold it."""

from __future__ import annotations

import logging
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from typing import Any

import numpy as np
from PIL import Image, PngImagePlugin

from napari_car.files.exif import PREFIX, completed, load_tags, shortened, writable
from napari_car.files.extended_xmp import divided, segments_of
from napari_car.files.iptc import photoshop_segments, to_hex
from napari_car.files.metadata import PNG_IPTC, PNG_PHOTOSHOP, PNG_XMP, Metadata
from napari_car.files.png import UNPACKED_MOST

_log = logging.getLogger(__name__)

# Source: ITU-T T.81, B.1.1.4: a marker segment holds 65533 bytes, here less the longest of the names inside
_JPEG_SEGMENT = 65533 - 29
# Source: PNG, third edition, 11.3.2.5: sRGB as gAMA has it; white, red, green and blue, x and y each, as cHRM has it
_SRGB_GAMMA, _SRGB_POINTS = 45455, np.array([31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000], np.uint32)
_NAMES = 300  # characters of what a warning names, at most


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


def say_what_is_lost(metadata: Metadata, format_name: str) -> None:
    """Warn of what was said in a PNG and has no place in any other format."""
    if format_name == "PNG":
        return
    if not _is_srgb(metadata):
        _log.warning("%s cannot say of its colours what the PNG did: they will look different; PNG can", format_name)
    if metadata.text:
        names = ", ".join(repr(keyword) for keyword, _ in metadata.text)
        _log.warning("left out the texts of the PNG, which %s has no place for: %s", format_name, names[:_NAMES])


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


def tags_anew(exif: bytes) -> Image.Exif:
    """Return the tags of a block for a format that they are written anew in; a warning where it is damaged."""
    tags = load_tags(exif)
    if exif and not len(tags):
        _log.warning("left out the EXIF block, which is damaged")
    return writable(tags)


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


def _given(**options: Any) -> dict[str, Any]:
    """Return the options that say something."""
    return {key: value for key, value in options.items() if value}


def _jpeg_options(metadata: Metadata, icc: bytes) -> dict[str, Any]:
    """Return the options of a JPEG, leaving out, with a warning, what exceeds a marker segment."""
    try:
        xmp, extension = divided(metadata.xmp)
    except ValueError:  # left out below
        xmp, extension = metadata.xmp, b""
    blocks = {
        "exif": shortened(metadata.exif, _JPEG_SEGMENT),
        "iptc": metadata.iptc,
        "xmp": xmp,
        "comment": metadata.comment.encode(),
    }
    for name, block in blocks.items():
        if len(block) > _JPEG_SEGMENT:
            _log.warning("left out the %s of %d bytes: longer than a JPEG can hold", name, len(block))
            blocks[name] = b""
    return _given(
        icc_profile=icc,
        dpi=metadata.dpi if metadata.dpi and max(metadata.dpi) < 65535 else None,
        exif=PREFIX + blocks["exif"] if blocks["exif"] else b"",
        comment=blocks["comment"],
        extra=photoshop_segments(blocks["iptc"], metadata.photoshop) + segments_of(blocks["xmp"], extension),
    )


def _png_text(metadata: Metadata) -> PngImagePlugin.PngInfo:
    """Return the text chunks of a PNG."""
    chunks = PngImagePlugin.PngInfo()
    if metadata.xmp:
        is_utf16 = metadata.xmp.startswith((BOM_UTF16_LE, BOM_UTF16_BE))  # as a TIFF may have it; a PNG has UTF-8
        chunks.add_itxt(PNG_XMP, metadata.xmp.decode("utf-16" if is_utf16 else "utf-8", "replace"))
    if metadata.comment:
        chunks.add_text("Comment", metadata.comment)
    kept_so = (("iptc", PNG_IPTC, metadata.iptc), ("8bim", PNG_PHOTOSHOP, metadata.photoshop))
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
