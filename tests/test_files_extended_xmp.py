"""XMP that is longer than a segment of a JPEG, from and to files."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import logging
import random
import re
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from napari_car import restore_file
from napari_car.files import Metadata, Picture, read_image, write_image
from napari_car.files.extended_xmp import divided, joined

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
DATA = base64.b64encode(random.Random(1).randbytes(150_000)).decode()
PIXELS = np.zeros((8, 8, 3), np.uint8)
# As telephones write it: what is in the extension has its namespaces from the elements around it
EXTENSION = f"""<x:xmpmeta xmlns:x="adobe:ns:meta/" xmlns:g="http://ns.google.com/photos/1.0/image/">
<rdf:RDF xmlns:rdf="{RDF}"><rdf:Description rdf:about="" g:Mime="image/png" g:Data="{DATA}"/>
<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:source>a &gt; b, größer</dc:source>
</rdf:Description></rdf:RDF></x:xmpmeta>""".encode()
GUID = hashlib.md5(EXTENSION).hexdigest().upper()
ATTRIBUTE = 'xmpNote:HasExtendedXMP="{}"', ""
ELEMENT = "", "<xmpNote:HasExtendedXMP>{}</xmpNote:HasExtendedXMP>"
FACTS = {
    ("http://ns.adobe.com/xap/1.0/", "Rating"): "4",
    ("http://ns.google.com/photos/1.0/image/", "Mime"): "image/png",
    ("http://ns.google.com/photos/1.0/image/", "Data"): DATA,
    ("http://purl.org/dc/elements/1.1/", "source"): "a > b, größer",
}


def packet(guid: str = GUID, how: tuple[str, str] = ATTRIBUTE) -> bytes:
    """The packet that names the extension."""
    attribute, element = (part.format(guid) for part in how)
    return (
        '<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
        f'<rdf:RDF xmlns:rdf="{RDF}"><rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/" '
        f'xmlns:xmpNote="http://ns.adobe.com/xmp/note/" xmp:Rating="4" {attribute}>{element}</rdf:Description>'
        '</rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
    ).encode()


def segment(body: bytes) -> bytes:
    return b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body


def chunks(extension: bytes = EXTENSION, guid: str = GUID, step: int = 60_000) -> list[bytes]:
    """The segments of an extension, without marker and length."""
    sign = b"http://ns.adobe.com/xmp/extension/\0"
    heads = [(at, struct.pack(">32sII", guid.encode(), len(extension), at)) for at in range(0, len(extension), step)]
    return [sign + head + extension[at : at + step] for at, head in heads]


def jpeg(main: bytes, bodies: list[bytes]) -> bytes:
    """A file with that packet and the segments of an extension."""
    stream = io.BytesIO()
    Image.fromarray(PIXELS).save(stream, "JPEG")
    file = stream.getvalue()
    return file[:2] + segment(b"http://ns.adobe.com/xap/1.0/\0" + main) + b"".join(map(segment, bodies)) + file[2:]


def facts(xmp: bytes) -> dict[tuple[str, str], str]:
    """The simple properties in a packet, whether attributes or elements, and the name of an extension among them."""
    found: dict[tuple[str, str], str] = {}
    for description in ElementTree.fromstring(xmp.decode().strip("\0")).iter(f"{{{RDF}}}Description"):
        pairs = [*description.items(), *((child.tag, child.text or "") for child in description if not len(child))]
        for name, value in pairs:
            uri, _, local = name[1:].partition("}")
            if uri != RDF:
                assert (uri, local) not in found
                found[uri, local] = value
    return found


@pytest.mark.parametrize("how", [ATTRIBUTE, ELEMENT], ids=["attribute", "element"])
@pytest.mark.parametrize("extension", ["jpg", "png", "tif", "webp", "avif"])
def test_an_extension_goes_along(tmp_path: Path, extension: str, how: tuple[str, str]) -> None:
    bodies = chunks()
    random.Random(2).shuffle(bodies)
    read = read_image(jpeg(packet(GUID.lower(), how), bodies))
    assert facts(read.metadata.xmp) == FACTS
    once = read_image(write_image(tmp_path / f"a.{extension}", read)).metadata
    assert facts(once.xmp) == FACTS
    again = read_image(write_image(tmp_path / f"b.{extension}", Picture(PIXELS, once))).metadata
    assert again.xmp == once.xmp  # nothing piles up


def test_a_jpeg_gets_segments_that_are_as_the_specification_asks(tmp_path: Path) -> None:
    file = write_image(tmp_path / "a.jpg", read_image(jpeg(packet(), chunks()))).read_bytes()
    with Image.open(io.BytesIO(file)) as image:
        bodies = [body for kind, body in image.applist if kind == "APP1"]  # type: ignore[attr-defined]
    main, *rest = bodies
    (named,) = re.findall(rb'HasExtendedXMP="([0-9A-F]{32})"', main)
    heads = [struct.unpack_from(">32sII", body, 35) for body in rest]
    extension = b"".join(body[75:] for body in rest)
    assert {name for name, _, _ in heads} == {named} == {hashlib.md5(extension).hexdigest().upper().encode()}
    assert {size for _, size, _ in heads} == {len(extension)}
    assert [place for _, _, place in heads] == [65400 * i for i in range(len(rest))]
    assert facts(main[29:]).keys() & FACTS.keys() == {("http://ns.adobe.com/xap/1.0/", "Rating"),
                                                      ("http://purl.org/dc/elements/1.1/", "source")}  # fmt: skip


@pytest.mark.skipif(shutil.which("exiftool") is None, reason="exiftool is not installed")
@pytest.mark.parametrize("extension", ["jpg", "png", "tif", "webp"])
def test_an_independent_reader_finds_it_and_the_record(tmp_path: Path, extension: str) -> None:
    (tmp_path / "a.jpg").write_bytes(jpeg(packet(), chunks()))
    output = restore_file(tmp_path / "a.jpg", tmp_path / f"b.{extension}", model="car-s")
    command = ["exiftool", "-json", "-b", "-warning", "-XMP:all", output]
    (found,) = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert "Warning" not in found
    assert (found["Rating"], found["Source"]) == (4, "a > b, größer")
    assert found["ImageData"] in (DATA, "base64:" + DATA)
    assert found["HistoryAction"] == "filtered"


def test_a_long_packet_of_another_format_is_divided_for_a_jpeg(tmp_path: Path) -> None:
    whole = packet(how=("", "<xmp:Label>" + "b" * 70_000 + "</xmp:Label>"))
    path = write_image(tmp_path / "a.jpg", Picture(PIXELS, Metadata(xmp=whole)))
    assert facts(read_image(path).metadata.xmp) == facts(whole)


BROKEN: dict[str, Any] = {
    "none": [],
    "a gap": chunks()[:1] + chunks()[2:],
    "no end": chunks()[:-1],
    "an overlap": [*chunks(), chunks()[0][:71] + struct.pack(">I", 7) + b"abc"],
    "of another packet": chunks(guid="0" * 32),
    "a claim of 4 GB": [chunks()[0][:67] + b"\xff" * 4 + chunks()[0][71:]],
    "two lengths": [chunks()[0], *(body[:67] + b"\0\0\0\1" + body[71:] for body in chunks()[1:])],
    "cut": [body[:n] for n in (20, 40, 74, 75) for body in chunks()],
    "not XML": chunks(b"<a>" * 9, GUID),
    "no RDF": chunks(b"<a/>", GUID),
    "UTF-16": chunks(EXTENSION.decode().encode("utf-16"), GUID),
    "a document type": chunks(b'<!DOCTYPE a [<!ENTITY b "c">]>' + EXTENSION, GUID),
}


@pytest.mark.parametrize("bodies", BROKEN.values(), ids=BROKEN)
def test_what_is_not_whole_is_left_out_and_said(bodies: list[bytes], caplog: pytest.LogCaptureFixture) -> None:
    read = read_image(jpeg(packet(), bodies))
    assert facts(read.metadata.xmp) == {("http://ns.adobe.com/xap/1.0/", "Rating"): "4"}
    (said,) = (record.getMessage() for record in caplog.records)
    assert said.startswith("left out the extension of the XMP packet")


def test_a_packet_without_an_extension_stays_to_the_byte(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        for main in (packet(how=("", "")), b"not XML", b"", b"HasExtendedXMP" + b" " * 60_000):
            assert joined(main, chunks()) == main
            assert divided(main) == (main, b"")
    assert not caplog.records
