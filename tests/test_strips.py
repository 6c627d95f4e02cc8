"""Strips cover a picture once, and what comes out of them is what comes out of the whole, to the bit."""

from __future__ import annotations

import importlib
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from skimage import data

from napari_car import (
    InferenceError,
    ModelError,
    Session,
    budget,
    list_models,
    load_card,
    open_session,
    restore,
    tiling,
)
from napari_car.budget import fit, overhead
from napari_car.jpeg.coding import Coding
from napari_car.pixels import Residual, cut
from napari_car.restore import restore_steps
from napari_car.stream import Stream
from napari_car.tiling import STRIP, fit_columns, overlap, plan_strips
from napari_car.train.footprint import strips_bytes_per_px

WHOLE = 10**6
MODELS = [card.id for card in list_models() if card.strips]


@given(st.integers(1, 400), st.integers(1, 200), st.integers(1, 90), st.sampled_from([1, 2, 8, 16]), st.data())
def test_strips_write_every_pixel_once_and_read_every_row_once(
    height: int, width: int, column: int, align: int, more: st.DataObject
) -> None:
    halo = more.draw(st.integers(0, 70))
    lead, rows = more.draw(st.integers(0, 4)) * 16, more.draw(st.integers(1, 12)) * 16
    phase = more.draw(st.tuples(st.integers(0, align - 1), st.integers(0, align - 1)))
    plan = plan_strips(height, width, column=column, rows=rows, lead=lead, halo=halo, align=align, phase=phase)
    written = np.zeros((height, width), int)
    for tile in plan:
        written[tile.write.slices] += 1
        assert tile.crop.shape == tile.write.shape
        assert min(tile.crop) >= 0
    assert (written == 1).all()
    first, last = plan.rows[0], plan.rows[-1]
    assert -align < first.read_start <= 0
    assert height <= last.read_stop < height + align
    assert all(later.read_start == sooner.read_stop for sooner, later in pairwise(plan.rows))
    for row in plan.rows:
        assert 0 < row.read_stop - row.read_start <= rows + lead * (row is first)
        assert (row.read_stop - first.read_start) % align == 0
        assert (row.origin - first.read_start) % 8 == 0, "whole blocks come out"
        assert row is last or row.stop + lead == row.read_stop, "all that is known is written"
        assert row.origin <= row.start < row.stop


