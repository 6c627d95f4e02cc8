"""Hold what an execution provider computes in fp32 against the CPU, and exit with 1 where they differ.

python scripts/compare_provider.py PROVIDER MODEL...
"""

from __future__ import annotations

import sys

import numpy as np

from napari_car import Coding, open_session, restore

TOLERANCE = 1e-5
"""Of the residual, of full scale; design.md has the same for tiles in fp32."""


def main(provider: str, *models: str) -> int:
    """Print a row for each model."""
    rng = np.random.default_rng(0)
    blocks = rng.integers(0, 256, (8, 12, 3)).repeat(32, 0).repeat(32, 1)
    picture = (blocks + rng.normal(0, 12, (256, 384, 3))).clip(0, 255).astype(np.uint8)
    print("| model | provider | rms of the residual | largest difference | samples that differ in 8 bits |")
    print("|---|---|---:|---:|---:|")
    worst = 0.0
    for model in models:
        there, here = (open_session(model, provider=name, precision="fp32", threads=1) for name in (provider, "cpu"))
        image = picture / np.float32(255)
        theirs, ours = (session.run(image, Coding.from_quality(20)).planes() for session in (there, here))
        result, expected = (restore(picture, quality=20, session=session, tile=128) for session in (there, here))
        if there.provider != provider:
            print(f"{model} does not run on {provider} but on {there.provider}", file=sys.stderr)
            return 1
        rms, n_different = float(np.sqrt(np.mean(ours**2))), int((result != expected).sum())
        difference = float(np.abs(theirs - ours).max())
        worst = max(worst, difference)
        print(f"| {model} | {provider} | {rms:.4f} | {difference:.1e} | {n_different} of {result.size} |", flush=True)
    return int(worst > TOLERANCE)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
