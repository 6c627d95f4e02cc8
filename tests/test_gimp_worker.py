"""The worker gives the pixels of the API, says what is wrong, and ends with its stdin."""

from __future__ import annotations

import base64
import io
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from napari_car import Coding, Session, estimate_jpeg, read_jpeg, restore
from napari_car.errors import InputError
from napari_car.gimp.frames import HEAD, MAGIC, PROTOCOL, read_frame, write_frame
from napari_car.gimp.layer import Finding, Layer, residual
from napari_car.gimp.parasite import read_parasite
from napari_car.jpeg.tables import ijg_table
from napari_car.restore import Options
from napari_car.steps import drain

Process = subprocess.Popen[bytes]
COMMAND = [sys.executable, "-I", "-m", "napari_car.gimp.worker"]


@pytest.fixture
def worker() -> Iterator[Process]:
    """A worker as the filter starts it."""
    with subprocess.Popen(COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        yield process
        process.kill()


def ask(worker: Process, message: dict[str, Any], pixels: NDArray[Any] | None = None) -> tuple[dict[str, Any], Any]:
    """Send a frame; gives the last answer and its pixels."""
    told = {} if pixels is None else {"shape": pixels.shape, "dtype": pixels.dtype.name}
    assert worker.stdin
    assert worker.stdout
    write_frame(worker.stdin, message | told, b"" if pixels is None else np.ascontiguousarray(pixels))
    answer, content = read_frame(worker.stdout)
    while answer["kind"] == "progress":
        assert 0 <= answer["done"] <= answer["total"]
        answer, content = read_frame(worker.stdout)
    if "shape" in answer:
        return answer, np.frombuffer(content, answer["dtype"]).reshape(answer["shape"])
    return answer, None


def test_one_worker_answers_all(worker: Process, photo: NDArray[np.uint8], photo_file: bytes, tmp_path: Path) -> None:
    """Each kind of pixels in turn, the header being read from the file."""
    (tmp_path / "photo.jpg").write_bytes(photo_file)
    info = read_jpeg(photo_file)
    whole = restore(photo, quality=info)
    file = {"file": str(tmp_path / "photo.jpg")}
    found, _ = ask(worker, {"do": "find", **file}, photo)
    assert (found["quality"], found["source"]) == (20, "file")
    assert "quality 20" in found["sentence"]
    assert "photo.jpg" in found["sentence"]
    for dtype, white in (("uint8", 1), ("uint16", 257), ("float32", 1 / 255)):
        pixels = (photo * np.float64(white)).astype(dtype)
        answer, (restored,) = ask(worker, {"do": "restore", **file}, pixels)
        assert answer["is_restored"]
        np.testing.assert_array_equal(restored, restore(pixels, quality=info))
    window = {"window": [30, 40, 70, 90]}
    options = {"quality": 30, "strength": 0.5, "chroma": 0.25}
    _, (part, shown) = ask(worker, {"do": "restore", "residual": True, **window, **options}, photo)
    np.testing.assert_array_equal(part, restore(photo, **options)[30:70, 40:90])
    np.testing.assert_array_equal(shown, 128 + part.astype(int) - photo[30:70, 40:90])
    assert not (whole[30:70, 40:90] == part).all()
    consistent, _ = ask(worker, {"do": "restore", "consistent": True, **file}, photo.astype(np.uint16))
    assert "consistent needs the 8-bit pixels" in consistent["message"]
    _, (kept,) = ask(worker, {"do": "restore", "consistent": True, **file}, photo)
    np.testing.assert_array_equal(kept, restore(photo, quality=info, consistent=True))
    assert not (kept == whole).all()
    _, (alone,) = ask(worker, {"do": "restore", **window, **options}, photo)
    np.testing.assert_array_equal(alone, part)
    for alpha in (1, 3):
        pixels = np.dstack([photo[..., :alpha], photo[..., 2]])
        _, (restored,) = ask(worker, {"do": "restore", "quality": 20}, pixels)
        np.testing.assert_array_equal(restored[..., :-1], restore(np.ascontiguousarray(pixels[..., :-1]), quality=20))
        np.testing.assert_array_equal(restored[..., -1], photo[..., 2])


def test_a_clean_picture_is_left_alone_and_warnings_are_told(worker: Process, reference: NDArray[np.uint8]) -> None:
    answer, pixels = ask(worker, {"do": "restore"}, reference)
    assert not answer["is_restored"]
    assert pixels is None
    assert "left alone" in answer["sentence"]
    answer, _ = ask(worker, {"do": "restore", "quality": 100, "model": "arcnn"}, reference)
    assert answer["is_restored"]
    assert "may come out worse" in answer["notices"][0]


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ({"do": "dance"}, "'dance'"),
        ({}, "None"),
        ({"do": "restore", "quality": 200}, "200"),
        ({"do": "restore", "quality": 20, "strength": 2}, "strength"),
        ({"do": "restore", "quality": 20, "chroma": "much"}, "chroma"),
        ({"do": "restore", "quality": 20, "model": "nobody"}, "'nobody'"),
        ({"do": "restore", "quality": 20, "window": [0, 0, 0, 9]}, "window"),
        ({"do": "restore", "quality": 20, "window": [0, 0, 97, 9]}, "96x128"),
        ({"do": "restore", "quality": 20, "window": "all"}, "'all'"),
        ({"do": "restore", "quality": 20, "settings": "?"}, "layer"),
        ({"do": "restore", "quality": 20, "file": 3}, "layer"),
    ],
)
def test_wrong_questions_get_a_sentence(message: dict[str, Any], words: str, photo: NDArray[np.uint8]) -> None:
    from napari_car.gimp.worker import answer

    frame = message | {"shape": list(photo.shape), "dtype": "uint8"}
    *_, (told, _) = answer(frame, bytearray(photo.tobytes()))
    assert told["kind"] == "error"
    assert words in told["message"]


