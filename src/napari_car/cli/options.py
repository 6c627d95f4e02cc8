"""Options that ``napari-car restore`` and ``napari-car batch`` share."""

from __future__ import annotations

import argparse

from napari_car.cards import DEFAULT_MODEL
from napari_car.providers import PROVIDERS
from napari_car.restore_file import FileOptions


def add_file_options(parser: argparse.ArgumentParser) -> None:
    """Declare how a picture is to be restored and written."""
    add = parser.add_argument
    add("--force", action="store_true", help="overwrite an output that exists")
    add("--model", metavar="ID", help=f"one of 'napari-car models' (default: {DEFAULT_MODEL})")
    add(
        "--quality", metavar="auto|1..100", default="auto",
        help="IJG quality it was compressed at (default: auto, by its file and its pixels)",
    )  # fmt: skip
    add("--strength", metavar="0..1", type=float, default=1.0, help="share of the change to apply (default: 1)")
    add("--luma", metavar="0..1", type=float, default=1.0, help="share of the change in brightness (default: 1)")
    add("--chroma", metavar="0..1", type=float, default=1.0, help="share of the change in colour (default: 1)")
    add("--consistent", action="store_true", help="keep the result within what the file allows")
    add("--bit-depth", choices=[8, 16], type=int, help="bits a channel of the output (default: as the input)")
    add(
        "--output-quality", metavar="1..100", type=int,
        help="of an output in JPEG, WebP or AVIF (default: 95; WebP is lossless)",
    )  # fmt: skip
    add("--no-provenance", action="store_true", help="do not write into the output how it came about")
    add("--strip", action="store_true", help="leave out metadata, but for colour profile and orientation")
    add(
        "--max-memory", metavar="SIZE",
        help="what the process may take in all, such as 600MB; what cannot fit is refused (default: no limit)",
    )  # fmt: skip
    add("--provider", metavar="NAME", default="auto", help=f"what computes: auto (default), {', '.join(PROVIDERS)}")


def file_options(options: argparse.Namespace) -> FileOptions:
    """What was asked for, as keywords of ``restore_file``."""
    keywords: FileOptions = {
        "model": options.model,
        "overwrite": options.force,
        "output_quality": options.output_quality,
        "provenance": not options.no_provenance,
        "strip": options.strip,
        "quality": _quality(options.quality),
        "strength": options.strength,
        "luma": options.luma,
        "chroma": options.chroma,
        "consistent": options.consistent,
        "max_memory": options.max_memory,
    }
    if options.bit_depth is not None:
        keywords["dtype"] = f"uint{options.bit_depth}"
    return keywords


def _quality(text: str) -> int | str:
    """The quality as a number where it is one; what is allowed is said by ``restore``."""
    try:
        return int(text)
    except ValueError:
        return text
