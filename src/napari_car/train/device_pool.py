"""The training pool on a GPU: pictures stay in its memory, and patches are cut, compressed and decoded there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from napari_car.train.degradation import SHARES, Degradation, condition
from napari_car.train.networks import MCU
from napari_car.train.pool import DOWNSCALED, MARGIN, SHRUNK, load
from napari_car.train.tensor_jpeg import luma, recompress


class DevicePatches:
    """Endless batches as `pool.Patches` makes them, on a device.

    They are drawn alike, but what is downscaled or shifted in a batch is so by one factor and one shift, and each
    patch is the middle of its crop.

    Parameters
    ----------
    pictures
        Files to draw from, all with the same chance; they are decoded at once, 3 bytes a pixel.
    degradation, patch, batch, seed, augment
        As for `pool.Patches`.
    device
        Where all of it happens.
    """

    def __init__(
        self, pictures: list[Path], degradation: Degradation, *, patch: int, batch: int, seed: int,
        augment: bool, device: torch.device,
    ) -> None:  # fmt: skip
        if degradation.quality is not None:  # then nothing else is drawn
            degradation = replace(degradation, double=0, grey=0, clean=0)
        self.degradation, self.patch, self.batch, self.augment = degradation, patch, batch, augment
        self.rng, self.device = np.random.default_rng(seed), device
        self.side = -(-patch // MCU) * MCU + MARGIN
        decoded = [load(path) for path in pictures]
        self.sizes = np.array([picture.shape[:2] for picture in decoded])
        self.starts = np.cumsum([0, *self.sizes.prod(axis=1)])[:-1]
        self.pixels = torch.from_numpy(np.concatenate([picture.reshape(-1, 3) for picture in decoded])).to(device)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Yield batches without end: reference and degraded (N, 3, P, P) uint8, condition (N, 3) float32."""
        while True:
            yield self._batch()

    @torch.no_grad()
    def _batch(self) -> tuple[Tensor, Tensor, Tensor]:
        """One batch; patches that share a sampling lie side by side in it."""
        rng, crops, told = self.rng, self._crops(), []
        pairs: list[tuple[Tensor, Tensor]] = []
        for subsampling, count in self._samplings().items():
            group, crops = crops[:count], crops[count:]
            if count == 0:
                continue
            quality = [self.degradation.draw_quality(rng) for _ in range(count)]
            n_clean = int(rng.binomial(count, self.degradation.clean))
            pairs.append(self._degraded(group, quality, subsampling, n_clean))
            told += [condition(100 if i < n_clean else q, subsampling) for i, q in enumerate(quality)]
        margin = MARGIN // 2
        window = np.s_[..., margin : margin + self.patch, margin : margin + self.patch]
        reference, degraded = (torch.cat(parts)[window].to(torch.uint8) for parts in zip(*pairs, strict=True))
        return reference, degraded, torch.from_numpy(np.stack(told)).to(self.device)

    def _samplings(self) -> dict[str, int]:
        """How many patches of a batch are subsampled how."""
        if self.degradation.quality is not None:
            return {"4:2:0": self.batch}
        grey = self.degradation.grey
        names = [*SHARES, "grey"]
        counts = self.rng.multinomial(self.batch, [*((1 - grey) * share for share in SHARES.values()), grey])
        return dict(zip(names, counts.tolist(), strict=True))

    def _degraded(self, crops: Tensor, quality: list[int], subsampling: str, n_clean: int) -> tuple[Tensor, Tensor]:
        """Crops, grey where that is their sampling, and what JPEG makes of all but the first ``n_clean``."""
        rng, count = self.rng, len(quality)
        if subsampling == "grey":
            crops = luma(crops).expand(-1, 3, -1, -1)
        degraded = recompress(crops, quality, subsampling).contiguous()
        n_twice = int(rng.binomial(count, self.degradation.double))
        if n_twice:
            dy, dx = (int(shift) for shift in rng.integers(0, MCU, 2)) if rng.random() < 0.5 else (0, 0)
            height, width = (length - MCU for length in crops.shape[2:])
            window = np.s_[count - n_twice :, :, dy : dy + height, dx : dx + width]
            again = [int(rng.integers(value, 101)) for value in quality[count - n_twice :]]
            degraded[window] = recompress(degraded[window], again, subsampling)
        degraded[:n_clean] = crops[:n_clean]
        return crops, degraded

    def _crops(self) -> Tensor:
        """Augmented crops (N, 3, side, side), 0..255 in whole numbers."""
        if not self.augment:
            return self._cut(self.batch, self.side)
        n_shrunk, factor = int(self.rng.binomial(self.batch, DOWNSCALED)), float(self.rng.uniform(*SHRUNK))
        large = self._cut(n_shrunk, int(self.side * factor))
        shrunk = functional.interpolate(large, (self.side, self.side), mode="bicubic", antialias=True)
        crops = torch.cat([shrunk.round().clamp(0, 255), self._cut(self.batch - n_shrunk, self.side)])
        return crops[torch.from_numpy(self.rng.permutation(self.batch)).to(self.device)]

    def _cut(self, count: int, side: int) -> Tensor:
        """Crops at random places, turned and flipped if that is wanted; the borders of smaller pictures repeat."""
        rng = self.rng
        index = rng.integers(len(self.sizes), size=count)
        offsets = []
        for axis, stride in ((0, self.sizes[index, 1]), (1, np.ones(count, np.int64))):
            length = self.sizes[index, axis]
            first = rng.integers(np.maximum(length - side, 0) + 1)
            steps = np.minimum(first[:, None] + np.arange(side), length[:, None] - 1)
            if self.augment:
                is_flipped = rng.random(count) < 0.5
                steps[is_flipped] = steps[is_flipped, ::-1]
            offsets.append(steps * stride[:, None])
        if self.augment:
            is_turned = (rng.random(count) < 0.5)[:, None]
            offsets = [np.where(is_turned, b, a) for a, b in (offsets, offsets[::-1])]
        offsets[0] = offsets[0] + self.starts[index, None]
        rows, columns = (torch.from_numpy(offset).to(self.device) for offset in offsets)
        return self.pixels[rows[:, :, None] + columns[:, None, :]].permute(0, 3, 1, 2).float()
