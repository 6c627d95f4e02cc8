"""``napari-car train``: a recipe file, or one set of weights described by options; torch is imported when it runs."""

from __future__ import annotations

import argparse
from pathlib import Path

from napari_car.errors import InputError
from napari_car.steps import count_cores
from napari_car.train.keys import OPTIONS
from napari_car.train.recipe import Recipe, read_recipe, shorten

EXAMPLES = """\
examples:
  napari-car train --recipe models/car-s/recipe.toml --images-dir pictures --outputs-dir runs/car-s
  napari-car train --recipe models/car-s/recipe.toml --images-dir pictures --outputs-dir runs/trial --minutes 5
  napari-car train --recipe models/car-l/recipe.toml --shipped fourth --images-dir pictures --outputs-dir runs/car-l
  napari-car train --arch FastARCNN --jpeg-quality 10 --images-dir pictures --outputs-dir runs/q10"""

NETWORKS = tuple(OPTIONS)
"""What can be trained."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``napari-car train``."""
    parser.add_argument("--recipe", type=Path, help="recipe.toml of a model; replaces all options of the network")
    parser.add_argument("--arch", choices=NETWORKS, default="ARCNN", help="network to train")
    parser.add_argument(
        "--shipped", metavar="LABEL",
        help="weights of the recipe that are those of the bundled model: they and what they start from are not trained",
    )  # fmt: skip
    parser.add_argument("--images-dir", type=Path, required=True, help="folder of pictures, or a BSDS500 tree")
    parser.add_argument("--outputs-dir", type=Path, required=True, help="folder for checkpoint, log and curve")
    parser.add_argument("--jpeg-quality", type=int, help="the one quality of the weights; CarNet trains all without")
    parser.add_argument("--patch-size", type=int, default=24, help="side of a training patch, px")
    parser.add_argument("--batch-size", type=int, default=16, help="patches a step")
    parser.add_argument("--num-epochs", type=int, default=20, help="times one patch of every picture is seen")
    parser.add_argument("--minutes", type=float, help="time budget of each set of weights")
    parser.add_argument("--optimizer", choices=["muon", "adam"], default="adam")
    parser.add_argument("--lr", type=float, default=5e-4, help="learning rate")
    parser.add_argument("--threads", type=int, default=8, help="threads of the trainer, at most one a core")
    parser.add_argument("--workers", type=int, default=1, help="processes that make patches")
    parser.add_argument("--seed", type=int, default=123)
    parser.add_argument("--use-augmentation", action="store_true", help="flip, turn and downscale pictures")
    parser.add_argument("--use-fast-loader", action="store_true", help="keep decoded pictures in memory")
    parser.add_argument("--device", help="cpu or cuda; the best there is without")


def run(options: argparse.Namespace) -> int:
    """Train every set of weights asked for; finished ones are left as they are."""
    from napari_car.train.checkpoint import compare
    from napari_car.train.curve import draw_curve
    from napari_car.train.fit import fit

    recipes = _recipes(options)
    if options.shipped is not None:
        recipes = _continued(recipes, options)
    for recipe in recipes:  # before any is trained, which takes hours
        if (path := options.outputs_dir / f"{recipe.name}.safetensors").exists():
            compare(path, recipe)
    for recipe in recipes:
        path = fit(
            recipe, options.images_dir, options.outputs_dir,
            device=options.device, threads=min(options.threads, count_cores()), workers=options.workers,
        )  # fmt: skip
        if (log := path.with_suffix(".csv")).exists():  # weights from elsewhere have none
            draw_curve(log, path.with_suffix(".png"))
        print(path)
    return 0


def _continued(recipes: list[Recipe], options: argparse.Namespace) -> list[Recipe]:
    """The recipes that come after one, whose checkpoint is made of the bundled model beside the recipe's file."""
    from napari_car.train.shipped import unpack

    names = [recipe.name for recipe in recipes]
    if options.recipe is None or options.shipped not in names:
        raise InputError(f"--shipped is {options.shipped!r}; it goes with --recipe and is one of {', '.join(names)}")
    first = names.index(options.shipped)
    unpack(options.recipe.resolve().parent.name, recipes[first], options.outputs_dir)
    return recipes[first + 1 :]


def _recipes(options: argparse.Namespace) -> list[Recipe]:
    """The recipes of the file, or the one that the options describe."""
    if options.recipe is not None:
        return [shorten(recipe, options.minutes) for recipe in read_recipe(options.recipe)]
    if options.arch != "CarNet" and options.jpeg_quality is None:
        raise InputError(f"{options.arch} is trained for one quality: give --jpeg-quality 1..100")
    return [
        Recipe(
            arch=options.arch, quality=options.jpeg_quality, epochs=options.num_epochs, minutes=options.minutes,
            optimizer=options.optimizer, lr=options.lr, patch=options.patch_size, batch=options.batch_size,
            seed=options.seed, augment=options.use_augmentation, in_memory=options.use_fast_loader,
        )
    ]  # fmt: skip
