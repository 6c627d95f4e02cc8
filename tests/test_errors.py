"""The error tree: what faces and callers may rely on."""

from __future__ import annotations

import inspect
import pickle

import pytest

from napari_car import errors
from napari_car.errors import CarError, FileError, InputError, JpegError, MissingExtraError

ALL = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, Exception)]


def test_every_error_is_one_and_none_a_runtime_error() -> None:
    assert len(ALL) >= 7
    for kind in ALL:
        assert issubclass(kind, CarError)
        assert not issubclass(kind, RuntimeError)  # Qt's worker threads swallow those
        assert kind.__name__ in (errors.__doc__ or "")


@pytest.mark.parametrize(
    ("kind", "builtin"),
    [(InputError, ValueError), (FileError, OSError), (JpegError, FileError), (MissingExtraError, ImportError)],
)
def test_errors_are_those_of_the_language_too(kind: type[CarError], builtin: type[Exception]) -> None:
    assert issubclass(kind, builtin)


def test_a_message_names_file_and_byte() -> None:
    error = JpegError("ends early", "a/b.jpg", 12)
    assert str(error) == "a/b.jpg: ends early (at byte 12)"
    assert (error.path, error.offset) == ("a/b.jpg", 12)
    assert str(FileError("is empty")) == "is empty"
    assert str(FileError("is empty", "")) == ": is empty"  # an empty name is a name


def test_a_missing_extra_says_how_to_get_it() -> None:
    assert str(MissingExtraError("Training", "train")) == "Training needs: pip install 'napari-car[train]'"


@pytest.mark.parametrize(
    "error",
    [
        FileError("is empty", "a.jpg"),
        JpegError("ends early", "a.jpg", 12),
        InputError("is 3"),
        MissingExtraError("It", "train"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_travel_between_processes(error: CarError) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert vars(copy) == vars(error)
