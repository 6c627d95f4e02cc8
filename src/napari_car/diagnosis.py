"""What happened to a picture, by its file and by its pixels, and what is to be done about it."""

from __future__ import annotations

from dataclasses import dataclass

from napari_car.cards import ModelCard, load_card
from napari_car.jpeg.coding import Coding
from napari_car.jpeg.estimate import JpegEstimate, estimate_jpeg
from napari_car.jpeg.header import JpegInfo
from napari_car.pixels import Array

SURE = 0.9
"""Confidence from which the pixels are believed against the file."""

COARSER = 10
"""Steps of quality by which an earlier compression on the same grid must be worse to be believed."""


@dataclass(frozen=True)
class Diagnosis:
    """How a picture was compressed, how that is known, and whether restoring it will help.

    Parameters
    ----------
    coding
        What the networks are told; None where the picture is to be left alone.
    source
        "file", "pixels", or "none" where no compression was found.
    sentence
        All of it for a person.
    info
        What the file's header says, where there is one.
    estimate
        What the pixels say.
    """

    coding: Coding | None
    source: str
    sentence: str
    info: JpegInfo | None
    estimate: JpegEstimate


def diagnose(
    image: Array, *, info: JpegInfo | None = None, card: ModelCard | None = None, in_full: bool = True
) -> Diagnosis:
    """Find out what ``quality="auto"`` will do with an image.

    The file's tables are believed, unless the pixels surely show a coarser compression before them. Pictures that were
    never compressed, or so lightly that the model would not help, are to be left alone.

    Parameters
    ----------
    image
        As for ``restore``.
    info
        Header of the JPEG file that the image was decoded from, if it was.
    card
        Of the model that is to be used; the default model's for None.
    in_full
        Whether ``estimate`` is to tell the chroma subsampling also where the file is believed; that takes longer.

    Raises
    ------
    InputError
        If the image cannot be taken.

    Examples
    --------
    >>> import numpy as np
    >>> diagnose(np.zeros((64, 64, 3), np.uint8)).sentence
    'No JPEG compression was found; the picture is left alone.'
    """
    card = card or load_card()
    estimate = estimate_jpeg(image, in_full=in_full or info is None)
    if info is not None and not _is_worse(estimate, info):
        coding, source, sentence = Coding.from_info(info), "file", _of_file(info)
    elif estimate.quality is not None:
        if not in_full and info is not None:
            estimate = estimate_jpeg(image)
        coding, source, sentence = Coding.from_estimate(estimate), "pixels", _of_pixels(estimate, info)
    else:
        return Diagnosis(None, "none", "No JPEG compression was found; the picture is left alone.", info, estimate)
    limit = (card.qualities if coding.chroma_subsampling else card.qualities_444)[1]
    if coding.quality > limit:
        why = f"{card.id} helps up to quality {limit}; the picture is left alone"
        return Diagnosis(None, source, f"{sentence}, so lightly that restoring would not help ({why}).", info, estimate)
    return Diagnosis(coding, source, f"{sentence}.", info, estimate)


def _is_worse(estimate: JpegEstimate, info: JpegInfo) -> bool:
    """Whether the pixels surely show a compression before that of the file, and a coarser one."""
    if estimate.quality is None or estimate.confidence < SURE:
        return False
    is_shifted = estimate.grid_phase != (0, 0)
    return estimate.quality < info.quality - (0 if is_shifted else COARSER)


def _of_file(info: JpegInfo) -> str:
    """What the header says."""
    tables = "" if info.is_standard else ", by tables of its own"
    colour = "in grey" if info.subsampling == "grey" else f"with {info.subsampling} chroma"
    return f"The file was saved at quality {info.quality}{tables}, {colour}"


def _of_pixels(estimate: JpegEstimate, info: JpegInfo | None) -> str:
    """What the pixels say, against the header where there is one."""
    row, column = estimate.grid_phase
    grid = "" if (row, column) == (0, 0) else f" and cropped, its blocks start at row {row}, column {column},"
    start = "" if info is None else f"The file was saved at quality {info.quality}, but before that "
    what = f"{'the' if start else 'The'} picture was compressed at about quality {estimate.quality}"
    return f"{start}{what}{grid} as its pixels show ({estimate.confidence:.0%} sure)"
