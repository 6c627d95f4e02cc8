"""Whether the quality that stands for tables of other programs is the best that a network can be told of them.

    python benchmarks/custom_tables.py ../shared/data/train --held-out --model car-m

Prints a Markdown table: for each kind of tables the quality told, the one whose restoration has the highest mean PSNR
over RGB on the middle of the pictures, at 4:2:0, and what telling the former loses, dB, on average and at most. The IJG
rows are the yardstick: what they show is the network's, or chance.
"""

import argparse
import io
import logging
from pathlib import Path
from typing import Any

import numpy as np
from every_quality import pictures
from PIL import Image, JpegPresets

from napari_car import Coding, Session, list_models, open_session, read_jpeg, restore
from napari_car.jpeg.tables import ijg_table
from napari_car.metrics import psnr

SIDE = 256
REACH, STEP = 18, 2
LOWEST, HIGHEST = 2, 95
PRESETS = ("web_low", "web_medium", "web_high", "low", "medium", "high")


def table(divisors: Any) -> list[int]:
    """Divisors as a file holds them."""
    return [int(divisor) for divisor in np.clip(np.round(np.ravel(divisors)), 1, 255)]


def kinds_of_tables() -> dict[str, list[list[int]]]:
    """Luma and chroma table of each kind: of the IJG, of Photoshop, and by formula."""
    frequency = np.add.outer(np.arange(8), np.arange(8)).astype(float)
    alike = {
        "flat 8": 8 + 0 * frequency,
        "flat 16": 16 + 0 * frequency,
        "flat 32": 32 + 0 * frequency,
        "linear": 4 + 4 * frequency,
        "soft": 8 + 2 * frequency,
        "steep": 3 + frequency**2,
        "very steep": 12 * 1.45**frequency,
        "cut off": np.where(frequency < 4, 10, 255),
        "exponential": 16 * 1.3 ** np.hypot(*np.mgrid[:8, :8]),
        "IJG 25, tilted": ijg_table(25) * (1.1 - 0.02 * frequency),
    }
    kinds = {f"IJG {quality}": [ijg_table(quality), ijg_table(quality, "chroma")] for quality in (10, 30, 60, 85)}
    kinds |= {name: [divisors, divisors] for name, divisors in alike.items()}
    kinds["IJG 25, turned up"] = [ijg_table(25, kind) * (0.7 + 0.1 * frequency) for kind in ("luma", "chroma")]
    kinds["IJG 70 and 30"] = [ijg_table(70), ijg_table(30, "chroma")]
    random = np.random.default_rng(1)
    for lowest, highest in ((3, 30), (5, 90), (8, 40), (12, 160), (24, 250)):
        steps = np.cumsum(random.exponential(1, (2, 15)), axis=1)
        rising = lowest + (highest - lowest) * (steps - steps[:, :1]) / np.ptp(steps, axis=1)[:, None]
        kinds[f"random, {lowest} to {highest}"] = [rising[0][frequency.astype(int)], rising[1][frequency.astype(int)]]
    tables = {name: [table(luma), table(chroma)] for name, (luma, chroma) in kinds.items()}
    presets = {f"Photoshop {name}": JpegPresets.presets[name]["quantization"] for name in PRESETS}
    return tables | {name: [table(luma), table(chroma)] for name, (luma, chroma) in presets.items()}


def measure(references: list[Any], tables: list[list[int]], session: Session) -> tuple[int, float, list[float]]:
    """Quality told, the best one, and what is lost by picture, dB."""
    gains = []
    for reference in references:
        file = io.BytesIO()
        Image.fromarray(reference).save(file, "JPEG", qtables=tables, subsampling="4:2:0")
        degraded, told = np.asarray(Image.open(file)), read_jpeg(file.getvalue()).quality
        first = max(LOWEST, told - REACH) if told > LOWEST else LOWEST
        qualities = [told, *range(first, min(HIGHEST, told + REACH) + 1, STEP)]
        codings = map(Coding.from_quality, qualities)
        gains.append([psnr(reference, restore(degraded, quality=coding, session=session)) for coding in codings])
    at_told, others = np.array(gains)[:, 0], np.array(gains)[:, 1:]
    best = int(others.mean(0).argmax())
    lost = others[:, best] - at_told
    return told, _vertex(qualities[1:], others.mean(0), best), lost.tolist()


def _vertex(qualities: list[int], gains: Any, best: int) -> float:
    """Where the parabola through the best of equally spaced qualities and its neighbours has its top."""
    if not 0 < best < len(qualities) - 1:
        return float(qualities[best])
    before, top, after = gains[best - 1 : best + 2]
    return float(qualities[best] + STEP * (after - before) / (2 * (2 * top - before - after)))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="DIR", help="pictures that were never compressed")
    parser.add_argument("--held-out", action="store_true", help="only the part of a training pool that is held out")
    parser.add_argument("--model", nargs="+", metavar="ID", help="models (default: all that are conditioned)")
    parser.add_argument("--count", type=int, default=8, metavar="N", help="pictures, evenly out of all (default: 8)")
    args = parser.parse_args()
    logging.getLogger("napari_car").setLevel(logging.ERROR)  # qualities outside of a card's range are on purpose
    shown = list(pictures(args.folder, args.held_out))
    chosen = [shown[i] for i in np.linspace(0, len(shown) - 1, min(args.count, len(shown))).round().astype(int)]
    middles = [[(length - SIDE) // 2 for length in picture.shape[:2]] for picture in chosen]
    references = [
        np.ascontiguousarray(picture[y : y + SIDE, x : x + SIDE])
        for picture, (y, x) in zip(chosen, middles, strict=True)
    ]
    print(f"The middle {SIDE}×{SIDE} px of {len(references)} pictures of {args.folder.name}\n")
    print("| model | tables | told | best | told - best | lost, dB | at most |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: |")
    for model in args.model or [card.id for card in list_models() if card.conditioning]:
        session = open_session(model, provider="cpu", precision="int8")
        for name, tables in kinds_of_tables().items():
            told, best, lost = measure(references, tables, session)
            figures = f"{told} | {best:.1f} | {told - best:+.1f} | {np.mean(lost):.3f} | {max(lost):.3f}"
            print(f"| {model} | {name} | {figures} |", flush=True)


if __name__ == "__main__":
    main()
