"""A bundled network as a checkpoint, for training to go on where its own checkpoints are not at hand.

Graphs hold weights rearranged, not changed. Which number went where is found by exporting the same network with its
weights numbered; so no rewrite of ``graph`` has an inverse that must be kept in step with it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import Tensor, nn

from napari_car.cards import load_card
from napari_car.errors import ModelError
from napari_car.train import checkpoint
from napari_car.train.degradation import condition
from napari_car.train.graph import to_onnx
from napari_car.train.networks import MCU, CarNet, build, last_layer, residual_scale
from napari_car.train.recipe import Recipe


def unpack(model_id: str, recipe: Recipe, outputs: Path) -> Path:
    """Write the weights of a bundled model as the finished checkpoint of ``recipe``, unless there is one.

    Raises
    ------
    ModelError
        If the model is of another architecture than the recipe.
    """
    path = outputs / f"{recipe.name}.safetensors"
    if not path.exists():
        outputs.mkdir(parents=True, exist_ok=True)
        weights = shipped_weights(model_id, recipe)
        tensors = {f"{part}.{name}": value.clone() for part in ("network", "ema") for name, value in weights.items()}
        card = load_card(model_id)
        sets = sum(weights.precision == "fp32" for weights in card.weights)  # that share what the card counts
        progress = {"step": card.training["steps"] // sets, "minutes": card.training["minutes"] / sets}
        checkpoint.save(path, tensors, recipe, progress)
    return path


def shipped_weights(model_id: str, recipe: Recipe) -> dict[str, Tensor]:
    """State of the recipe's network with the weights of a bundled model, as exact as they ship (float16).

    Raises
    ------
    ModelError
        If the model is of another architecture than the recipe.
    """
    card = load_card(model_id)
    weights = card.nearest(recipe.quality or 30, "fp32")
    found = _numbers(onnx.load_from_string(card.read(weights)))
    network = build(recipe.arch, **recipe.options)
    once, twice = (_numbers(to_onnx(_numbered(network, recipe, times), _told(recipe))) for times in (1, 2))
    if [len(values) for values in found] != [len(values) for values in once]:
        raise ModelError(f"model {model_id!r} is not the network that the recipe describes")
    flat = torch.cat([value.flatten() for value in network.state_dict().values()])
    for shipped, first, second in zip(found, once, twice, strict=True):
        moved = first != second
        flat[np.rint(first[moved]).astype(np.int64) - 1] = torch.from_numpy(shipped[moved])
    state, start = {}, 0
    for name, value in network.state_dict().items():
        state[name] = flat[start : start + value.numel()].view_as(value).clone()
        start += value.numel()
    if not isinstance(network, CarNet):  # their graphs give the residual in full scale
        scale = residual_scale(torch.from_numpy(_told(recipe))[None]).item()
        last = next(name for name, layer in network.named_modules() if layer is last_layer(network))
        state |= {name: value / scale for name, value in state.items() if name.startswith(f"{last}.")}
    else:
        state["phase"] = _phase(network, found)
    return state


def _told(recipe: Recipe) -> NDArray[np.float32]:
    """The coding that a graph is exported for."""
    return condition(recipe.quality or 30, "4:2:0")


def _numbered(network: nn.Module, recipe: Recipe, times: int) -> nn.Module:
    """A network of the same kind whose weights are 1, 2, 3, ... in its graph, or a multiple of that."""
    result = build(recipe.arch, **recipe.options)
    state, start = {}, 1
    for name, value in network.state_dict().items():
        numbers = times * torch.arange(start, start + value.numel(), dtype=torch.float64)
        state[name] = numbers.view_as(value).float()
        start += value.numel()
    result.load_state_dict(state)
    if not isinstance(result, CarNet):
        scale = residual_scale(torch.from_numpy(_told(recipe))[None]).item()
        with torch.no_grad():
            for parameter in last_layer(result).parameters():
                parameter.copy_(parameter.double() / scale)
    return result


def _numbers(graph: onnx.ModelProto) -> list[NDArray[np.float32]]:
    """All numbers of a graph in its order: constants, and the slopes of rectifiers."""
    constants = [numpy_helper.to_array(constant) for constant in graph.graph.initializer]
    slopes: list[Any] = [
        attribute.f for node in graph.graph.node if node.op_type == "LeakyRelu" for attribute in node.attribute
    ]
    return [np.ravel(values).astype(np.float32) for values in [*constants, *slopes]]


def _phase(network: CarNet, found: list[NDArray[np.float32]]) -> Tensor:
    """The learned planes before their sigmoid; their graph holds three periods squared of them."""
    count, period = network.phase.shape[1], MCU // network.unshuffle
    planes = next(values for values in found if values.size == count * (3 * period) ** 2)
    return torch.logit(torch.from_numpy(planes).view(1, count, 3 * period, -1)[..., :period, :period], 1e-4)
