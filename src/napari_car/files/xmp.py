"""The history in an XMP packet: one event more, and every other byte as it was."""

from __future__ import annotations

import logging
from html import escape  # that of xml.sax is as good and brings urllib along
from typing import Any
from xml.parsers import expat

from napari_car.files.extended_xmp import divided

_log = logging.getLogger(__name__)

# Source: ISO 16684-1 (XMP), 7.3.2 the packet wrapper, 7.5 the serialization in RDF;
# XMP specification, part 2, 1.2.3: the resource event in the history of media management.
_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_MEDIA = "http://ns.adobe.com/xap/1.0/mm/"
_EVENT = "http://ns.adobe.com/xap/1.0/sType/ResourceEvent#"
_EMPTY = (
    b'<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?>'
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="%s"></rdf:RDF></x:xmpmeta>'
    b'<?xpacket end="w"?>'
) % _RDF.encode()


def add_event(xmp: bytes, *, agent: str, action: str, parameters: str) -> bytes:
    """Return an XMP packet with one more event at the end of its history.

    A packet that cannot be understood, or would grow beyond what a JPEG holds, comes back as it was, with a warning.

    Parameters
    ----------
    xmp
        The packet; empty for a new one.
    agent
        The software that did it, with its version.
    action
        What was done, one of the words of the XMP specification, such as "filtered".
    parameters
        How it was done, in any words.

    Examples
    --------
    >>> packet = add_event(b"", agent="a tool 1.0", action="filtered", parameters="gently")
    >>> b"<stEvt:softwareAgent>a tool 1.0</stEvt:softwareAgent>" in packet
    True
    """
    packet = xmp or _EMPTY
    try:
        place, is_history, about = _place(packet)
    except (expat.ExpatError, ValueError) as error:
        _log.warning("the XMP packet cannot be understood (%s) and is kept without a record of this run", error)
        return xmp
    event = (
        f'<rdf:li xmlns:rdf="{_RDF}" xmlns:stEvt="{_EVENT}" rdf:parseType="Resource">'
        f"<stEvt:action>{escape(action, quote=False)}</stEvt:action>"
        f"<stEvt:softwareAgent>{escape(agent, quote=False)}</stEvt:softwareAgent>"
        f"<stEvt:parameters>{escape(parameters, quote=False)}</stEvt:parameters></rdf:li>"
    )
    if not is_history:
        event = (
            f'<rdf:Description xmlns:rdf="{_RDF}" xmlns:xmpMM="{_MEDIA}" rdf:about="{escape(about)}">'
            f"<xmpMM:History><rdf:Seq>{event}</rdf:Seq></xmpMM:History></rdf:Description>"
        )
    grown = packet[:place] + event.encode() + packet[place:]
    try:
        divided(grown)  # as a JPEG does with it
    except ValueError:
        _log.warning("the XMP packet of %d bytes is kept without a record of this run, which would not fit", len(xmp))
        return xmp
    return grown


def _place(packet: bytes) -> tuple[int, bool, str]:
    """Where an event goes, whether that is in a history that stands there, and what the packet is about."""
    packet.decode()  # the event is UTF-8, and so must be what it goes into
    history = [f"{_RDF} RDF", f"{_RDF} Description", f"{_MEDIA} History", f"{_RDF} Seq"]
    path: list[str] = []
    ends: dict[str, int] = {}
    abouts: list[str] = []
    parser = expat.ParserCreate(namespace_separator=" ")

    def start(name: str, attributes: dict[str, str]) -> None:
        path.append(name)
        if name == history[1]:
            abouts.append(attributes.get(f"{_RDF} about", ""))

    def end(name: str) -> None:
        at = parser.CurrentByteIndex
        if packet.startswith(b"</", at) and name in (history[0], history[3]):
            inside = path[path.index(history[0]) :] if history[0] in path else []
            if inside in (history[:1], history):
                ends[name] = at
        path.pop()

    def refuse(*_: Any) -> None:
        raise ValueError("it declares a document type")

    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.StartDoctypeDeclHandler = refuse
    parser.Parse(packet.rstrip(b"\0"), True)
    if history[0] not in ends:
        raise ValueError("it holds no RDF")
    is_history = history[3] in ends
    return ends[history[3 if is_history else 0]], is_history, abouts[0] if abouts else ""
