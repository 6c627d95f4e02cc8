"""Pictures and sessions that several tests share."""

from __future__ import annotations

import io
import signal
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from hypothesis import settings
from numpy.typing import NDArray
from PIL import Image
from skimage import data

from napari_car import Session, open_session

# The same examples in every run, and no deadlines: a busy machine is no error.
settings.register_profile("tests", deadline=None, derandomize=True)
settings.load_profile("tests")


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker of tests that train for some seconds."""
    config.addinivalue_line("markers", "slow: trains networks; leave out with -m 'not slow'")
    if (
        signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    ):  # as in the background of a script; programs under test inherit
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def reference() -> NDArray[np.uint8]:
    """A photo before its compression, shape (96, 128, 3)."""
    return np.ascontiguousarray(data.astronaut()[:96, 128:256])


@pytest.fixture(scope="session")
def to_jpeg() -> Callable[..., bytes]:
    """The encoder: a picture, shape (H, W) or (H, W, 3), and Pillow's options to a file of quality 20."""

    def encode(pixels: NDArray[np.uint8], **options: object) -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "JPEG", **{"quality": 20} | options)
        return buffer.getvalue()

    return encode


@pytest.fixture(scope="session")
def photo_file(reference: NDArray[np.uint8], to_jpeg: Callable[..., bytes]) -> bytes:
    """The photo as a JPEG file."""
    return to_jpeg(reference)


@pytest.fixture(scope="session")
def photo(photo_file: bytes) -> NDArray[np.uint8]:
    """The photo as the JPEG file decodes, shape (96, 128, 3)."""
    return np.asarray(Image.open(io.BytesIO(photo_file)))


@pytest.fixture(scope="session")
def session() -> Session:
    """The default model on the CPU."""
    return open_session(provider="cpu", precision="int8")


@pytest.fixture(autouse=True, scope="session")
def _forgotten_speeds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep what is measured here out of the folder of the person who runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        for variable in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
            patch.setenv(variable, str(tmp_path_factory.mktemp("cache")))
        yield
