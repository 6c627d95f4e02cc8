"""Checkpoints to a model folder with graphs, card and a page about it."""

from __future__ import annotations

import hashlib
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import tomli_w
import torch
from torch import nn

from napari_car.cards import read_card
from napari_car.errors import ModelError
from napari_car.train import checkpoint
from napari_car.train.degradation import condition
from napari_car.train.footprint import bytes_per_px, strips_bytes_per_px
from napari_car.train.fused import fused
from napari_car.train.graph import halve_weights, to_onnx
from napari_car.train.half import in_half
from napari_car.train.networks import MCU, CarNet, FastARCNN, residual_scale
from napari_car.train.nodes import OPSET
from napari_car.train.pool import find_pictures, load, split
from napari_car.train.portable import portable
from napari_car.train.quantization import Feed, quantize
from napari_car.train.receptive import receptive_radius
from napari_car.train.recipe import Recipe, degradation
from napari_car.train.rounding import widened
from napari_car.train.strips import in_strips

CALIBRATION_CROPS = 48

KINDS = [("int8", "strips"), ("int8", "tiles"), ("fp16", "tiles"), ("fp32", "tiles")]
"""Precisions and forms, in the order of the card."""


def export(
    checkpoints: list[Path], folder: Path, images: Path, summary: str | None = None, *, has_half: bool = False
) -> None:
    """Write graphs in int8, fp32 and, if wanted, fp16, ``card.toml`` and ``CARD.md`` for checkpoints of one model.

    Every fp32 graph is run against PyTorch on random input first.

    Raises
    ------
    ModelError
        If a graph does not give PyTorch's result to 1e-5.
    """
    folder.mkdir(parents=True, exist_ok=True)
    weights, recipes = [], []
    for path in checkpoints:
        network, recipe = checkpoint.load_network(path)
        recipes.append(recipe)
        graph = _checked_graph(network, recipe)
        feeds = _calibration(images, recipe, isinstance(network, CarNet))
        int8 = quantize(graph, feeds, widened(network, checkpoint.load_levels(path), recipe.headroom))
        strips, facts = in_strips(int8, align_of(network))
        stored = halve_weights(graph)
        models = [("int8", "strips", fused(strips)), ("int8", "tiles", portable(int8)), ("fp32", "tiles", stored)]
        if has_half:
            models.append(("fp16", "tiles", in_half(stored)))
        for precision, form, model in models:
            content = model.SerializeToString()
            name = f"{recipe.name}.{precision}.{'strips.' if form == 'strips' else ''}onnx"
            (folder / name).write_bytes(content)
            digest = hashlib.sha256(content).hexdigest()
            table: dict[str, Any] = {"file": name, "sha256": digest, "precision": precision, "form": form}
            weights.append(table | ({"quality": recipe.quality} if recipe.quality else {}))
    stages = _stages(checkpoints)
    minutes, steps = (sum(progress[key] for progress in stages) for key in ("minutes", "step"))
    card = _card(folder, network, recipes, minutes, steps)
    results = card.pop("results")
    int8_strips = folder / f"{recipe.name}.int8.strips.onnx"
    floats = {kind: folder / f"{recipe.name}.{kind}.onnx" for kind in ["fp16"] * has_half + ["fp32"]}
    card["bytes_per_px"] = {kind: bytes_per_px(file) for kind, file in {"int8": int8_strips, **floats}.items()}
    card["strips"] = facts | {"bytes_per_px": strips_bytes_per_px(int8_strips, facts["lead"])}
    if summary:
        card["summary"] = summary
    card |= {"weights": sorted(weights, key=_order), "results": results}
    (folder / "card.toml").write_text(tomli_w.dumps(card), "utf-8")
    (folder / "CARD.md").write_text(describe(folder), "utf-8")


