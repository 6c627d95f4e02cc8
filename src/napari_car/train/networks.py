"""The networks that are trained: ARCNN and Fast ARCNN as published, and the conditioned U-Nets of this project.

Every network maps an RGB image in [0, 1] to a *residual* in units of ``residual_scale``, the typical error of JPEG at
the given quantization strength. The restored image is
``image + fade(condition) * residual_scale(condition) * network(image, condition)``: in those units coarse and fine
qualities weigh alike in the loss, and 8-bit arithmetic loses alike at all of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

MCU = 16
"""Side of the largest grid that a network may know, in px: the MCU of 4:2:0."""


def residual_scale(condition: Tensor) -> Tensor:
    """Typical rms error of JPEG, of full scale, for ``condition`` of shape (N, 3); returns shape (N, 1, 1, 1).

    A power law fitted to the error measured over the training pool at 4:2:0, within 10 % from quality 5 to 95
    (0.061 at quality 5, 0.045 at 10, 0.027 at 40, 0.011 at 95).
    """
    return (0.0044 * condition[:, 0].clamp(min=1) ** 0.375).view(-1, 1, 1, 1)


def fade(condition: Tensor) -> Tensor:
    """Share of the residual that is applied, (N, 1, 1, 1): 1 up to quality 95, 0.37 at 100, where nothing is to be won.

    With it ``residual_scale`` falls to the error of rounding coefficients to whole numbers, 0.4 grey levels, at 100.
    """
    return (condition[:, 0].clamp(min=1) / 10).clamp(max=1).pow(0.435).view(-1, 1, 1, 1)


def condition_planes(condition: Tensor) -> Tensor:
    """Map (N, 3) luma scale, chroma scale (IJG percent) and chroma subsampling (0..1) to (N, 3) in [0, 1]."""
    scales = torch.log2(condition[:, :2].clamp(1, 5000)) / math.log2(5000)
    return torch.cat([scales, condition[:, 2:]], dim=1)


class ARCNN(nn.Module):
    """The artifact-reduction CNN, 117,734 parameters in RGB.

    Source: Dong et al., "Compression Artifacts Reduction by a Deep Convolutional Network", ICCV 2015, section 3;
    with one PReLU slope a layer, and trained on the residual.
    """

    is_conditioned = False

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 64, 9, padding=4), nn.PReLU(),
            nn.Conv2d(64, 32, 7, padding=3), nn.PReLU(),
            nn.Conv2d(32, 16, 1), nn.PReLU(),
            nn.Conv2d(16, 3, 5, padding=2),
        )  # fmt: skip
        _initialise(self)

    def forward(self, image: Tensor, condition: Tensor | None = None) -> Tensor:
        """Residual, shape (N, 3, H, W), of ``image`` of the same shape; ``condition`` is not used."""
        residual: Tensor = self.layers(image)
        return residual


class FastARCNN(nn.Module):
    """Fast ARCNN: the same idea at half resolution, 85,575 parameters in RGB; H and W must be even.

    Source: Yu et al., "Deep Convolution Networks for Compression Artifacts Reduction", arXiv:1608.02778, section 5.
    """

    is_conditioned = False

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 64, 9, stride=2, padding=4), nn.PReLU(),
            nn.Conv2d(64, 32, 1), nn.PReLU(),
            nn.Conv2d(32, 32, 7, padding=3), nn.PReLU(),
            nn.Conv2d(32, 64, 1), nn.PReLU(),
            nn.ConvTranspose2d(64, 3, 9, stride=2, padding=4, output_padding=1),
        )  # fmt: skip
        _initialise(self)

    def forward(self, image: Tensor, condition: Tensor | None = None) -> Tensor:
        """Residual, shape (N, 3, H, W), of ``image`` of the same shape; ``condition`` is not used."""
        residual: Tensor = self.layers(image)
        return residual


class Block(nn.Module):
    """Residual pair ``x + conv(relu(conv(x)))``, with as many channels between the two as ``inner``."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, inner, 3, padding=1)
        self.relu = nn.ReLU()
        self.second = nn.Conv2d(inner, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Same shape out as in."""
        residual: Tensor = self.second(self.relu(self.first(x)))
        return x + residual


class Sum(nn.Module):
    """The sum of two tensors of one shape, as a module so that it can be watched."""

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Same shape out as in."""
        return x + y


class Head(nn.Conv2d):
    """The first convolution, 3x3: of pixels, and of what is told of them, each on its own, and the sum of both.

    In 8 bits weights of the few planes that are told, which are large, would leave few levels to those of the pixels.
    """

    def __init__(self, pixels: int, planes: int, width: int) -> None:
        super().__init__(pixels + planes, width, 3, padding=1)
        self.seen, self.told = nn.Identity(), nn.Identity()

    def forward(self, pixels: Tensor, planes: Tensor) -> Tensor:  # type: ignore[override]
        """Shape (N, width, H, W) of tensors of shape (N, ..., H, W)."""
        count = pixels.shape[1]
        seen = functional.conv2d(pixels, self.weight[:, :count], padding=1)
        told = functional.conv2d(planes, self.weight[:, count:], self.bias, padding=1)
        total: Tensor = self.seen(seen) + self.told(told)
        return total


def _pairs(width: int, count: float) -> nn.Sequential:
    """Residual pairs in a row; the half of one has half the channels inside."""
    inner = [width] * int(count) + [width // 2] * (count % 1 > 0)
    return nn.Sequential(*(Block(width, channels) for channels in inner))


class CarNet(nn.Module):
    """Residual U-Net on a pixel-unshuffled image that is told quality, chroma subsampling and grid phase.

    Parameters
    ----------
    unshuffle
        Side of the pixel blocks that become channels (2 or 4).
    widths
        Channels at each scale; each further scale halves the resolution.
    blocks
        Residual pairs at each stage, down the scales and up again: ``2 * len(widths) - 1`` numbers. A half is a last
        pair with half the channels inside.
    phase
        Number of learned planes of period 16 px that tell the network where it is in the MCU.
    """

    is_conditioned = True

    def __init__(
        self, unshuffle: int = 4, widths: Sequence[int] = (48,), blocks: Sequence[float] = (3,), phase: int = 5
    ) -> None:
        super().__init__()
        if len(blocks) != 2 * len(widths) - 1:
            raise ValueError(f"{len(widths)} widths need {2 * len(widths) - 1} block counts, not {len(blocks)}")
        self.unshuffle = unshuffle
        period = MCU // unshuffle
        self.phase = nn.Parameter(torch.randn(1, phase, period, period))
        self.head = Head(3 * unshuffle**2, 3 + phase, widths[0])
        self.stages = nn.ModuleList(
            _pairs(widths[min(i, len(blocks) - 1 - i)], count) for i, count in enumerate(blocks)
        )
        pairs = list(pairwise(widths))
        self.downs = nn.ModuleList(nn.Conv2d(fine, coarse, 2, stride=2) for fine, coarse in pairs)
        self.ups = nn.ModuleList(nn.Conv2d(coarse, 4 * fine, 1) for fine, coarse in reversed(pairs))
        self.sums = nn.ModuleList(Sum() for _ in pairs)
        self.tail = nn.Conv2d(widths[0], 3 * unshuffle**2, 3, padding=1)
        _initialise(self)
        for block in self.modules():
            if isinstance(block, Block):
                nn.init.normal_(block.second.weight, std=0.1 * math.sqrt(2 / block.second.weight[0].numel()))

    def phase_planes(self) -> Tensor:
        """Learned planes in (0, 1), shape (1, phase, 16 / unshuffle, 16 / unshuffle), one MCU."""
        return torch.sigmoid(self.phase)

    def forward(self, image: Tensor, condition: Tensor) -> Tensor:
        """Residual, shape (N, 3, H, W), of ``image``, H and W multiples of 16, and ``condition`` (N, 3)."""
        x = functional.pixel_unshuffle(image, self.unshuffle)
        n, _, height, width = x.shape
        period = MCU // self.unshuffle
        planes = condition_planes(condition)[:, :, None, None].expand(-1, -1, height, width)
        phase = self.phase_planes().repeat(n, 1, height // period, width // period)
        x = self.head(x, torch.cat([planes, phase], dim=1))
        skips: list[Tensor] = []
        for i, stage in enumerate(self.stages):
            if i > len(self.downs):
                nth = i - len(self.downs) - 1
                x = self.sums[nth](functional.pixel_shuffle(self.ups[nth](x), 2), skips.pop())
            x = stage(x)
            if i < len(self.downs):
                skips.append(x)
                x = self.downs[i](x)
        return functional.pixel_shuffle(self.tail(x), self.unshuffle)


ARCHITECTURES: dict[str, type[nn.Module]] = {"ARCNN": ARCNN, "FastARCNN": FastARCNN, "CarNet": CarNet}
"""Architectures by the name that recipes and ``--arch`` use."""


def build(arch: str, **options: Any) -> nn.Module:
    """Build the architecture ``arch`` (a key of ``ARCHITECTURES``) with its own ``options``."""
    return ARCHITECTURES[arch](**options)


def last_layer(network: nn.Module) -> nn.Module:
    """The convolution that makes the residual; it is trained at a rate of its own."""
    layer: nn.Module = network.tail if isinstance(network, CarNet) else network.layers[-1]  # type: ignore[index, assignment]
    return layer


def _initialise(network: nn.Module) -> None:
    """He initialisation with zero biases; a zero last layer, so that training starts at the identity."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    nn.init.zeros_(last_layer(network).weight)  # type: ignore[arg-type]