def test_a_wrong_question_does_not_end_the_worker(worker: Process, photo: NDArray[np.uint8]) -> None:
    assert ask(worker, {"do": "dance"})[0]["kind"] == "error"
    assert ask(worker, {"do": "restore"}, photo[:, 0])[0]["kind"] == "error"  # two axes are no layer
    assert ask(worker, {"do": "greet"})[0]["kind"] == "result"


def test_garbage_is_told_and_ends_it(worker: Process) -> None:
    assert worker.stdin
    assert worker.stdout
    worker.stdin.write(HEAD.pack(MAGIC, PROTOCOL + 1, 2, 0) + b"{}")
    worker.stdin.flush()
    answer, _ = read_frame(worker.stdout)
    assert answer["kind"] == "error"
    assert "different versions" in answer["message"]
    assert worker.wait(30) == 1


def test_it_dies_with_its_stdin_at_work(worker: Process, photo: NDArray[np.uint8]) -> None:
    large = np.tile(photo, (20, 20, 1))
    assert worker.stdin
    assert worker.stdout
    write_frame(worker.stdin, {"do": "restore", "quality": 20, "shape": large.shape, "dtype": "uint8"}, large)
    message, _ = read_frame(worker.stdout)
    assert (message["kind"], message["done"]) == ("progress", 0)
    started = time.monotonic()
    worker.stdin.close()
    assert worker.wait(30) == 0
    assert time.monotonic() - started < 2


FAILING = """
import napari_car.gimp.worker as worker
def fail(*_):
    raise {error}
worker.{place} = fail
worker.main()
"""


