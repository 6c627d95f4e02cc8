"""Why the filter does not work: each fault with its cure."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Timer
from time import monotonic
from typing import Any

import numpy as np

from napari_car.gimp.folders import profile_roots, profiles
from napari_car.gimp.frames import read_frame, write_frame
from napari_car.gimp.install import NAME, folder_in, is_runnable, plugin_file
from napari_car.version import __version__

PATIENCE = 60
"""How long a worker may take for one round trip, seconds."""


@dataclass(frozen=True)
class Symptom:
    """One thing that was looked at.

    Parameters
    ----------
    is_fault
        Whether the filter cannot work like that.
    sentence
        What was found, and where it is wrong, what to do.
    """

    is_fault: bool
    sentence: str


def examine(platform: str, environment: Mapping[str, str], home: str) -> Iterator[Symptom]:
    """Look at everything that the filter needs; parameters are those of ``profile_roots``."""
    found = profiles(platform, environment, home)
    if not found:
        looked = ", ".join(map(str, profile_roots(platform, environment, home)))
        yield Symptom(True, f"No profile of GIMP 3 was found in {looked}; start GIMP 3 once, then install the filter.")
    for profile in found:
        yield from _examine_profile(profile)
    yield from _examine_surroundings(platform, environment, home)


def _examine_profile(profile: Path) -> Iterator[Symptom]:
    """Look at one profile and at the worker that it names."""
    folder = folder_in(profile)
    file, config_file = folder / f"{NAME}.py", folder / "config.json"
    if not profile.is_dir():
        yield Symptom(True, f"{profile}: there is no such folder; start GIMP once with it, or unset GIMP3_DIRECTORY.")
        return
    if not file.is_file():
        yield Symptom(True, f"{profile}: the filter is not installed; run 'napari-car gimp install'.")
        return
    if not is_runnable(file):
        yield Symptom(True, f"{file}: may not be executed, so GIMP passes it over; run 'napari-car gimp install'.")
    try:
        config = json.loads(config_file.read_text("utf-8"))
        interpreter, version = str(config["interpreter"]), str(config["version"])
    except (OSError, ValueError, LookupError, TypeError):
        yield Symptom(True, f"{config_file}: is missing or damaged; run 'napari-car gimp install'.")
        return
    if file.read_bytes() != plugin_file().read_bytes() or version != __version__:
        yield Symptom(
            True,
            f"{file}: is not the filter of this napari-car, {__version__}, but was installed by {version}; run "
            "'napari-car gimp install' and start GIMP anew.",
        )
    yield _try_worker(profile, interpreter)


def _try_worker(profile: Path, interpreter: str) -> Symptom:
    """Let the worker of a profile restore a small picture."""
    if not os.path.isfile(interpreter):
        why = "is gone: the environment was moved or removed; run 'napari-car gimp install' from the one to be used"
        return Symptom(True, f"{profile}: its interpreter {interpreter} {why}.")
    started = monotonic()
    try:
        version = round_trip(interpreter)
    except (OSError, ValueError, EOFError, subprocess.SubprocessError) as error:
        return Symptom(
            True,
            f"{profile}: its worker does not work ({error}); run 'napari-car gimp install' from a whole environment.",
        )
    seconds = monotonic() - started
    if version != __version__:
        why = "run 'napari-car gimp install' from the environment that is to be used"
        return Symptom(True, f"{profile}: its worker is napari-car {version}, this is {__version__}; {why}.")
    return Symptom(False, f"{profile}: the worker of {interpreter} restored a picture in {seconds:.1f} s.")


def round_trip(interpreter: str) -> str:
    """Start a worker as the filter does and let it greet and restore; gives its version.

    Raises
    ------
    OSError, ValueError, EOFError, subprocess.SubprocessError
        With what went wrong.
    """
    picture = np.full((32, 32, 3), 90, np.uint8)
    question = {"do": "restore", "quality": 20, "shape": picture.shape, "dtype": picture.dtype.name}
    command = [interpreter, "-I", "-m", "napari_car.gimp.worker"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, bufsize=0, **pipes) as process:  # type: ignore[call-overload] # noqa: S603
        limit = Timer(PATIENCE, process.kill)
        limit.start()
        try:
            with suppress(BrokenPipeError):  # it has died; of what, its answer tells
                write_frame(process.stdin, {"do": "greet"})
                write_frame(process.stdin, question, picture)
            version = _result(process)["version"]
            if not _result(process).get("is_restored"):
                raise ValueError("it did not restore a picture")
        finally:
            limit.cancel()
            process.kill()
    return str(version)


def _result(process: Any) -> dict[str, Any]:
    """The next result of a worker."""
    while True:
        try:
            message, _ = read_frame(process.stdout)
        except EOFError as error:
            last = process.stderr.read().decode(errors="replace").strip().splitlines()[-1:]
            raise EOFError(f"it ended: {last[0] if last else f'exit code {process.wait()}'}") from error
        if message.get("kind") == "error":
            raise ValueError(message.get("message"))
        if message.get("kind") == "result":
            return message


def _examine_surroundings(platform: str, environment: Mapping[str, str], home: str) -> Iterator[Symptom]:
    """Look for packagings of GIMP that need something of their own, and for a shell that would mislead it."""
    if environment.get("VIRTUAL_ENV"):
        yield Symptom(
            False,
            f"A virtual environment is active in this shell ({environment['VIRTUAL_ENV']}). A GIMP that is started "
            "from here loses all filters in Python; start it from its menu, or after 'deactivate'.",
        )
    if platform in ("win32", "darwin"):
        return
    if Path(home, "snap/gimp").is_dir():
        yield Symptom(False, "There is a Snap of GIMP, which lets no program outside of it be started: not supported.")
    places = (Path(home, ".local/share/flatpak/app/org.gimp.GIMP"), Path("/var/lib/flatpak/app/org.gimp.GIMP"))
    if any(place.is_dir() for place in places) and not _is_in(home, sys.base_prefix):
        yield Symptom(
            False,
            f"There is a Flatpak of GIMP, and it does not see the Python of {sys.base_prefix}. For it, install with a "
            "Python that lies in your home folder: 'uv tool install --managed-python napari-car', then "
            "'napari-car gimp install'.",
        )


def _is_in(folder: str, path: str) -> bool:
    return Path(path).resolve().is_relative_to(Path(folder).resolve())
