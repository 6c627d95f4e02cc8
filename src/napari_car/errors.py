"""The errors of napari-car; each message is one sentence for a person.

::

    CarError                         what happened, the value found, what is allowed or what to do
    ├── InputError(ValueError)       an array or option that cannot be taken
    ├── FileError(OSError)           a file that cannot be read or written
    │   └── JpegError                a malformed or unsupported JPEG
    ├── ModelError                   unknown, corrupt, or card and file disagree
    ├── InferenceError               onnxruntime failed; always chained
    └── MissingExtraError(ImportError)   an optional dependency is not installed

None derives from ``RuntimeError``: Qt worker threads swallow that one silently.
"""

from __future__ import annotations

from os import PathLike


class CarError(Exception):
    """Base of every error that napari-car raises on purpose."""


class InputError(CarError, ValueError):
    """An array or an option that cannot be taken."""


class FileError(CarError, OSError):
    """A file that cannot be read or written.

    Parameters
    ----------
    message
        The sentence for a person, without the path.
    path
        The file; it is put in front of the message.
    """

    def __init__(self, message: str, path: str | PathLike[str] | None = None) -> None:
        self.message = message
        self.path = path
        super().__init__(message if path is None else f"{path}: {message}")

    def __str__(self) -> str:
        return str(self.args[0])


class JpegError(FileError):
    """A malformed or unsupported JPEG.

    Parameters
    ----------
    message
        The sentence for a person, without path and offset.
    path
        The file, where there is one.
    offset
        Byte position at which reading failed, where it is known.
    """

    def __init__(self, message: str, path: str | PathLike[str] | None = None, offset: int | None = None) -> None:
        self.offset = offset
        super().__init__(message if offset is None else f"{message} (at byte {offset})", path)


class ModelError(CarError):
    """A model that is unknown or corrupt, or whose card and file disagree."""


class InferenceError(CarError):
    """The inference engine failed; the original error is chained."""


class MissingExtraError(CarError, ImportError):
    """An optional dependency is not installed.

    Parameters
    ----------
    feature
        What needs it, as the start of a sentence.
    extra
        The name of the extra that brings it.
    """

    def __init__(self, feature: str, extra: str) -> None:
        self.feature = feature
        self.extra = extra
        super().__init__(feature, extra)

    def __str__(self) -> str:
        return f"{self.feature} needs: pip install 'napari-car[{self.extra}]'"
