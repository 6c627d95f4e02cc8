"""What to train and for how long: the content of ``models/<id>/recipe.toml``."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from napari_car.errors import FileError, InputError
from napari_car.train.degradation import Degradation
from napari_car.train.keys import KEYS, OPTIONS, check


@dataclass(frozen=True)
class Recipe:
    """How one set of weights is trained; a recipe file holds these keys, and a ``[[weights]]`` table for each set.

    Parameters
    ----------
    arch, options
        Architecture and its own options (``napari_car.train.networks``).
    quality
        The one IJG quality of the weights; None trains one conditioned network for all.
    minutes, epochs
        Budget, whichever ends first; an epoch is one patch of every picture. The learning rate follows it to zero.
    optimizer, lr
        "muon" (Adam for biases and the last layer) or "adam" (the last layer at a tenth of ``lr``).
    loss
        "mse", or "relative": of each patch by what the error of its JPEG is, as the mean PSNR of pictures weighs them.
    patch, batch
        Side of a patch in px (a multiple of 16 for conditioned networks), patches a step.
    ema
        Decay of the averaged weights, the ones that are exported.
    seed, augment, in_memory
        Of the patches (``pool.Patches``).
    teacher
        Id of a bundled model that the weights learn from (``pool.Patches``).
    start
        Name of the weights of the same recipe that these start from, such as "q10"; of a network with fewer blocks too.
    double, grey, fine, clean
        Shares of crops compressed twice, as grey pictures, at qualities from 85 up, and not at all.
    revive
        Whether channels that have died begin anew first (``revival``).
    rounded
        Whether the network rounds as its int8 graph will while it trains: a last stage, in float32.
    headroom
        What the ranges of a rounded network are widened by in the graph, behind its coarsest scale: they are learned on
        patches, and coloured edges of whole pictures leave them at the better qualities of 4:2:0, where colours err
        many times as far as anything else. More costs precision everywhere.
    label
        Name of the weights, where it is not to follow from ``quality``: a first stage that others start from.
    """

    arch: str = "CarNet"
    options: dict[str, Any] = field(default_factory=dict)
    quality: int | None = None
    minutes: float | None = None
    epochs: int | None = None
    optimizer: str = "muon"
    lr: float = 0.01
    loss: str = "mse"
    patch: int = 96
    batch: int = 16
    ema: float = 0.999
    seed: int = 0
    augment: bool = True
    in_memory: bool = True
    teacher: str | None = None
    start: str | None = None
    double: float = Degradation.double
    grey: float = Degradation.grey
    fine: float = Degradation.fine
    clean: float = Degradation.clean
    revive: bool = False
    rounded: bool = False
    headroom: float = 1.0
    label: str | None = None

    @property
    def name(self) -> str:
        """Name of the weights: "q10" for one quality, "all" for a conditioned network, or the label."""
        if self.label is not None:
            return self.label
        return "all" if self.quality is None else f"q{self.quality}"

    def __post_init__(self) -> None:
        check({f.name: getattr(self, f.name) for f in fields(self)}, KEYS)
        check(self.options, OPTIONS[self.arch], f"option of {self.arch}")
        if self.minutes is None and self.epochs is None:
            raise InputError("a recipe needs a budget: minutes, epochs or both")
        side = {"CarNet": 16, "FastARCNN": 2}.get(self.arch, 1)
        if self.patch % side:
            raise InputError(f"patch is {self.patch}; {self.arch} takes multiples of {side} px")
        widths, blocks = (len(self.options.get(key, ["the only one"])) for key in ("widths", "blocks"))
        if blocks != 2 * widths - 1:
            raise InputError(f"blocks has {blocks} numbers; it needs {2 * widths - 1} where widths has {widths}")


def read_recipe(path: Path) -> list[Recipe]:
    """Read the recipes of a file: one for each ``[[weights]]`` table, or a single one.

    Raises
    ------
    FileError
        If the file is not there or not TOML.
    InputError
        If it holds what no recipe has, no weights, or several of one name, which would be one checkpoint.
    """
    try:
        common = tomllib.loads(path.read_text("utf-8"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise FileError(f"is no recipe that can be read: {error}", path) from error
    tables = common.pop("weights", [{}])
    try:
        if not (isinstance(tables, list) and tables and all(isinstance(table, dict) for table in tables)):
            raise InputError(f"weights is {tables!r}; it must be one [[weights]] table or more")
        for table in tables:
            check(common | table, KEYS)
        recipes = [Recipe(**common | table) for table in tables]
        names = [recipe.name for recipe in recipes]
        if twice := [name for name in names if names.count(name) > 1]:
            raise InputError(
                f"{len(twice)} [[weights]] are named {', '.join(sorted(set(twice)))}; label tells them apart"
            )
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    return recipes


def degradation(recipe: Recipe) -> Degradation:
    """What is done to pictures by a recipe."""
    return Degradation(recipe.quality, recipe.double, recipe.grey, recipe.fine, recipe.clean)


def shorten(recipe: Recipe, minutes: float | None) -> Recipe:
    """The same recipe with another time budget, or unchanged for None."""
    return recipe if minutes is None else replace(recipe, minutes=minutes)
