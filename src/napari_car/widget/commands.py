"""Commands of napari's palette that need no dock."""

from __future__ import annotations

from dataclasses import asdict

from napari.layers import Image
from napari.utils.notifications import show_error, show_info
from napari.viewer import Viewer
from qtpy.QtWidgets import QApplication, QFileDialog

from napari_car.cards import load_card
from napari_car.errors import CarError
from napari_car.files import read_image
from napari_car.jpeg.header import read_jpeg
from napari_car.widget.job import Job
from napari_car.widget.run import diagnose_steps
from napari_car.widget.source import Source

CODING = "jpeg coding"
"""Key of a file's coding data in a layer's metadata."""


def estimate_quality(viewer: Viewer) -> None:
    """Say how the active image was compressed, as its file or its pixels show."""
    layer = viewer.layers.selection.active
    if not isinstance(layer, Image):
        show_error("No image layer is selected; select the one whose JPEG quality is to be estimated.")
        return
    source, card = Source.of(layer, viewer), load_card()
    job = Job(lambda: diagnose_steps(source, card), f"looking at {layer.name}", QApplication.instance())
    job.returned.connect(lambda diagnosis: show_info(f"{layer.name}: {diagnosis.sentence}"))
    job.start()


def open_jpeg(viewer: Viewer) -> None:
    """Ask for JPEG files and open each with its coding data in the layer's metadata."""
    paths, _ = QFileDialog.getOpenFileNames(None, "Open JPEG with coding data", "", "JPEG (*.jpg *.jpeg *.jpe *.jfif)")
    for path in paths:
        try:
            add_jpeg(viewer, path)
        except CarError as error:
            show_error(str(error))


def add_jpeg(viewer: Viewer, path: str) -> Image:
    """Open one JPEG file with its coding data in the layer's metadata."""
    info = read_jpeg(path)
    (layer,) = viewer.open(path, plugin="napari", layer_type="image")
    if info.n_components == 4:
        layer.data = read_image(path).pixels  # napari takes black ink for transparency
    layer.metadata = {
        **layer.metadata,
        CODING: {**asdict(info), "quality": info.quality, "subsampling": info.subsampling},
    }
    return layer
