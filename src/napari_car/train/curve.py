"""How a run went: its log as a picture."""

from __future__ import annotations

import csv
from pathlib import Path


def draw_curve(log: Path, picture: Path) -> None:
    """Plot the held-out gains of a run's CSV against time."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    with log.open(newline="") as file:
        rows = list(csv.DictReader(file))
    figure, axis = plt.subplots(figsize=(6, 4), layout="constrained")
    minutes = [float(row["minutes"]) for row in rows]
    for key in [k for k in rows[0] if k.startswith("q")]:
        axis.plot(minutes, [float(row[key]) for row in rows], marker=".", label=key)
    axis.set(xlabel="minutes", ylabel="PSNR gain over the JPEG, dB (RGB, held-out pictures)", title=log.stem)
    axis.legend()
    figure.savefig(picture, dpi=120)
    plt.close(figure)
