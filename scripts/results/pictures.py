"""The pictures of the results page: quality against cost, and before and after."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

CROPS = {"astronaut": (40, 170, 112, 112), "coffee": (90, 210, 112, 112)}
"""Top, left, height and width of what is shown of scikit-image's pictures, px."""
ENLARGED = 3
MARGIN = 18


def draw_scatter(path: Path, ours: Sequence[Mapping[str, Any]], networks: Sequence[Mapping[str, Any]]) -> None:
    """Plot PSNR on LIVE1 at quality 10 against time (ours) and against computation (ours and published).

    Parameters
    ----------
    path
        PNG file to write.
    ours
        Of each model: ``label``, ``psnr``, ``seconds_per_mp``, ``kmac_per_px``.
    networks
        Published networks, as in ``published.toml``.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.2), layout="constrained")
    time, computation = figure.subplots(1, 2, sharey=True)
    known = [network for network in networks if "kmac_per_px" in network]
    for axes, key in ((time, "seconds_per_mp"), (computation, "kmac_per_px")):
        for row in sorted(ours, key=lambda row: float(row["kmac_per_px"])):
            axes.scatter(row[key], row["psnr"], label=row["label"])
        axes.set_xscale("log")
        axes.margins(x=0.25, y=0.1)
        axes.grid(alpha=0.3, which="both")
    computation.scatter(
        [n["kmac_per_px"] for n in known], [n["live1"][0] for n in known], color="tab:gray", label="published"
    )
    for n in known:
        place = (n["kmac_per_px"], n["live1"][0])
        computation.annotate(n["name"], place, textcoords="offset points", xytext=(-6, 4), ha="right", color="dimgray")
    computation.legend(loc="lower right")
    time.set(xlabel="seconds per megapixel", ylabel="PSNR on LIVE1 at quality 10, dB (RGB)")
    computation.set(xlabel="kMAC per pixel")
    figure.savefig(path, dpi=110, metadata={"Software": None})


def draw_crops(folder: Path, models: Sequence[str], quality: int) -> list[Path]:
    """Write for each picture what JPEG left, what each model made of it, and the original, side by side."""
    from skimage import data

    from napari_car import restore
    from napari_car.datasets import compress

    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, (top, left, height, width) in CROPS.items():
        reference = getattr(data, name)()
        degraded = compress(reference, quality)
        shown = {f"JPEG, quality {quality}": degraded}
        shown |= {model: restore(degraded, model=model, quality=quality) for model in models}
        shown["original"] = reference
        panels = [_panel(title, image[top : top + height, left : left + width]) for title, image in shown.items()]
        paths.append(folder / f"{name}-q{quality}.png")
        Image.fromarray(np.hstack(panels)).save(paths[-1], optimize=True)
    return paths


def _panel(title: str, crop: np.ndarray[Any, np.dtype[np.uint8]]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return a crop enlarged without smoothing, its title above it."""
    height, width = crop.shape[0] * ENLARGED, crop.shape[1] * ENLARGED
    panel = Image.new("RGB", (width + 4, height + MARGIN), "white")
    panel.paste(Image.fromarray(crop).resize((width, height), Image.Resampling.NEAREST), (2, MARGIN))
    ImageDraw.Draw(panel).text((4, 3), title, fill="black")
    return np.asarray(panel)
