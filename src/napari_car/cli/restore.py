"""``napari-car restore``: files in, restored files out."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from tqdm import tqdm

from napari_car.cards import DEFAULT_MODEL
from napari_car.errors import CarError, FileError, InputError
from napari_car.restore import Options
from napari_car.restore_file import restore_file_steps
from napari_car.session import PROVIDERS, open_session

EXAMPLES = """\
examples:
  napari-car restore photo.jpg                        writes photo.restored.png
  napari-car restore photo.jpg -o photo.tif --bit-depth 16
  napari-car restore screenshot.png --quality 20      a picture that is no longer a JPEG file
  napari-car restore photo.jpg --strength 0.7         keep a little of what was there
  napari-car restore *.jpg -o restored/               every file under its own name"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``napari-car restore``."""
    add = parser.add_argument
    add("inputs", metavar="IN", nargs="+", type=Path, help="a JPEG, or a picture in another format that was one once")
    add(
        "-o", "--output", metavar="OUT", type=Path,
        help="file to write, its extension is the format, or a folder that exists (default: IN.restored.png beside IN)",
    )  # fmt: skip
    add("--force", action="store_true", help="overwrite an output that exists")
    add("--model", metavar="ID", help=f"one of 'napari-car models' (default: {DEFAULT_MODEL})")
    add(
        "--quality", metavar="auto|1..100", default="auto",
        help="IJG quality it was compressed at (default: auto, by its file and its pixels)",
    )  # fmt: skip
    add("--strength", metavar="0..1", type=float, default=1.0, help="share of the change to apply (default: 1)")
    add("--luma", metavar="0..1", type=float, default=1.0, help="share of the change in brightness (default: 1)")
    add("--chroma", metavar="0..1", type=float, default=1.0, help="share of the change in colour (default: 1)")
    add("--consistent", action="store_true", help="keep the result within what the file allows")
    add("--bit-depth", choices=[8, 16], type=int, help="bits a channel of the output (default: as the input)")
    add("--provider", metavar="NAME", default="auto", help=f"what computes: auto (default), {', '.join(PROVIDERS)}")
    add("--threads", metavar="N", type=int, help="tiles worked on side by side (default: one a core)")


def run(options: argparse.Namespace) -> int:
    """Restore each input; one that fails is named on stderr and does not stop the rest."""
    output: Path | None = options.output
    if output is not None and len(options.inputs) > 1 and not os.path.isdir(output):
        raise InputError(f"{len(options.inputs)} inputs need a folder that exists as output; {output} is none")
    keywords: Options = {
        "session": open_session(options.model, provider=options.provider, threads=options.threads),
        "quality": _quality(options.quality),
        "strength": options.strength,
        "luma": options.luma,
        "chroma": options.chroma,
        "consistent": options.consistent,
    }
    if options.bit_depth is not None:
        keywords["dtype"] = f"uint{options.bit_depth}"
    failures = 0
    names: set[Path] = set()
    for source in options.inputs:
        try:
            name = (output or source.parent) / source.stem
            if options.force and name in names:
                raise FileError("has the name of an input before it, whose result it would replace", source)
            names.add(name)
            print(_restore(source, output, options.force, keywords))
        except CarError as error:
            failures += 1
            print(f"napari-car: {' '.join(str(error).split())}", file=sys.stderr)
    return 1 if failures else 0


def _restore(source: Path, target: Path | None, force: bool, keywords: Options) -> Path:
    """Restore one file under a progress bar, which is silent where stderr is no terminal."""
    steps = restore_file_steps(source, target, overwrite=force, **keywords)
    with tqdm(desc=source.name, unit="tile", disable=None, leave=False) as bar:
        while True:
            try:
                done, bar.total = next(steps)
                bar.update(done - bar.n)
            except StopIteration as stop:
                path: Path = stop.value
                return path


def _quality(text: str) -> int | str:
    """The quality as a number where it is one; what is allowed is said by ``restore``."""
    try:
        return int(text)
    except ValueError:
        return text
