"""IPTC records, the image resources of Photoshop, of which they are one, and the places that formats keep them in."""

from __future__ import annotations

import struct
from collections.abc import Iterable

# Source: Adobe Photoshop File Formats Specification, "Image Resource Blocks" and "Image Resource IDs"
_KINDS = (b"8BIM", b"MeSa", b"AgHg", b"PHUT", b"DCSR")  # the last four as ImageReady and others have them
_IPTC, _PROFILE = 0x0404, 0x040F
_SIGN = b"Photoshop 3.0\x00"
_SEGMENT = 65533 - len(_SIGN)  # bytes; Source: ITU-T T.81, B.1.1.4


def photoshop_segments(iptc: bytes, resources: bytes) -> bytes:
    """Return the APP13 segments of a JPEG that hold IPTC records and other resources; the records are in the first."""
    records = b"8BIM" + struct.pack(">HHI", _IPTC, 0, len(iptc)) + iptc + b"\x00" * (len(iptc) % 2) if iptc else b""
    block = records + resources
    bodies = [_SIGN + block[at : at + _SEGMENT] for at in range(0, len(block), _SEGMENT)]
    return b"".join(b"\xff\xed" + struct.pack(">H", len(body) + 2) + body for body in bodies)


def within_segments(segments: Iterable[bytes]) -> bytes:
    """Return the block that some APP13 segments, without marker and length, hold together."""
    return b"".join(segment.removeprefix(_SIGN) for segment in segments if segment.startswith(_SIGN))


def resources_within(block: bytes) -> tuple[bytes, bytes]:
    """Return IPTC records and all other resources of a block, up to where it is damaged.

    A colour profile among them is left out, for it stands elsewhere too, and may be that of inks.

    Examples
    --------
    >>> resources_within(b"8BIM" + bytes([4, 4, 0, 0, 0, 0, 0, 7]) + b"records")
    (b'records', b'')
    """
    block = block.removeprefix(_SIGN)
    iptc, others, at = b"", [], 0
    while block[at : at + 4] in _KINDS:
        code, name_length = int.from_bytes(block[at + 4 : at + 6]), sum(block[at + 6 : at + 7])
        start = at + 6 + 2 * (name_length // 2 + 1)  # of name and length together, an even number of bytes
        end = start + 4 + int.from_bytes(block[start : start + 4])
        if code == _IPTC:
            iptc = iptc or block[start + 4 : end]
        elif code != _PROFILE and end <= len(block):
            others.append(block[at:end] + bytes((end - at) % 2))
        at = end + ((end - at) % 2 and block[end : end + 4] not in _KINDS)  # some do not make the number even
    return iptc, b"".join(others)


def to_hex(name: str, block: bytes) -> str:
    """Return the text of ImageMagick's profile chunk: name, length, hexadecimal lines of 72."""
    digits = block.hex()
    lines = [digits[i : i + 72] for i in range(0, len(digits), 72)]
    return f"\n{name}\n{len(block):8d}\n" + "\n".join(lines) + "\n"


def from_hex(text: str) -> bytes:
    """Return the bytes of such a text, empty where it is damaged."""
    try:
        return bytes.fromhex("".join(text.split()[2:]))
    except ValueError:
        return b""
