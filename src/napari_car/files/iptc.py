"""IPTC records, and the places that formats without one of their own keep them in."""

from __future__ import annotations

import struct

# Source: Adobe Photoshop File Formats: image resource 1028 holds IPTC-NAA
IPTC_RESOURCE = 0x0404


def photoshop_segment(iptc: bytes) -> bytes:
    """Return the APP13 segment that holds IPTC records as Photoshop's image resource."""
    resource = b"8BIM" + struct.pack(">HHI", IPTC_RESOURCE, 0, len(iptc)) + iptc + b"\x00" * (len(iptc) % 2)
    body = b"Photoshop 3.0\x00" + resource
    return b"\xff\xed" + struct.pack(">H", len(body) + 2) + body


def to_hex(iptc: bytes) -> str:
    """Return the text of ImageMagick's profile chunk: name, length, hexadecimal lines of 72."""
    digits = iptc.hex()
    lines = [digits[i : i + 72] for i in range(0, len(digits), 72)]
    return f"\niptc\n{len(iptc):8d}\n" + "\n".join(lines) + "\n"


def from_hex(text: str) -> bytes:
    """Return the bytes of such a text, empty where it is damaged."""
    try:
        return bytes.fromhex("".join(text.split()[2:]))
    except ValueError:
        return b""


def iptc_within(data: bytes) -> bytes:
    """Return the IPTC records of a block that may hold them as Photoshop does, among other resources."""
    marker = b"8BIM" + struct.pack(">H", IPTC_RESOURCE)
    at = data.find(marker)
    if at < 0:
        return data
    name_length = data[at + 6] if len(data) > at + 6 else 0
    start = at + 6 + 2 * (name_length // 2 + 1)
    size = int.from_bytes(data[start : start + 4], "big")
    return data[start + 4 : start + 4 + size]
