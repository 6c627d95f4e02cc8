"""Sessions: the provider that was asked for, weights that fit their card, and errors in clear words."""

from __future__ import annotations

import hashlib
import io
import logging
import time
import types
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray
from PIL import Image
from skimage import data

from napari_car import (
    InferenceError,
    InputError,
    ModelError,
    Session,
    list_models,
    load_card,
    open_session,
    providers,
    restore,
    session,
)
from napari_car.cards import ModelCard, Weights
from napari_car.jpeg.coding import Coding
from napari_car.providers import PROVIDERS

CODING = Coding.from_quality(20)
IMAGE = np.full((32, 32, 3), 128, np.uint8)


def offering(monkeypatch: pytest.MonkeyPatch, *names: str, starting: tuple[str, ...] = ("cpu",)) -> list[Any]:
    """Let onnxruntime offer ``names``, of which only ``starting`` start; returns what sessions asked for."""
    asked: list[Any] = []

    class Started:
        def __init__(self, content: bytes, options: Any, providers: list[Any]) -> None:
            full = [provider if isinstance(provider, str) else provider[0] for provider in providers]
            asked.append(full)
            self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
            self._providers = [name for name in full if name in [PROVIDERS[name].full for name in starting]]

        def get_providers(self) -> list[str]:
            return self._providers

        def __getattr__(self, name: str) -> Any:
            return getattr(self._session, name)

    fake = types.SimpleNamespace(
        get_available_providers=lambda: [PROVIDERS[name].full for name in names],
        SessionOptions=onnxruntime.SessionOptions,
        InferenceSession=Started,
        ExecutionOrder=onnxruntime.ExecutionOrder,
        __version__="1",
    )
    monkeypatch.setattr(providers, "load", lambda: fake)
    monkeypatch.setattr(providers, "find_spec", lambda name: None)
    return asked


def test_auto_says_what_it_takes(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "napari_car"):
        opened = open_session("car-s", provider="auto")
    assert opened.provider in PROVIDERS
    assert f"car-s runs in {opened.precision} on {opened.provider}" in caplog.text


def test_an_unknown_provider_names_those_there_are() -> None:
    with pytest.raises(InputError) as error:
        open_session(provider="abacus")
    assert "'abacus'" in str(error.value)
    assert all(name in str(error.value) for name in ("auto", *PROVIDERS))


@pytest.mark.parametrize("provider", [name for name in PROVIDERS if name != "cpu"])
def test_a_missing_provider_says_how_to_get_it(provider: str, monkeypatch: pytest.MonkeyPatch) -> None:
    offering(monkeypatch, "cpu")
    with pytest.raises(InputError) as error:
        open_session(provider=provider)
    assert all(word in str(error.value) for word in (repr(provider), "offers cpu", PROVIDERS[provider].source))


def test_a_provider_that_does_not_start_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked = offering(monkeypatch, "cuda", "cpu")
    opened = open_session("car-s", provider="cuda", threads=1)
    with caplog.at_level(logging.WARNING, "napari_car"):
        opened.run(IMAGE.astype(opened.dtype), CODING)
    assert asked == [["CUDAExecutionProvider", "CPUExecutionProvider"]]
    assert "provider cuda did not start" in caplog.text
    assert "CPUExecutionProvider" in caplog.text


