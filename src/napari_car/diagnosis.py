"""What happened to a picture, by its file and by its pixels, and what is to be done about it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from napari_car.cards import ModelCard, load_card
from napari_car.jpeg.coding import Coding
from napari_car.jpeg.estimate import JpegEstimate, estimate_jpeg
from napari_car.jpeg.header import JpegInfo
from napari_car.jpeg.passes import is_coarser
from napari_car.pixels import Array, check_range, layout, pictures

SURE = 0.9
"""Confidence from which the pixels are believed against the file."""

ALIKE = 2
"""Steps of quality within which pictures of a stack count as alike; estimates are sure to within as many."""

MOST_LOOKED_AT = 4
"""Pictures of a stack that are looked at one by one, to see whether all are alike."""


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
    is_mixed
        Whether the pictures of a stack differ, so that each goes by its own: see ``coding_of``.
    """

    coding: Coding | None
    source: str
    sentence: str
    info: JpegInfo | None
    estimate: JpegEstimate
    is_mixed: bool = False

    @property
    def quality(self) -> Coding | str | None:
        """What ``restore`` is to be told: the coding, or "auto" where each picture goes by its own."""
        return "auto" if self.is_mixed else self.coding

    def coding_of(self, picture: Array, card: ModelCard) -> Coding | None:
        """What a network is told of one picture of the stack; of a mixed one what its own pixels show, where surely."""
        if not self.is_mixed:
            return self.coding
        own = diagnose(picture, card=card)
        return own.coding if own.estimate.confidence >= SURE else self.coding


def diagnose(
    image: Array, *, info: JpegInfo | None = None, card: ModelCard | None = None, in_full: bool = True
) -> Diagnosis:
    """Find out what ``quality="auto"`` will do with an image.

    The file's tables are believed, unless the pixels surely show a coarser compression before them. Pictures that were
    never compressed, or so lightly that the model would not help, are to be left alone. The pictures of a stack are
    looked at together; a few of them by themselves too, and where these differ, each is to go by its own.

    Parameters
    ----------
    image
        As for ``restore``.
    info
        Header of the JPEG file that the image was decoded from, if it was.
    card
        Of the model that is to be used; the default model's for None.
    in_full
        Whether ``estimate`` is to tell all that the pixels show also where the file is believed; that takes several
        times as long.

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
    layout(image)
    check_range(image)
    card = card or load_card()
    whole = _diagnose_alike(image, info, card, in_full=in_full)
    stack = list(pictures(image))
    if len(stack) == 1:
        return whole
    some = [estimate_jpeg(stack[index], in_full=False) for index in spread(len(stack))]
    if all(_is_like(whole.estimate, own) for own in some) or not any(own.quality for own in some):
        return whole
    return replace(whole, source="pixels", sentence=_of_mixed(own.quality for own in some), is_mixed=True)


def coding_of_file(info: JpegInfo | None, card: ModelCard) -> Coding | None:
    """What ``diagnose`` will find if the pixels do not contradict the file; None for one that tells nothing.

    Parameters
    ----------
    info
        Header of a JPEG file, if it is one.
    card
        Of the model that is to be used.
    """
    coding = None if info is None else Coding.from_info(info)
    return coding if coding is not None and coding.quality <= _highest(coding, card) else None


def spread(count: int) -> list[int]:
    """Which pictures of a stack are looked at one by one.

    Examples
    --------
    >>> spread(3), spread(1000)
    ([0, 1, 2], [0, 333, 666, 999])
    """
    return [int(index) for index in np.linspace(0, count - 1, min(count, MOST_LOOKED_AT))]


def _diagnose_alike(image: Array, info: JpegInfo | None, card: ModelCard, *, in_full: bool) -> Diagnosis:
    """Diagnose a picture, or a stack as if all of it had been compressed alike."""
    last = info if info is not None and info.color_space in ("grey", "YCbCr") else None
    estimate = estimate_jpeg(image, last=last, in_full=info is None)
    if info is not None and not _is_worse(estimate, info):
        coding, source, sentence = Coding.from_info(info), "file", _of_file(info)
        estimate = estimate_jpeg(image) if in_full else estimate
    elif estimate.quality is not None:
        if info is not None:
            estimate = estimate_jpeg(image, last=last)
        coding, source, sentence = Coding.from_estimate(estimate), "pixels", _of_pixels(estimate, info)
    else:
        return Diagnosis(None, "none", "No JPEG compression was found; the picture is left alone.", info, estimate)
    limit = _highest(coding, card)
    if coding.quality > limit:
        why = f"{card.id} helps up to quality {limit}; the picture is left alone"
        return Diagnosis(None, source, f"{sentence}, so lightly that restoring would not help ({why}).", info, estimate)
    return Diagnosis(coding, source, f"{sentence}.", info, estimate)


def _highest(coding: Coding, card: ModelCard) -> int:
    """The highest quality at which a model helps."""
    return (card.qualities if coding.chroma_subsampling else card.qualities_444)[1]


def _is_worse(estimate: JpegEstimate, info: JpegInfo) -> bool:
    """Whether the pixels surely show a compression before that of the file, and a coarser one."""
    if estimate.quality is None or estimate.confidence < SURE:
        return False
    return is_coarser(estimate.quality, info.quality)


def _is_like(whole: JpegEstimate, own: JpegEstimate) -> bool:
    """Whether a picture of a stack is as the whole stack is, or does not surely show that it is not."""
    if own.confidence < SURE or own.quality is None or whole.quality is None:
        return own.confidence < SURE or own.quality == whole.quality
    if own.is_turned != whole.is_turned or own.grid_phase != whole.grid_phase:
        return False
    return abs(own.quality - whole.quality) <= ALIKE


def _of_file(info: JpegInfo) -> str:
    """What the header says."""
    tables = "" if info.is_standard else ", by tables of its own"
    colour = "in grey" if info.subsampling == "grey" else f"with {info.subsampling} chroma"
    return f"The file was saved at quality {info.quality}{tables}, {colour}"


def _of_pixels(estimate: JpegEstimate, info: JpegInfo | None) -> str:
    """What the pixels say, against the header where there is one."""
    row, column = estimate.grid_phase
    turned = " and turned by a quarter" if estimate.is_turned else ""
    grid = "" if (row, column) == (0, 0) else f" and cropped, its blocks start at row {row}, column {column},"
    start = "" if info is None else f"The file was saved at quality {info.quality}, but before that "
    what = f"{'the' if start else 'The'} picture was compressed at about quality {estimate.quality}"
    return f"{start}{what}{turned}{grid} as its pixels show ({estimate.confidence:.0%} sure)"


def _of_mixed(qualities: Iterable[int | None]) -> str:
    """What the pixels of a stack say whose pictures differ."""
    found = list(qualities)
    known = sorted({quality for quality in found if quality is not None})
    span = f"{known[0]} to {known[-1]}" if len(known) > 1 else f"{known[0]}"
    rest = ", some not at all" if None in found else ""
    return (
        f"The pictures of the stack were compressed differently, at about quality {span}{rest}; "
        "each is restored by what its own pixels show."
    )
