"""The training loop: time-budgeted, resumable after a kill, the same on CPU and CUDA."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from napari_car.errors import InputError
from napari_car.train import checkpoint, log
from napari_car.train.arithmetic import fast_dtype
from napari_car.train.batches import Batches, inputs, stream
from napari_car.train.degradation import condition, recompress
from napari_car.train.muon import Muon
from napari_car.train.networks import build, last_layer
from napari_car.train.pool import find_pictures, in_a_sentence, load, split
from napari_car.train.recipe import Recipe
from napari_car.train.revival import revive
from napari_car.train.rounding import Levels, put_levels, round_activations, rounded_weights, without_levels

logger = logging.getLogger(__name__)

SAVE_SECONDS = 45.0
VALIDATE_SECONDS = 300.0
WARM_UP = 100
SEEN = 8
"""Batches by which ranges of activations and dead channels are told."""
EASY = 0.3
"""Square error that is added to that of a JPEG patch before others are taken relative to it; 1 is the mean over all."""
VALIDATION_QUALITIES = (10, 20, 40, 80, 95)


@contextmanager
def _no_denormals() -> Iterator[None]:
    """Take the tiniest numbers for zero: momentum of silent channels decays into them, and they are very slow."""
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


@_no_denormals()
def fit(
    recipe: Recipe, images: Path, outputs: Path, *, device: str | None = None, threads: int = 1, workers: int = 1
) -> Path:
    """Train ``recipe`` on the pictures below ``images`` and return the checkpoint in ``outputs``.

    A checkpoint that is there already is continued; a finished one is returned at once. Beside it lies
    ``<name>.csv`` with time, step, loss, learning rate and held-out PSNR, which ``draw_curve`` plots.

    Raises
    ------
    InputError
        If there is no such ``device``, or the checkpoint is of another recipe in more than its budget.
    FileError
        If a picture cannot be read.
    """
    place = _device(device)
    if threads < 1 or workers < 0:
        raise InputError(f"threads is {threads} and workers {workers}; at least 1 and 0 are needed")
    torch.set_num_threads(threads)
    torch.backends.cudnn.benchmark = True  # batches are all of one size
    outputs.mkdir(parents=True, exist_ok=True)
    path = outputs / f"{recipe.name}.safetensors"
    training, held_out = split(find_pictures(images))
    run = _Run(recipe, path, place)
    run.steps_per_epoch = math.ceil(len(training) / recipe.batch)
    if run.fraction >= 1:
        logger.info("%s is finished", path)
        return path
    patches, batches = stream(recipe, training, run.device, step=run.step, workers=workers)
    if run.step == 0:
        run.begin(patches)
    validation = _Validation(held_out, recipe, run.device)
    with tqdm(total=100, unit="%", desc=recipe.name, bar_format="{l_bar}{bar}| {elapsed} {postfix}") as bar:
        for batch in in_a_sentence(batches):
            if run.fraction >= 1:
                break
            run.train(*batch)
            run.log_when_due(validation)
            bar.update(100 * run.fraction - bar.n)
            bar.set_postfix_str(f"step {run.step}, loss {run.loss:.4f}, {run.last_psnr}", refresh=False)
    run.log(validation)
    run.save()
    return path


def _device(name: str | None) -> torch.device:
    """The device of a name, such as "cpu", "cuda" or "cuda:1"; for None a GPU where there is one."""
    n_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    known = ["cpu", *["cuda"][:n_gpus], *(f"cuda:{i}" for i in range(n_gpus))]
    if name is not None and name not in known:
        raise InputError(f"device is {name!r}; PyTorch finds {', '.join(known)} here")
    return torch.device(name or ("cuda" if n_gpus else "cpu"))


class _Run:
    """State of one training run: network, averaged weights, optimizers, clock."""

    def __init__(self, recipe: Recipe, path: Path, device: torch.device) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe, self.path, self.device = recipe, path, device
        self.network = build(recipe.arch, **recipe.options).to(device)
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.step, self.minutes, self.loss, self.last_psnr = 0, 0.0, math.nan, ""
        self.steps_per_epoch = 1
        tensors: dict[str, Tensor] = {}
        if path.exists():
            checkpoint.compare(path, recipe)
            tensors, _, progress = checkpoint.read(path)
            self.step, self.minutes = progress["step"], progress["minutes"]
            state = checkpoint.strip(tensors, "network.")
            put_levels(self.network, state)
            self.network.load_state_dict(state)
        elif recipe.start is not None:
            before, _, _ = checkpoint.read(path.with_name(f"{recipe.start}.safetensors"))
            try:
                self.network.load_state_dict(grown(self.network, without_levels(checkpoint.strip(before, "ema."))))
            except RuntimeError as error:
                raise InputError(
                    f"start is {recipe.start!r}, a network that {recipe.name!r} cannot be made of"
                ) from error
        self._follow(tensors)
        log.cut(path.with_suffix(".csv"), self.step)
        self.started = time.monotonic() - 60 * self.minutes
        self.saved = self.logged = time.monotonic()

    def begin(self, patches: Batches) -> None:
        """What a recipe does to the network before the first step, by what it makes of the first batches."""
        batches = (inputs(r, d, c, self.device) for r, d, c, *_ in islice(patches, SEEN))
        seen = [(image, told) for image, _, told in batches]
        if self.recipe.revive:
            logger.info("%d channels begin anew", revive(self.network, seen))
        if self.recipe.rounded:
            round_activations(self.network, seen)
        self._follow({})

    def _follow(self, tensors: dict[str, Tensor]) -> None:
        """Averages and optimizers of the weights, as they were in a checkpoint, or anew."""
        averages = checkpoint.strip(tensors, "ema.") or self.network.state_dict()
        self.average = {name: value.to(self.device, torch.float32, copy=True) for name, value in averages.items()}
        self.optimizers = _optimizers(self.network, self.recipe)
        self.rates = [[group["lr"] for group in o.param_groups] for o in self.optimizers]
        checkpoint.restore_optimizers(self.optimizers, tensors)

    @property
    def fraction(self) -> float:
        """Share of the budget that is used up."""
        by_time = self.minutes / self.recipe.minutes if self.recipe.minutes else 0.0
        by_step = self.step / (self.recipe.epochs * self.steps_per_epoch) if self.recipe.epochs else 0.0
        return max(by_time, by_step)

    def train(self, reference: Tensor, degraded: Tensor, conditions: Tensor, taught: Tensor | None = None) -> None:
        """Take one step on a batch of uint8 patches, towards what is taught of them or their reference."""
        factor = min(1.0, (self.step + 1) / WARM_UP) * 0.5 * (1 + math.cos(math.pi * min(1.0, self.fraction)))
        for optimizer, rates in zip(self.optimizers, self.rates, strict=True):
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * factor
        image, error, conditions = inputs(reference, degraded, conditions, self.device)
        target = error if taught is None else inputs(taught, degraded, conditions, self.device)[1]
        dtype = torch.float32 if self.recipe.rounded else fast_dtype(self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=dtype == torch.bfloat16):
            residual = self.compute(dict(self.network.named_parameters()), image, conditions)
        loss = _loss(residual.float(), target, error, self.recipe.loss)
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        for optimizer in self.optimizers:
            optimizer.step()
        decay = min(self.recipe.ema, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            now = {name: value.float() for name, value in self.network.state_dict().items()}
            torch._foreach_lerp_([self.average[name] for name in now], list(now.values()), 1 - decay)
        if self.step % 20 == 0:
            value = loss.item()
            self.loss = value if math.isnan(self.loss) else 0.95 * self.loss + 0.05 * value
        self.step += 1
        self.minutes = (time.monotonic() - self.started) / 60

    def compute(self, weights: dict[str, Tensor], image: Tensor, conditions: Tensor) -> Tensor:
        """The residual by ``weights``, rounded where the recipe says so."""
        if self.recipe.rounded:
            weights = rounded_weights(self.network, weights)
        residual: Tensor = torch.func.functional_call(self.network, weights, (image, conditions))
        return residual

    def log_when_due(self, validation: _Validation) -> None:
        """Save and validate when their time has come."""
        now = time.monotonic()
        if now - self.logged > VALIDATE_SECONDS:
            self.log(validation)
            self.logged = time.monotonic()
        if now - self.saved > SAVE_SECONDS:
            self.save()
            self.saved = time.monotonic()

    def log(self, validation: _Validation) -> None:
        """Append a row to the run's CSV file."""
        row: dict[str, Any] = {
            "minutes": round(self.minutes, 2), "step": self.step, "loss": round(self.loss, 5),
            "lr": self.optimizers[0].param_groups[0]["lr"], **validation.psnr(self),
        }  # fmt: skip
        self.last_psnr = ", ".join(f"{k} {v}" for k, v in row.items() if k.startswith("q"))
        log.append(self.path.with_suffix(".csv"), row)

    def save(self) -> None:
        """Write the checkpoint."""
        tensors = {f"network.{k}": v for k, v in self.network.state_dict().items()}
        tensors |= {f"ema.{k}": v for k, v in self.average.items()}
        tensors |= checkpoint.optimizer_tensors(self.optimizers)
        checkpoint.save(self.path, tensors, self.recipe, {"step": self.step, "minutes": self.minutes})