@pytest.mark.parametrize("place", ["_greet", "read_frame"])
def test_an_error_that_nobody_foresaw_is_told(place: str) -> None:
    """Not hidden by what Python says of its thread at stdin when it shuts down."""
    command = [sys.executable, "-c", FAILING.format(place=place, error="LookupError('what nobody foresaw')")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as worker:
        assert worker.stdin
        assert worker.stderr
        write_frame(worker.stdin, {"do": "greet"})
        assert worker.wait(30) == 1
        assert worker.stderr.read().decode().strip().endswith("LookupError: what nobody foresaw")


@pytest.mark.parametrize("place", ["_greet", "read_frame"])
def test_too_little_memory_is_said_in_a_sentence(place: str) -> None:
    command = [sys.executable, "-c", FAILING.format(place=place, error="MemoryError")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as worker:
        answer, _ = ask(worker, {"do": "greet"})
        assert (answer["kind"], "does not fit into memory" in answer["message"]) == ("error", True)
        worker.kill()


def test_what_a_library_prints_breaks_no_frame() -> None:
    code = """
import sys, napari_car.gimp.worker as worker
greet = worker._greet
worker._greet = lambda: print("noise") or sys.stdout.flush() or greet()
worker.main()
"""
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as worker:
        assert ask(worker, {"do": "greet"})[0]["kind"] == "result"
        worker.kill()
        assert worker.stderr
        assert b"noise" in worker.stderr.read()


@settings(max_examples=15)
@given(st.data())
def test_a_window_is_cut_out_of_the_whole(data: st.DataObject) -> None:
    session, photo, whole = _large()
    height, width = photo.shape[:2]
    top, left = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    bottom, right = data.draw(st.integers(top + 1, height)), data.draw(st.integers(left + 1, width))
    how = data.draw(st.sampled_from([((0, 0), False), ((5, 11), False), ((5, 11), True)]))
    options: Options = {"quality": replace(Coding.from_quality(20), grid_phase=how[0]), "consistent": how[1]}
    part = drain(Layer(photo).restore_steps((top, left, bottom, right), session, options))
    if how not in whole:
        whole[how] = restore(photo, session=session, **options)
    np.testing.assert_array_equal(part, whole[how][top:bottom, left:right])


_LARGE: list[Any] = []


def _large() -> tuple[Session, NDArray[np.uint8], dict[Any, NDArray[np.uint8]]]:
    """A JPEG of several halos, and it restored, kept between examples."""
    from skimage import data

    from napari_car import open_session

    if not _LARGE:
        file = io.BytesIO()
        Image.fromarray(data.astronaut()[11:281, 5:325]).save(file, "JPEG", quality=20)
        _LARGE.append((open_session(provider="cpu"), np.asarray(Image.open(file))[11:, 5:], {}))
    session, photo, whole = _LARGE[0]
    return session, photo, whole


def test_values_beyond_the_range_stay_as_far_beyond(photo: NDArray[np.uint8], session: Session) -> None:
    pixels = (photo / 255).astype(np.float32) * 1.5 - 0.2
    height, width = pixels.shape[:2]
    restored = drain(Layer(pixels).restore_steps((0, 0, height, width), session, {"quality": 20}))
    within = np.clip(pixels, 0, 1)
    expected = restore(within, quality=20, session=session)
    is_within = within == pixels
    assert 0.1 < is_within.mean() < 0.95
    np.testing.assert_array_equal(restored[is_within], expected[is_within])
    np.testing.assert_allclose((restored - pixels)[~is_within], (expected - within)[~is_within], atol=1e-6)


def test_what_is_no_number_is_refused(photo: NDArray[np.uint8], session: Session) -> None:
    pixels = (photo / 255).astype(np.float32)
    pixels[40, 40] = np.nan
    with pytest.raises(InputError, match="nan"):
        drain(Layer(pixels).restore_steps((0, 0, 96, 128), session, {"quality": 20}))


@pytest.mark.parametrize(
    ("dtype", "middle", "white"), [("uint8", 128, 255), ("uint16", 32768, 65535), ("float32", 0.5, 1)]
)
def test_no_change_is_middle_grey(dtype: str, middle: float, white: float) -> None:
    pixels = np.full((2, 2, 4), white, dtype)
    assert (residual(pixels, pixels)[..., :3] == middle).all()
    assert (residual(pixels, pixels)[..., 3] == white).all()
    black = pixels.copy()
    black[..., :3] = 0
    assert (residual(pixels, black)[..., :3] == 0).all()


def test_the_parasite_says_what_the_header_said(
    reference: NDArray[np.uint8], to_jpeg: Callable[..., bytes], session: Session
) -> None:
    tables = [list(range(10, 74)), list(range(20, 84))]
    file = to_jpeg(reference, qtables=tables, subsampling="4:2:2")
    info = read_jpeg(file)
    numbers = np.stack([info.quant_tables[0], info.quant_tables[1]]).astype(">u2").tobytes()
    found = read_parasite(bytes([3, 0, 3, 2, 2, 1, 1, 1, 1, 1]) + numbers, 96, 128)
    assert found is not None
    np.testing.assert_array_equal(found.quant_tables, info.quant_tables)
    assert (found.subsampling, found.color_space) == (info.subsampling, info.color_space)
    grey = read_parasite(bytes([1, 42, 1, 0, 1, 1]), 96, 128)
    assert grey is not None
    assert (grey.quality, grey.subsampling) == (42, "grey")


@given(st.binary(max_size=40) | st.binary(min_size=130, max_size=140))
@pytest.mark.parametrize("start", [b"", bytes([3, 0, 3, 1]), bytes([1, 0, 1, 1, 1, 1])])
def test_any_parasite_is_read_or_passed_over(start: bytes, content: bytes) -> None:
    info = read_parasite(start + content, 8, 8)
    assert info is None or 1 <= info.quality <= 100


def test_the_parasite_is_believed_before_the_file_and_the_grid_is_that_of_the_pixels(
    reference: NDArray[np.uint8], session: Session, tmp_path: Path
) -> None:
    from skimage import data

    Image.fromarray(data.astronaut()[:256, :256]).save(tmp_path / "photo.jpg", quality=30)
    pixels = np.asarray(Image.open(tmp_path / "photo.jpg"))
    parasite = bytes([3, 25, 3, 0, 2, 2, 1, 1, 1, 1])
    found = Layer(pixels, parasite, str(tmp_path / "photo.jpg")).find(session.card)
    assert (found.quality, found.source) == (25, "jpeg-settings")
    assert found.coding is not None
    assert found.coding.grid_phase == (0, 0)
    cropped = Layer(pixels[3:, 5:], bytes([3, 30, *parasite[2:]])).find(session.card)
    assert cropped.source == "jpeg-settings"
    assert cropped.coding is not None
    assert cropped.coding.grid_phase == estimate_jpeg(pixels[3:, 5:]).mcu_phase == (13, 11)
    assert Layer(pixels[3:, 5:], b"", str(tmp_path / "photo.jpg")).find(session.card).source == "pixels"
    assert Layer(pixels, b"", str(tmp_path / "gone.jpg")).find(session.card).source == "pixels"
    assert Layer(reference, b"", "").find(session.card).source == "none"


def test_the_parasite_travels_in_base64(worker: Process, photo: NDArray[np.uint8]) -> None:
    content = base64.b64encode(bytes([3, 20, 3, 0, 2, 2, 1, 1, 1, 1])).decode()
    found, _ = ask(worker, {"do": "find", "settings": content}, photo)
    assert (found["source"], found["quality"]) == ("jpeg-settings", 20)


OWN_TABLES = [[min(16 + 3 * (i // 8 + i % 8), 255) for i in range(64)], [40] * 64]
"""Neither is of the IJG's, so that pixels alone show little of them."""


@pytest.mark.parametrize("how", [{"quality": 20}, {"quality": 90}, {"qtables": OWN_TABLES}], ids=["20", "90", "own"])
def test_the_parasite_is_believed_of_a_layer_that_has_a_trace_of_it(
    how: dict[str, Any], to_jpeg: Callable[..., bytes], session: Session, tmp_path: Path
) -> None:
    from skimage import data

    clean = data.astronaut()[:320, :300]
    file = to_jpeg(clean, **how)
    (tmp_path / "photo.jpg").write_bytes(file)
    pixels, info = np.asarray(Image.open(io.BytesIO(file))), read_jpeg(file)
    numbers = np.stack(info.quant_tables[:2]).astype(">u2").tobytes()
    parasite = bytes([3, 0, 3, 2, 2, 2, 1, 1, 1, 1]) + numbers

    def find(layer: NDArray[Any], path: str = "") -> Finding:
        return Layer(np.ascontiguousarray(layer), parasite, path).find(session.card)

    flat = np.full((300, 400, 3), 90, np.uint8)
    for layer in (pixels, pixels[133:, 101:], np.rot90(pixels), pixels / np.float32(255), pixels[:20, :20], flat):
        assert (find(layer).source, find(layer).quality) == ("jpeg-settings", info.quality)
    half = np.asarray(Image.fromarray(pixels).resize((150, 160), Image.Resampling.BICUBIC))
    for layer in (half, clean, clean[:96, :96]):
        found = find(layer)
        assert (found.source, found.quality, found.coding) == ("none", None, None)
        assert "left alone" in found.sentence
        assert f"kept quality {info.quality} from the file, of which this layer has no trace" in found.sentence
    other = find(np.asarray(Image.open(io.BytesIO(to_jpeg(clean, quality=50)))))
    assert (other.source, other.quality) == ("pixels", 50)
    as_large = find(clean, str(tmp_path / "photo.jpg"))  # whatever was done to it
    assert (as_large.source, as_large.quality) == ("jpeg-settings", info.quality)
    assert find(half, str(tmp_path / "photo.jpg")).source == "none"


def test_a_layer_of_another_quality_is_not_taken_for_that_of_the_file(
    to_jpeg: Callable[..., bytes], session: Session
) -> None:
    """Its coefficients lie on the file's lattice as well: divisors are multiples of one another's."""
    from skimage import data

    clean = data.astronaut()[:320, :300]
    other = np.asarray(Image.open(io.BytesIO(to_jpeg(clean, quality=60))))
    parasite = bytes([3, 30, 3, 0, 2, 2, 1, 1, 1, 1])
    found = Layer(other, parasite, "").find(session.card)
    assert (found.source, found.quality) == ("pixels", 60)
    pixels = np.asarray(Image.open(io.BytesIO(to_jpeg(clean, quality=30))))
    twice = np.asarray(Image.open(io.BytesIO(to_jpeg(pixels[3:, 5:], quality=90))))
    found = Layer(twice, bytes([3, 90, *parasite[2:]]), "").find(session.card)
    assert (found.source, found.quality) == ("pixels", 30)
    assert "saved at quality 90, but before that" in found.sentence  # which the file of this layer was
    turned = Layer(np.ascontiguousarray(np.rot90(pixels)), parasite, "").find(session.card)
    assert (turned.source, turned.quality) == ("jpeg-settings", 30)
    assert turned.coding is not None
    np.testing.assert_array_equal(np.reshape(turned.coding.tables[0], (8, 8)), ijg_table(30, "luma").T)
