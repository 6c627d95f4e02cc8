"""Quantization-aware training: a network that rounds as its int8 graph will, while gradients pass the rounding."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from napari_car.train.networks import Block, CarNet
from napari_car.train.quantization import LEVELS, PERCENTILE, balance, lattice_steps

CLIPPED = 1 - PERCENTILE / 100
"""Share of activations beyond either end of their range, as for calibration."""

SAMPLED = 200_000
"""Values of an activation that its range is taken from, each time it is seen."""


def rounded_weights(network: nn.Module, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """``weights`` of the network, those of convolutions rounded to 8 bits by output channel; the rest as it is."""
    first = network.head if isinstance(network, CarNet) else network.layers[0]  # type: ignore[index]
    area = network.unshuffle**2 if isinstance(network, CarNet) else 1
    result = dict(weights)
    for name, layer in network.named_modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            key = f"{name}.weight"
            if layer is first:
                result[key] = _seeing(weights[key], area)
            else:
                result[key] = _by_channel(weights[key], axis=int(isinstance(layer, nn.ConvTranspose2d)))
    return result


@torch.no_grad()
def round_activations(network: nn.Module, inputs: Iterable[tuple[Tensor, Tensor]]) -> None:
    """Let the network round its activations to 8 bits from now on, in the ranges that they have on ``inputs``.

    Parameters
    ----------
    network
        Of ``networks.ARCHITECTURES``; what it computes changes, its parameters do not.
    inputs
        Image (N, 3, H, W) and condition (N, 3), as the network takes them.
    """
    ranges: dict[nn.Module, tuple[float, float]] = {}
    places = list(_places(network))
    watching = [place.register_forward_hook(_watch(ranges)) for place in places]
    for image, told in inputs:
        network(image, told)
    for hook in watching:
        hook.remove()
    for place in places:
        place.register_forward_hook(_rounding(*ranges[place]))


def _places(network: nn.Module) -> Iterable[nn.Module]:
    """Modules whose output the int8 graph keeps in 8 bits: no mere containers, and no convolution that is rectified."""
    rectified = {module.first for module in network.modules() if isinstance(module, Block)}
    for module in network.modules():
        is_container = module is network or isinstance(module, nn.Sequential | nn.ModuleList)
        if not is_container and module not in rectified:
            yield module


def _watch(ranges: dict[nn.Module, tuple[float, float]]) -> Any:
    """A hook that widens the range of the module's output."""

    def watch(module: nn.Module, _: Any, output: Tensor) -> None:
        values = output.flatten()[:: max(1, output.numel() // SAMPLED)].float()
        low, high = torch.quantile(values, torch.tensor([CLIPPED, 1 - CLIPPED])).tolist()
        before = ranges.get(module, (0.0, 0.0))
        ranges[module] = min(low, before[0]), max(high, before[1])

    return watch


def _rounding(low: float, high: float) -> Any:
    """A hook that rounds the module's output to the 256 levels of a range, zero among them."""
    step = max(high - low, 1e-6) / 255
    zero = round(-low / step)

    def rounding(_: nn.Module, __: Any, output: Tensor) -> Tensor:
        return torch.fake_quantize_per_tensor_affine(output, step, zero, 0, 255)

    return rounding


def _seeing(weight: Tensor, area: int) -> Tensor:
    """Weights that see pixel blocks of ``area`` rounded as for the graph; those for what is told stay, being float."""
    seen = 3 * area
    exact = weight[:, :seen]
    kernel = exact.shape[2:]
    colours_last = exact.detach().reshape(-1, 3, area, *kernel).transpose(1, 2).reshape(exact.shape)  # as in the graph
    balanced = torch.from_numpy(balance(colours_last.cpu().numpy(), [slice(colour, None, 3) for colour in range(3)]))
    rounded = balanced.to(weight.device).reshape(-1, area, 3, *kernel).transpose(1, 2).reshape(exact.shape)
    return torch.cat([exact + (rounded - exact).detach(), weight[:, seen:]], dim=1)


def _by_channel(weight: Tensor, axis: int) -> Tensor:
    """A weight rounded to the lattice of each of its outputs, which lie along an axis."""
    outputs_first = weight.detach().movedim(axis, 0).cpu().numpy()
    step = torch.from_numpy(lattice_steps(outputs_first)).to(weight.device)
    zeros = torch.zeros_like(step, dtype=torch.int32)
    return torch.fake_quantize_per_channel_affine(weight, step, zeros, axis, -LEVELS, LEVELS)
