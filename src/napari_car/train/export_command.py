"""``napari-car export``: what it is told; torch is imported only when it runs."""

from __future__ import annotations

import argparse
from pathlib import Path

from napari_car.errors import FileError

EXAMPLES = """\
examples:
  napari-car export runs/my-car --to models/my-car --images-dir pictures
  napari-car export runs/my-car/all.safetensors --to models/my-car --images-dir pictures --half"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``napari-car export``."""
    parser.add_argument("checkpoints", type=Path, nargs="+", help="checkpoint files, or the folder that holds them")
    parser.add_argument("--to", type=Path, required=True, help="model folder; its name is the model's id")
    parser.add_argument("--images-dir", type=Path, required=True, help="training pictures, for calibration")
    parser.add_argument("--half", action="store_true", help="a graph in fp16 too, for large networks on GPUs")
    parser.add_argument("--summary", help="one sentence for the card; that of the card in the folder without")


def run(options: argparse.Namespace) -> int:
    """Export all checkpoints given into one model folder."""
    from napari_car.train.export import export, final_checkpoints

    given: list[Path] = options.checkpoints
    paths = [path for item in given for path in (final_checkpoints(item) if item.is_dir() else [item])]
    if not paths:
        raise FileError("holds no checkpoint (*.safetensors)", given[0])
    export(paths, options.to, options.images_dir, options.summary, has_half=options.half)
    print(options.to / "card.toml")
    return 0
