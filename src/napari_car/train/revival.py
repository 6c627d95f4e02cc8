"""Channels that have died: whose rectifier lets nothing through, so that no gradient reaches them any more."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from napari_car.train.networks import Block

SILENT = 1e-3
"""Share of places where a channel must be positive to count as alive."""


@torch.no_grad()
def revive(network: nn.Module, inputs: Sequence[tuple[Tensor, Tensor]]) -> int:
    """Let the silent channels inside of residual pairs begin anew, and return how many they were.

    They get random weights, positive at half of all places, and what follows gives them a weight of zero: the network
    computes what it did, but for the little that they still let through.

    Parameters
    ----------
    network
        Of ``networks.ARCHITECTURES``; changed in place.
    inputs
        Image (N, 3, H, W) and condition (N, 3), as the network takes them.
    """
    blocks = [module for module in network.modules() if isinstance(module, Block)]
    shares = _means(network, blocks, inputs, lambda sums: (sums > 0).float())
    silent = [share < SILENT for share in shares]
    for block, channels in zip(blocks, silent, strict=True):
        anew = nn.init.kaiming_normal_(torch.empty_like(block.first.weight), nonlinearity="relu")
        block.first.weight[channels] = anew[channels]
        block.second.weight[:, channels] = 0
    for block, channels, mean in zip(blocks, silent, _means(network, blocks, inputs, lambda sums: sums), strict=True):
        assert block.first.bias is not None
        block.first.bias[channels] -= mean[channels]
    return int(sum(channels.sum() for channels in silent))


def _means(
    network: nn.Module, blocks: list[Block], inputs: Sequence[tuple[Tensor, Tensor]], of: Callable[[Tensor], Tensor]
) -> list[Tensor]:
    """The mean, by channel, of something of what the first convolution of each block gives."""
    found: list[list[Tensor]] = [[] for _ in blocks]
    hooks = [
        block.first.register_forward_hook(lambda _, __, sums, means=means: means.append(of(sums).mean((0, 2, 3))))
        for block, means in zip(blocks, found, strict=True)
    ]
    for image, told in inputs:
        network(image, told)
    for hook in hooks:
        hook.remove()
    return [torch.stack(means).mean(0) for means in found]
