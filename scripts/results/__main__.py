"""Measure the bundled networks and write docs/results.md.

    python scripts/results --data DIR            measure every bundled model, then write the page and the cards
    python scripts/results --data DIR --model X  measure one anew and keep the rows of the others; --quality likewise
    python scripts/results                       write the page anew from docs/results.json

DIR holds the sets: ``live1`` and ``BSDS500``.
"""

import argparse
import json
import os
import platform
import tomllib
from dataclasses import asdict
from pathlib import Path
from typing import Any

import page
import pictures
import tomli_w

from napari_car import list_models, load_card
from napari_car.errors import ModelError
from napari_car.evaluate import evaluate
from napari_car.tables import summarize

HERE = Path(__file__).parent
DOCS = HERE.parents[1] / "docs"
FOLDERS = {"live1": "live1", "bsds500": "BSDS500"}
CROP_QUALITY = 10
JPEG = ("jpeg", None)
"""Model and precision of rows that nothing was done to."""


def measure(
    data: Path, sets: list[str], models: list[str], *, precisions: list[str], qualities: list[int], threads: int | None
) -> list[dict[str, Any]]:
    """Return rows of the sets: in colour, and of B200 in grey as well."""
    rows = []
    for layout, protocol in (("live1", "idcn"), ("bsds500", "idcn"), ("bsds500", "gray")):
        if layout not in sets:
            continue
        for precision in precisions:
            able = [model for model in models if precision in load_card(model).precisions]
            folder = data / FOLDERS[layout]
            found = evaluate(
                able, folder, layout=layout, protocol=protocol, precision=precision, threads=threads,
                qualities=qualities,
            )  # fmt: skip
            rows += [{"protocol": protocol, **asdict(row)} for row in summarize(found)]
            print(f"{layout} {protocol} {precision}: {' '.join(able)}", flush=True)
    return rows


def merge(old: list[dict[str, Any]], new: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return all rows, the newer where both have one, those of the JPEG first."""
    keys = ("protocol", "data", "model", "precision", "quality")
    rows = {tuple(row[key] for key in keys): row for row in [*old, *new]}
    return sorted(rows.values(), key=lambda row: row["precision"] is not None)


def write_card(model: str, rows: list[dict[str, Any]]) -> None:
    """Put what an int8 model reaches in colour, and the JPEG's rows, on its card and its page."""
    from napari_car.train.export import describe

    wanted = [
        row for row in rows if row["protocol"] == "idcn" and (row["model"], row["precision"]) in {(model, "int8"), JPEG}
    ]
    results = [
        {key: round(value, 4) if isinstance(value, float) else value for key, value in row.items()}
        | {"precision": row["precision"] or ""}  # TOML knows no null
        for row in sorted(wanted, key=lambda row: (row["data"] != "live1", row["quality"], row["model"] != "jpeg"))
    ]
    folder = load_card(model).folder
    path = folder / "card.toml"
    path.write_text(tomli_w.dumps(tomllib.loads(path.read_text("utf-8")) | {"results": results}), "utf-8")
    (folder / "CARD.md").write_text(describe(folder), "utf-8")


def main() -> None:
    """Do what the module's docstring says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, metavar="DIR", help="folder of live1 and BSDS500")
    parser.add_argument(
        "--sets", nargs="+", choices=FOLDERS, default=[*FOLDERS], help="sets to measure on (default: all)"
    )
    parser.add_argument("--model", nargs="+", metavar="ID", help="models to measure (default: all)")
    parser.add_argument("--precision", nargs="+", choices=("int8", "fp16", "fp32"), default=["int8"])
    parser.add_argument("--quality", nargs="+", type=int, choices=page.QUALITIES, default=page.QUALITIES)
    parser.add_argument("--threads", type=int, metavar="N", help="tiles side by side (default: one a core)")
    parser.add_argument("--docs", type=Path, default=DOCS, help="where the page goes")
    args = parser.parse_args()

    store, images = args.docs / "results.json", args.docs / "images"
    models = args.model or [card.id for card in list_models()]
    rows = []
    if args.data is not None:
        rows = measure(
            args.data, args.sets, models, precisions=args.precision, qualities=args.quality, threads=args.threads
        )
    kept: dict[str, Any] = {"machine": "", "rows": []}
    if store.exists():  # read only now: models may be measured side by side
        kept = json.loads(store.read_text("utf-8"))
    if args.data is not None:
        threads = args.threads or os.cpu_count()
        machine = f"{threads} thread{'s' * (threads != 1)} ({platform.system()} {platform.machine()})"
        rows = merge(kept["rows"], rows)
        kept = {"machine": machine, "rows": rows}
        store.write_text(json.dumps(kept, indent=1) + "\n", "utf-8")
        if args.docs == DOCS:  # a trial elsewhere leaves the models alone
            for model in models:
                write_card(model, rows)
        shown = [card.id for card in list_models() if card.conditioning]
        pictures.draw_crops(images, shown, CROP_QUALITY)

    rows = kept["rows"]
    cards = {}
    for model in {row["model"] for row in rows if row["precision"]}:
        try:
            cards[model] = load_card(model)
        except ModelError:  # measured once, no longer bundled
            rows = [row for row in rows if row["model"] != model]
    published = tomllib.loads((HERE / "published.toml").read_text("utf-8"))
    images.mkdir(parents=True, exist_ok=True)
    colour = [row for row in rows if row["protocol"] == "idcn"]
    ours = [
        {"label": label, "kmac_per_px": cards[model].kmac_per_px, **found["live1", CROP_QUALITY]}
        for (label, model), found in page.by_model(colour).items()
        if model in cards and ("live1", CROP_QUALITY) in found
    ]
    pictures.draw_scatter(images / "quality-against-cost.png", ours, published["network"])
    crops = sorted(path.name for path in images.glob(f"*-q{CROP_QUALITY}.png"))
    text = page.write(rows, cards, published, kept["machine"], crops)
    (args.docs / "results.md").write_text(text, "utf-8")


if __name__ == "__main__":
    main()
