"""The atomic write: a file appears under its name when it is whole, and what kills have left is removed."""

from __future__ import annotations

import os
import re
import secrets
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from os import PathLike
from pathlib import Path
from typing import IO

from napari_car.errors import FileError

if sys.platform != "win32":
    import fcntl

_PART = re.compile(r"\.napari-car-[0-9a-f]{16}\.part")


@contextmanager
def atomic_file(path: Path, *, overwrite: bool) -> Iterator[IO[bytes]]:
    """Give a file in the target's folder that takes its name only when the block ends well.

    Without `overwrite` a file that appeared in the meantime is left alone. A symbolic link at the target is
    replaced, never followed, so that nothing outside the folder is written. What the system refuses, such as more
    than the disk holds, is a `FileError`.
    """
    temporary = _part_in(path.parent)
    lock = None
    try:
        try:
            opener = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
            lock = _lock(opener)
            with os.fdopen(opener, "w+b") as stream:
                yield stream
            if overwrite:
                if path.is_file():  # who could read the old file may read the new one
                    temporary.chmod(stat.S_IMODE(path.stat().st_mode))
                os.replace(temporary, path)
            else:
                _claim(temporary, path)
        finally:  # on Ctrl-C as well
            temporary.unlink(missing_ok=True)
            if lock is not None:
                os.close(lock)
    except FileError:
        raise
    except OSError as error:
        raise FileError(f"could not be written: {error.strerror or error}", path) from error


def remove_stale_parts(folder: str | PathLike[str]) -> int:
    """Remove what writers that were killed left in a folder, and return how many files that were.

    A file whose writer still lives, in this process or another, is left alone; so is a folder that may not be listed.
    """
    count = 0
    with suppress(FileNotFoundError, PermissionError), os.scandir(folder) as entries:
        for entry in entries:
            if _PART.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                with suppress(OSError):  # on Windows an open file cannot be removed
                    if _is_free(entry.path):
                        os.unlink(entry.path)
                        count += 1
    return count


def ignores_case(folder: str | PathLike[str]) -> bool:
    """Say whether a folder that can be written takes names that differ in upper and lower case for the same."""
    part = _part_in(Path(folder))
    try:
        os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        return os.path.lexists(part.with_name(part.name.upper()))
    except OSError as error:
        raise FileError(f"could not be written: {error.strerror}", folder) from error
    finally:
        part.unlink(missing_ok=True)


def _part_in(folder: Path) -> Path:
    """A name for what is not whole yet."""
    return folder / f".napari-car-{secrets.token_hex(8)}.part"


def _lock(descriptor: int) -> int | None:
    """Lock an open file until the descriptor returned is closed or the process ends; None where there are no locks."""
    if sys.platform == "win32":
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # a file system without locks
        return None
    return os.dup(descriptor)


def _is_free(path: str) -> bool:
    """Whether no writer holds the lock of a file."""
    if sys.platform == "win32":
        return True
    descriptor = os.open(path, os.O_RDWR)
    lock = _lock(descriptor)
    os.close(descriptor)
    if lock is not None:
        os.close(lock)
    return lock is not None


def _claim(temporary: Path, path: Path) -> None:
    """Give the file its name unless the name is taken."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise FileError("appeared while this was being written and is not overwritten", path) from None
    except OSError:  # file systems without hard links: reserve the name, then replace the reservation
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        except FileExistsError:
            raise FileError("appeared while this was being written and is not overwritten", path) from None
        os.replace(temporary, path)