def final_checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of a folder, sorted, without those that bear a label: stages for others to start from."""
    return [path for path in sorted(folder.glob("*.safetensors")) if checkpoint.read(path)[1].label is None]


def _stages(checkpoints: list[Path]) -> list[dict[str, Any]]:
    """Progress of the checkpoints and of those that they started from, each once, as far as they are there."""
    found: dict[Path, dict[str, Any]] = {}
    left = list(checkpoints)
    while left:
        path = left.pop()
        if path not in found and path.exists():
            _, recipe, found[path] = checkpoint.read(path)
            left += [path.with_name(f"{recipe.start}.safetensors")] if recipe.start else []
    return list(found.values())


def describe(folder: Path) -> str:
    """``CARD.md`` of a model folder: its ``card.toml`` as a page for people."""
    card = read_card(folder)
    facts = {
        "parameters": f"{card.parameters:,}",
        "computation": f"{card.kmac_per_px:g} kMAC/px",
        "helps at qualities": "{} to {}".format(*card.qualities),
        "without chroma subsampling": "{} to {}".format(*card.qualities_444),
        "told of the picture": ", ".join(card.conditioning) or "nothing",
        "halo, align": f"{card.halo} px, {card.align} px",
        "memory of a run": ", ".join(f"{n} bytes/px in {precision}" for precision, n in card.bytes_per_px.items()),
        "in strips": "{lead} px late, {bytes_per_px} bytes/px".format(**card.strips) if card.strips else "no",
        "ONNX opset": card.opset,
        "licence": card.licence,
    } | {key.replace("_", " "): value for key, value in card.training.items()}
    lines = [f"# {card.id}", "", card.summary, "", "| | |", "|---|---|"]
    lines += [f"| {key} | {value} |" for key, value in facts.items()]
    lines += ["", "| file | precision | takes | quality | sha256 |", "|---|---|---|---|---|"]
    lines += [f"| {w.file} | {w.precision} | {w.form} | {w.quality or 'all'} | `{w.sha256}` |" for w in card.weights]
    lines += [""]
    if card.results:
        columns = list(card.results[0])
        lines += ["Measured by `napari-car evaluate`:", "", f"| {' | '.join(columns)} |", "|" + "---|" * len(columns)]
        lines += [f"| {' | '.join(str(row[c]) for c in columns)} |" for row in card.results] + [""]
    return "\n".join(lines)


def _checked_graph(network: nn.Module, recipe: Recipe) -> onnx.ModelProto:
    """The graph of a network whose weights are rounded to float16, as they are stored, held against PyTorch."""
    from onnxruntime import InferenceSession

    with torch.no_grad():
        for weight in network.parameters():
            weight.copy_(weight.half().float())
        told = condition(recipe.quality or 30, "4:2:0")
        graph = to_onnx(network, told)
        rng = np.random.default_rng(recipe.seed)
        feed = {"image": rng.random((1, 64, 96, 3), np.float32)}
        if isinstance(network, CarNet):
            feed["condition"] = told[None]
        tensors = torch.from_numpy(feed["image"]).permute(0, 3, 1, 2), torch.from_numpy(told)[None]
        expected = (network(*tensors) * residual_scale(tensors[1])).permute(0, 2, 3, 1).numpy()
    found = InferenceSession(graph.SerializeToString()).run(None, feed)[0]
    difference = float(np.abs(found - expected).max())
    if not difference <= 1e-5:
        raise ModelError(f"the graph of {recipe.name} differs from PyTorch by {difference:.1e}; 1e-5 is allowed")
    return graph


def _calibration(images: Path, recipe: Recipe, is_conditioned: bool) -> list[Feed]:
    """Degraded crops of training pictures, 128 px, over the qualities that the weights are for."""
    pictures, _ = split(find_pictures(images))
    rng = np.random.default_rng(recipe.seed)
    degrade = degradation(recipe)
    feeds: list[Feed] = []
    while len(feeds) < CALIBRATION_CROPS:
        picture = load(pictures[rng.integers(len(pictures))])
        if min(picture.shape[:2]) < 160:
            picture = np.pad(picture, [(0, max(0, 160 - n)) for n in picture.shape[:2]] + [(0, 0)], "symmetric")
        y, x = (int(rng.integers(n - 159)) for n in picture.shape[:2])
        crop = degrade(np.ascontiguousarray(picture[y : y + 160, x : x + 160]), rng)
        image = crop.degraded[None, :128, :128].astype(np.float32) / np.float32(255)
        feeds.append({"image": image} | ({"condition": crop.condition[None]} if is_conditioned else {}))
    return feeds


def _card(folder: Path, network: nn.Module, recipes: list[Recipe], minutes: float, steps: int) -> dict[str, Any]:
    """All of the card but its weights; what a person wrote stays, and results of the same training."""
    path = folder / "card.toml"
    old = tomllib.loads(path.read_text("utf-8")) if path.exists() else {}
    qualities = [r.quality for r in recipes if r.quality]
    align = align_of(network)
    spread = [min(qualities), max(qualities)] if qualities else [1, 95]
    training = {"data": "unknown", "data_licences": "unknown", "recipe": "recipe.toml"} | old.get("training", {})
    told = {"minutes": round(minutes, 1), "steps": steps, "seed": recipes[0].seed}
    is_same = told.items() <= training.items()  # then what was measured still holds
    return {
        "id": folder.name,
        "summary": old.get("summary", f"{recipes[0].arch}, trained here."),
        "licence": old.get("licence", "BSD-3-Clause"),
        "parameters": sum(p.numel() for p in network.parameters()),
        "kmac_per_px": round(kmac_per_px(network), 1),
        "halo": receptive_radius(network, align),
        "align": align,
        "conditioning": ["luma_scale", "chroma_scale", "chroma_subsampling"] if isinstance(network, CarNet) else [],
        "qualities": old.get("qualities", spread),
        "qualities_444": old.get("qualities_444", spread),
        "opset": OPSET,
        "training": training | told,
        "results": old.get("results", []) if is_same else [],
    }


def align_of(network: nn.Module) -> int:
    """Grid on which tiles must start, px."""
    return MCU if isinstance(network, CarNet) else 2 if isinstance(network, FastARCNN) else 1


def kmac_per_px(network: nn.Module, side: int = 64) -> float:
    """Multiply-accumulate operations of all convolutions, thousands per pixel of the image."""
    total = 0

    def count(layer: nn.Module, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
        nonlocal total
        # A transposed convolution uses each weight once an input position, the others once an output position.
        positions = inputs[0] if isinstance(layer, nn.ConvTranspose2d) else output
        total += positions.shape[2] * positions.shape[3] * layer.weight.numel()  # type: ignore[operator]

    hooks = [m.register_forward_hook(count) for m in network.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]
    with torch.no_grad():
        network(torch.zeros(1, 3, side, side), torch.ones(1, 3))
    for hook in hooks:
        hook.remove()
    return total / side**2 / 1000


def _order(weights: dict[str, Any]) -> tuple[int, int]:
    """Place on the card: by kind, then by quality."""
    kind = weights["precision"], weights["form"]
    return KINDS.index(kind), weights.get("quality", 0)
