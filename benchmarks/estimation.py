"""How well `estimate_jpeg` finds quality, grid phase and subsampling, over a folder of uncompressed pictures.

    python benchmarks/estimation.py PICTURES...

prints one table; every figure in it comes from pictures that are compressed here, with a fixed seed.
"""

from __future__ import annotations

import argparse
import io
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from napari_car.jpeg.estimate import JpegEstimate, estimate_jpeg
from napari_car.jpeg.header import JpegInfo, read_jpeg

Picture = NDArray[np.uint8]
CROP = 320
QUALITIES = (5, 10, 20, 30, 40, 50, 60, 75, 85, 90, 95)


def compress(picture: Picture, quality: int, subsampling: str = "4:2:0") -> Picture:
    """Encode and decode."""
    return coded(picture, quality, subsampling)[0]


def coded(picture: Picture, quality: int, subsampling: str = "4:2:0") -> tuple[Picture, JpegInfo]:
    """The same, and the header of the file."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=quality, subsampling=subsampling)
    return np.asarray(Image.open(file)), read_jpeg(file.getvalue())


def estimate_before(picture: Picture, quality: int) -> JpegEstimate:
    """What is found behind a compression that is known from its file."""
    pixels, info = coded(picture, quality)
    return estimate_jpeg(pixels, last=info)


def read(paths: Iterable[Path]) -> list[Picture]:
    """Every picture of files and folders as RGB."""
    files = [file for path in paths for file in (sorted(path.iterdir()) if path.is_dir() else [path])]
    return [np.asarray(Image.open(file).convert("RGB")) for file in files]


class Tally:
    """Answers, whether they were right, and how sure they were."""

    def __init__(self) -> None:
        self.sure: list[tuple[float, bool]] = []

    def row(
        self, name: str, found: list[JpegEstimate], right: Callable[[int, JpegEstimate], tuple[bool, bool, bool]]
    ) -> None:
        """Print the share of right qualities, phases and subsamplings of a list of answers."""
        checks = np.array([right(i, answer) for i, answer in enumerate(found)])
        self.sure += [(answer.confidence, bool(q and p)) for answer, (q, p, _) in zip(found, checks, strict=True)]
        sure = np.mean([answer.confidence for answer in found])
        print(
            f"| {name:27} | " + " | ".join(f"{share:6.1%}" for share in checks.mean(0)) + f" | {sure:.2f} |", flush=True
        )

    def calibration(self) -> None:
        """Print how often answers of some confidence are right."""
        sure, right = np.array(self.sure).T
        print("\n| confidence | answers | right |\n|---|---|---|")
        for low, high in ((0, 0.5), (0.5, 0.9), (0.9, 1.01)):
            chosen = (sure >= low) & (sure < high)
            if chosen.any():
                print(f"| {low} to {min(high, 1)} | {chosen.sum()} | {right[chosen].mean():.1%} |")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", nargs="+", type=Path, help="files or folders of uncompressed pictures")
    pictures = read(parser.parse_args().pictures)
    random = np.random.default_rng(0)
    tally = Tally()
    print(
        f"{len(pictures)} pictures\n\n"
        "| case | quality ±2 | phase | subsampling | mean confidence |\n|---|---|---|---|---|"
    )
    for subsampling in ("4:2:0", "4:4:4", "4:2:2"):
        for quality in QUALITIES:
            found = [estimate_jpeg(compress(picture, quality, subsampling)) for picture in pictures]
            tally.row(
                f"whole, {subsampling}, q{quality}",
                found,
                lambda _, e, q=quality, s=subsampling: (is_near(e, q), e.grid_phase == (0, 0), e.subsampling == s),
            )
    for quality in QUALITIES:
        starts = [random.integers(1, np.subtract(p.shape[:2], CROP) + 1) for p in pictures]
        crops = [
            compress(picture, quality)[top : top + CROP, left : left + CROP]
            for picture, (top, left) in zip(pictures, starts, strict=True)
        ]
        tally.row(
            f"crop of {CROP}, q{quality}",
            [estimate_jpeg(crop) for crop in crops],
            lambda i, e, q=quality, s=starts: (
                is_near(e, q),
                e.grid_phase == tuple(-s[i] % 8),
                e.mcu_phase == tuple(-s[i] % 16),
            ),
        )
    clean = [estimate_jpeg(picture) for picture in pictures]
    tally.row("clean (found: none)", clean, lambda _, e: (e.quality is None, e.quality is None, e.quality is None))
    for first, second in ((10, 20), (10, 90), (30, 50), (30, 75), (50, 80), (60, 95), (80, 90)):
        for name, top, left in (("", 0, 0), (", crop 3,5", 3, 5)):
            once = [compress(picture, first)[top:, left:] for picture in pictures]
            by_pixels = [estimate_jpeg(compress(picture, second)) for picture in once]
            by_file = [estimate_before(picture, second) for picture in once]
            for found, known in ((by_pixels, ""), (by_file, ", file")):
                tally.row(
                    f"q{first}{name}, q{second}{known}",
                    found,
                    lambda _, e, q=first, p=(-top % 8, -left % 8): (is_near(e, q), e.grid_phase == p, e.is_double),
                )
        once = [np.rot90(compress(picture, first)) for picture in pictures]
        tally.row(
            f"q{first}, turned, q{second}, file",
            [estimate_before(picture, second) for picture in once],
            lambda i, e, q=first: (is_near(e, q), e.grid_phase == (pictures[i].shape[1] % 8, 0), e.is_double),
        )
    single = [estimate_before(picture, quality) for picture in pictures for quality in (20, 50, 80, 95)]
    tally.row("once, file (nothing before)", single, lambda _, e: (not e.is_double,) * 3)
    print("\nIn the rows of crops, the third figure is the MCU phase; in those of double compression, is_double.")
    tally.calibration()
    large = np.tile(compress(pictures[0], 75), (12, 12, 1))[:4000, :6000]
    start = time.perf_counter()
    estimate_jpeg(large)
    print(f"\n{large.shape[0] * large.shape[1] / 1e6:.0f} megapixels: {time.perf_counter() - start:.2f} s")


def is_near(answer: JpegEstimate, quality: int) -> bool:
    """Whether the quality is right to within two steps."""
    return answer.quality is not None and abs(answer.quality - quality) <= 2


if __name__ == "__main__":
    main()
