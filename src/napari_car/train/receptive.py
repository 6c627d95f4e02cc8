"""The receptive field of a network, measured."""

from __future__ import annotations

import copy

import torch
from torch import nn

from napari_car.train.networks import MCU, CarNet


def receptive_radius(network: nn.Module) -> int:
    """How far away an input pixel can change an output pixel, px: the halo that makes tiled output exact.

    Measured by the gradient of single outputs, at every phase of the grid, in a copy of the network whose weights are
    all positive: then no rectifier closes, nothing cancels, and a zero gradient means that there is no path.
    """
    network = copy.deepcopy(network)
    with torch.no_grad():
        for layer in network.modules():
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                layer.weight.fill_(1 / layer.weight[0].numel())
                layer.bias.fill_(1) if layer.bias is not None else None
    side = 128
    while True:
        radius = max(_radius_at(network, side, side // 2 // MCU * MCU + phase) for phase in range(MCU))
        if radius < side // 2 - MCU:
            return radius
        side *= 2


def _radius_at(network: nn.Module, side: int, position: int) -> int:
    """Farthest pixel of an image of ``side`` px that the output at ``(position, position)`` depends on."""
    image = torch.zeros(1, 3, side, side, requires_grad=True)
    condition = torch.ones(1, 3) if isinstance(network, CarNet) else None
    network(image, condition)[0, :, position, position].sum().backward()
    assert image.grad is not None
    reached = image.grad[0].sum(0).nonzero()
    return int((reached - position).abs().max())
