"""Hold what models compute elsewhere, or by another execution provider, against what onnxruntime's CPU computes here.

python scripts/conformance.py compute RESULTS.npz PROVIDER [MODEL...]    what models make of a picture; default: all
python scripts/conformance.py compare HERE.npz THERE.npz                 a row for each; exits with 1 where one is worse
"""

from __future__ import annotations

import io
import sys

import numpy as np
from PIL import Image

from napari_car import list_models, load_card, open_session, restore
from napari_car.cli.demo import SAMPLE
from napari_car.files import read_image
from napari_car.providers import PROVIDERS

TOLERANCE = 1e-5
"""In fp32, of full scale; design.md has the same for tiles."""

HALF = 5e-4
"""In fp16, rms of full scale: an eighth of a grey level."""

WORSE = 1.05
"""How much farther from fp32 int8 may be there; where branches meet, rounding is by floats of the processor's own."""


def compute(results: str, provider: str, *models: str) -> int:
    """Restore a piece of the sample, compressed, by each model in each precision that it has and the provider takes."""
    file = io.BytesIO()
    Image.fromarray(read_image(SAMPLE).pixels[96:224, 160:352]).save(file, "JPEG", quality=20)
    picture = read_image(file.getvalue()).pixels
    found = {}
    for card in map(load_card, models) if models else list_models():
        for precision in [kind for kind in PROVIDERS[provider].precisions if kind in card.precisions]:
            session = open_session(card.id, provider=provider, precision=precision, threads=1)
            found[f"{card.id} {precision}"] = restore(picture, quality=20, dtype="float32", session=session)
            if session.provider != provider:
                print(f"{card.id} does not run on {provider} but on {session.provider}", file=sys.stderr)
                return 1
    np.savez(results, **found)
    return 0


def compare(here: str, there: str) -> int:
    """Print a row for all that was computed there."""
    ours, theirs = dict(np.load(here)), dict(np.load(there))
    print("| model | largest difference | samples that differ in 8 bits | rms from fp32, here and there |")
    print("|---|---:|---:|---:|")
    n_worse = 0
    for name, result in theirs.items():
        model, precision = name.split()
        exact = ours[f"{model} fp32"]
        expected = exact if precision == "fp16" else ours[name]
        largest = float(np.abs(result - expected).max())
        n_different = int((np.rint(255 * result) != np.rint(255 * expected)).sum())
        rms, rms_there = (float(np.sqrt(np.mean((found - exact) ** 2))) for found in (expected, result))
        bounds = {"int8": rms_there <= WORSE * rms, "fp16": rms_there <= HALF, "fp32": largest <= TOLERANCE}
        is_worse = not bounds[precision]
        n_worse += is_worse
        told = f"{n_different} of {result.size} | {rms:.5f}, {rms_there:.5f}{' WORSE' * is_worse}"
        print(f"| {name} | {largest:.1e} | {told} |")
    return int(n_worse > 0)


if __name__ == "__main__":
    sys.exit({"compute": compute, "compare": compare}[sys.argv[1]](*sys.argv[2:]))
