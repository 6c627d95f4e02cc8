"""``napari-car info``: how a picture was compressed, by its file and by its pixels."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from napari_car.diagnosis import Diagnosis, diagnose
from napari_car.files import Picture, read_image
from napari_car.jpeg.estimate import JpegEstimate
from napari_car.jpeg.header import JpegInfo, read_jpeg

EXAMPLES = """\
examples:
  napari-car info photo.jpg
  napari-car info screenshot.png           a picture that is no longer a JPEG file
  napari-car info photo.jpg --json"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``napari-car info``."""
    parser.add_argument("file", metavar="FILE", type=Path, help="a JPEG file, or a picture that was one once")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> int:
    """Print what the header and the pixels say, and what 'restore' would make of it."""
    picture = read_image(options.file)
    info = read_jpeg(options.file) if picture.format == "JPEG" else None
    found = diagnose(picture.pixels, info=info)
    print(json.dumps(_facts(picture, found), indent=2) if options.json else _page(picture, found))
    return 0


def _facts(picture: Picture, found: Diagnosis) -> dict[str, Any]:
    """All that was found, ready for JSON; the header's facts stand at the top where there is a header."""
    height, width = picture.pages[0].shape[:2]
    header = {} if found.info is None else _header(found.info)
    pixels = asdict(found.estimate) | {"is_double": found.estimate.is_double, "is_aligned": found.estimate.is_aligned}
    return {"width": width, "height": height} | header | {"pixels": pixels, "summary": found.sentence}


def _header(info: JpegInfo) -> dict[str, Any]:
    """All that a header says."""
    names = (
        "quality", "luma_quality", "chroma_quality", "is_standard", "table_residuals", "subsampling", "sampling",
        "color_space", "is_progressive", "is_arithmetic", "restart_interval", "precision",
    )  # fmt: skip
    facts = {name: getattr(info, name) for name in names}
    return facts | {"quant_tables": [table.tolist() for table in info.quant_tables]}


def _page(picture: Picture, found: Diagnosis) -> str:
    """The same for people: file and pixels side by side, then the conclusion; equal tables are printed once."""
    height, width = picture.pages[0].shape[:2]
    info, estimate = found.info, found.estimate
    rows = [("", "file", "pixels"), *_comparison(info, estimate)]
    first, second = (max(len(row[i]) for row in rows) for i in (0, 1))
    lines = [f"{width} x {height} px, {picture.pixels.dtype}, {picture.format}", ""]
    lines += [f"{name:<{first}}  {file:<{second}}  {pixels}".rstrip() for name, file, pixels in rows]
    lines += ["", found.sentence]
    seen: dict[bytes, list[int]] = {}
    tables = info.quant_tables if info else ()
    for i, table in enumerate(tables):
        seen.setdefault(table.tobytes(), []).append(i)
    for members in seen.values():
        lines += ["", f"quantization table of component {', '.join(map(str, members))}:"]
        lines += ["  " + " ".join(f"{divisor:4d}" for divisor in row) for row in tables[members[0]]]
    return "\n".join(lines)


def _comparison(info: JpegInfo | None, estimate: JpegEstimate) -> list[tuple[str, str, str]]:
    """What is known from both, a row each: name, file, pixels."""
    file = dict.fromkeys(("quality", "colour", "subsampling", "coding"), "-")
    if info is not None:
        quality = str(info.quality)
        if info.chroma_quality not in (None, info.quality):
            quality += f", chroma {info.chroma_quality}"
        coding = "progressive" if info.is_progressive else "baseline"
        file = {
            "quality": quality + ("" if info.is_standard else " (tables of its own)"),
            "colour": info.color_space,
            "subsampling": info.subsampling,
            "coding": coding + (", arithmetic" if info.is_arithmetic else ""),
        }
    found = estimate.quality is not None
    earlier = f", compressed again at {estimate.last_quality}" if estimate.is_double else ""
    return [
        ("quality", file["quality"], f"{estimate.quality}{earlier}" if found else "no compression found"),
        ("confidence", "-", f"{estimate.confidence:.0%}"),
        ("first block at", "0, 0" if info else "-", "{}, {}".format(*estimate.grid_phase) if found else "-"),
        ("subsampling", file["subsampling"], estimate.subsampling or "-"),
        ("colour", file["colour"], "-"),
        ("coding", file["coding"], "-"),
    ]
