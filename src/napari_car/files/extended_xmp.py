"""An XMP packet longer than a segment of a JPEG: the part that stands in one, and the extension that it names.

Source: XMP specification, part 3, 1.1.3.1.
"""

from __future__ import annotations

import logging
import re
import struct
from collections import ChainMap
from collections.abc import Iterable
from hashlib import md5
from html import escape
from typing import Any
from xml.parsers import expat

_log = logging.getLogger(__name__)

_LONGEST = 65502  # bytes of a packet in a segment; Source: XMP specification, part 3, 1.1.3
_CHUNK = 65400  # bytes of an extension in a segment
_PACKET, _EXTENSION = b"http://ns.adobe.com/xap/1.0/\0", b"http://ns.adobe.com/xmp/extension/\0"
_HEAD = struct.Struct(">32sII")  # name of the extension, its length in all, place of the chunk
_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_ROOT = f"{_RDF} RDF"
_AROUND = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="%s">' % _RDF.encode(), b"</rdf:RDF></x:xmpmeta>"
_OURS = (
    f'<rdf:Description xmlns:rdf="{_RDF}" xmlns:xmpNote="http://ns.adobe.com/xmp/note/" rdf:about="{{}}" '
    'xmpNote:HasExtendedXMP="{}"/>'
)
# The name of the extension, the MD5 of it, stands in a packet as an attribute or as an element
_NOTE = re.compile(
    rb"""\s[\w.-]+:HasExtendedXMP\s*=\s*(["'])(?P<a>[0-9A-Fa-f]{32})\1"""
    rb"""|<([\w.-]+:HasExtendedXMP)\s*>\s*(?P<b>[0-9A-Fa-f]{32})\s*</\3\s*>"""
)


def joined(packet: bytes, segments: Iterable[bytes]) -> bytes:
    """Return a packet with all that the extension that it names holds, and without that name.

    Where the extension is not whole or cannot be understood it is left out, with a warning.

    Parameters
    ----------
    packet
        Of a JPEG.
    segments
        Bodies of the APP1 segments of that file, in any order.
    """
    found = _NOTE.search(packet)
    if found is None:
        return packet
    guid = found["a"] or found["b"]
    extension = _gathered(guid.lower(), segments)
    bare = _NOTE.sub(b"", packet)
    try:
        if not extension:
            raise ValueError("it is not whole")
        _, _, about = _statements(packet)
        if (ours := _OURS.format(escape(about), guid.decode()).encode()) in packet:
            bare = packet.replace(ours, b"")
        statements, _, _ = _statements(extension)
        _, end, _ = _statements(bare)
    except ValueError as error:
        _log.warning("left out the extension of the XMP packet, which cannot be understood (%s)", error)
        return bare
    return bare[:end] + b"".join(text for _, _, text in statements) + bare[end:]


def divided(packet: bytes) -> tuple[bytes, bytes]:
    """Return what of a packet stands in a segment of a JPEG and the extension for all else, empty where that is none.

    Raises
    ------
    ValueError
        If the packet is too long and cannot be divided.

    Examples
    --------
    >>> divided(b"a short packet")
    (b'a short packet', b'')
    """
    if len(packet) <= _LONGEST:
        return packet, b""
    packet = _NOTE.sub(b"", packet)
    statements, rdf_end, about = _statements(packet)
    excess = len(packet) + len(_OURS.format(escape(about), "0" * 32).encode()) - _LONGEST
    moved = set()
    for start, end, text in sorted(statements, key=lambda statement: statement[0] - statement[1]):  # longest first
        if excess > 0:
            excess -= end - start
            moved.add((start, end, text))
    if excess > 0:
        raise ValueError("what it says of the picture is not what makes it long")
    extension = _AROUND[0] + b"".join(text for _, _, text in sorted(moved)) + _AROUND[1]
    guid = md5(extension, usedforsecurity=False).hexdigest().upper()
    packet = packet[:rdf_end] + _OURS.format(escape(about), guid).encode() + packet[rdf_end:]
    for start, end, _ in sorted(moved, reverse=True):
        packet = packet[:start] + packet[end:]
    return packet, extension


