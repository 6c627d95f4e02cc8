"""All that is measured side by side: our models, the reference networks elsewhere, and the programs people use."""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from machine import session
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from torch import nn

from napari_car import list_models, open_session, restore
from napari_car.providers import PROVIDERS, offered
from napari_car.train.networks import ARCNN, FastARCNN

Image8 = NDArray[np.uint8]

REFERENCES: dict[str, Callable[[], nn.Module]] = {"ARCNN": ARCNN, "Fast ARCNN": FastARCNN}


@dataclass(frozen=True)
class Contender:
    """What is measured.

    Parameters
    ----------
    name
        Of its row.
    start
        Makes ready what is not timed and returns the work: a decoded picture, shape (H, W, 3), and its quality to the
        restored one.
    is_trained
        Whether its pixels mean anything: weights of references elsewhere are random, which changes no time.
    """

    name: str
    start: Callable[[], Callable[[Image8, int], Image8]]
    is_trained: bool = True


@dataclass(frozen=True)
class Command:
    """A program that reads a JPEG and writes a file.

    Parameters
    ----------
    name
        Of its row.
    arguments
        The command line, for a source and a target without its ending.
    ending
        Of the target's name.
    """

    name: str
    arguments: Callable[[Path, Path], list[str]]
    ending: str

    def run(self, source: Path, folder: Path, *, threads: int) -> Path:
        """Write the result into a folder, on so many threads, and return its path."""
        target = folder / f"{source.stem}.out{self.ending}"
        target.unlink(missing_ok=True)
        environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
        subprocess.run(self.arguments(source, target), check=True, capture_output=True, env=environment)
        return target


def contenders() -> Iterator[Contender]:
    """All that takes pixels, each on one thread."""
    torch.set_num_threads(1)
    for name, build in REFERENCES.items():
        yield Contender(f"{name}, eager PyTorch fp32", lambda build=build: _eager(build()), is_trained=False)
        yield Contender(
            f"{name}, plain onnxruntime fp32, whole image", lambda build=build: _plain(build()), is_trained=False
        )
        if find_spec("openvino"):
            yield Contender(
                f"{name}, plain OpenVINO fp32, whole image", lambda build=build: _openvino(build()), is_trained=False
            )
    for card in reversed(list_models()):
        for precision in card.precisions:
            yield Contender(f"{card.id}, {precision}", lambda of=(card.id, precision): _ours(*of))
    for provider in offered()[:-1]:  # the last is the CPU
        for card in reversed(list_models()):
            for precision in PROVIDERS[provider].precisions:
                of = (card.id, precision, provider)
                yield Contender(f"{card.id}, {precision}, {provider}", lambda of=of: _ours(*of))


def commands() -> Iterator[Command]:
    """All that takes files and is installed; each may use the threads that it is given."""
    ours = [sys.executable, "-m", "napari_car", "restore", "--force"]
    for card in list_models():
        yield Command(f"napari-car restore --model {card.id}, to JPEG",
            lambda src, dst, of=card.id: [*ours, "--model", of, str(src), "-o", str(dst)], ".jpg")  # fmt: skip
    yield Command("napari-car restore, to PNG", lambda src, dst: [*ours, str(src), "-o", str(dst)], ".png")
    if shutil.which("jpegqs"):
        for quality in ("3", "6"):
            yield Command(f"jpegqs -q {quality}",
                lambda src, dst, q=quality: ["jpegqs", "-q", q, str(src), str(dst)], ".jpg")  # fmt: skip
    if shutil.which("ffmpeg"):
        quiet = ["ffmpeg", "-y", "-loglevel", "error", "-threads", "1", "-i"]
        yield Command("ffmpeg -vf spp=6", lambda src, dst: [*quiet, str(src), "-vf", "spp=6", str(dst)], ".png")
    if find_spec("gmic"):
        code = 'import gmic, sys; gmic.run(f\'"{sys.argv[1]}" smooth 20,0.5,0.5 c 0,255 o "{sys.argv[2]}"\')'
        yield Command("gmic smooth 20", lambda src, dst: [sys.executable, "-c", code, str(src), str(dst)], ".png")
    if find_spec("pyjpegli"):
        code = (
            "import pyjpegli, sys, PIL.Image as I; d, w, h = pyjpegli.decode(open(sys.argv[1], 'rb').read());"
            "I.frombytes('RGB', (w, h), d).save(sys.argv[2], compress_level=1)"
        )
        yield Command("pyjpegli, decoding alone", lambda src, dst: [sys.executable, "-c", code, str(src), str(dst)],
            ".png")  # fmt: skip


