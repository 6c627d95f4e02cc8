"""Files through the main path: read, diagnose, restore, write."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Unpack

import numpy as np

from napari_car.diagnosis import Diagnosis, coding_of_file, diagnose
from napari_car.errors import FileError
from napari_car.files import check_target, check_writing, is_lossy, read_image, write_image
from napari_car.jpeg.coding import Coding
from napari_car.jpeg.coefficients import read_planes
from napari_car.jpeg.header import JpegInfo, read_jpeg
from napari_car.memory import parse_memory, shortage
from napari_car.pixels import Array, target_dtype
from napari_car.provenance import add_record, describe_run
from napari_car.quality import say
from napari_car.restore import Options, restore_steps
from napari_car.session import Session, opened
from napari_car.steps import Steps, drain

logger = logging.getLogger(__name__)


class FileOptions(Options, total=False):
    """Keywords of ``restore_file``, for functions that pass them on."""

    overwrite: bool
    output_quality: int | None
    provenance: bool
    strip: bool


@dataclass(frozen=True)
class RestoredFile:
    """What became of a file.

    Parameters
    ----------
    path
        The file that was written.
    record
        How it came about, see ``provenance.describe_run``.
    """

    path: Path
    record: dict[str, Any]


def restore_file(
    src: str | os.PathLike[str],
    dst: str | os.PathLike[str] | None = None,
    *,
    overwrite: bool = False,
    output_quality: int | None = None,
    provenance: bool = True,
    strip: bool = False,
    **options: Unpack[Options],
) -> Path:
    """Restore an image file into another; its metadata goes along and the original stays as it is.

    Parameters
    ----------
    src
        A JPEG, or a picture in another format that was one once.
    dst
        Where to write: a file, its extension is the format; or a folder that exists. The name is ``photo.restored.png``
        for ``photo.jpg`` (``.tif`` for what PNG cannot hold) where none is given, beside ``src`` for None.
    overwrite
        Whether an existing ``dst`` may be replaced; ``src`` itself never is.
    output_quality
        IJG quality 1..100 of a ``dst`` in JPEG, WebP or AVIF, which then loses detail again; for None 95, and lossless
        for WebP.
    provenance
        Whether the file's XMP is to tell how it came about.
    strip
        Whether to leave out the metadata of ``src``; what its colours and its orientation depend on is kept.
    **options
        Those of ``restore``; "auto" quality is read from the file.

    Returns
    -------
    Path
        The file that was written, whole or not at all.

    Raises
    ------
    FileError
        If ``src`` cannot be read or ``dst`` cannot be written.
    InputError, ModelError, InferenceError
        As ``restore``.
    """
    steps = restore_file_steps(
        src,
        dst,
        overwrite=overwrite,
        output_quality=output_quality,
        provenance=provenance,
        strip=strip,
        **options,
    )
    return drain(steps).path


def restore_file_steps(
    src: str | os.PathLike[str],
    dst: str | os.PathLike[str] | None = None,
    *,
    overwrite: bool = False,
    output_quality: int | None = None,
    provenance: bool = True,
    strip: bool = False,
    **options: Unpack[Options],
) -> Steps[RestoredFile]:
    """Restore a file step by step: yields ``(done, total)`` after each tile and returns what became of it.

    Parameters and errors are those of ``restore_file``.
    """
    src = Path(src)
    dst = src.parent if dst is None else Path(dst)
    folder = dst if os.path.isdir(dst) else None  # Path.is_dir raises for a name that is too long
    if folder is None:
        _check_other(src, dst)
        check_target(dst, overwrite=overwrite)
    limit = options.get("max_memory")
    max_memory = None if limit is None else parse_memory(limit)
    picture = read_image(src, max_memory=max_memory)
    dtype = target_dtype(picture.pixels, options.get("dtype"))
    if folder is None:
        target = dst
    else:
        fits_png = dtype.kind == "u" and not picture.is_stack
        target = folder / f"{src.stem}.restored.{'png' if fits_png else 'tif'}"
    # What will be written, without its pixels yet: a target that cannot hold it is refused before the work.
    shell = replace(picture, pixels=np.broadcast_to(np.zeros((), dtype), picture.pixels.shape))
    check_target(target, shell, overwrite=overwrite, quality=output_quality)
    in_place = dtype == picture.pixels.dtype and picture.pixels.flags.writeable
    check_writing(target, shell, max_memory, taken=0 if in_place else shell.pixels.nbytes)
    if is_lossy(target, output_quality):
        logger.warning("%s: its format compresses again and loses detail; PNG and TIFF do not", target.name)
    session = options["session"] = opened(options.get("session"), options.get("model"))
    if options.get("consistent") is True and picture.format == "JPEG":
        per_px = 10 if read_jpeg(src).subsampling == "4:4:4" else 6  # as measured
        if lack := shortage(per_px * picture.pixels.size // picture.channels, max_memory):
            raise FileError(f"reading what it is to be consistent with {lack}", src)
        options["consistent"] = read_planes(src)
    quality, diagnosis = options.pop("quality", "auto"), None
    begin = partial(restore_steps, picture.pixels, out=picture.pixels if in_place else None, **options)
    if isinstance(quality, str) and quality == "auto":
        info = read_jpeg(src) if picture.format == "JPEG" else None
        restored, diagnosis = yield from _restore_as_found(begin, picture.pixels, info, session, src.name)
        quality = diagnosis.quality
    else:
        quality = Coding.from_info(quality) if isinstance(quality, JpegInfo) else quality
        restored = yield from begin(quality=quality)
        if isinstance(quality, Diagnosis):
            diagnosis, quality = quality, quality.quality
    options["quality"] = quality
    record = describe_run(options, diagnosis=diagnosis, name=src.name, path=str(src))
    metadata = picture.metadata.strip() if strip else picture.metadata
    metadata = add_record(metadata, record) if provenance else metadata
    result = replace(picture, pixels=restored, metadata=metadata)
    written = write_image(target, result, overwrite=overwrite, quality=output_quality, threads=session.threads)
    return RestoredFile(written, record)


def _check_other(src: Path, dst: Path) -> None:
    """Refuse to write a file over itself, whatever path or link names it."""
    if os.path.exists(dst) and os.path.exists(src) and os.path.samefile(src, dst):
        raise FileError("is the original, which is never overwritten; give another name", dst)


def _restore_as_found(
    begin: Callable[..., Steps[Array]], image: Array, info: JpegInfo | None, session: Session, name: str
) -> Steps[tuple[Array, Diagnosis]]:
    """Restore a picture as it is found to need.

    Finding out takes a while, on one core. If there are others, they begin with what the file says, and begin anew in
    the rare case that the pixels say otherwise; nothing has been overwritten by then.
    """
    card = session.card
    guess = coding_of_file(info, card) if session.threads > 1 else None
    with closing(begin(quality=guess)) as steps:
        if guess is not None:
            yield next(steps)
        diagnosis = diagnose(image, info=info, card=card, in_full=False)
        say(diagnosis, name)
        if diagnosis.quality == guess:
            return (yield from steps), diagnosis
    return (yield from begin(quality=diagnosis)), diagnosis