def segments_of(packet: bytes, extension: bytes) -> bytes:
    """Return the APP1 segments that hold a packet and its extension, see ``divided``."""
    bodies = [_PACKET + packet] if packet else []
    guid = md5(extension, usedforsecurity=False).hexdigest().upper().encode()
    for at in range(0, len(extension), _CHUNK):
        bodies.append(_EXTENSION + _HEAD.pack(guid, len(extension), at) + extension[at : at + _CHUNK])
    return b"".join(b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body for body in bodies)


def _gathered(guid: bytes, segments: Iterable[bytes]) -> bytes:
    """Return the extension of that name from its chunks, empty where they do not make one without gaps or overlaps."""
    start = len(_EXTENSION) + _HEAD.size
    chunks: dict[int, bytes] = {}
    sizes: set[int] = set()
    for segment in segments:
        if segment.startswith(_EXTENSION) and len(segment) > start:
            name, size, place = _HEAD.unpack_from(segment, len(_EXTENSION))
            if name.lower() == guid:
                chunks.setdefault(place, segment[start:])
                sizes.add(size)
    at = 0
    for place in sorted(chunks):
        if place != at:
            return b""
        at += len(chunks[place])
    return b"".join(chunks[place] for place in sorted(chunks)) if sizes == {at} else b""


def _statements(packet: bytes) -> tuple[list[tuple[int, int, bytes]], int, str]:
    """Return the elements in the RDF of a packet, where that ends, and what it is about.

    Each with its start, its end, and itself as it may stand in another packet: with all namespaces that it may need.
    """
    packet.decode()  # parts of packets are put together as they are
    path: list[str] = []
    scopes: list[dict[str | None, str]] = [{}]  # the last is of the element that comes next
    starts: list[tuple[int, dict[str | None, str]]] = []
    ends: list[int] = []
    abouts: list[str] = []
    parser = expat.ParserCreate(namespace_separator=" ")

    def declare(prefix: str | None, uri: str) -> None:
        scopes[-1][prefix] = uri

    def start(name: str, attributes: dict[str, str]) -> None:
        if path and path[-1] == _ROOT and path.count(_ROOT) == 1 and not ends:
            around = ChainMap(*reversed(scopes[:-1]))
            starts.append((parser.CurrentByteIndex, {p: uri for p, uri in around.items() if p not in scopes[-1]}))
            abouts.append(attributes.get(f"{_RDF} about", ""))
        path.append(name)
        scopes.append({})

    def end(name: str) -> None:
        at = parser.CurrentByteIndex
        path.pop()
        scopes[-2:] = [{}]
        if name == _ROOT and _ROOT not in path and packet.startswith(b"</", at):
            ends.append(at)

    def refuse(*_: Any) -> None:
        raise ValueError("it declares a document type")

    parser.StartNamespaceDeclHandler, parser.StartDoctypeDeclHandler = declare, refuse
    parser.StartElementHandler, parser.EndElementHandler = start, end
    try:
        parser.Parse(packet.rstrip(b"\0"), True)
    except expat.ExpatError as error:
        raise ValueError(str(error)) from error
    if not ends:
        raise ValueError("it holds no RDF")
    borders = [*(at for at, _ in starts), ends[0]]
    statements = [
        (first, last, _declaring(packet[first:last], needed))
        for (first, needed), last in zip(starts, borders[1:], strict=True)
    ]
    return statements, ends[0], abouts[0] if abouts else ""


def _declaring(element: bytes, namespaces: dict[str | None, str]) -> bytes:
    """Return an element that declares some namespaces as well."""
    name, rest = re.split(rb"(?=[\s/>])", element, maxsplit=1)
    said = (f' xmlns{":" + prefix if prefix else ""}="{escape(uri)}"' for prefix, uri in namespaces.items() if uri)
    return name + "".join(said).encode() + rest
