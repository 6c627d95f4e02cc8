#!/usr/bin/env python3
# ruff: noqa: E402, PLR0917, S603 - gi is told versions before its modules are imported; GIMP gives `run` its form
"""Filters > Enhance > Remove JPEG Artifacts: carries pixels between GIMP 3 and napari-car's worker.

GIMP's own Python has only the standard library and gi. All that is known of JPEG and of networks lives in the worker, a
process of the environment in which napari-car is installed; ``napari-car gimp install`` writes its address into
config.json beside this file.
"""

from __future__ import annotations

import base64
import contextlib
import json
import math
import os
import queue
import struct
import subprocess
import sys
import threading
from collections import deque
from pathlib import Path
from typing import Any, BinaryIO

import gi

gi.require_version("Babl", "0.1")
gi.require_version("Gegl", "0.4")
gi.require_version("Gimp", "3.0")
from gi.repository import Babl, Gegl, Gimp, GLib, GObject

PROCEDURE = "plug-in-napari-car"
TITLE = "Remove JPEG Artifacts"
HOME = Path(__file__).resolve().parent
DEFAULT = "default"
IN_PLACE, NEW_LAYER = "in-place", "new-layer"
SCRUBBED = ("PYTHON", "DYLD_", "LD_LIBRARY_PATH", "LD_PRELOAD", "GI_TYPELIB_PATH")
"""How the names of variables begin that GIMP sets for its own Python and that would mislead another."""

# ---- the same in napari_car/gimp/frames.py ----
PROTOCOL = 1
MAGIC = b"NCAR"
HEAD = struct.Struct(">4sIIQ")  # magic, protocol, bytes of JSON, bytes of pixels; the first two fields never change
MAX_JSON = 2**20  # bytes
MAX_PIXELS = 2**34  # bytes
CHUNK = 2**20  # bytes
ITEM_SIZE = {"uint8": 1, "uint16": 2, "float32": 4, "float64": 8}


def write_frame(stream: BinaryIO, message: dict[str, Any], pixels: Any = b"") -> None:
    """Write a message, and the pixels of its "shape" and "dtype", in the byte order of the machine."""
    text = json.dumps(message).encode()
    payload = memoryview(pixels).cast("B")
    stream.write(HEAD.pack(MAGIC, PROTOCOL, len(text), len(payload)) + text)
    stream.write(payload)
    stream.flush()


def read_frame(stream: BinaryIO) -> tuple[dict[str, Any], bytearray]:
    """Read a message and its pixels."""
    magic, protocol, n_json, n_pixels = HEAD.unpack(read_exactly(stream, HEAD.size))
    if magic != MAGIC:
        raise ValueError(f"what came is no frame of napari-car: it starts with {magic!r} in place of {MAGIC!r}")
    if protocol != PROTOCOL:
        raise ValueError(
            f"the filter in GIMP and its worker are of different versions: protocol {protocol} came where {PROTOCOL} "
            "is spoken; run 'napari-car gimp install' and start GIMP anew"
        )
    if n_json > MAX_JSON or n_pixels > MAX_PIXELS:
        raise ValueError(f"a frame claims {n_json} and {n_pixels} bytes; {MAX_JSON} and {MAX_PIXELS} are allowed")
    try:
        message = json.loads(bytes(read_exactly(stream, n_json)))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the message of a frame is not JSON: {error}") from error
    if not isinstance(message, dict):
        raise ValueError(f"the message of a frame is a {type(message).__name__}; it must be an object")
    if n_pixels != size_of(message):
        raise ValueError(f"a frame brings {n_pixels} bytes of pixels where its message tells of {size_of(message)}")
    return message, read_exactly(stream, n_pixels)


