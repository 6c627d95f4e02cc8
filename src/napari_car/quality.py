"""How pictures were compressed, as the caller says it or as it is found out."""

from __future__ import annotations

import logging
import math
from contextlib import closing
from typing import Any

import numpy as np

from napari_car.cards import ModelCard
from napari_car.diagnosis import Diagnosis, diagnose
from napari_car.errors import InputError
from napari_car.jpeg.coding import Coding
from napari_car.jpeg.header import JpegInfo
from napari_car.pixels import Array, layout, pictures
from napari_car.steps import Steps, side_by_side

logger = logging.getLogger(__name__)

Quality = int | np.integer[Any] | str | Coding | JpegInfo | Diagnosis | None
"""IJG quality 1..100, "auto", all that is known of a coding, what was found, or None for not compressed at all."""


def find_codings(quality: Quality, image: Array, card: ModelCard, threads: int) -> Steps[list[Coding | None]]:
    """How each picture of an image was coded, as told or found out; None where it is to be left alone.

    Where pictures differ each is looked at, and a step comes after each, with nothing of the real work done yet.
    """
    count = math.prod(layout(image).stack)
    if isinstance(quality, Diagnosis):
        found = quality
    elif isinstance(quality, str) and quality == "auto":
        found = diagnose(image, card=card)
        say(found)
    else:
        return [_told(quality, image, card)] * count
    codings = [found.coding] * count
    if found.is_mixed:

        def look(nth: int, picture: Array) -> None:
            codings[nth] = found.coding_of(picture, card)

        with closing(side_by_side(look, enumerate(pictures(image)), count, threads)) as steps:
            for _ in steps:
                yield 0, count
    return codings


def _told(quality: Quality, image: Array, card: ModelCard) -> Coding | None:
    """How the pictures were coded, as told."""
    if quality is None or isinstance(quality, Coding):
        return quality
    if isinstance(quality, JpegInfo):
        return Coding.from_info(quality)
    if isinstance(quality, bool) or not isinstance(quality, int | np.integer) or not 1 <= quality <= 100:
        raise InputError(f"quality is {quality!r}; it is 'auto' or a whole number from 1 to 100")
    low, high = card.qualities
    if not low <= quality <= high:
        logger.warning("model %s was made for qualities %d to %d; %d may come out worse", card.id, low, high, quality)
    return Coding.from_quality(int(quality), "grey" if layout(image).is_grey else "4:2:0")


def say(diagnosis: Diagnosis, name: str = "") -> None:
    """Say in the log what was found, of the picture of that name."""
    level = logging.WARNING if diagnosis.coding is None and not diagnosis.is_mixed else logging.INFO
    logger.log(level, "%s%s", f"{name}: " if name else "", diagnosis.sentence)
