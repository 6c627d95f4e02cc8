"""The filter under a person's hands: menu, dialog, progress, undo and cancel, on a display that nobody sees."""

from __future__ import annotations

import io
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from napari_car import read_jpeg, restore

Run = Callable[..., dict[str, Any]]
DIALOG = "Remove JPEG Artifacts"
CANCEL = ("720", "743")
"""Where the button stands beside the progress, px."""

PATIENCE = 90
"""Seconds to wait for anything to happen on the screen; a busy machine is no error."""


class Screen:
    """A display of its own with GIMP on it, and the keys and eyes of a person."""

    def __init__(self, profile: Path, pictures: Path) -> None:
        self.pictures = pictures
        (profile / "gimprc").write_text("(show-welcome-dialog no)\n(check-updates no)\n(theme-color-scheme light)\n")
        reading, writing = os.pipe()
        self.display = subprocess.Popen(
            ["Xvfb", "-displayfd", str(writing), "-screen", "0", "1000x760x24"],
            pass_fds=[writing],
            stderr=subprocess.DEVNULL,
        )
        os.close(writing)
        with os.fdopen(reading) as answer:
            self.number = answer.readline().strip()
        self.environment = {
            "PATH": "/usr/bin:/bin", "HOME": "/root", "LANG": "C.UTF-8", "GIMP3_DIRECTORY": str(profile),
            "DISPLAY": f":{self.number}", "GDK_BACKEND": "x11", "NO_AT_BRIDGE": "1",
        }  # fmt: skip
        self.gimp: subprocess.Popen[bytes] | None = None

    def open(self, file: Path) -> None:
        """Start GIMP with a picture."""
        self.gimp = subprocess.Popen(
            ["gimp", "-n", "-s", str(file)], env=self.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self.main = self.window(file.stem)
        self.do("mousemove", "999", "759")  # no brush over the picture
        self.do("windowmove", self.main, "0", "0", "windowsize", self.main, "1000", "760")

    def close(self) -> None:
        """Take it all down."""
        for process in (self.gimp, self.display):
            if process is not None:
                process.kill()
                process.wait()

    def do(self, *arguments: str) -> str:
        """What xdotool says."""
        return subprocess.run(
            ["xdotool", *arguments], env=self.environment, capture_output=True, text=True, check=False
        ).stdout

    def window(self, name: str) -> str:
        """The window of a name, as soon as it is there."""
        return str(
            until(lambda: self.do("search", "--onlyvisible", "--name", name).split()[-1:], f"window {name!r}")[0]
        )

    def press(self, window: str, *keys: str) -> None:
        """Focus a window and press keys."""
        self.do("windowfocus", "--sync", window)
        time.sleep(0.3)
        self.do("key", "--delay", "50", *keys)

    def see(self, name: str = "", window: str = "root") -> np.ndarray:
        """A window's pixels, kept as a picture where it has a name."""
        shot = subprocess.run(
            ["import", "-window", window, "png:-"], env=self.environment, capture_output=True, check=True
        ).stdout
        if name:
            (self.pictures / f"{name}.png").write_bytes(shot)
        return np.asarray(Image.open(io.BytesIO(shot)).convert("RGB"))

    def enlarge(self, name: str) -> None:
        """Keep a picture of the main window at 200 %, and go back to 100 %."""
        self.press(self.main, "2")
        time.sleep(2)
        self.see(name, self.main)
        self.press(self.main, "1")

    def ask_for_the_filter(self) -> str:
        """Find the filter among GIMP's actions, which are those of its menus, and open its dialog."""
        self.press(self.main, "slash")
        search = self.window("Search Actions")
        self.do("windowfocus", "--sync", search, "type", "--delay", "30", "remove jpeg")
        time.sleep(1.5)
        self.press(search, "Return")
        return self.window(DIALOG)


def until(look: Callable[[], Any], what: str, patience: float = PATIENCE) -> Any:
    """What is seen as soon as something is."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        if seen := look():
            return seen
        time.sleep(0.1)
    raise AssertionError(f"no {what} within {patience} s")


def shows(screen: np.ndarray, picture: np.ndarray) -> bool:
    """Whether a picture stands on the screen, pixel by pixel."""
    part = picture[60:100, 60:140]
    rows, columns = np.nonzero((screen[: 1 - 40, : 1 - 80] == part[0, 0]).all(-1))
    return any((screen[y : y + 40, x : x + 80] == part).all() for y, x in zip(rows, columns, strict=True))


def workers() -> list[int]:
    """Process ids of workers."""
    found = []
    for folder in Path("/proc").iterdir():
        with suppress(OSError):
            if folder.name.isdigit() and b"napari_car.gimp.worker" in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
    return found


@pytest.fixture
def screen(profile: Path) -> Iterator[Screen]:
    """A display with GIMP on it; what it shows is kept."""
    pictures = Path("/napari-car/screenshots")
    pictures.mkdir(exist_ok=True)
    screen = Screen(profile, pictures)
    try:
        yield screen
    finally:
        screen.close()


def test_menu_dialog_result_and_undo(screen: Screen, gimp: Run, photo: Path) -> None:
    before = gimp('keep_pixels("photo", opened().get_layers()[0], "u8")', photo)["photo"]
    after = restore(before, quality=read_jpeg(photo))
    screen.open(photo)
    until(lambda: shows(screen.see(), before), "photo on the canvas")
    screen.enlarge("gimp-before")
    dialog = screen.ask_for_the_filter()
    time.sleep(1)
    screen.see("gimp-dialog", dialog)
    screen.press(dialog, "Return")
    until(lambda: shows(screen.see(), after), "restored photo on the canvas")
    screen.enlarge("gimp-result")
    assert screen.do("getwindowname", screen.main).startswith("*")  # GIMP's sign of a changed image
    screen.press(screen.main, "ctrl+z")
    until(lambda: shows(screen.see(), before), "photo as it was after one Ctrl+Z")
    until(lambda: not workers(), "end of the worker", 5)


def test_cancel_ends_the_worker(screen: Screen, reference: Image.Image, tmp_path: Path) -> None:
    large = tmp_path / "large.jpg"
    Image.fromarray(np.tile(np.asarray(reference), (30, 30, 1))).save(large, quality=20)
    screen.open(large)
    dialog = screen.ask_for_the_filter()
    (worker,) = workers()
    screen.press(dialog, "Return")
    busy = cpu_seconds(worker) + 2
    until(lambda: cpu_seconds(worker) > busy, "worker at work")
    screen.see("gimp-progress", screen.main)
    screen.do("mousemove", *CANCEL, "click", "1")
    until(lambda: not workers(), "end of the worker", 2)
    time.sleep(1)
    assert not screen.do("getwindowname", screen.main).startswith("*")
    assert screen.gimp is not None
    assert screen.gimp.poll() is None


def cpu_seconds(process: int) -> float:
    """Time that a process has computed."""
    fields = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