def size_of(message: dict[str, Any]) -> int:
    """Bytes of the pixels that a message tells of; 0 where it has no "shape"."""
    if "shape" not in message:
        return 0
    shape, dtype = message["shape"], message.get("dtype")
    sizes = shape if isinstance(shape, list) and len(shape) <= 4 else [None]
    are_sizes = all(type(size) is int and 0 < size <= MAX_PIXELS for size in sizes)
    if not are_sizes or not isinstance(dtype, str) or dtype not in ITEM_SIZE:
        raise ValueError(f"a frame tells of pixels of shape {shape!r:.60} and dtype {dtype!r:.60}, which cannot be")
    return math.prod(sizes) * ITEM_SIZE[dtype]


def read_exactly(stream: BinaryIO, size: int) -> bytearray:
    """Read so many bytes, taking memory only as they come."""
    content = bytearray()
    while len(content) < size:
        piece = stream.read(min(size - len(content), CHUNK))
        if not piece:
            raise EOFError(f"the stream ended after {len(content)} of {size} bytes")
        content += piece
    return content


# ---- end of the same ----


class FilterError(Exception):
    """What goes wrong, in a sentence for GIMP's error box."""


class Worker:
    """The process that does the work, from its start to the end of the run."""

    def __init__(self, config: dict[str, Any]) -> None:
        command = [config["interpreter"], "-I", "-m", "napari_car.gimp.worker"]
        environment = {name: value for name, value in os.environ.items() if not name.startswith(SCRUBBED)}
        environment.setdefault("OPENBLAS_THREAD_TIMEOUT", "4")  # as for the command: its threads spin no 0.1 s each
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        flags = getattr(subprocess, "CREATE_NO_WINDOW", 0)
        try:
            self.process = subprocess.Popen(command, env=environment, creationflags=flags, **pipes)
        except OSError as error:
            raise FilterError(
                f"The worker of napari-car cannot be started: {command[0]}: {error.strerror}. Was its environment "
                "moved or removed? Run 'napari-car gimp install' anew; 'napari-car gimp doctor' tells more."
            ) from error
        self.complaints: deque[str] = deque(maxlen=8)
        self.answers: queue.Queue[tuple[dict[str, Any], Any] | Exception] = queue.Queue()
        self.threads = [threading.Thread(target=work, daemon=True) for work in (self._hear, self._overhear)]
        for thread in self.threads:
            thread.start()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()

    def ask(
        self, message: dict[str, Any], pixels: bytes = b"", progress: Any = None
    ) -> tuple[dict[str, Any], bytearray]:
        """Send a frame and wait for the result, while GIMP stays awake."""
        threading.Thread(target=self._say, args=(message, pixels), daemon=True).start()
        context = GLib.MainContext.default()
        while True:
            while context.pending():
                context.iteration(False)
            try:
                answer = self.answers.get(timeout=0.03)
            except queue.Empty:
                continue
            if isinstance(answer, Exception):
                raise FilterError(self._obituary(answer))
            told, content = answer
            if told.get("kind") == "progress" and progress:
                progress(told["done"] / told["total"])
            elif told.get("kind") == "error":
                raise FilterError(f"napari-car: {told.get('message')}")
            elif told.get("kind") == "result":
                return told, content

    def _say(self, message: dict[str, Any], pixels: bytes) -> None:
        with contextlib.suppress(OSError):  # it has died; of what, the other threads hear
            write_frame(self.process.stdin, message, pixels)

    def _hear(self) -> None:
        try:
            while True:
                self.answers.put(read_frame(self.process.stdout))
        except (ValueError, EOFError, OSError) as error:
            self.answers.put(error)

    def _overhear(self) -> None:
        for line in self.process.stderr:
            self.complaints.append(line.decode(errors="replace").rstrip())

    def _obituary(self, error: Exception) -> str:
        """Why no answer comes: the worker is dead, or talks nonsense."""
        if isinstance(error, ValueError):
            return f"The worker of napari-car was not understood: {error}."
        code = self.process.wait()
        self.threads[1].join(1)
        last = "\n".join(self.complaints)
        return f"The worker of napari-car ended (exit code {code}) and the image is unchanged.\n{last}".strip()


