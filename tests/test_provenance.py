"""What an output tells of how it came about, and what of the source's own stays beside it."""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from napari_car import diagnose, list_models, read_jpeg, restore, restore_file, restore_file_steps
from napari_car.errors import InputError
from napari_car.files import Metadata, read_image
from napari_car.files.metadata import exif_tags
from napari_car.files.xmp import add_event
from napari_car.provenance import python_code
from napari_car.steps import drain

LIGHTROOM = """\
<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><r:RDF xmlns:r="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
 <r:Description r:about="uuid:1" xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:mm="http://ns.adobe.com/xap/1.0/mm/"
  xmlns:e="http://ns.adobe.com/xap/1.0/sType/ResourceEvent#" mm:DocumentID="7">
  <dc:subject><r:Bag><r:li>søen &amp; fjorden</r:li></r:Bag></dc:subject>
  {history}
 </r:Description>
</r:RDF></x:xmpmeta>
                                                    <?xpacket end="w"?>"""
HISTORY = '<mm:History><r:Seq><r:li e:action="saved" e:softwareAgent="Lightroom"/></r:Seq></mm:History>'


@pytest.fixture
def jpeg(tmp_path: Path, reference: Any, to_jpeg: Callable[..., bytes]) -> Path:
    """A photo whose EXIF and XMP have something to lose."""
    exif = Image.Exif()
    exif[0x0131], exif[0x0112] = "Camera 1.1", 6
    path = tmp_path / "photo.jpg"
    packet = LIGHTROOM.format(history=HISTORY).encode()
    path.write_bytes(to_jpeg(reference, exif=exif.tobytes(), xmp=packet, comment=b"a boat"))
    return path


def events(xmp: bytes) -> list[str]:
    """The parameters of our events in a packet."""
    texts = xmp.decode().split("<stEvt:parameters>")[1:]
    return [text.split("</stEvt:parameters>")[0] for text in texts]


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.jpg", "a.webp"])
def test_the_file_tells_how_it_came_about_and_keeps_what_it_said(name: str, jpeg: Path) -> None:
    outcome = drain(restore_file_steps(jpeg, jpeg.with_name(name), strength=0.5, model="arcnn"))
    before, after = (read_image(path).metadata for path in (jpeg, outcome.path))
    (said,) = events(after.xmp)
    record = json.loads(said)
    (card,) = [card for card in list_models() if card.id == "arcnn"]
    assert (record["model"], record["quality"], record["strength"]) == ("arcnn", 20, 0.5)
    assert record["quality_source"] == "file"
    assert record["sha256"] in {weights.sha256 for weights in card.weights}
    assert record.items() <= outcome.record.items()
    assert str(jpeg) not in said
    assert (exif_tags(after)[0x0131], after.orientation) == ("Camera 1.1", 6)
    at = after.xmp.index(b"<rdf:li")
    length = after.xmp.index(b"</rdf:li>") + len(b"</rdf:li>") - at
    assert after.xmp[:at] + after.xmp[at + length :] == before.xmp  # each byte of it


def test_a_second_run_adds_to_the_history(jpeg: Path) -> None:
    once = restore_file(jpeg, jpeg.with_name("once.png"))
    twice = restore_file(once, jpeg.with_name("twice.png"), quality=40)
    qualities = [json.loads(event)["quality"] for event in events(read_image(twice).metadata.xmp)]
    assert qualities == [20, 40]


def test_the_same_run_writes_the_same_bytes(jpeg: Path) -> None:
    first, second = (restore_file(jpeg, jpeg.with_name(name)) for name in ("1.png", "2.png"))
    assert first.read_bytes() == second.read_bytes()


def test_nothing_is_told_if_so_asked(jpeg: Path) -> None:
    output = restore_file(jpeg, jpeg.with_name("a.png"), provenance=False)
    assert read_image(output).metadata.xmp == read_image(jpeg).metadata.xmp


def test_strip_leaves_what_the_picture_looks_like(jpeg: Path) -> None:
    output = restore_file(jpeg, jpeg.with_name("a.png"), strip=True, provenance=False)
    found = read_image(output).metadata
    assert (found.xmp, found.comment, found.orientation) == (b"", "", 6)
    assert b"Camera" not in output.read_bytes()


