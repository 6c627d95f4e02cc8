"""``napari-car info``: how a JPEG file was compressed."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from napari_car.jpeg.header import JpegInfo, read_jpeg

EXAMPLES = """\
examples:
  napari-car info photo.jpg              quality, sampling and quantization tables
  napari-car info photo.jpg --json       the same for programs"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``napari-car info``."""
    parser.add_argument("file", metavar="FILE", type=Path, help="a JPEG file")
    parser.add_argument("--json", action="store_true", help="print it as JSON")


def run(options: argparse.Namespace) -> int:
    """Print what the file's header says."""
    info = read_jpeg(options.file)
    print(json.dumps(_facts(info), indent=2) if options.json else _page(info))
    return 0


def _facts(info: JpegInfo) -> dict[str, Any]:
    """All that the header says, ready for JSON."""
    return {
        "width": info.width, "height": info.height, "quality": info.quality, "luma_quality": info.luma_quality,
        "chroma_quality": info.chroma_quality, "is_standard": info.is_standard, "subsampling": info.subsampling,
        "sampling": [list(factors) for factors in info.sampling], "color_space": info.color_space,
        "is_progressive": info.is_progressive, "is_arithmetic": info.is_arithmetic,
        "restart_interval": info.restart_interval, "precision": info.precision,
        "quant_tables": [table.tolist() for table in info.quant_tables],
    }  # fmt: skip


def _page(info: JpegInfo) -> str:
    """The same for people; equal tables are printed once."""
    quality = str(info.luma_quality)
    if info.chroma_quality not in (None, info.luma_quality):
        quality += f" in luma, {info.chroma_quality} in chroma"
    tables = "the tables of the IJG library" if info.is_standard else "tables of its own, this is the nearest"
    kind = ("progressive" if info.is_progressive else "baseline") + (", arithmetic" if info.is_arithmetic else "")
    lines = [
        f"size         {info.width} x {info.height} px, {info.precision} bits",
        f"quality      {quality} ({tables})",
        f"colour       {info.color_space}, chroma subsampling {info.subsampling}",
        f"coding       {kind}" + (f", restart every {info.restart_interval} MCUs" if info.restart_interval else ""),
    ]
    seen: dict[bytes, list[int]] = {}
    for i, table in enumerate(info.quant_tables):
        seen.setdefault(table.tobytes(), []).append(i)
    for members in seen.values():
        lines.append(f"quantization table of component {', '.join(map(str, members))}:")
        lines += ["  " + " ".join(f"{divisor:4d}" for divisor in row) for row in info.quant_tables[members[0]]]
    return "\n".join(lines)