class Target:
    """A layer with the window that is to be restored: its selected part."""

    def __init__(self, layer: Any) -> None:
        self.layer = layer
        has_part, self.x, self.y, self.width, self.height = layer.mask_intersect()
        if not has_part:
            raise FilterError(f"The selection is empty where the layer “{layer.get_name()}” is.")
        self.format, self.dtype, self.channels = pixel_format(layer)

    def ask_for(self, do: str, image: Any, **options: Any) -> tuple[dict[str, Any], bytes]:
        """The frame that asks to do something with the layer."""
        width, height = self.layer.get_width(), self.layer.get_height()
        pixels = self.layer.get_buffer().get(
            Gegl.Rectangle.new(0, 0, width, height), 1.0, self.format, Gegl.AbyssPolicy.NONE
        )
        parasite = image.get_parasite("jpeg-settings")
        file = image.get_file() or image.get_imported_file()
        return {
            "do": do,
            "shape": [height, width, self.channels],
            "dtype": self.dtype,
            "window": [self.y, self.x, self.y + self.height, self.x + self.width],
            "settings": base64.b64encode(bytes(parasite.get_data())).decode() if parasite else "",
            "file": (file and file.get_path()) or "",
            **options,
        }, pixels

    def split(self, told: dict[str, Any], content: bytearray, count: int) -> list[bytes]:
        """The pictures that a result brings, each of the size of the window."""
        if (told["shape"], told["dtype"]) != ([count, self.height, self.width, self.channels], self.dtype):
            raise FilterError("The worker of napari-car gave other pixels than it was asked for.")
        size = len(content) // count
        whole = memoryview(content)
        return [bytes(whole[start : start + size]) for start in range(0, len(content), size)]

    def take(self, layer: Any, pixels: bytes, x: int, y: int) -> None:
        """Put the restored window into a layer, at x and y of it, through the selection."""
        shadow = layer.get_shadow_buffer()
        shadow.set(Gegl.Rectangle.new(x, y, self.width, self.height), self.format, pixels)
        shadow.flush()
        if layer.merge_shadow(True) is False:
            raise FilterError(f"GIMP does not let the layer “{layer.get_name()}” be changed.")
        layer.update(x, y, self.width, self.height)


def pixel_format(layer: Any) -> tuple[str, str, int]:
    """The babl format to carry a layer's pixels in, its dtype and channels.

    In the space of the image's profile and with its transfer curve, as the values stand in a JPEG; as floats, in which
    GIMP computes, where the layer does not hold them so.
    """
    held = layer.get_format()
    encoding = Babl.get_name(held)
    is_perceptual = "'" in encoding or "~" in encoding
    kind = Babl.format_get_type(held, 0)
    kind = Babl.get_name(kind) if not isinstance(kind, str) else kind
    babl_type = kind if is_perceptual and kind in ("u8", "u16") else "float"
    dtype = {"u8": "uint8", "u16": "uint16", "float": "float32"}[babl_type]
    colours = "Y'" if layer.is_gray() else "R'G'B'"
    alpha = "A" if layer.has_alpha() else ""
    name = Babl.get_name(Babl.format_with_space(f"{colours}{alpha} {babl_type}", held))
    return name, dtype, (1 if layer.is_gray() else 3) + bool(alpha)


def refuse(drawables: list[Any]) -> None:
    """Say of what cannot be restored why not."""
    if not drawables:
        raise FilterError("No layer is selected; select one or several in the Layers dialog.")
    kinds = (
        ("LayerMask", "a layer mask; select the layer itself"),
        ("Channel", "a channel; select a layer"),
        ("GroupLayer", "a layer group; select layers inside of it"),
        (
            "TextLayer",
            "a text layer; text has no JPEG artifacts, and Layer ▸ Discard Text Information makes it a plain one",
        ),
        ("LinkLayer", "a link layer; Layer ▸ Discard Link Information makes it a plain one"),
        ("VectorLayer", "a vector layer; Layer ▸ Discard Vector Information makes it a plain one"),
    )
    for drawable in drawables:
        name = drawable.get_name()
        for kind, what in kinds:
            if hasattr(Gimp, kind) and isinstance(drawable, getattr(Gimp, kind)):
                raise FilterError(f"“{name}” is {what}.")
        if drawable.is_indexed():
            raise FilterError(f"“{name}” has indexed colours; choose Image ▸ Mode ▸ RGB or Grayscale first.")
        item = drawable
        while item is not None:
            if item.get_lock_content():
                raise FilterError(f"The pixels of “{item.get_name()}” are locked; unlock them in the Layers dialog.")
            item = item.get_parent()


