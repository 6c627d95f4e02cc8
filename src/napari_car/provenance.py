"""How a result came about: a record to keep beside its pixels or in its file, and the Python code that repeats it."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from napari_car.diagnosis import Diagnosis
from napari_car.files import Metadata
from napari_car.files.xmp import add_event
from napari_car.jpeg.coding import Coding
from napari_car.jpeg.header import JpegInfo
from napari_car.pixels import Array
from napari_car.restore import Options
from napari_car.session import opened
from napari_car.version import __version__

NOT_IN_FILES = ("software", "coding", "tile", "source_name", "source_path")
"""Of a record, what a file does not tell: it is said elsewhere, changes no pixel, or is the user's own business."""


def describe_run(
    options: Options, *, diagnosis: Diagnosis | None = None, name: str, path: str | None
) -> dict[str, Any]:
    """Record of a restoration, of plain values that any format can keep.

    Parameters
    ----------
    options
        What ``restore`` was given; quality a number, a ``Coding``, None, or "auto" where the pictures of a stack differ
        and each went by its own.
    diagnosis
        How the quality was found; None where a person said it.
    name, path
        The picture and its file, where there is one.

    Examples
    --------
    >>> record = describe_run({"quality": 20, "model": "arcnn"}, name="photo", path=None)
    >>> record["model"], record["quality"], record["quality_source"], record["strength"]
    ('arcnn', 20, 'told', 1.0)
    """
    session = opened(options.get("session"), options.get("model"))
    card, quality, strength = session.card, options["quality"], options.get("strength", 1.0)
    number = quality.quality if isinstance(quality, Coding) else None
    if isinstance(quality, int | np.integer):
        number = int(quality)
    return {
        "software": f"napari-car {__version__}",
        "model": card.id,
        "sha256": session.weights(number).sha256 if number is not None else None,
        "precision": session.precision,
        "provider": session.provider,
        "halo": card.halo,
        "align": card.align,
        "tile": options.get("tile"),
        "quality": round(number) if number is not None else None,
        "coding": asdict(quality) if isinstance(quality, Coding) else None,
        "quality_source": diagnosis.source if diagnosis else "told",
        "quality_sentence": diagnosis.sentence if diagnosis else "",
        "strength": float(np.max(strength)),
        "has_strength_map": np.ndim(strength) > 0,
        "luma": options.get("luma", 1.0),
        "chroma": options.get("chroma", 1.0),
        "consistent": options.get("consistent", False) is not False,
        "source_name": name,
        "source_path": path,
    }


def add_record(metadata: Metadata, record: Mapping[str, Any]) -> Metadata:
    """Metadata that tell of a run as well: an event in the history of the XMP packet.

    Nothing is taken away. Times are left out, so that the same run writes the same bytes.

    Parameters
    ----------
    metadata
        Of the picture that was restored.
    record
        Of ``describe_run``.

    Examples
    --------
    >>> record = describe_run({"quality": 20, "model": "arcnn"}, name="photo", path=None)
    >>> b'"model": "arcnn"' in add_record(Metadata(), record).xmp
    True
    """
    facts = {name: value for name, value in record.items() if name not in NOT_IN_FILES}
    parameters = json.dumps(facts, ensure_ascii=False)
    xmp = add_event(metadata.xmp, agent=record["software"], action="filtered", parameters=parameters)
    return replace(metadata, xmp=xmp)


def python_code(reading: str, options: Options, *, function: str = "restore", is_grey_stack: bool = False) -> str:
    """Code that restores once more, in a process of its own, with the same pixels as result.

    Parameters
    ----------
    reading
        Lines that leave the pixels in ``image``.
    options
        What ``restore`` was given.
    function
        "restore", or "restore_dask" where ``image`` is a dask array.
    is_grey_stack
        Whether the last axis of ``image`` is of columns, however few they are.

    Examples
    --------
    >>> print(python_code("image = np.load('photo.npy')", {"model": "arcnn", "quality": 20}))
    import numpy as np
    <BLANKLINE>
    from napari_car import restore
    <BLANKLINE>
    image = np.load('photo.npy')
    restored = restore(image, model='arcnn', quality=20)
    """
    home = {"restore": "napari_car", "restore_dask": "napari_car.lazy"}[function]
    imports, lines = ["import numpy as np", "", f"from {home} import {function}"], [reading]
    said: dict[str, Any] = {"model": None, **options}
    if isinstance(said.get("quality"), JpegInfo):
        said["quality"] = Coding.from_info(said["quality"])
    elif isinstance(said.get("quality"), Diagnosis):
        said["quality"] = said["quality"].quality
    if said.get("dtype") is not None:
        said["dtype"] = np.dtype(said["dtype"]).name
    session = said.pop("session", None)
    if session is not None:
        said["model"] = session.card.id
    if isinstance(said.get("quality"), Coding):
        imports.append("from napari_car.jpeg.coding import Coding")
    if said.get("tile") is None or function == "restore_dask":  # whose blocks are its tiles
        said.pop("tile", None)
    values = {name: repr(value) for name, value in said.items()}
    if isinstance(said.get("quality"), Coding) and said.get("consistent", False) is not False:
        values["quality"] = _with_tables(said["quality"])
    if np.ndim(said.get("strength", 1.0)):
        imports[:0] = ["import base64", "import zlib", ""]
        lines.append(f"strength = {_packed(said['strength'])}")
        values["strength"] = "strength"
    image, result = ("image[..., None]", "[..., 0]") if is_grey_stack else ("image", "")
    arguments = ", ".join(f"{name}={value}" for name, value in values.items())
    lines.append(f"restored = {function}({image}, {arguments}){result}")
    return "\n".join([*imports, "", *lines])


def _with_tables(coding: Coding) -> str:
    """Expression for a coding, with the quantization tables that its ``repr`` leaves out."""
    return f"Coding({', '.join(f'{name}={value!r}' for name, value in asdict(coding).items())})"


def _packed(values: Array) -> str:
    """Expression that gives a map of shape (H, W) again, as float32."""
    text = base64.b85encode(zlib.compress(np.ascontiguousarray(values, np.float32).tobytes(), 9)).decode()
    return f"np.frombuffer(zlib.decompress(base64.b85decode({text!r})), np.float32).reshape{values.shape}"
