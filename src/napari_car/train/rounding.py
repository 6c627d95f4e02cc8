"""Quantization-aware training: a network that rounds as its int8 graph will, while gradients pass the rounding."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
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


class Levels(nn.Module):
    """The 256 levels of an activation, zero among them; how far apart they are is learned.

    Source: Esser et al., "Learned step size quantization", ICLR 2020, equations 1 and 3, by the logarithm of the step.

    Parameters
    ----------
    low, high
        The range that they cover at first.
    """

    zero: Tensor

    def __init__(self, low: float = 0.0, high: float = 1.0) -> None:
        super().__init__()
        step = max(high - low, 1e-6) / 255
        self.log_step = nn.Parameter(torch.tensor(math.log(step)))
        self.register_buffer("zero", torch.tensor(float(round(-low / step))))

    def forward(self, values: Tensor) -> Tensor:
        """Each value at the level next to it."""
        levels = self.log_step.exp(), self.zero.to(torch.int32)
        rounded: Tensor = _Round.apply(values, *levels)  # type: ignore[no-untyped-call]
        return rounded


class _Round(torch.autograd.Function):
    """Rounding to levels; gradients pass it where values are within the levels, and reach the step everywhere.

    A GPU rounds in one kernel, and is not asked for the step, which would mean to wait for it. On a CPU that kernel and
    products with truth values are not vectorised, and take three times as long as what stands here for them.
    """

    @staticmethod
    def forward(ctx: Any, values: Tensor, step: Tensor, zero: Tensor) -> Tensor:
        if values.is_cuda:
            rounded = torch.fake_quantize_per_tensor_affine(values, step, zero, 0, 255)
        else:
            rounded = (values / step).round_().clamp_(-zero.item(), 255 - zero.item()).mul_(step)
        ctx.save_for_backward(values, rounded, step, zero)
        return rounded

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        values, rounded, step, zero = ctx.saved_tensors
        low, high = -zero * step, (255 - zero) * step
        if values.is_cuda:
            passed = gradient * ((values >= low) & (values <= high))
        else:
            passed = torch.ops.aten.hardtanh_backward(gradient, values, low.item(), high.item())
        by_step = _inner(gradient, rounded) - _inner(passed, values)
        return passed, by_step / step, None


def _inner(a: Tensor, b: Tensor) -> Tensor:
    """Inner product of two activations, whose channels lie last in memory."""
    return a.movedim(1, -1).flatten() @ b.movedim(1, -1).flatten()


@torch.no_grad()
def round_activations(network: nn.Module, inputs: Iterable[tuple[Tensor, Tensor]]) -> None:
    """Let the network round its activations to 8 bits from now on, at first in the ranges that they have on ``inputs``.

    Parameters
    ----------
    network
        Of ``networks.ARCHITECTURES``; what it computes changes, and the levels of its activations join its parameters.
    inputs
        Image (N, 3, H, W) and condition (N, 3), as the network takes them.
    """
    ranges: dict[nn.Module, tuple[float, float]] = {}
    watching = [place.register_forward_hook(_watch(ranges)) for place in _places(network)]
    for image, told in inputs:
        network(image, told)
    for hook in watching:
        hook.remove()
    for place, (low, high) in ranges.items():
        _put(network, place, Levels(low, high))


def put_levels(network: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Let the network round where ``state``, of a network that does, has levels; they are not loaded yet."""
    for place in levels_by_place(state):
        _put(network, network.get_submodule(place), Levels())


def without_levels(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a network alone, of its state."""
    return {name: value for name, value in state.items() if ".levels." not in name}


def levels_by_place(state: Mapping[str, Tensor]) -> dict[str, tuple[float, int]]:
    """Step and zero of the levels in the state of a network, by the name of the module whose output they are for."""
    return {
        place: (state[name].exp().item(), int(state[f"{place}.levels.zero"].item()))
        for name in state
        for place, is_level, _ in [name.partition(".levels.log_step")]
        if is_level
    }


def widened(
    network: nn.Module, levels: Mapping[str, tuple[float, int]], headroom: float
) -> dict[str, tuple[float, int]]:
    """Levels as a graph gets them: those behind the coarsest scale ``headroom`` times as far apart."""
    if not isinstance(network, CarNet):
        return dict(levels)
    coarsest = len(network.downs)
    behind = ("sums.", "tail", *(f"stages.{i}." for i in range(coarsest + 1, len(network.stages))))
    return {
        place: (step * (headroom if place.startswith(behind) else 1), zero) for place, (step, zero) in levels.items()
    }


def _places(network: nn.Module) -> Iterable[nn.Module]:
    """Modules whose output the int8 graph keeps in 8 bits: no mere containers, and no convolution that is rectified."""
    rectified = {module.first for module in network.modules() if isinstance(module, Block)}
    for module in network.modules():
        is_container = module is network or isinstance(module, nn.Sequential | nn.ModuleList)
        if not is_container and module not in rectified:
            yield module


def _put(network: nn.Module, place: nn.Module, levels: Levels) -> None:
    """Let the output of a module of the network be rounded."""
    place.add_module("levels", levels.to(next(network.parameters()).device))
    place.register_forward_hook(lambda module, _, output: module.levels(output))


def _watch(ranges: dict[nn.Module, tuple[float, float]]) -> Any:
    """A hook that widens the range of the module's output."""

    def watch(module: nn.Module, _: Any, output: Tensor) -> None:
        values = output.flatten()[:: max(1, output.numel() // SAMPLED)].float()
        low, high = torch.quantile(values, values.new_tensor([CLIPPED, 1 - CLIPPED])).tolist()
        before = ranges.get(module, (0.0, 0.0))
        ranges[module] = min(low, before[0]), max(high, before[1])

    return watch


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
    step = lattice_steps(weight.detach().movedim(axis, 0))
    zeros = torch.zeros_like(step, dtype=torch.int32)
    return torch.fake_quantize_per_channel_affine(weight, step, zeros, axis, -LEVELS, LEVELS)
