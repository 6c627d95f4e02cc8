"""The page of ``napari-car compare``: complete in itself, and what a person does with it, in a real browser."""

from __future__ import annotations

import base64
import io
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from skimage import data

from napari_car.cli import main
from napari_car.metrics import blocking, luma, psnr, psnr_b, ssim

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
SIZE = 900, 700
NASTY = "<img src=x onerror=alert(1)>&\"'.jpg"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """A JPEG, a picture to stand for the restored one, and what both came from."""
    folder = tmp_path_factory.mktemp("pictures")
    original, restored, reference = folder / NASTY, folder / "restored.png", folder / "reference.png"
    picture = Image.fromarray(data.astronaut()[:200, :300])
    picture.save(reference)
    picture.save(original, quality=10)
    smooth = (np.asarray(picture, float) + np.asarray(Image.open(original), float)) / 2
    Image.fromarray(np.rint(smooth).astype(np.uint8)).save(restored)
    return original, restored, reference


@pytest.fixture(scope="module")
def page(files: tuple[Path, Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    assert main(["compare", *map(str, files), "-o", str(path)]) == 0
    return path


def embedded(page: Path) -> list[dict[str, Any]]:
    """What the page holds of its pictures."""
    text = page.read_text("utf-8").partition('<script type="application/json" id="data">')[2].partition("</script>")[0]
    return json.loads(text)


def pixels(picture: dict[str, Any]) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(picture["source"].partition(",")[2]))).convert("RGB"))


def test_it_holds_the_pictures_bit_for_bit_and_their_figures(page: Path, files: tuple[Path, ...]) -> None:
    arrays = [np.asarray(Image.open(path)) for path in files]
    found = embedded(page)
    assert [(p["role"], p["name"]) for p in found] == [
        ("Original", NASTY), ("Restored", "restored.png"), ("Reference", "reference.png")
    ]  # fmt: skip
    lumas = [luma(array) for array in arrays]
    for picture, array, own in zip(found, arrays, lumas, strict=True):
        np.testing.assert_array_equal(pixels(picture), array)
        assert picture["blocking"] == blocking(own)
    for picture, own in zip(found[:2], lumas[:2], strict=True):
        expected = psnr(lumas[2], own), ssim(lumas[2], own), psnr_b(lumas[2], own)
        assert (picture["psnr"], picture["ssim"], picture["psnr_b"]) == expected
    assert "psnr" not in found[2]


def test_names_cannot_break_out_of_the_page(page: Path) -> None:
    assert "<img" not in page.read_text("utf-8")


def test_it_names_no_address_but_data(page: Path) -> None:
    text = page.read_text("utf-8")
    assert "http" not in text.replace('http-equiv="Content-Security-Policy"', "")
    assert "default-src 'none'; img-src data:" in text


def test_turned_deep_and_grey_pictures_are_shown_as_they_look(tmp_path: Path) -> None:
    grey = data.camera()[:100, :140]
    tags = Image.Exif()
    tags[0x0112] = 6
    Image.fromarray(np.rot90(grey).copy()).save(tmp_path / "turned.png", exif=tags)
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    output = tmp_path / "page.html"
    assert main(["compare", str(tmp_path / "turned.png"), str(tmp_path / "deep.png"), "-o", str(output)]) == 0
    for picture in embedded(output):
        np.testing.assert_array_equal(pixels(picture)[..., 0], grey)