@pytest.mark.parametrize(
    "packet",
    [b"not XML", b"<a/>", LIGHTROOM.format(history="").encode("utf-16"),
     b'<!DOCTYPE a [<!ENTITY b "c">]>' + LIGHTROOM.format(history="&b;").encode(),
     LIGHTROOM.format(history="").encode().replace(b"<?xpacket end", b" " * 65400 + b"<?xpacket end")],
    ids=["damaged", "no RDF", "UTF-16", "document type", "too long"],
)  # fmt: skip
def test_a_packet_that_cannot_take_more_stays(packet: bytes, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert add_event(packet, agent="a", action="filtered", parameters="b") == packet
    assert "without a record" in caplog.text


@pytest.mark.skipif(shutil.which("exiftool") is None, reason="exiftool is not installed")
@pytest.mark.parametrize("history", ["", HISTORY], ids=["no history", "a history"])
def test_an_independent_reader_understands_the_packet(history: str, tmp_path: Path) -> None:
    packet = LIGHTROOM.format(history=history).encode()
    for xmp, name in ((packet, "old.xmp"), (b"", "new.xmp")):
        grown = add_event(xmp, agent="a <tool> & more", action="filtered", parameters='{"é": "<&>"}')
        (tmp_path / name).write_bytes(grown)
    command = ["exiftool", "-json", "-validate", "-warning", "-XMP:all", tmp_path / "old.xmp", tmp_path / "new.xmp"]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    old, new = json.loads(found.stdout)
    assert "Warning" not in old | new, found.stdout
    assert (new["HistorySoftwareAgent"], new["HistoryParameters"]) == ("a <tool> & more", '{"é": "<&>"}')
    agents = ["Lightroom", "a <tool> & more"] if history else "a <tool> & more"
    assert old["HistorySoftwareAgent"] == agents
    assert old["Subject"] == "søen & fjorden"


@pytest.mark.parametrize(("name", "is_said"), [("a.jpg", True), ("a.png", False), ("a.tif", False), ("a.webp", False)])
def test_a_format_that_loses_detail_is_named(
    name: str, is_said: bool, jpeg: Path, caplog: pytest.LogCaptureFixture
) -> None:
    restore_file(jpeg, jpeg.with_name(name))
    assert ("compresses again" in caplog.text) is is_said


def test_the_quality_of_the_output(jpeg: Path) -> None:
    small = restore_file(jpeg, jpeg.with_name("small.jpg"), output_quality=30)
    large = restore_file(jpeg, jpeg.with_name("large.jpg"), output_quality=98)
    assert small.stat().st_size < large.stat().st_size / 2
    with Image.open(large) as picture:
        assert max(np.max(table) for table in picture.quantization.values()) <= 5
    for name, quality in (("a.png", 90), ("b.jpg", 101), ("c.jpg", 0)):
        with pytest.raises(InputError, match=f"quality {quality}"):
            restore_file(jpeg, jpeg.with_name(name), output_quality=quality)
        assert not jpeg.with_name(name).exists()


@pytest.mark.parametrize(
    "options",
    [{"dtype": np.uint16}, {"dtype": np.dtype("float32"), "luma": 0.5}, {"strength": np.eye(200, 200)}],
    ids=str,
)
def test_code_that_is_given_runs_and_gives_the_same(options: Any, jpeg: Path) -> None:
    image = np.asarray(Image.open(jpeg))
    options = {"model": "car-s", "quality": read_jpeg(jpeg), **options}
    if "strength" in options:
        options["strength"] = np.resize(options["strength"], image.shape[:2])
    names: dict[str, Any] = {}
    exec(python_code(f"image = np.asarray(__import__('PIL.Image').Image.open({str(jpeg)!r}))", options), names)
    np.testing.assert_array_equal(names["restored"], restore(image, **options))


def test_what_was_diagnosed_before_is_told_too(jpeg: Path, tmp_path: Path) -> None:
    image = np.asarray(Image.open(jpeg))
    found = diagnose(image, info=read_jpeg(jpeg))
    record = drain(restore_file_steps(jpeg, tmp_path / "a.png", quality=found)).record
    assert (record["quality"], record["quality_source"]) == (read_jpeg(jpeg).quality, "file")
    assert record["sha256"]
    assert record["quality_sentence"] == found.sentence
    names: dict[str, Any] = {"image": image}
    exec(python_code("", {"quality": found}), names)
    np.testing.assert_array_equal(names["restored"], restore(image, quality=found))


def test_no_metadata_is_no_hindrance(tmp_path: Path, photo: Any) -> None:
    Image.fromarray(photo).save(tmp_path / "a.bmp")
    output = restore_file(tmp_path / "a.bmp", tmp_path / "b.bmp", quality=20)  # which holds no XMP
    assert read_image(output).metadata.xmp == Metadata().xmp