def test_a_provider_that_starts_is_not_spoken_of(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    offering(monkeypatch, "cuda", "cpu", starting=("cuda", "cpu"))
    opened = open_session("car-s", provider="cuda", threads=1)
    with caplog.at_level(logging.WARNING, "napari_car"):
        opened.run(IMAGE.astype(opened.dtype), CODING)
    assert not caplog.text


@pytest.mark.parametrize("threads", [0, -2, 2.5, "2", True])
def test_threads_must_be_a_positive_number(threads: Any) -> None:
    with pytest.raises(InputError, match=f"threads is {threads!r}"):
        open_session(threads=threads)


def test_an_unknown_precision_names_those_there_are() -> None:
    with pytest.raises(ModelError, match="no int4 weights; it has int8, fp32"):
        open_session(precision="int4")


def test_threads_do_not_change_pixels(photo: Any) -> None:
    one, three = (
        restore(photo, quality=20, session=open_session("car-s", provider="cpu", threads=n), tile=16) for n in (1, 3)
    )
    np.testing.assert_array_equal(one, three)


def test_threads_open_weights_once(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    open_weights = session._open_weights

    def slowly(*arguments: Any) -> Any:
        opened.append(1)
        time.sleep(0.05)
        return open_weights(*arguments)

    monkeypatch.setattr(session, "_open_weights", slowly)
    shared = open_session("car-s", provider="cpu")
    with ThreadPoolExecutor(4) as pool:
        for future in [pool.submit(shared.run, IMAGE, CODING) for _ in range(4)]:
            future.result()
    assert len(opened) == 1


@pytest.mark.parametrize("quality", [10, 20, 50, 90])
def test_int8_is_near_fp32(quality: int, to_jpeg: Any) -> None:
    sessions = [open_session(provider="cpu", precision=precision) for precision in ("int8", "fp32")]
    losses = []
    for name in ("astronaut", "chelsea", "coffee", "rocket"):
        picture = getattr(data, name)()
        photo = np.asarray(Image.open(io.BytesIO(to_jpeg(picture, quality=quality))))
        int8, fp32 = (np.mean((restore(photo, quality=quality, session=s) - 1.0 * picture) ** 2) for s in sessions)
        losses.append(10 * np.log10(int8 / fp32))
    assert np.mean(losses) < 0.05  # dB, a bar for the mean of pictures: single ones lose up to 0.06


@pytest.mark.parametrize("model", [card.id for card in list_models() if "fp16" in card.precisions])
@pytest.mark.parametrize("quality", [10, 40, 95])
def test_fp16_is_fp32_but_for_rounding(model: str, quality: int, photo: NDArray[np.uint8]) -> None:
    coding, image = Coding.from_quality(quality), photo / np.float32(255)
    sessions = [open_session(model, provider="cpu", precision=precision) for precision in ("fp16", "fp32")]
    fp16, fp32 = (session.run(image, coding).planes() for session in sessions)
    assert 0 < np.abs(fp16 - fp32).max() < 0.002  # half a grey level


def with_weights(folder: Path, content: bytes, **changes: Any) -> Session:
    """A session of the default model's card with another file in it."""
    (folder / "mine.onnx").write_bytes(content)
    weights = Weights("mine.onnx", hashlib.sha256(content).hexdigest(), "int8")
    card: ModelCard = replace(load_card("car-s"), folder=folder, weights=(weights,), **changes)
    return Session(card, "cpu", "int8", 1)


def graph_of(model: str) -> bytes:
    """A file of a bundled model."""
    card = load_card(model)
    return card.read(card.nearest(20, "int8"))


def test_a_file_that_is_no_graph_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"'car-s': mine\.onnx cannot be opened by onnxruntime") as error:
        with_weights(tmp_path, b"not a graph at all").run(IMAGE, CODING)
    assert error.value.__cause__ is not None


@pytest.mark.parametrize(
    ("model", "conditioning", "said"),
    [
        ("arcnn", ("luma_scale",), r"mine\.onnx maps \['image'\].*\['image', 'condition'\]"),
        ("car-s", (), r"mine\.onnx maps \['image', 'condition'\].*\['image'\]"),
        ("car-s", ("luma_scale",), r"mine\.onnx is told 3 values .* names 1"),
    ],
)
def test_a_graph_that_does_not_fit_its_card_is_refused(
    model: str, conditioning: tuple[str, ...], said: str, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match=said):
        with_weights(tmp_path, graph_of(model), conditioning=conditioning).run(IMAGE, CODING)


def test_a_condition_that_we_cannot_tell_is_refused(tmp_path: Path) -> None:
    told = ("luma_scale", "chroma_scale", "weather")
    with pytest.raises(ModelError, match="weather"):
        with_weights(tmp_path, graph_of("car-s"), conditioning=told).run(IMAGE, CODING)


def test_a_run_that_fails_is_chained() -> None:
    with pytest.raises(InferenceError, match=r"'car-s' failed on 'cpu' with a tile of 15x15 px") as error:
        open_session("car-s", provider="cpu").run(IMAGE[:15, :15], CODING)
    assert error.value.__cause__ is not None


def test_a_failure_in_a_tile_ends_the_restoration(photo: Any, tmp_path: Path) -> None:
    with pytest.raises(InferenceError):
        restore(photo, session=with_weights(tmp_path, graph_of("car-s"), align=1, halo=9), tile=15)


def test_a_session_tells_what_it_is() -> None:
    text = repr(open_session("arcnn", provider="cpu", precision="int8", threads=1))
    assert text == "Session('arcnn', provider='cpu', precision='int8', threads=1)"
