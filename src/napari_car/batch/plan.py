"""What a batch is to do: which files, and where each result goes."""

from __future__ import annotations

import errno
import glob
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from napari_car.errors import FileError, InputError
from napari_car.files import names_image

_TIFF = (".tif", ".tiff")


@dataclass(frozen=True)
class Task:
    """One file of a batch.

    Parameters
    ----------
    source
        The file to be restored.
    output
        Where the result goes.
    """

    source: Path
    output: Path

    @property
    def is_done(self) -> bool:
        """Whether the output is there.

        An output appears under its name when it is whole. An empty file is no output: where there are no hard links, a
        kill may leave one in the place that was reserved. Nor is a folder.
        """
        try:
            is_folder = os.path.isdir(self.output)
            return not is_folder and (self.output.is_symlink() or self.output.stat().st_size > 0)
        except OSError:
            return False


@dataclass(frozen=True)
class Plan:
    """All files of a batch.

    Parameters
    ----------
    folder
        Below which all outputs are.
    tasks
        The files, in the order in which they were found; no two have the same output.
    """

    folder: Path
    tasks: tuple[Task, ...]


def plan_batch(
    sources: Iterable[str | PathLike[str]], folder: str | PathLike[str], *, format: str | None = None
) -> Plan:
    """Find the files of a batch and where each result goes; nothing is written.

    Parameters
    ----------
    sources
        Files; folders, of which all images are taken, those of sub-folders too; patterns with ``*``, ``?``, ``[ ]``,
        and ``**`` for any sub-folders. In folders hidden names and links to folders are left out.
    folder
        Where the results go, in sub-folders like those of the source: below the folder that was named, or the part of a
        pattern before its first wildcard. The name is that of the source, with another extension.
    format
        Extension of the results; for None ``tif`` for TIFF and ``png`` for all others.

    Raises
    ------
    FileError
        If a source does not exist, may not be looked at or lies in the folder of the results, there is no file at all,
        or two files would have the same output.
    InputError
        If the format is no extension, or an empty name was given.

    Examples
    --------
    >>> import tempfile
    >>> scans = Path(tempfile.mkdtemp())
    >>> for name in ("1/a.jpg", "1/b.tif", "2/a.jpg"):
    ...     (scans / name).parent.mkdir(exist_ok=True)
    ...     (scans / name).touch()
    >>> plan = plan_batch([scans], "clean")
    >>> [task.output.relative_to(plan.folder).as_posix() for task in plan.tasks]
    ['1/a.png', '1/b.tif', '2/a.png']
    """
    sources = list(sources)
    if not all(map(os.fspath, [*sources, folder])):  # which would mean the current folder
        raise InputError("an empty name was given; '.' is the current folder")
    folder = Path(os.path.abspath(folder))
    if os.path.lexists(folder) and not folder.is_dir():
        raise FileError("is a file; results of a batch go into a folder", folder)
    tasks: dict[Path, Task] = {}
    for named in sources:
        is_empty = True
        for root, source in _files(Path(os.path.abspath(named)), folder.resolve()):
            output = folder / source.relative_to(root).with_suffix(_extension(source, format))
            is_empty = False
            other = tasks.setdefault(output, Task(source, output))
            if other.source != source:
                raise FileError(
                    f"would have the same output as {other.source}, {output}; restore them into different folders",
                    source,
                )
        if is_empty:
            raise FileError("no image was found there", named)
    return Plan(folder, tuple(tasks.values()))


def _files(named: Path, results: Path) -> Iterator[tuple[Path, Path]]:
    """The files that a source stands for, each with the folder whose structure is kept."""
    try:
        os.lstat(named)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.ENAMETOOLONG):
            raise FileError(f"cannot be looked at ({error.strerror})", named) from error
    except ValueError as error:  # a null character
        raise FileError("does not exist", named) from error
    if os.path.isdir(named):
        _check_apart(named, results)
        for file in _walk(named, results):
            yield named, file
    elif os.path.lexists(named):
        _check_apart(named.parent, results)
        yield named.parent, named
    elif glob.has_magic(str(named)):
        first = next(i for i, part in enumerate(named.parts) if glob.has_magic(part))
        root = Path(*named.parts[:first])
        _check_apart(root, results)
        for file in sorted(root.glob(str(Path(*named.parts[first:])))):
            is_hidden = any(part.startswith(".") for part in file.relative_to(root).parts)
            if not os.path.isdir(file) and not is_hidden and not file.parent.resolve().is_relative_to(results):
                yield root, file
    else:
        raise FileError("does not exist", named)


def _walk(root: Path, results: Path) -> Iterator[Path]:
    """The images in a folder and below, in order; links to folders are not followed, so that there is an end."""
    real = root.resolve()
    for parent, folders, files in os.walk(root, onerror=_refuse):
        here = real / os.path.relpath(parent, root)
        folders[:] = sorted(name for name in folders if not name.startswith(".") and here / name != results)
        for name in sorted(files):
            if not name.startswith(".") and names_image(name):
                yield Path(parent, name)


def _refuse(error: OSError) -> None:
    """Say that a folder cannot be listed, where its images would be missing without a word."""
    raise FileError(f"cannot be listed ({error.strerror})", error.filename) from error


def _check_apart(source: Path, results: Path) -> None:
    """Refuse sources among the results, which the next run would take for originals."""
    if source.resolve().is_relative_to(results):
        raise FileError(f"lies in the folder of the results, {results}; give another folder for them", source)


def _extension(source: Path, format: str | None) -> str:
    """Extension of the result of a file."""
    if format is None:
        return ".tif" if source.suffix.lower() in _TIFF else ".png"
    extension = f".{format.lower().lstrip('.')}"
    if Path(f"any{extension}").suffix != extension:
        raise InputError(f"format is {format!r}; it is an extension, such as png")
    return extension
