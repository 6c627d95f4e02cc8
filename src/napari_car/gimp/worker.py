"""The worker: restores for the filter in GIMP, which starts it with pipes as stdin and stdout.

It answers a frame with progress frames and a result or an error, takes the next, and dies with its stdin at whatever it
is at: so GIMP ends it by ending the filter.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from queue import SimpleQueue
from typing import Any, BinaryIO

import numpy as np

from napari_car.cards import DEFAULT_MODEL, list_models
from napari_car.errors import CarError, InputError
from napari_car.gimp.frames import read_frame, write_frame
from napari_car.gimp.layer import Layer, residual
from napari_car.pixels import Array
from napari_car.restore import Options
from napari_car.session import open_session
from napari_car.version import __version__

Message = dict[str, Any]
Answer = tuple[Message, Array | bytes]

TOO_LARGE = "the layer does not fit into memory; a part of it that is selected takes less"

session = cache(open_session)  # one opening for all layers


def main() -> int:
    """Answer frames until stdin ends; what nobody foresaw is told on stderr and ends the process."""
    with _last_words():
        return _serve()


@contextmanager
def _last_words() -> Iterator[None]:
    """Tell an error and end at once: Python cannot shut down beside a thread at stdin, and would tell of that alone."""
    try:
        yield
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)


def _serve() -> int:
    """Answer frames; 1 after one that is none."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a library prints breaks no frame
    requests: SimpleQueue[tuple[Message, bytearray] | ValueError] = SimpleQueue()
    threading.Thread(target=_listen, args=(sys.stdin.buffer, requests), daemon=True).start()
    while True:
        request = requests.get()
        if isinstance(request, ValueError):
            write_frame(answers, {"kind": "error", "message": str(request)})
            return 1
        for message, pixels in answer(*request):
            write_frame(answers, message, pixels)


def answer(message: Message, pixels: bytearray) -> Iterator[Answer]:
    """Do what one frame asks for: yields the frames to send, the last of them a result or an error.

    Parameters
    ----------
    message
        "do" is "greet", "find" or "restore"; the latter two come with the pixels of a whole layer.
    pixels
        Of the layer.
    """
    try:
        match message.get("do"):
            case "greet":
                yield _greet(), b""
            case "find":
                yield _find(Layer.from_frame(message, pixels), message), b""
            case "restore":
                yield from _restore(Layer.from_frame(message, pixels), message)
            case other:
                raise InputError(f"the worker is asked to {other!r}; it can greet, find and restore")
    except CarError as error:
        yield {"kind": "error", "message": " ".join(str(error).split())}, b""
    except MemoryError:
        yield {"kind": "error", "message": TOO_LARGE}, b""


def _greet() -> Message:
    """Who we are, for doctor and for the choices of the dialog."""
    models = [(card.id, card.summary) for card in list_models()]
    return {"kind": "result", "version": __version__, "models": models, "default": DEFAULT_MODEL}


def _find(layer: Layer, message: Message) -> Message:
    """What is known of a layer's compression."""
    found = layer.find(session(message.get("model") or None).card)
    return {"kind": "result", "quality": found.quality, "source": found.source, "sentence": found.sentence}


def _restore(layer: Layer, message: Message) -> Iterator[Answer]:
    """Restore the window of a layer: the result brings it, and its residual where that is asked for."""
    opened = session(message.get("model") or None)
    quality, sentence = message.get("quality", "auto"), ""
    if quality == "auto":
        found = layer.find(opened.card)
        quality, sentence = found.coding, found.sentence
    if quality is None:
        yield {"kind": "result", "is_restored": False, "sentence": sentence}, b""
        return
    height, width = layer.pixels.shape[:2]
    top, left, bottom, right = window = _window(message.get("window", [0, 0, height, width]))
    options: Options = {"quality": quality, "consistent": message.get("consistent") is True}
    for name in ("strength", "luma", "chroma"):
        if name in message:
            options[name] = message[name]
    with Notices() as notices:
        steps = layer.restore_steps(window, opened, options)
        while True:
            try:
                done, total = next(steps)
                yield {"kind": "progress", "done": done, "total": total}, b""
            except StopIteration as stop:
                restored = stop.value
                break
    pictures = [restored]
    if message.get("residual"):
        pictures.append(residual(layer.pixels[top:bottom, left:right], restored))
    content = np.stack(pictures) if len(pictures) > 1 else np.ascontiguousarray(restored)[None]
    told = {"is_restored": True, "sentence": sentence, "notices": notices.texts}
    yield {"kind": "result", "shape": content.shape, "dtype": content.dtype.name} | told, content


def _window(value: object) -> tuple[int, int, int, int]:
    """A window as it comes in a message."""
    if isinstance(value, list) and len(value) == 4 and all(type(edge) is int for edge in value):
        top, left, bottom, right = value
        return top, left, bottom, right
    raise InputError(f"the window is {value!r}; it must be top, left, bottom and right, px")


def _listen(stream: BinaryIO, requests: SimpleQueue[tuple[Message, bytearray] | ValueError]) -> None:
    """Take frames as they come, in a thread; the end of the stream is the end of the process."""
    with _last_words():
        try:
            while True:
                requests.put(read_frame(stream))
        except ValueError as error:
            requests.put(error)
        except MemoryError:
            requests.put(ValueError(TOO_LARGE))
        except EOFError:
            os._exit(0)  # whatever the other threads are at: nothing that they hold outlives the process


class Notices(logging.Handler):
    """What the core warns of while it works, for the person at the other end."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one warning."""
        self.texts.append(record.getMessage())

    def __enter__(self) -> Notices:
        logging.getLogger("napari_car").addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        logging.getLogger("napari_car").removeHandler(self)


if __name__ == "__main__":
    sys.exit(main())
