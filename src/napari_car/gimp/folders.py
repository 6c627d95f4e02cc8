"""Where GIMP 3 keeps its profiles, on each system and in each packaging."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath

_VERSION = re.compile(r"3\.\d+")


def profile_roots(platform: str, environment: Mapping[str, str], home: str) -> list[PurePath]:
    """Folders that hold a profile for each version of GIMP, as ``GIMP/3.0``; best first.

    Parameters
    ----------
    platform
        As ``sys.platform`` has it: "win32", "darwin", or anything else for Linux, with AppImage and Flatpak.
    environment
        As ``os.environ``.
    home
        The user's folder.

    Notes
    -----
    Source: GIMP, ``libgimpbase/gimpenv.c``, ``gimp_directory``; Flathub, ``org.gimp.GIMP``, whose older versions kept
    the profile in the sandbox.

    Examples
    --------
    >>> [str(root) for root in profile_roots("darwin", {}, "/Users/ada")]
    ['/Users/ada/Library/Application Support/GIMP']
    """
    if platform == "win32":
        data = environment.get("APPDATA")
        return [(PureWindowsPath(data) if data else PureWindowsPath(home, "AppData", "Roaming")) / "GIMP"]
    if platform == "darwin":
        return [PurePosixPath(home, "Library", "Application Support", "GIMP")]
    configuration = environment.get("XDG_CONFIG_HOME") or PurePosixPath(home, ".config")
    return [PurePosixPath(configuration, "GIMP"), PurePosixPath(home, ".var/app/org.gimp.GIMP/config/GIMP")]


def profiles(platform: str, environment: Mapping[str, str], home: str) -> list[Path]:
    """The GIMP 3 profiles that there are: the one that ``GIMP3_DIRECTORY`` names, or those of every 3.x version."""
    if named := environment.get("GIMP3_DIRECTORY"):
        return [Path(named)]
    roots = map(Path, profile_roots(platform, environment, home))
    found = [folder for root in roots if root.is_dir() for folder in root.iterdir() if _VERSION.fullmatch(folder.name)]
    return sorted(folder for folder in found if folder.is_dir())