def read(path: Path) -> Image8:
    """The pixels of a file, RGB."""
    return np.asarray(Image.open(path).convert("RGB"))


def _ours(model: str, precision: str, provider: str = "cpu") -> Callable[[Image8, int], Image8]:
    """Our main path, tiles and all."""
    opened = open_session(model, provider=provider, precision=precision, threads=1)
    return lambda image, quality: restore(image, quality=quality, session=opened)


def _eager(network: nn.Module) -> Callable[[Image8, int], Image8]:
    """A network as its authors run it: whole image, floats, PyTorch."""
    network.eval()

    def run(image: Image8, quality: int) -> Image8:
        with torch.no_grad():
            planes = torch.from_numpy(image.transpose(2, 0, 1)[None].astype(np.float32) / 255)
            return _to_image((planes + network(planes))[0].numpy())

    return run


def _plain(network: nn.Module) -> Callable[[Image8, int], Image8]:
    """The same in onnxruntime, layer by layer as published."""
    opened = session(plain_graph(network))
    return lambda image, quality: _to_image(opened.run(None, {"image": _planes(image)})[0][0])


def _openvino(network: nn.Module) -> Callable[[Image8, int], Image8]:
    """The same in OpenVINO, in the precision that it is given."""
    settings = {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32"}
    compiled: Any = _core().compile_model(_core().read_model(plain_graph(network)), "CPU", settings)
    return lambda image, quality: _to_image(compiled({"image": _planes(image)})[0][0])


@cache
def _core() -> Any:
    """OpenVINO's core, one for all."""
    return importlib.import_module("openvino").Core()


def _planes(image: Image8) -> NDArray[np.float32]:
    """Float planes, shape (1, 3, H, W)."""
    return np.ascontiguousarray(image.transpose(2, 0, 1)[None]).astype(np.float32) / np.float32(255)


def _to_image(planes: NDArray[np.float32]) -> Image8:
    """Rounded pixels, shape (H, W, 3)."""
    return np.rint(planes.clip(0, 1) * 255).astype(np.uint8).transpose(1, 2, 0)


def plain_graph(network: Any) -> bytes:
    """The graph that a plain export gives: the layers as published, one node each, and the sum with the image."""
    nodes, constants, x = [], [], "image"

    def constant(values: Any) -> str:
        constants.append(numpy_helper.from_array(np.ascontiguousarray(values.detach().numpy()), f"c{len(constants)}"))
        return constants[-1].name

    for i, layer in enumerate(network.layers):
        if isinstance(layer, nn.PReLU):
            node = helper.make_node("PRelu", [x, constant(layer.weight.reshape(1, 1, 1))], [f"y{i}"])
        else:
            more = {"output_padding": list(layer.output_padding)} if isinstance(layer, nn.ConvTranspose2d) else {}
            kind = "ConvTranspose" if more else "Conv"
            pads = list(layer.padding) * 2
            inputs = [x, constant(layer.weight), constant(layer.bias)]
            node = helper.make_node(kind, inputs, [f"y{i}"], pads=pads, strides=list(layer.stride), **more)
        nodes.append(node)
        x = f"y{i}"
    nodes.append(helper.make_node("Add", ["image", x], ["restored"]))
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 3, "h", "w"]) for n in ("image", "restored")]
    graph = helper.make_graph(nodes, "plain", ends[:1], ends[1:], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()
