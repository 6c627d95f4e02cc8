"""The receptive field of a network, measured."""

from __future__ import annotations

import copy

import torch
from torch import nn

from napari_car.tiling import cell
from napari_car.train.networks import MCU, CarNet


def receptive_radius(network: nn.Module, align: int = 1) -> int:
    """How far beyond a cell the output of that cell depends on the image, px, on a grid of ``align`` px.

    This is the smallest halo that makes tiled output exact where tiles begin on the grid and meet at cells of it.
    Measured by the gradient of one cell's output, in a copy of the network whose weights are all positive: then
    no rectifier closes, nothing cancels, and a zero gradient means that there is no path.
    """
    network = copy.deepcopy(network)
    with torch.no_grad():
        for layer in network.modules():
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                layer.weight.fill_(1 / layer.weight[0].numel())
                layer.bias.fill_(1) if layer.bias is not None else None
    side, square = 128, cell(align)
    while True:
        radius = max(_reach(network, first, square, side) for first in range(side // 2, side // 2 + align, square))
        if radius < side // 2 - align:
            return radius
        side *= 2


def _reach(network: nn.Module, first: int, square: int, side: int) -> int:
    """Farthest column beyond a cell that begins in column ``first`` on which it depends; kernels are square."""
    image = torch.zeros(1, 3, MCU, side, requires_grad=True)
    condition = torch.ones(1, 3) if isinstance(network, CarNet) else None
    last = first + square - 1
    network(image, condition)[..., first : last + 1].sum().backward()
    assert image.grad is not None
    reached = image.grad.sum((0, 1, 2)).nonzero()
    return int(max(first - reached.min(), reached.max() - last))
