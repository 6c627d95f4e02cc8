"""Kill a batch again and again, and see that nothing is lost, broken or done twice.

    python benchmarks/resume.py                 2,000 files, ten kills: some minutes
    python benchmarks/resume.py --files 100 --kills 3

Small JPEGs are restored once without interruption, and once by a batch that is killed (SIGKILL) at random moments and
started anew. At the end both trees must be the same to the byte, with nothing else in them, and no file may have been
restored twice but those that a kill interrupted. The exit code tells.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image
from skimage import data

JOBS = 2


def make(folder: Path, n_files: int) -> None:
    """Make small JPEGs, each another one, in a tree of folders."""
    picture = Image.fromarray(data.astronaut())
    rng = np.random.default_rng(1)
    for i in range(n_files):
        path = folder / f"{i % 7}" / f"{i % 3}" / f"{i:05}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        left, top = (int(n) for n in rng.integers((416, 448)))
        picture.crop((left, top, left + 96, top + 64)).save(path, quality=int(rng.integers(5, 60)))


def command(scans: Path, output: Path, report: Path) -> list[str]:
    """The batch."""
    arguments = ["batch", scans, "-o", output, "--jobs", JOBS, "--report", report]
    return [sys.executable, "-m", "napari_car", *map(str, arguments)]


def tree(folder: Path) -> dict[str, bytes]:
    """Names and contents of all files."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if not path.is_dir()}


def results(report: Path) -> list[tuple[str, str]]:
    """File and result of each line of a report."""
    lines = report.read_text().splitlines() if report.exists() else []
    return [(line["file"], line["result"]) for line in map(json.loads, lines)]


def main() -> int:
    """Run both batches and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        scans, alone, killed, report = (folder / part for part in ("scans", "alone", "killed", "killed.jsonl"))
        make(scans, options.files)
        start = time.monotonic()
        subprocess.run(command(scans, alone, folder / "alone.jsonl"), check=True)
        span = 2 * (time.monotonic() - start) / (options.kills + 1)
        for number in range(options.kills):
            moment = rng.uniform(0, span)
            process = subprocess.Popen(command(scans, killed, report), stdout=subprocess.DEVNULL)
            time.sleep(moment)
            process.kill()  # of SIGKILL nobody is told; the processes that it had started must notice
            process.wait()
            n_parts = sum(path.name.endswith(".part") for path in killed.rglob(".*"))
            n_done = len(tree(killed)) - n_parts if killed.exists() else 0
            print(f"kill {number + 1} after {moment:.1f} s: {n_done} outputs, {n_parts} temporary files", flush=True)
        subprocess.run(command(scans, killed, report), check=True)
        times = Counter(file for file, result in results(report) if result == "restored")
        n_failed = sum(result == "failed" for _, result in results(report))
        n_twice = sum(n > 1 for n in times.values())
        n_untold = options.files - len(times)  # their process was killed between output and report
        at_most = JOBS * options.kills
        is_same = tree(killed) == tree(alone)
        print(f"{len(tree(killed))} files; the same as without a kill: {is_same}; failed: {n_failed}")
        print(f"restored twice: {n_twice}; not yet reported as they were killed: {n_untold} of at most {at_most}")
        is_right = is_same and len(tree(alone)) == options.files and not n_failed and not n_twice
        return 0 if is_right and n_untold <= at_most else 1


if __name__ == "__main__":
    sys.exit(main())
