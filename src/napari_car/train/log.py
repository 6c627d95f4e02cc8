"""The log of a training run: a CSV file with a row for each time that it was looked at."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import Any


def append(path: Path, row: dict[str, Any]) -> None:
    """Write a row, whose first two columns are "minutes" and "step"; before the first one the names of the columns."""
    is_new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, row)
        if is_new:
            writer.writeheader()
        writer.writerow(row)


def cut(path: Path, step: int) -> None:
    """Take out rows of later steps, which a kill has undone and which will come again."""
    if not path.exists():
        return
    header, *rows = path.read_bytes().splitlines(keepends=True) or [b""]
    kept = [row for row in rows if row.endswith(b"\n") and int(row.split(b",")[1]) <= step]
    if not kept:
        path.unlink()
    elif len(kept) < len(rows):
        partial = path.with_suffix(".csv.partial")
        partial.write_bytes(b"".join([header, *kept]))
        os.replace(partial, path)
