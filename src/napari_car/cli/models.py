"""``napari-car models``: the bundled models in a table, and what they run on."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from napari_car.cards import DEFAULT_MODEL, list_models
from napari_car.choice import SIDE, candidates, choose, seconds_per_mp
from napari_car.providers import PROVIDERS, absence, offered
from napari_car.steps import count_cores

EXAMPLES = """\
examples:
  napari-car models                      ids, cost and gain; --model of the other commands takes an id
  napari-car models --providers          what computes here, and which of it is the fastest"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``napari-car models``."""
    parser.add_argument("--providers", action="store_true", help="list what computes here, and what is picked and why")


def run(options: argparse.Namespace) -> int:
    """Print one line a model, cheapest first, or one a provider and what each model runs on."""
    if options.providers:
        return _print_providers()
    header = ("id", "task", "size", "kMAC/px", "licence", "gain q10", "gain q20", "")
    rows: list[tuple[str, ...]] = [header]
    for card in list_models():
        gains = [card.gain(quality) for quality in (10, 20)]
        name = card.id + (" *" if card.id == DEFAULT_MODEL else "")
        rows.append((
            name, "jpeg", f"{card.size / 1e6:.1f} MB", f"{card.kmac_per_px:g}",
            card.licence, *("-" if gain is None else f"{gain:+.2f} dB" for gain in gains), card.summary,
        ))  # fmt: skip
    _print(rows)
    print("\n* default. Gain: mean PSNR over the JPEG on LIVE1, RGB, int8.")
    return 0


def _print_providers() -> int:
    there = offered()
    _print([("provider", "here", ""), *((n, *(("yes", "") if n in there else ("no", absence(n)))) for n in PROVIDERS)])
    how = f"{count_cores()} threads, from a tile of {SIDE} x {SIDE} px on one"
    print(f"\nSeconds for a megapixel of a large picture, {how}:")
    rows: list[tuple[str, ...]] = [("model", "picked", "")]
    for card in list_models():
        among = candidates(card, "auto", "auto")
        times = seconds_per_mp(card, among)
        told = ", ".join(f"{name} {times[name]:.3f}" for name in sorted(times, key=lambda name: times[name]))
        rows.append((card.id, str(choose(card, among)), told))
    _print(rows)
    return 0


def _print(rows: Sequence[Sequence[str]]) -> None:
    """Print rows as columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