def read_config() -> dict[str, Any]:
    """What ``napari-car gimp install`` wrote beside this file; empty where it did not."""
    try:
        config = json.loads((HOME / "config.json").read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return config if isinstance(config, dict) and "interpreter" in config else {}


def chosen_model(config: Any) -> str:
    """The id of a model, or "" for the worker's default: it may be another than when the filter was installed."""
    model = config.get_property("model")
    return "" if model == DEFAULT else model


def show_dialog(procedure: Any, config: Any, sentence: str) -> bool:
    """Let a person choose; GIMP makes the dialog from the arguments. False for Cancel."""
    gi.require_version("GimpUi", "3.0")
    from gi.repository import GimpUi

    GimpUi.init(PROCEDURE)
    dialog = GimpUi.ProcedureDialog.new(procedure, config, TITLE)
    label = dialog.get_label("found", sentence, False, False)
    label.set_line_wrap(True)
    label.set_max_width_chars(56)
    label.set_xalign(0)
    for name in ("quality", "strength", "chroma"):
        dialog.get_scale_entry(name, 1)
    dialog.fill(["found", "model", "quality", "strength", "chroma", "consistent", "result", "residual"])
    try:
        return bool(dialog.run())
    finally:
        dialog.destroy()


def restore(image: Any, drawables: list[Any], config: Any, worker: Worker) -> None:
    """Restore layers: all of them in the worker first, then all in the image, as one step to undo."""
    quality = config.get_property("quality")
    options = {
        "model": chosen_model(config),
        "quality": quality or "auto",
        "strength": config.get_property("strength"),
        "chroma": config.get_property("chroma"),
        "consistent": config.get_property("consistent"),
        "residual": config.get_property("residual"),
    }
    Gimp.progress_init(TITLE)
    done: list[tuple[Target, list[bytes]]] = []
    for i, target in enumerate([Target(drawable) for drawable in drawables]):
        told, content = worker.ask(
            *target.ask_for("restore", image, **options),
            progress=lambda share, i=i: Gimp.progress_update((i + share) / len(drawables)),
        )
        for text in [told["sentence"]] if not told["is_restored"] else told["notices"]:
            Gimp.message(f"{target.layer.get_name()}: {text}")
        if told["is_restored"]:
            done.append((target, target.split(told, content, 1 + options["residual"])))
    if not done:
        return
    image.undo_group_start()
    try:
        for target, (restored, *residuals) in done:
            put(image, target, restored, residuals, config.get_property("result") == NEW_LAYER)
    finally:
        image.undo_group_end()
    Gimp.displays_flush()


def put(image: Any, target: Target, restored: bytes, residuals: list[bytes], is_new: bool) -> None:
    """Put what the worker made of one layer into the image."""
    layer, name = target.layer, target.layer.get_name()
    parent, position = layer.get_parent(), image.get_item_position(layer)
    if is_new:
        layer = layer.copy()
        layer.set_name(f"{name} restored")
        image.insert_layer(layer, parent, position)
    target.take(layer, restored, target.x, target.y)
    for residual in residuals:
        kind = Gimp.ImageType.GRAYA_IMAGE if layer.is_gray() else Gimp.ImageType.RGBA_IMAGE
        shown = Gimp.Layer.new(
            image, f"{name} residual", target.width, target.height, kind, 100.0, Gimp.LayerMode.NORMAL
        )
        _, x, y = layer.get_offsets()
        shown.set_offsets(x + target.x, y + target.y)
        shown.set_visible(False)
        image.insert_layer(shown, parent, position)
        target.take(shown, residual, 0, 0)


def run(procedure: Any, run_mode: Any, image: Any, drawables: list[Any], config: Any, data: Any) -> Any:
    """What GIMP calls, from the menu, with last values or from a script."""
    try:
        refuse(drawables)
        settings = read_config()
        if not settings:
            raise FilterError(
                "The filter does not know where napari-car is installed: there is no usable config.json beside it. Run "
                "'napari-car gimp install'."
            )
        Gegl.init(None)
        with Worker(settings) as worker:
            if run_mode == Gimp.RunMode.INTERACTIVE:
                found, _ = worker.ask(*Target(drawables[0]).ask_for("find", image, model=chosen_model(config)))
                if not show_dialog(procedure, config, found["sentence"]):
                    return procedure.new_return_values(Gimp.PDBStatusType.CANCEL, GLib.Error())
            restore(image, drawables, config, worker)
    except FilterError as error:
        told = GLib.Error.new_literal(Gimp.PlugIn.error_quark(), str(error), 0)
        return procedure.new_return_values(Gimp.PDBStatusType.EXECUTION_ERROR, told)
    return procedure.new_return_values(Gimp.PDBStatusType.SUCCESS, GLib.Error())


class NapariCar(Gimp.PlugIn):
    """The plug-in as GIMP sees it."""

    def do_set_i18n(self, name: str) -> bool:
        """No translations."""
        return False

    def do_query_procedures(self) -> list[str]:
        """The one procedure."""
        return [PROCEDURE]

    def do_create_procedure(self, name: str) -> Any:
        """Declare the filter and its arguments, from which GIMP makes the dialog."""
        procedure = Gimp.ImageProcedure.new(self, name, Gimp.PDBProcType.PLUGIN, run, None)
        procedure.set_image_types("RGB*, GRAY*")
        procedure.set_sensitivity_mask(Gimp.ProcedureSensitivityMask.DRAWABLE | Gimp.ProcedureSensitivityMask.DRAWABLES)
        procedure.set_menu_label("_Remove JPEG Artifacts...")
        procedure.add_menu_path("<Image>/Filters/Enhance")
        procedure.set_documentation(
            "Undo what JPEG compression did to layers",
            "Removes blocks, ringing, mosquito noise and bleeding colours by a network that runs on this machine.",
            name,
        )
        procedure.set_attribution("The napari-car developers", "BSD-3-Clause", "2026")
        self._add_arguments(procedure, read_config())
        return procedure

    def _add_arguments(self, procedure: Any, config: dict[str, Any]) -> None:
        both = GObject.ParamFlags.READWRITE
        models = Gimp.Choice.new()
        models.add(DEFAULT, 0, f"{DEFAULT} ({config['default']})" if "default" in config else DEFAULT, "")
        for i, (name, about) in enumerate(config.get("models", []), 1):
            models.add(name, i, name, about)
        procedure.add_choice_argument(
            "model", "_Model", "The network; larger ones restore better and take longer", models, DEFAULT, both
        )
        procedure.add_int_argument(
            "quality", "_Quality (0: automatic)",
            "IJG quality at which the picture was compressed; 0 takes what was found", 0, 100, 0, both,
        )  # fmt: skip
        procedure.add_double_argument("strength", "_Strength", "Share of the change that is applied", 0, 1, 1, both)
        procedure.add_double_argument("chroma", "_Chroma strength", "Share of the change in colour", 0, 1, 1, both)
        procedure.add_boolean_argument(
            "consistent", "Consistent _with the file",
            "Invent nothing that the JPEG file excludes; for 8-bit layers that were not edited", False, both,
        )  # fmt: skip
        results = Gimp.Choice.new()
        results.add(IN_PLACE, 0, "in place", "")
        results.add(NEW_LAYER, 1, "in a new layer", "")
        procedure.add_choice_argument("result", "_Result", "Where the restored pixels go", results, IN_PLACE, both)
        procedure.add_boolean_argument(
            "residual", "Add a resi_dual layer", "A hidden layer that shows what was changed", False, both
        )


Gimp.main(NapariCar.__gtype__, sys.argv)
