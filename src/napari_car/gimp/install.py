"""The filter's two files in a GIMP profile: put there, taken away."""

from __future__ import annotations

import json
import shutil
import sys
from functools import cache
from pathlib import Path

from napari_car.cards import DEFAULT_MODEL, list_models
from napari_car.errors import FileError
from napari_car.version import __version__

NAME = "napari-car"
"""Of the filter's folder, and of its file without extension: GIMP wants both the same."""


@cache
def plugin_file() -> Path:
    """The filter: in the installed package, or at the top of a source tree."""
    package = Path(__file__).resolve().parent
    for folder in (package / "plugin", package.parents[2] / "gimp_plugin" / NAME):
        if (path := folder / f"{NAME}.py").is_file():
            return path
    raise FileError("the GIMP filter is missing; reinstall napari-car", package / "plugin")


def contents() -> dict[str, bytes]:
    """What the filter's folder is to hold: its code, and the environment and the models that it is to use."""
    config = {
        "interpreter": sys.executable,
        "version": __version__,
        "default": DEFAULT_MODEL,
        "models": [[card.id, card.summary] for card in list_models()],
    }
    return {f"{NAME}.py": plugin_file().read_bytes(), "config.json": json.dumps(config, indent=2).encode()}


def folder_in(profile: Path) -> Path:
    """Where the filter lies in a GIMP profile."""
    return profile / "plug-ins" / NAME


def install(profile: Path, *, dry_run: bool = False) -> bool:
    """Put the filter into a profile; gives whether that changes anything.

    Raises
    ------
    FileError
        If the profile cannot be written.
    """
    folder = folder_in(profile)
    wanted = contents()
    if _is_whole(folder, wanted):
        return False
    if not dry_run:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for name, content in wanted.items():  # both anew: GIMP asks the filter again when its file is younger
                (folder / name).write_bytes(content)
            (folder / f"{NAME}.py").chmod(0o755)
        except OSError as error:
            raise FileError(f"the filter cannot be written: {error.strerror}", folder) from error
    return True


def uninstall(profile: Path, *, dry_run: bool = False) -> bool:
    """Take the filter out of a profile; gives whether it was there.

    Raises
    ------
    FileError
        If it cannot be removed.
    """
    folder = folder_in(profile)
    if not folder.is_dir() and not folder.is_symlink():
        return False
    if not dry_run:
        try:
            if folder.is_symlink():  # to a checkout, which stays
                folder.unlink()
            else:
                shutil.rmtree(folder)
        except OSError as error:
            raise FileError(f"the filter cannot be removed: {error.strerror}", folder) from error
    return True


def is_runnable(path: Path) -> bool:
    """Whether the system lets GIMP start a file; Windows does not ask for a bit."""
    return sys.platform == "win32" or bool(path.stat().st_mode & 0o100)


def _is_whole(folder: Path, wanted: dict[str, bytes]) -> bool:
    """Whether the folder holds what it should."""
    try:
        return all((folder / name).read_bytes() == content for name, content in wanted.items()) and is_runnable(
            folder / f"{NAME}.py"
        )
    except OSError:
        return False
