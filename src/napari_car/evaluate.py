"""Measure models on a test set: ``napari-car evaluate``.

Every picture is scored as the JPEG left it (the model named ``jpeg``) and as each model restored it, by
one of the published protocols. A candidate is a name and a function: measuring knows nothing of networks.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from napari_car.cards import load_card
from napari_car.datasets import LAYOUTS, Item, degrade, list_items, read_image
from napari_car.errors import InputError
from napari_car.metrics import Image8
from napari_car.protocols import PROTOCOLS, Protocol
from napari_car.restore import restore
from napari_car.session import open_session
from napari_car.tables import FORMATS, ImageRow, summarize, write_csv

EXAMPLES = """\
examples:
  napari-car evaluate --model car-s --data BSDS500 --layout bsds500
  napari-car evaluate --model arcnn car-s --data photos --quality 10 75 --format json
  napari-car evaluate --data tid2008 --layout tid2008 --csv pictures.csv"""

BASELINE = "jpeg"
"""Name of the model that changes nothing."""


@dataclass(frozen=True)
class Candidate:
    """What is to be measured."""

    model: str
    precision: str
    restore: Callable[[Image8, int | None], Image8]
    """Takes a degraded image, shape (H, W) or (H, W, 3), and its JPEG quality where that is known."""


def open_candidate(model: str, *, precision: str, provider: str, threads: int | None) -> Candidate:
    """Open a bundled model as a candidate.

    Parameters
    ----------
    model, precision, provider, threads
        As for ``open_session``.

    Raises
    ------
    ModelError
        If the model is unknown or has no weights in that precision.
    InputError
        If the provider is unknown or not installed.
    """
    session = open_session(model, precision=precision, provider=provider, threads=threads)

    def restore_image(image: Image8, quality: int | None) -> Image8:
        return restore(image, session=session, quality="auto" if quality is None else quality)

    return Candidate(session.card.id, session.precision, restore_image)


def measure(
    data: str, items: Iterable[Item], protocol: Protocol, candidates: Sequence[Candidate]
) -> Iterator[ImageRow]:
    """Score each item as it is and as each candidate restores it; yields a row as soon as it is known.

    Parameters
    ----------
    data
        Name of the set, for the rows.
    items
        The comparisons, of ``list_items``.
    protocol
        One of ``PROTOCOLS``.
    candidates
        What to measure besides the JPEG itself.

    Raises
    ------
    FileError
        If a picture cannot be read.
    InputError
        If a picture is too small for the protocol, or a distorted one has not its reference's size.
    """
    for item in items:
        reference = protocol.prepare(read_image(item.reference))
        degraded = protocol.prepare(degrade(item, reference))
        megapixels = reference.shape[0] * reference.shape[1] / 1e6
        try:
            scores = protocol.score(reference, degraded)
        except InputError as error:
            raise InputError(f"{item.distorted or item.reference}: {error}") from error
        yield ImageRow(data, item.name, item.level, BASELINE, None, *scores, 0.0, megapixels)
        for candidate in candidates:
            start = time.perf_counter()
            restored = candidate.restore(degraded, item.quality)
            seconds = time.perf_counter() - start
            scores = protocol.score(reference, restored)
            model, precision = candidate.model, candidate.precision
            yield ImageRow(data, item.name, item.level, model, precision, *scores, seconds, megapixels)


def evaluate(
    models: Sequence[str],
    folder: Path,
    *,
    layout: str,
    protocol: str,
    qualities: Sequence[int] | None = None,
    precision: str = "auto",
    provider: str = "auto",
    threads: int | None = None,
) -> Iterator[ImageRow]:
    """Measure bundled models on a test set; yields a row for each picture, quality and model.

    Parameters
    ----------
    models
        Ids of ``list_models``; the JPEG itself is always measured.
    folder
        Where the set lies.
    layout
        How it lies there: a name in ``LAYOUTS``.
    protocol
        A name in ``PROTOCOLS``.
    qualities
        JPEG qualities 1 to 100, or levels of TID2008; by default those of the layout.
    precision, provider, threads
        As for ``open_session``.

    Raises
    ------
    InputError
        If an option cannot be taken or a picture does not fit the protocol.
    FileError
        If the set or a picture cannot be read.
    ModelError
        If a model is unknown or has no weights in that precision.
    """
    if protocol not in PROTOCOLS:
        raise InputError(f"the protocol is {protocol!r}; it is one of {', '.join(PROTOCOLS)}")
    items = list_items(folder, layout, qualities)
    candidates = [open_candidate(model, precision=precision, provider=provider, threads=threads) for model in models]
    data = folder.resolve().name if layout == "folder" else layout
    yield from measure(data, items, PROTOCOLS[protocol], candidates)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``napari-car evaluate``."""
    add = parser.add_argument
    add("--model", nargs="+", default=[], metavar="ID", help="models to measure; the JPEG itself always is")
    add("--data", type=Path, required=True, metavar="DIR", help="folder of the test set")
    add("--layout", choices=LAYOUTS, default="folder", help="how the set lies there (default: %(default)s)")
    add("--quality", type=int, nargs="+", metavar="N",
        help="qualities 1..100 (default: 10 20 30 40); for tid2008 its levels 1..4 (all)")  # fmt: skip
    add("--protocol", choices=PROTOCOLS, default="idcn", help="how to score (default: %(default)s)")
    add("--precision", choices=("auto", "int8", "fp16", "fp32"), default="auto", help="weights (default: %(default)s)")
    add("--provider", default="auto", help="execution provider (default: %(default)s)")
    add("--threads", type=int, metavar="N", help="tiles side by side (default: one a core)")
    add("--format", choices=FORMATS, default="markdown", help="of the means on stdout (default: %(default)s)")
    add("--csv", type=Path, metavar="FILE", help="write the figures of every picture there")


def run(args: argparse.Namespace) -> int:
    """Print the means, write the figures of each picture to CSV, and return the exit code."""
    from tqdm import tqdm

    rows = evaluate(
        args.model,
        args.data,
        layout=args.layout,
        protocol=args.protocol,
        qualities=args.quality,
        precision=args.precision,
        provider=args.provider,
        threads=args.threads,
    )
    n_rows = len(list_items(args.data, args.layout, args.quality)) * (1 + len(args.model))
    image_rows = list(tqdm(rows, total=n_rows, unit="picture", disable=not sys.stderr.isatty()))
    if args.csv is not None:
        write_csv(args.csv, image_rows)
    print(FORMATS[args.format](summarize(image_rows), {model: load_card(model) for model in args.model}))
    return 0
