"""EXIF blocks: what their tags say, and writing them anew without what cannot be written."""

from __future__ import annotations

import logging
import struct
from collections.abc import MutableMapping
from fractions import Fraction
from typing import Any

from PIL import Image, TiffImagePlugin
from PIL.ExifTags import IFD, Base

_log = logging.getLogger(__name__)

# Source: Exif 2.32, 4.7.2 (APP1 identifier)
PREFIX = b"Exif\x00\x00"
# Source: TIFF 6.0, section 2: the types of values
_ASCII, _SHORT, _RATIONAL = 2, 3, 5
_MOST_TAGS = 5461  # in a directory; Source: ITU-T T.81, B.1.1.4: what a segment of a JPEG holds, at 12 bytes each
_MOST_NAMED = 20  # tags in a warning


def load_tags(exif: bytes) -> Image.Exif:
    """Return the tags of a block, not decoded yet; none where it is damaged."""
    tags = Image.Exif()
    try:
        tags.load(exif)
    except Exception:  # Pillow's parser has no error of its own for damage
        _log.info("the EXIF block is damaged and cannot be interpreted")
        return Image.Exif()
    return tags


def value_of(tags: Image.Exif, tag: int, default: Any = None) -> Any:
    """Return the value of a tag, the default where it is absent or damaged."""
    try:
        return tags[tag]
    except Exception:
        return default


def exif_dpi(tags: Image.Exif) -> tuple[float, float] | None:
    """Return the resolution that EXIF or TIFF tags state, in pixels per inch."""
    # Source: TIFF 6.0, section 8: ResolutionUnit 2 is inch (the default), 3 is centimetre, 1 none
    per_inch = {2: 1.0, 3: 2.54}.get(value_of(tags, Base.ResolutionUnit, 2))
    try:
        return sane_dpi((tags[Base.XResolution] * per_inch, tags[Base.YResolution] * per_inch))
    except Exception:
        return None


def sane_dpi(dpi: Any) -> tuple[float, float] | None:
    """Return the resolution where it can be one."""
    try:
        x, y = float(dpi[0]), float(dpi[1])
    except (TypeError, ValueError, IndexError, ZeroDivisionError):
        return None
    if not (1 < x < 1e6 and 1 < y < 1e6):
        return None
    # PNG and BMP count whole pixels per metre, which makes 299.9994 of 300
    x, y = (float(round(v)) if abs(v - round(v)) < 0.02 else v for v in (x, y))
    return x, y


def exif_block(tags: Image.Exif) -> bytes:
    """Return the block of some tags, see ``writable``, without the prefix of JPEG."""
    tags = writable(tags)
    return tags.tobytes().removeprefix(PREFIX) if len(tags) else b""


def writable(tags: Image.Exif) -> Image.Exif:
    """Return the tags, every text as the bytes that were read, less those that cannot be written, with a warning."""
    if value_of(tags, Base.Orientation) in range(1, 9):
        tags[Base.Orientation] = int(tags[Base.Orientation])  # some store it as a fraction
    lost = _drop_odd(tags, None)
    lost += _drop_odd_within(tags, IFD.Exif, tags)
    lost += _drop_odd_within(tags, IFD.GPSInfo, tags)
    if IFD.Exif in tags:
        lost += _drop_odd_within(tags, IFD.Interop, tags.get_ifd(IFD.Exif))
    if lost:
        _log.warning("left out EXIF tags that cannot be kept: %s", ", ".join(map(str, sorted(lost)[:_MOST_NAMED])))
    return tags


def shortened(exif: bytes, most: int) -> bytes:
    """Return a block of that many bytes at most: written anew without its longest tags, which a warning names."""
    if len(exif) <= most:
        return exif
    tags = load_tags(exif)
    block, lost = exif_block(tags), []
    while len(block) > most:
        directories = [tags, *(tags.get_ifd(place) for place in (IFD.Exif, IFD.GPSInfo) if place in tags)]
        values = [
            (12 + (len(value) if isinstance(value, bytes | str | tuple) else 0), tag, directory)
            for directory in directories
            for tag, value in directory.items()
            if tag not in (Base.Orientation, IFD.Exif, IFD.GPSInfo)
        ]
        excess = len(block) - most
        for size, tag, directory in sorted(values, key=lambda value: -value[0]):
            if excess > 0:
                del directory[tag]
                lost.append(tag)
                excess -= size
        block = exif_block(tags)
    said = ", ".join(map(str, sorted(lost)[:_MOST_NAMED])) or "a thumbnail"
    _log.warning("left out of the EXIF of %d bytes what makes it longer than a JPEG can hold: %s", len(exif), said)
    return block


