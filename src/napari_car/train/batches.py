"""Batches of patches: who makes them for a run, and what of them its network is given."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from napari_car.train.device_pool import DevicePatches
from napari_car.train.networks import residual_scale
from napari_car.train.pool import Batch, Patches
from napari_car.train.recipe import Recipe, degradation

Batches = Iterable[Batch]


def stream(
    recipe: Recipe, pictures: list[Path], device: torch.device, *, step: int, workers: int
) -> tuple[Batches, Batches]:
    """Batches from a step on: made by this process, and by what is fastest, the GPU or processes beside the trainer."""
    drawn: dict[str, Any] = {
        "patch": recipe.patch, "batch": recipe.batch, "seed": recipe.seed + 1000 * step, "augment": recipe.augment,
    }  # fmt: skip
    if device.type == "cuda" and recipe.teacher is None:
        made = DevicePatches(pictures, degradation(recipe), device=device, **drawn)
        return made, made
    patches = Patches(pictures, degradation(recipe), in_memory=recipe.in_memory, teacher=recipe.teacher, **drawn)
    return patches, DataLoader(patches, batch_size=None, num_workers=workers, prefetch_factor=4 if workers else None)


def inputs(reference: Tensor, degraded: Tensor, conditions: Tensor, device: torch.device) -> tuple[Tensor, ...]:
    """Image in [0, 1] and target residual in units of the residual scale, on the device."""
    conditions = conditions.to(device)
    image = degraded.to(device).float().div_(255).contiguous(memory_format=torch.channels_last)
    clean = reference.to(device).float().div_(255)
    return image, (clean - image) / residual_scale(conditions), conditions
