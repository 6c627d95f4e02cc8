"""``napari-car models``: the bundled models in a table."""

from __future__ import annotations

import argparse

from napari_car.cards import DEFAULT_MODEL, list_models

EXAMPLES = """\
example:
  napari-car models                      ids, cost and gain; --model of the other commands takes an id"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Take no options."""


def run(options: argparse.Namespace) -> int:
    """Print one line a model, cheapest first."""
    header = ("id", "task", "size", "kMAC/px", "licence", "gain q10", "gain q20", "")
    rows: list[tuple[str, ...]] = [header]
    for card in list_models():
        gains = [card.gain(quality) for quality in (10, 20)]
        name = card.id + (" *" if card.id == DEFAULT_MODEL else "")
        rows.append((
            name, "jpeg", f"{card.size / 1e6:.1f} MB", f"{card.kmac_per_px:g}",
            card.licence, *("-" if gain is None else f"{gain:+.2f} dB" for gain in gains), card.summary,
        ))  # fmt: skip
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    print("\n* default. Gain: mean PSNR over the JPEG on LIVE1, RGB, int8.")
    return 0