def _drop_odd(directory: MutableMapping[int, Any], group: int | None) -> list[int]:
    """Remove the tags that Pillow cannot write, alone already, or that are too many, and return which."""
    lost = list(directory)[_MOST_TAGS:]
    for tag in lost:
        del directory[tag]
    for tag in list(directory):
        if tag in ((IFD.Interop,) if group else (IFD.Exif, IFD.GPSInfo)):  # places of other directories
            continue
        try:
            value = directory[tag]
            if isinstance(value, str) and not value.isascii():
                value = value.encode("latin-1", "replace")  # as which Pillow has read it; it would write ``?``
            alone = TiffImagePlugin.ImageFileDirectory_v2(group=group)
            alone[tag] = value
            alone.tobytes()
            directory[tag] = value
        except Exception:
            del directory[tag]
            lost.append(tag)
    return lost


def _drop_odd_within(tags: Image.Exif, group: int, holder: MutableMapping[int, Any]) -> list[int]:
    """Do so in a directory that another one holds."""
    if group not in holder:
        return []
    try:
        directory = tags.get_ifd(group)
    except Exception:
        del holder[group]
        return [group]
    lost = _drop_odd(directory, group)
    if group == IFD.Interop:
        holder[group] = directory  # Pillow writes the others by itself
    return lost


def completed(exif: bytes, dpi: tuple[float, float] | None, comment: str) -> bytes:
    """Return a block that also states a resolution and a description, where it states none itself.

    What is added stands behind the block, with a new first directory; all else stays where it was, for maker notes
    and thumbnails do not survive a move.
    """
    tags = load_tags(exif)
    order = tags.endian or "<"
    tag: int
    added: dict[int, tuple[int, int, bytes]] = {}
    if dpi and exif_dpi(tags) is None:
        for tag, per_inch in zip((Base.XResolution, Base.YResolution), dpi, strict=True):
            ratio = Fraction(per_inch).limit_denominator(1000).as_integer_ratio()
            added[tag] = _RATIONAL, 1, struct.pack(order + "II", *ratio)
        added[Base.ResolutionUnit] = _SHORT, 1, struct.pack(order + "H", 2)  # inch
    if comment and Base.ImageDescription not in tags:
        text = comment.encode() + b"\x00"
        added[Base.ImageDescription] = _ASCII, len(text), text
    if not added:
        return exif
    if len(tags):
        entries, following = _entries(exif, order)
        entries = {tag: entry for tag, entry in entries.items() if tag in tags}
        block = exif + bytes(len(exif) % 2)
    else:
        entries, following = {}, bytes(4)
        block = (b"II*\x00" if order == "<" else b"MM\x00*") + bytes(4)
        if exif:
            _log.warning("left out the EXIF block, which is damaged")
    values, place = b"", len(block) + 2 + 12 * len({*entries, *added}) + 4
    for tag, (kind, count, value) in added.items():
        field = value.ljust(4, b"\x00") if len(value) <= 4 else struct.pack(order + "I", place + len(values))
        entries[tag] = struct.pack(order + "HHI", tag, kind, count) + field
        values += value + bytes(len(value) % 2) if len(value) > 4 else b""
    directory = struct.pack(order + "H", len(entries)) + b"".join(entry for _, entry in sorted(entries.items()))
    return block[:4] + struct.pack(order + "I", len(block)) + block[8:] + directory + following + values


def _entries(exif: bytes, order: str) -> tuple[dict[int, bytes], bytes]:
    """Return the entries of the first directory, by their tags, and the place of the directory that follows."""
    # Source: TIFF 6.0, section 2: a number of entries, those, of 12 bytes each, and four bytes
    (start,) = struct.unpack_from(order + "I", exif, 4)
    (count,) = struct.unpack_from(order + "H", exif, start)
    end = start + 2 + 12 * count
    entries = [exif[at : at + 12] for at in range(start + 2, min(end, len(exif) - 11), 12)]
    by_tag = {struct.unpack_from(order + "H", entry)[0]: entry for entry in reversed(entries)}
    return by_tag, exif[end : end + 4].ljust(4, b"\x00")
