"""What models gain at every quality, at 4:2:0 and 4:4:4, in int8 and fp32, and what they do to a clean picture.

    python benchmarks/every_quality.py ../shared/data/eval/live1 --model car-s
    python benchmarks/every_quality.py ../shared/data/train --held-out

Prints a Markdown table: mean gain in PSNR over RGB, dB, on the middle of each picture, told quality and sampling; and
the mean change of pictures that were never compressed, told quality 100, in grey levels.
"""

import argparse
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from napari_car import Session, list_models, open_session, restore
from napari_car.jpeg.coding import Coding
from napari_car.metrics import psnr

SIDE = 512
QUALITIES = (5, 10, 20, 30, 40, 50, 60, 70, 75, 80, 85, 90, 95)
SAMPLINGS = {"4:2:0": 2, "4:4:4": 0}
PRECISIONS = ("int8", "fp32")


def pictures(folder: Path, held_out: bool) -> Iterator[Any]:
    """Yield the middle of each picture of a folder; of the training pool only what training never sees."""
    from napari_car.train.pool import find_pictures, load, split

    paths = find_pictures(folder)
    for path in split(paths)[1] if held_out else paths:
        picture = load(path)
        y, x = (max(0, side - SIDE) // 2 for side in picture.shape[:2])
        yield np.ascontiguousarray(picture[y : y + SIDE, x : x + SIDE])


def gain(picture: Any, quality: int, sampling: str, session: Session) -> float:
    """PSNR of the restored picture less that of the JPEG, dB."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=quality, subsampling=SAMPLINGS[sampling])
    degraded = np.asarray(Image.open(file))
    restored = restore(degraded, quality=Coding.from_quality(quality, sampling), session=session)
    return float(psnr(picture, restored) - psnr(picture, degraded))


def change(picture: Any, session: Session) -> float:
    """How far a clean picture is moved, mean absolute difference in grey levels."""
    same = picture.astype(np.float32) / np.float32(255)
    restored = restore(same, quality=Coding.from_quality(100, "4:4:4"), session=session)
    return float(255 * np.abs(restored - same).mean())


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="DIR", help="pictures that were never compressed")
    parser.add_argument("--held-out", action="store_true", help="only the part of a training pool that is held out")
    parser.add_argument("--model", nargs="+", metavar="ID", help="models (default: all that are conditioned)")
    parser.add_argument("--quality", nargs="+", type=int, default=QUALITIES, metavar="N")
    args = parser.parse_args()
    models = args.model or [card.id for card in list_models() if card.conditioning]
    shown = list(pictures(args.folder, args.held_out))
    print(f"{len(shown)} pictures of {args.folder.name}\n")
    print("| | q | " + " | ".join(f"{s} {p}" for s in SAMPLINGS for p in PRECISIONS) + " |")
    print("| --- | ---: |" + " ---: |" * (len(SAMPLINGS) * len(PRECISIONS)))
    for model in models:
        sessions = [open_session(model, precision=precision, provider="cpu") for precision in PRECISIONS]
        for quality in args.quality:
            cells = [np.mean([gain(p, quality, s, session) for p in shown]) for s in SAMPLINGS for session in sessions]
            print(f"| {model} | {quality} | " + " | ".join(f"{cell:+.3f}" for cell in cells) + " |", flush=True)
        moved = [np.mean([change(p, session) for p in shown]) for session in sessions]
        print(f"| {model} | clean | " + " | ".join(f"{m:.3f} levels" for m in moved) + " | | |", flush=True)


if __name__ == "__main__":
    main()
