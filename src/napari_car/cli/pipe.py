"""``-`` for a file: one image from standard input, or to standard output."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from napari_car.errors import FileError, InputError

PIPE = Path("-")
"""What stands for a pipe: this object, since a file may have that name."""


def path_or_pipe(name: str) -> Path:
    """The path of a name on the command line; a file called ``-`` is ``./-``."""
    if not name:  # as of a variable of the shell that is not set; it would mean the current folder
        raise argparse.ArgumentTypeError("an empty name was given; '.' is the current folder")
    return PIPE if name == "-" else Path(name)


def restore_through(
    restore: Callable[[Path, Path | None, str | None], Path], source: Path, output: Path | None, format: str | None
) -> Path | None:
    """Restore one image where source or output, or both, is a pipe.

    It goes through private temporary files: what may come of a picture, whole or not at all, is the same as of a file.

    Parameters
    ----------
    restore
        Restores a file, given source, output and format, and returns the file written.
    source, output, format
        As they were asked for; without an output, what comes from standard input goes to standard output.

    Returns
    -------
    Path or None
        The file written, None for standard output.
    """
    is_out = output is PIPE or output is None
    if is_out and sys.stdout is None:
        raise InputError("standard output is closed; name a file with -o, or send stdout somewhere")
    if is_out and sys.stdout.isatty():
        raise InputError("an image cannot be shown in a terminal; name a file with -o, or send stdout somewhere")
    with tempfile.TemporaryDirectory(prefix="napari-car-") as name:
        folder = Path(name)
        if source is PIPE:
            source = folder / "stdin"
            _keep_stdin(source)
        try:
            path = restore(source, folder if is_out else output, format)
        except FileError as error:
            if error.path is not None and Path(error.path).parent == folder:
                raise type(error)(error.message, Path(error.path).name) from error
            raise
        if not is_out:
            return path
        with path.open("rb") as file:
            try:
                shutil.copyfileobj(file, sys.stdout.buffer)
            except OSError as error:
                error.filename = "standard output"
                raise
        return None


def _keep_stdin(path: Path) -> None:
    """Write what comes from standard input into a file."""
    if sys.stdin is None:
        raise InputError("standard input is closed; name a file, or send one to stdin")
    try:
        with path.open("wb") as file:
            shutil.copyfileobj(sys.stdin.buffer, file)
    except OSError as error:
        raise FileError(f"cannot be kept in {tempfile.gettempdir()} ({error.strerror})", path.name) from error