class _Validation:
    """Held-out crops at fixed qualities; PSNR gain over the JPEG of the averaged weights, dB."""

    def __init__(self, pictures: list[Path], recipe: Recipe, device: torch.device) -> None:
        qualities = VALIDATION_QUALITIES if recipe.quality is None else (recipe.quality,)
        references = [_centre(load(p), 256) for p in pictures[:12]]
        self.sets = {}
        for quality in qualities:
            batch = [
                torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2)
                for arrays in (references, [recompress(r, quality, "4:2:0") for r in references])
            ]
            told = torch.from_numpy(condition(quality, "4:2:0")).expand(len(references), -1)
            self.sets[f"q{quality}"] = inputs(batch[0], batch[1], told, device)

    @torch.no_grad()
    def psnr(self, run: _Run) -> dict[str, float]:
        """Gain in dB at each quality of a run's averaged weights."""
        gains = {}
        for name, (image, target, conditions) in self.sets.items():
            residual = torch.cat([
                run.compute(run.average, image[i : i + 1], conditions[i : i + 1])
                for i in range(len(image))
            ])  # fmt: skip
            before, after = (e.square().mean(dim=(1, 2, 3)) for e in (target, target - residual))
            gains[name] = round((10 * torch.log10(before / after)).mean().item(), 3)
        return gains


