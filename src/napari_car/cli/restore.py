"""``napari-car restore``: files in, restored files out."""

from __future__ import annotations

import argparse
import os
import sys
from functools import partial
from pathlib import Path

from napari_car.cli.options import add_file_options, file_options
from napari_car.cli.pipe import PIPE, path_or_pipe, restore_through
from napari_car.errors import CarError, FileError, InputError
from napari_car.files import ignores_case
from napari_car.restore_file import FileOptions, RestoredFile, restore_file_steps
from napari_car.session import open_session
from napari_car.steps import Steps, drain

EXAMPLES = """\
examples:
  napari-car restore photo.jpg                        writes photo.restored.png
  napari-car restore photo.jpg -o photo.tif --bit-depth 16
  napari-car restore screenshot.png --quality 20      a picture that is no longer a JPEG file
  napari-car restore photo.jpg --strength 0.7         keep a little of what was there
  napari-car restore *.jpg -o restored/               every file under its own name
  napari-car restore - -o - --format tif              from stdin to stdout"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``napari-car restore``."""
    add = parser.add_argument
    add(
        "inputs", metavar="IN", nargs="+", type=path_or_pipe,
        help="a JPEG, or a picture in another format that was one once; - for stdin",
    )  # fmt: skip
    add(
        "-o", "--output", metavar="OUT", type=path_or_pipe,
        help="file to write, its extension is the format, or a folder that exists; - for stdout "
        "(default: IN.restored.png beside IN, or stdout for stdin)",
    )  # fmt: skip
    add("--format", metavar="EXT", help="extension of an output that is not named (default: png, or tif if need be)")
    add_file_options(parser)
    add("--threads", metavar="N", type=int, help="tiles worked on side by side (default: one a core)")


def run(options: argparse.Namespace) -> int:
    """Restore each input; one that fails is named on stderr and does not stop the rest."""
    output: Path | None = options.output
    if output is not None and len(options.inputs) > 1 and not os.path.isdir(output):
        raise InputError(f"{len(options.inputs)} inputs need a folder that exists as output; {output} is none")
    has_pipe = any(path is PIPE for path in (*options.inputs, output))
    if has_pipe and len(options.inputs) > 1:
        raise InputError(f"'-' is for one image; there are {len(options.inputs)} inputs")
    keywords = file_options(options)
    keywords["session"] = open_session(options.model, provider=options.provider, threads=options.threads)
    failures = 0
    names: set[str] = set()
    extensions = ("png", "tif") if options.format is None else (options.format,)
    kept = {os.path.realpath(source) for source in options.inputs}
    for source in options.inputs:
        try:
            folder = output or source.parent
            name = str(folder / source.stem)
            if options.force and (name in names or (name.casefold() in names and ignores_case(folder))):
                raise FileError("has the name of an input before it, whose result it would replace", source)
            names |= {name, name.casefold()}
            results = {f"{name}.restored.{extension.lstrip('.')}" for extension in extensions}
            if len(options.inputs) > 1 and options.force and not kept.isdisjoint(map(os.path.realpath, results)):
                raise FileError("has a result of the name of another input, which is never overwritten", source)
            restore = partial(_restore, keywords=keywords)
            if has_pipe:
                path = restore_through(restore, source, output, options.format)
            else:
                path = restore(source, output, options.format)
            if path is not None:
                print(path)
        except (CarError, MemoryError) as error:
            failures += 1
            said = f"{source}: does not fit into memory" if isinstance(error, MemoryError) else str(error)
            print(f"napari-car: {' '.join(said.split())}", file=sys.stderr)
    return 1 if failures else 0


def _restore(source: Path, target: Path | None, format: str | None, keywords: FileOptions) -> Path:
    """Restore one file under a progress bar, which is silent where stderr is no terminal."""
    if format is not None:
        folder = source.parent if target is None else target
        if not os.path.isdir(folder):
            raise InputError(
                f"the name {target} tells the format; --format {format} is for an output that is not named"
            )
        target = folder / f"{source.stem}.restored.{format.lstrip('.')}"
    return _with_bar(restore_file_steps(source, target, **keywords), source.name).path


def _with_bar(steps: Steps[RestoredFile], name: str) -> RestoredFile:
    """Run steps to their end, with a bar where a person can see it."""
    if not (sys.stderr and sys.stderr.isatty()):
        return drain(steps)
    from tqdm import tqdm  # takes 0.03 s

    with tqdm(desc=name, unit="tile", leave=False) as bar:
        while True:
            try:
                done, bar.total = next(steps)
                bar.update(done - bar.n)
            except StopIteration as stop:
                outcome: RestoredFile = stop.value
                return outcome