def test_what_cannot_be_compared_is_refused(
    files: tuple[Path, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = tmp_path / "small.png"
    Image.new("RGB", (30, 20)).save(small)
    output = tmp_path / "page.html"
    assert main(["compare", str(files[1]), str(small), "-o", str(output)]) == 1
    assert "30 x 20 px" in capsys.readouterr().err
    output.write_text("mine")
    assert main(["compare", str(files[1]), str(files[1]), "-o", str(output)]) == 1
    assert "exists already" in capsys.readouterr().err
    assert output.read_text() == "mine"
    assert main(["compare", str(files[1]), str(files[1]), "-o", str(output), "--force"]) == 0
    for target, said in ((tmp_path, "is a folder"), (tmp_path / ("x" * 300), "could not be written: ")):
        assert main(["compare", str(files[1]), str(files[1]), "-o", str(target), "--force"]) == 1
        assert f"{target}: {said}" in capsys.readouterr().err


class Browser:
    """Chromium without a window, spoken to through a pair of pipes."""

    def __init__(self, folder: Path) -> None:
        to_read, self._write = os.pipe()
        self._read, to_write = os.pipe()
        script = f'exec {CHROMIUM} "$@" 3<&{to_read} 4>&{to_write}'
        self._process = subprocess.Popen(
            ["bash", "-c", script, "bash", "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
             "--remote-debugging-pipe", "--no-first-run", f"--user-data-dir={folder}", "about:blank"],
            pass_fds=(to_read, to_write), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(to_read)
        os.close(to_write)
        self._rest, self._number, self.events = b"", 0, []
        self._session: str | None = None
        target = self("Target.createTarget", url="about:blank")["targetId"]
        self._session = self("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]

    def __call__(self, method: str, **parameters: object) -> dict[str, Any]:
        """Send a command of the DevTools protocol and wait for its answer; events before it are kept."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while (answer := self._next()).get("id") != self._number:
            self.events.append(answer)
        assert "error" not in answer, answer
        return answer["result"]

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            part = os.read(self._read, 1 << 20)
            assert part, "the browser has gone"
            self._rest += part
        first, _, self._rest = self._rest.partition(b"\0")
        return json.loads(first)

    def run(self, script: str) -> Any:
        """The value of an expression in the page, awaited."""
        found = self("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def shows(self, script: str) -> Any:
        """The value of an expression after the page has drawn what it was asked to."""
        self.run("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        return self.run(script)

    def press(self, key: str, **more: object) -> None:
        for kind in ("keyDown", "keyUp"):
            self("Input.dispatchKeyEvent", type=kind, key=key, **more)

    def touch(self, kind: str, *points: tuple[float, float]) -> None:
        self("Input.dispatchTouchEvent", type=kind, touchPoints=[{"x": x, "y": y} for x, y in points])

    def screenshot(self) -> np.ndarray:
        self.shows("0")
        content = base64.b64decode(self("Page.captureScreenshot", format="png")["data"])
        return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._read)
        os.close(self._write)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed; on Debian: apt-get install chromium")
    found = Browser(tmp_path_factory.mktemp("browser"))
    yield found
    found.close()


@pytest.fixture
def opened(browser: Browser, page: Path) -> Browser:
    """The page, loaded anew."""
    browser("Page.enable")
    browser("Network.enable")
    browser("Log.enable")
    browser("Emulation.setTouchEmulationEnabled", enabled=True)
    browser("Emulation.setDeviceMetricsOverride", width=SIZE[0], height=SIZE[1], deviceScaleFactor=1, mobile=False)
    browser.events.clear()
    browser("Page.navigate", url=page.as_uri())
    deadline = time.monotonic() + 60
    while browser.run("document.documentElement?.dataset.state") != "ready":
        assert time.monotonic() < deadline, "the page does not get ready"
        time.sleep(0.02)
    return browser


def stage(browser: Browser) -> tuple[int, int, int, int]:
    """Left, top, width and height of what shows the pictures, px."""
    box = "canvas.getBoundingClientRect()"
    return tuple(round(browser.run(f"{box}.{side}")) for side in ("left", "top", "width", "height"))


def test_nothing_is_fetched_and_nothing_fails(opened: Browser) -> None:
    wanted = [e["params"]["request"]["url"] for e in opened.events if e.get("method") == "Network.requestWillBeSent"]
    assert wanted
    assert {url.partition(":")[0] for url in wanted} <= {"file", "data"}
    assert not [
        e for e in opened.events if e.get("method") in ("Page.javascriptDialogOpening", "Runtime.exceptionThrown")
    ]
    assert not [e for e in opened.events if e.get("method") == "Log.entryAdded"]


def test_figures_and_names_are_told(opened: Browser, page: Path) -> None:
    text = opened.run("document.getElementById('figures').innerText")
    first, second, third = embedded(page)
    assert NASTY in text
    assert f"{first['psnr']:.2f}" in text
    assert f"{second['ssim']:.4f}" in text
    assert f"{third['blocking']:.2f}" in text


def test_left_and_right_of_the_divider_are_the_two_pictures(opened: Browser, files: tuple[Path, ...]) -> None:
    opened.press("1")
    left, top, width, height = stage(opened)
    seen = opened.screenshot()[top : top + height, left : left + width]
    start_y, start_x = round(height / 2 - 100), round(width / 2 - 150)
    seen = seen[start_y : start_y + 200, start_x : start_x + 300]
    original, restored, _ = (np.asarray(Image.open(path)) for path in files)
    np.testing.assert_array_equal(seen[:80, :120], original[:80, :120])
    np.testing.assert_array_equal(seen[:80, 180:], restored[:80, 180:])


def test_the_residual_is_the_difference(opened: Browser, files: tuple[Path, ...]) -> None:
    opened.press("1")
    opened.press("r")
    left, top, width, height = stage(opened)
    seen = opened.screenshot()[top + height // 2 - 50 : top + height // 2, left + width // 2 :][:, :100]
    before, after = (np.asarray(Image.open(path), int)[50:100, 150:250] for path in files[:2])
    np.testing.assert_array_equal(seen, np.clip(128 + 8 * (after - before), 0, 255))


@pytest.mark.parametrize(
    ("key", "more", "changed"),
    [
        ("ArrowRight", {}, "state.divider === 0.52"),
        ("ArrowLeft", {}, "state.divider === 0.48"),
        ("ArrowRight", {"modifiers": 8}, "state.x > size().width / 2 && state.divider === 0.5"),
        ("ArrowUp", {}, "state.y < size().height / 2"),
        ("+", {}, "Math.abs(state.zoom / fitting() - STEP) < 1e-9"),
        ("1", {}, "state.zoom === 1"),
        ("s", {}, "state.view === 'side'"),
        ("r", {}, "state.view === 'residual'"),
        ("x", {}, "state.before === 1 && state.after === 0"),
    ],
)
def test_keys(opened: Browser, key: str, more: dict[str, object], changed: str) -> None:
    assert not opened.shows(changed)
    opened.press(key, **more)
    assert opened.shows(changed)
    opened.press("0")
    assert opened.shows("state.zoom === fitting()")


def test_fingers_divide_move_and_pinch(opened: Browser) -> None:
    left, top, width, height = stage(opened)
    x, y = left + width / 2, top + height / 2

    def drag(*ways: Callable[[float], tuple[float, float]]) -> None:
        opened.touch("touchStart", *(way(0) for way in ways))
        for share in (0.5, 1.0):
            opened.touch("touchMove", *(way(share) for way in ways))
        opened.touch("touchEnd")

    drag(lambda share: (x - share * width / 4, y))
    assert opened.shows("state.divider") == pytest.approx(0.25, abs=0.01)
    drag(lambda share: (x + 100 + 50 * share, y + 40 * share))
    moved = opened.shows("[(size().width / 2 - state.x) * state.zoom, (size().height / 2 - state.y) * state.zoom]")
    assert moved == pytest.approx([50, 40], abs=1)
    before = opened.run("state.zoom")
    drag(lambda share: (x - 50 - 50 * share, y), lambda share: (x + 50 + 50 * share, y))
    assert opened.shows("state.zoom") == pytest.approx(2 * before, rel=0.05)


def test_the_wheel_zooms_about_the_pointer(opened: Browser) -> None:
    left, top, width, height = stage(opened)
    point = "[state.x + 100 / state.zoom, state.y - 60 / state.zoom]"
    before = opened.run(point)
    x, y = left + width / 2 + 100, top + height / 2 - 60
    opened("Input.dispatchMouseEvent", type="mouseWheel", x=x, y=y, deltaX=0, deltaY=-200)
    assert opened.shows("state.zoom > fitting()")
    assert opened.shows(point) == pytest.approx(before, abs=0.5)


def test_side_by_side_shows_the_same_place_twice(opened: Browser) -> None:
    opened.press("s")
    opened.press("1")
    left, top, width, height = stage(opened)
    seen = opened.screenshot()[top + height // 2 - 20 : top + height // 2 + 20, left : left + width].astype(int)
    first, second = (seen[:, middle - 40 : middle + 40] for middle in (width // 4, 3 * width // 4))
    assert np.abs(first - second).mean() < 12, "the same place"
    assert np.abs(first - second).max() > 0, "of two pictures"


def test_it_fits_a_telephone(opened: Browser) -> None:
    opened("Emulation.setDeviceMetricsOverride", width=390, height=760, deviceScaleFactor=2, mobile=True)
    assert opened.shows("document.documentElement.scrollWidth <= innerWidth && innerWidth <= 390")
    assert opened.run(
        "[...document.querySelectorAll('button')].every(b => b.getBoundingClientRect().right <= innerWidth)"
    )


@pytest.mark.parametrize("which", range(3))
def test_no_picture_that_is_compared_is_overwritten(
    which: int, files: tuple[Path, Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    before = [file.read_bytes() for file in files]
    assert main(["compare", *map(str, files), "-o", str(files[which]), "--force"]) == 1
    assert "is a picture to be compared" in capsys.readouterr().err
    assert [file.read_bytes() for file in files] == before
