"""Undo what JPEG compression did to a picture.

``restore`` is the main path; ``restore_file`` takes and writes files; ``read_jpeg`` tells how a file was compressed;
``list_models``, ``load_card`` and ``open_session`` choose what does the work.
"""

from napari_car.cards import ModelCard, list_models, load_card
from napari_car.diagnosis import Diagnosis, diagnose
from napari_car.errors import (
    CarError,
    FileError,
    InferenceError,
    InputError,
    JpegError,
    MissingExtraError,
    ModelError,
)
from napari_car.jpeg.coding import Coding
from napari_car.jpeg.estimate import JpegEstimate, estimate_jpeg
from napari_car.jpeg.header import JpegInfo, read_jpeg
from napari_car.restore import restore, restore_steps
from napari_car.restore_file import restore_file, restore_file_steps
from napari_car.session import Session, open_session
from napari_car.version import __version__ as __version__

__all__ = [
    "CarError",
    "Coding",
    "Diagnosis",
    "FileError",
    "InferenceError",
    "InputError",
    "JpegError",
    "JpegEstimate",
    "JpegInfo",
    "MissingExtraError",
    "ModelCard",
    "ModelError",
    "Session",
    "diagnose",
    "estimate_jpeg",
    "list_models",
    "load_card",
    "open_session",
    "read_jpeg",
    "restore",
    "restore_file",
    "restore_file_steps",
    "restore_steps",
]