@given(st.integers(1, 20_000), st.integers(1, 16), st.sampled_from([1, 16]), st.floats(1e6, 1e8))
def test_columns_keep_to_their_memory(width: int, threads: int, align: int, memory: float) -> None:
    column, rows, at_once = fit_columns(
        memory, bytes_per_px=60, lead=64, halo=54, align=align, at_once=threads, width=width
    )
    if column:
        assert 1 <= at_once <= threads
        assert rows >= STRIP
        assert at_once * 60 * (rows + 64) * (column + overlap(54, align)) <= memory * 1.001
        assert -(-width // column) >= at_once
    else:
        assert memory < 60 * (STRIP + 64) * (align + overlap(54, align))


def are_several(session: Session, image: NDArray[np.generic]) -> bool:
    """Whether a picture is taken in several strips."""
    pieces = fit(
        session.card, "cpu", "int8", image.shape[:2], align=session.card.align,
        threads=session.threads,
    )  # fmt: skip
    plan = pieces.plan(*image.shape[:2])
    return plan.is_strips and len(plan) > 1


@pytest.fixture
def low_strips(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let pictures that are small have several strips."""
    monkeypatch.setattr(tiling, "TALLEST", STRIP)


@pytest.mark.usefixtures("low_strips")
@pytest.mark.parametrize("model", MODELS)
def test_strips_equal_the_whole_to_the_bit(model: str) -> None:
    session = open_session(model, provider="cpu", precision="int8", threads=3)
    lead, rng = session.card.strips["lead"], np.random.default_rng(0)
    sizes = [(1, 1), (5, 300), (STRIP + lead, 90), (STRIP + lead + 1, 40), (2 * STRIP + lead + 3, 333), (401, 17)]
    several = 0
    for number, size in enumerate(sizes):
        image = rng.uniform(0.2, 0.8, (*size, 3))  # float64 that never clips: nothing is rounded away
        several += are_several(session, image)
        coding = replace(Coding.from_quality((10, 35, 90)[number % 3]), grid_phase=(number * 5 % 16, number * 3 % 16))
        whole = restore(image, quality=coding, session=session, tile=WHOLE)
        assert (whole != image).any()
        np.testing.assert_array_equal(restore(image, quality=coding, session=session), whole)
    assert several >= 4


@pytest.mark.usefixtures("low_strips")
@pytest.mark.parametrize("shape", [(2, 300, 120, 3), (280, 200, 4), (290, 150)], ids=["stack", "alpha", "grey"])
def test_strips_equal_tiles_whatever_is_asked(shape: tuple[int, ...]) -> None:
    session = open_session("car-s", provider="cpu", precision="int8", threads=2)
    rng = np.random.default_rng(1)
    image = rng.integers(40, 200, shape, np.uint8)
    strength = rng.random(shape[:2] if len(shape) < 4 else shape[1:3]).astype(np.float32)
    for more in ({"strength": strength, "chroma": 0.3}, {"consistent": True}, {"dtype": "uint16"}):
        keywords = {"quality": replace(Coding.from_quality(25), grid_phase=(3, 9)), "session": session, **more}
        whole = restore(image, tile=WHOLE, **keywords)
        np.testing.assert_array_equal(restore(image, **keywords), whole)
        if "dtype" not in more:
            in_place = image.copy()
            assert restore(in_place, out=in_place, **keywords) is in_place
            np.testing.assert_array_equal(in_place, whole)


@pytest.mark.usefixtures("low_strips")
def test_strips_can_be_cancelled_and_tell_how_far_they_are() -> None:
    session = open_session("car-s", provider="cpu", precision="int8", threads=2)
    image = np.full((900, 500, 3), 90, np.uint8)
    steps = restore_steps(image, quality=20, session=session)
    assert next(steps)[0] == 0
    done, total = next(steps)
    assert done == 1
    assert total == 2 * -(-(900 - session.card.strips["lead"]) // STRIP)
    begin = time.perf_counter()
    steps.close()
    assert time.perf_counter() - begin < 5


def test_strips_are_less_work_than_tiles_and_give_way_to_a_tile_that_is_asked_for() -> None:
    for model in MODELS:
        card = load_card(model)
        for threads in (1, 2, 8, 16):
            assert overhead(card, "cpu", "int8", threads) < overhead(card, "openvino", "int8", threads)
    assert fit(load_card(), "cpu", "int8", (3000, 4000), align=16, threads=1, tile=512).rows is None


def test_no_more_than_half_of_the_work_is_halo() -> None:
    for width in (10, 100, 300, 700, 4000):
        pieces = fit(load_card(), "cpu", "int8", (800, width), align=16, threads=16)
        plan = pieces.plan(800, width)
        assert plan.read_px <= 2 * 800 * -(-width // 16) * 16
        assert len(plan.columns) == pieces.at_once


@pytest.mark.parametrize(("provider", "precision"), [("cpu", "fp32"), ("openvino", "int8")])
def test_only_int8_on_the_cpu_takes_strips(provider: str, precision: str) -> None:
    card = load_card()
    assert not Session(card, provider, precision, 1).takes_strips
    assert Session(card, "cpu", "int8", 1).takes_strips


def test_memory_of_strips_is_within_that_of_tiles() -> None:
    """Also for wide pictures, of which much is kept from strip to strip."""
    for model in MODELS:
        card = load_card(model)
        for width, threads in ((4000, 2), (4000, 16), (16_000, 1), (60_000, 4)):
            pieces = fit(card, "cpu", "int8", (3000, width), align=card.align, threads=threads)
            if pieces.rows is not None:
                read = pieces.side + overlap(card.halo, card.align)
                per_px = card.strips["bytes_per_px"] + budget.AROUND_PER_PX["int8"]
                runs = pieces.at_once * read * (pieces.rows + pieces.lead) * per_px
                assert runs + card.strips["state_per_px"] * width <= budget.WORKING_MEMORY * 1.01


@pytest.mark.skipif(sys.platform != "linux", reason="measures by what Linux tells of a process")
@pytest.mark.parametrize("model", ["car-s", "car-m"])
def test_strips_take_the_memory_that_the_card_says(model: str) -> None:
    """The order of a graph decides on it: twice as much where what the next strip needs is made at the end."""
    card = load_card(model)
    file = card.folder / card.nearest(20, "int8", "strips").file
    taken = (strips_bytes_per_px(file, card.strips["lead"]) for _ in range(3))  # allocators take more at times
    assert any(each <= 1.15 * card.strips["bytes_per_px"] for each in taken)


class Slow:
    """A session whose first strips take longest, and which notes their order."""

    def __init__(self, fails_at: int | None = None) -> None:
        self.order: list[int] = []
        self.fails_at = fails_at

    def run_strip(
        self, image: NDArray[np.uint8], coding: Coding, state: NDArray[np.uint8], *, is_last: bool
    ) -> tuple[Residual, NDArray[np.uint8]]:
        nth = int(image[0, 0, 0])
        time.sleep(0.02 * (5 - nth))
        if nth == self.fails_at:
            raise InferenceError("failed")
        self.order.append(nth)
        return Residual(image), np.append(state, np.uint8(nth))


def strips(stream: Stream, order: Iterator[int] | list[int]) -> list[BaseException | None]:
    """Run strips on as many threads, and what became of each."""
    with ThreadPoolExecutor(5) as pool:
        image = np.zeros((1, 1, 3), np.uint8)
        jobs = [pool.submit(stream.run, partial(np.add, image, np.uint8(n)), n, is_last=n == 4) for n in order]
        return [job.exception() for job in jobs]


def test_strips_wait_for_their_turn() -> None:
    session = Slow()
    stream = Stream(session, Coding.from_quality(20))  # type: ignore[arg-type]
    assert strips(stream, [4, 2, 3, 1, 0]) == [None] * 5
    assert session.order == list(stream._state) == [0, 1, 2, 3, 4]


def test_a_strip_that_fails_does_not_keep_those_behind_it_waiting() -> None:
    stream = Stream(Slow(fails_at=1), Coding.from_quality(20))  # type: ignore[arg-type]
    errors = strips(stream, [0, 1, 2, 3, 4])
    assert [type(error) for error in errors] == [type(None), InferenceError, *[type(None)] * 3]


def test_a_strip_that_cannot_be_cut_out_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """The strip behind it would wait for ever, and so would `restore`, which waits for all its threads."""
    rows: list[int] = []

    def scarce(picture: NDArray[np.uint8], top: int, *window: int, dtype: np.dtype) -> NDArray[np.uint8]:
        rows.append(top)
        if len(rows) == 3:
            time.sleep(0.2)  # the next strip is handed out meanwhile
            raise MemoryError
        return cut(picture, top, *window, dtype=dtype)

    monkeypatch.setattr(importlib.import_module("napari_car.restore"), "cut", scarce)
    session = open_session("car-s", provider="cpu", precision="int8", threads=2)
    found: list[BaseException] = []

    def run() -> None:
        try:
            restore(np.zeros((2000, 320, 3), np.uint8), quality=10, session=session)
        except MemoryError as error:
            found.append(error)

    running = threading.Thread(target=run, daemon=True)
    running.start()
    running.join(30)
    assert len(found) == 1
    assert not running.is_alive()


def test_strips_too_low_to_begin_with_are_an_error_and_no_crash() -> None:
    session = open_session("car-m", provider="cpu", precision="int8", threads=1)
    with pytest.raises(InferenceError, match="car-m"):
        session.run_strip(
            np.zeros((16, 64, 3), np.uint8), Coding.from_quality(20), np.empty(0, np.uint8), is_last=False
        )
    with pytest.raises(InferenceError, match="car-m"):
        session.run_strip(
            np.zeros((64, 64, 3), np.uint8), Coding.from_quality(20), np.zeros(7, np.uint8), is_last=False
        )


def test_a_damaged_file_of_strips_is_refused(tmp_path: Path) -> None:
    card = load_card("car-s")
    for weights in card.weights:
        content = (card.folder / weights.file).read_bytes()
        (tmp_path / weights.file).write_bytes(content[:-1] if weights.form == "strips" else content)
    session = Session(replace(card, folder=tmp_path), "cpu", "int8", 1)
    image = np.zeros((200, 100, 3), np.uint8)
    with pytest.raises(ModelError, match=r"all\.int8\.strips\.onnx has sha256"):
        restore(image, quality=20, session=session)


@pytest.mark.parametrize("model", MODELS)
def test_files_of_strips_and_of_tiles_hold_the_same_network(model: str) -> None:
    """Those of tiles are for other providers; where they rectify, they round once instead of twice."""
    pytest.importorskip("onnxruntime", "1.30", reason="the CPU of older ones has no SpaceToDepth of bytes")
    strips = open_session(model, provider="cpu", precision="int8", threads=1)
    tiles = Session(
        replace(strips.card, weights=[w for w in strips.card.weights if w.form == "tiles"]), "cpu", "int8", 1
    )
    assert (strips.takes_strips, tiles.takes_strips) == (True, False)
    image = data.astronaut()[:160, 100:260]
    results = [restore(image, quality=30, session=session, dtype="float32") for session in (strips, tiles)]
    largest = np.abs(results[0] - results[1]).max()
    assert largest == 0 if strips.card.conditioning else 0 < largest < 4 / 255
