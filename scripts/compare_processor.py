"""Hold what one processor computes against what another does, and exit with 1 where it is worse.

python scripts/compare_processor.py HERE.npz                on each: write results
python scripts/compare_processor.py HERE.npz THERE.npz      on either: a row for each model
"""

from __future__ import annotations

import io
import sys

import numpy as np
from PIL import Image

from napari_car import list_models, open_session, restore
from napari_car.cli.demo import SAMPLE
from napari_car.files import read_image

TOLERANCE = 1e-5
"""In fp32, of full scale; design.md has the same for tiles."""

WORSE = 1.05
"""How much farther from fp32 int8 may be there; where branches meet, rounding is by floats of the processor's own."""

Results = dict[str, np.ndarray]


def compute() -> Results:
    """What models make of a piece of the sample, compressed."""
    file = io.BytesIO()
    Image.fromarray(read_image(SAMPLE).pixels[96:224, 160:352]).save(file, "JPEG", quality=20)
    picture = read_image(file.getvalue()).pixels
    sessions = [open_session(c.id, provider="cpu", precision=p, threads=1) for c in list_models() for p in c.precisions]
    return {
        f"{session.card.id} {session.precision}": restore(picture, quality=20, dtype="float32", session=session)
        for session in sessions
    }


def compare(here: Results, there: Results) -> int:
    """Print a row for each model."""
    print("| model | largest difference | samples that differ in 8 bits | rms from fp32, here and there |")
    print("|---|---:|---:|---:|")
    n_worse = 0
    for name, ours in here.items():
        theirs, exact = there[name], here[name.replace("int8", "fp32")]
        largest = float(np.abs(theirs - ours).max())
        n_different = int((np.rint(255 * theirs) != np.rint(255 * ours)).sum())
        rms, rms_there = (float(np.sqrt(np.mean((found - exact) ** 2))) for found in (ours, theirs))
        is_worse = largest > TOLERANCE if name.endswith("fp32") else rms_there > WORSE * rms
        n_worse += is_worse
        told = f"{n_different} of {ours.size} | {rms:.5f}, {rms_there:.5f}{' WORSE' * is_worse}"
        print(f"| {name} | {largest:.1e} | {told} |")
    return int(n_worse > 0)


def main(here: str, there: str | None = None) -> int:
    """Compute, or compare what was computed."""
    if there is None:
        np.savez(here, **compute())
        return 0
    return compare(dict(np.load(here)), dict(np.load(there)))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