def _loss(residual: Tensor, target: Tensor, error: Tensor, kind: str) -> Tensor:
    """Mean square error, "relative" to that of the JPEG in each patch: that is what a mean of PSNRs weighs evenly."""
    errors = (residual - target).square().mean(dim=(1, 2, 3))
    if kind == "relative":
        errors = errors / (error.square().mean(dim=(1, 2, 3)) + EASY)
    return errors.mean()


def _optimizers(network: nn.Module, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """Muon for hidden convolutions and Adam for the rest, or Adam for all; Adam for levels."""
    last = list(last_layer(network).parameters(recurse=False))
    levels = [p for module in network.modules() if isinstance(module, Levels) for p in module.parameters()]
    apart = {id(p) for p in last + levels}
    others = [p for p in network.parameters() if id(p) not in apart]
    if recipe.optimizer == "muon":
        hidden = [p for p in others if p.dim() == 4 and p.shape[0] > 1]
        known = {id(p) for p in hidden}
        rest = [p for p in others if id(p) not in known] + last
        muon: list[torch.optim.Optimizer] = [Muon(hidden, recipe.lr)]
    else:
        muon, rest = [], last
    groups: list[dict[str, Any]] = [{"params": rest, "lr": recipe.lr / 10}, {"params": levels}]
    if not muon:
        groups.append({"params": others})
    return [*muon, torch.optim.Adam([group for group in groups if group["params"]], recipe.lr)]


def grown(network: nn.Module, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights of a network for one with more residual pairs, which do nothing at first: it begins as good as it was."""
    pairs = {name: value for name, value in network.state_dict().items() if name.startswith("stages.")}
    return {name: torch.zeros_like(value) if ".second." in name else value for name, value in pairs.items()} | weights


def _centre(picture: np.ndarray[Any, Any], side: int) -> np.ndarray[Any, Any]:
    """The middle of a picture, at most ``side`` px each way and always exactly that by mirroring."""
    y, x = (max(0, (length - side) // 2) for length in picture.shape[:2])
    crop = picture[y : y + side, x : x + side]
    pad = [(0, side - crop.shape[0]), (0, side - crop.shape[1]), (0, 0)]
    return np.ascontiguousarray(np.pad(crop, pad, "symmetric"))
