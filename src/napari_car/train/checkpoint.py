"""Checkpoints of a training run: one safetensors file that holds all that resuming needs, and nothing pickled."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from napari_car.errors import FileError, InputError
from napari_car.train.networks import build
from napari_car.train.recipe import Recipe
from napari_car.train.rounding import levels_by_place, without_levels

FREE = ("minutes", "epochs", "in_memory", "label")
"""Keys of a recipe that may change while it is trained: its budget, where pictures are kept, and the file's name."""


def save(path: Path, tensors: dict[str, Tensor], recipe: Recipe, progress: dict[str, Any]) -> None:
    """Write a checkpoint; a kill at any moment leaves the old file or the new one."""
    partial = path.with_suffix(".partial")
    metadata = {"recipe": json.dumps(asdict(recipe)), "progress": json.dumps(progress)}
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, partial, metadata)
    os.replace(partial, path)


def read(path: Path) -> tuple[dict[str, Tensor], Recipe, dict[str, Any]]:
    """Tensors, recipe and progress of a checkpoint.

    Raises
    ------
    FileError
        If the file is missing or is no checkpoint.
    """
    with _opened(path) as (file, told):
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
        return tensors, Recipe(**told["recipe"]), told["progress"]


def compare(path: Path, recipe: Recipe) -> None:
    """Refuse to go on with a checkpoint by another recipe; of what an older one does not tell nothing is asked.

    Raises
    ------
    InputError
        If a key differs that is none of ``FREE``.
    """
    with _opened(path) as (_, told):
        trained = told["recipe"]
    for key, asked in json.loads(json.dumps(asdict(recipe))).items():
        if key not in FREE and key in trained and trained[key] != asked:
            raise InputError(
                f"{path} was trained with {key} = {trained[key]!r}, and the recipe says {asked!r}; train by that in "
                "another folder"
            )


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, dict[str, Any]]]:
    """The tensors' file of a checkpoint, and what it tells: recipe and progress."""
    try:
        with safe_open(path, framework="pt") as file:
            yield file, {key: json.loads((file.metadata() or {})[key]) for key in ("recipe", "progress")}
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise FileError(f"is no checkpoint that can be read: {error}", path) from error
    except Exception as error:  # safetensors has an error class of its own that derives from Exception
        raise FileError(f"is damaged: {error}", path) from error


def load_network(path: Path) -> tuple[nn.Module, Recipe]:
    """The network of a checkpoint with its averaged weights, ready to be exported, and its recipe."""
    tensors, recipe, _ = read(path)
    network = build(recipe.arch, **recipe.options)
    network.load_state_dict(without_levels(strip(tensors, "ema.")))
    return network.eval(), recipe


def load_levels(path: Path) -> dict[str, tuple[float, int]]:
    """Step and zero of the 8-bit levels that a network was trained with, by module; none where it was not rounded."""
    return levels_by_place(strip(read(path)[0], "ema."))


def strip(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Tensors whose name has the prefix, without it: "ema." for averaged weights, "network." for those of the step."""
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def optimizer_tensors(optimizers: list[torch.optim.Optimizer]) -> dict[str, Tensor]:
    """State of optimizers as named tensors, in the order of their parameters."""
    found = {}
    for o, optimizer in enumerate(optimizers):
        weights = [p for group in optimizer.param_groups for p in group["params"]]
        for i, weight in enumerate(weights):
            for key, value in optimizer.state[weight].items():
                found[f"optimizer.{o}.{i}.{key}"] = torch.as_tensor(value)
    return found


def restore_optimizers(optimizers: list[torch.optim.Optimizer], tensors: dict[str, Tensor]) -> None:
    """Put back what ``optimizer_tensors`` took."""
    for o, optimizer in enumerate(optimizers):
        weights = [p for group in optimizer.param_groups for p in group["params"]]
        for i, weight in enumerate(weights):
            prefix = f"optimizer.{o}.{i}."
            state = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
            if state:
                optimizer.state[weight] = {
                    key: value.to(weight.device) if value.dim() else value.clone() for key, value in state.items()
                }
