"""What was measured, as tables: CSV of every picture; JSON, Markdown and LaTeX of the means."""

from __future__ import annotations

import csv
import json
import math
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np

from napari_car.cards import ModelCard
from napari_car.errors import FileError

HEADINGS = (
    "data", "quality", "model", "precision", "parameters", "kMAC/px",
    "PSNR, dB", "SSIM", "PSNR-B, dB", "s/MP", "images",
)  # fmt: skip


@dataclass(frozen=True)
class ImageRow:
    """The figures of one picture; PSNR and PSNR-B in dB."""

    data: str
    image: str
    quality: int
    """JPEG quality, in TID2008 the level 1 to 4."""
    model: str
    precision: str | None
    """None for the JPEG itself."""
    psnr: float
    ssim: float
    psnr_b: float
    seconds: float
    megapixels: float


@dataclass(frozen=True)
class Row:
    """The mean figures of one model at one quality; PSNR and PSNR-B in dB."""

    data: str
    quality: int
    model: str
    precision: str | None
    psnr: float
    ssim: float
    psnr_b: float
    seconds_per_mp: float
    images: int


def summarize(image_rows: Iterable[ImageRow]) -> list[Row]:
    """Return the means over the pictures, by set, quality and model, in that order of appearance.

    Scores are means of the pictures' figures; time is all seconds over all megapixels.
    """
    groups: dict[tuple[str, int, str, str | None], list[ImageRow]] = defaultdict(list)
    for row in image_rows:
        groups[row.data, row.quality, row.model, row.precision].append(row)
    rows = []
    for key, group in sorted(groups.items(), key=lambda pair: pair[0][:2]):
        psnr, ssim, psnr_b = np.mean([(row.psnr, row.ssim, row.psnr_b) for row in group], axis=0).tolist()
        seconds = sum(row.seconds for row in group) / sum(row.megapixels for row in group)
        rows.append(Row(*key, psnr, ssim, psnr_b, seconds, len(group)))
    return rows


def write_csv(path: Path, rows: Sequence[ImageRow]) -> None:
    """Write one line for each picture, quality and model.

    Raises
    ------
    FileError
        If the file cannot be written.
    """
    try:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, [field.name for field in fields(rows[0])])
            writer.writeheader()
            writer.writerows(asdict(row) for row in rows)
    except OSError as error:
        raise FileError(f"the table cannot be written ({error.strerror})", path) from error


def to_json(rows: Sequence[Row], _cards: Mapping[str, ModelCard]) -> str:
    """Return a JSON list of the rows; the infinite PSNR of equal pictures becomes null."""
    objects = [
        {key: None if isinstance(value, float) and math.isinf(value) else value for key, value in asdict(row).items()}
        for row in rows
    ]
    return json.dumps(objects, indent=2)


def to_markdown(rows: Sequence[Row], cards: Mapping[str, ModelCard]) -> str:
    """Return a Markdown table with a line for each row."""
    lines = [HEADINGS, ("---",) * 4 + ("---:",) * 7, *(_cells(row, cards) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def to_latex(rows: Sequence[Row], cards: Mapping[str, ModelCard]) -> str:
    """Return a LaTeX tabular with a line for each row."""
    cells = ([re.sub(r"[&%$#_{}]", r"\\\g<0>", cell) for cell in _cells(row, cards)] for row in rows)
    lines = [" & ".join(line) + r" \\" for line in cells]
    head = [r"\begin{tabular}{llll|rrrrrrr}", " & ".join(HEADINGS) + r" \\", r"\hline"]
    return "\n".join([*head, *lines, r"\end{tabular}"])


FORMATS = {"json": to_json, "markdown": to_markdown, "latex": to_latex}
"""The writers of means by name."""


def _cells(row: Row, cards: Mapping[str, ModelCard]) -> tuple[str, ...]:
    """Return a row as text, with the cost of its model where it has a card."""
    card = cards.get(row.model)
    cost = ("", "") if card is None else (f"{card.parameters:,}", f"{card.kmac_per_px:.1f}")
    time = "" if card is None else f"{row.seconds_per_mp:.3f}"
    return (
        row.data, str(row.quality), row.model, row.precision or "", *cost,
        f"{row.psnr:.2f}", f"{row.ssim:.4f}", f"{row.psnr_b:.2f}", time, str(row.images),
    )  # fmt: skip
