"""The text of docs/results.md."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Any

import cost

Rows = Sequence[Mapping[str, Any]]
SETS = {"live1": "LIVE1", "bsds500": "B200"}
QUALITIES = (10, 20, 30, 40)
TEMPLATE = Path(__file__).with_name("template.md")
PLACES = {"live1": "DIR/live1", "bsds500": "DIR/BSDS500"}


def write(
    rows: Rows, cards: Mapping[str, Any], published: Mapping[str, Any], machine: str, crops: Iterable[str]
) -> str:
    """Return the page; ``rows`` are those of ``napari-car evaluate`` with their ``protocol``."""
    colour = [row for row in rows if row["protocol"] == "idcn"]
    return Template(TEMPLATE.read_text("utf-8")).substitute(
        machine=machine,
        beside_published=_beside_published(colour, cards, published),
        sources="\n".join(f"{n}. {text}" for n, text in enumerate(published["sources"].values(), 1)),
        all_figures="\n\n".join(_all_figures(colour, cards)),
        commands_colour=_commands(colour),
        baseline=_baseline(colour, published),
        gains=_gains(rows, published),
        commands_gray=_commands([row for row in rows if row["protocol"] == "gray"]),
        cost="\n".join(cost.table()),
        crops="\n\n".join(f"![{name}](images/{name})" for name in crops),
    )


def _table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table, its first column to the left."""
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join("| " + " | ".join(line) + " |" for line in (head, rule, *lines))


def _cite(entry: Mapping[str, Any], published: Mapping[str, Any]) -> str:
    """Return the name of a published entry with the number of its source."""
    return f"{entry['name']} [{list(published['sources']).index(entry['source']) + 1}]"


def _label(row: Mapping[str, Any]) -> str:
    """Return a model's name with its precision."""
    return "JPEG" if row["precision"] is None else f"{row['model']} ({row['precision']})"


def by_model(rows: Rows) -> dict[tuple[str, str], dict[tuple[str, int], Mapping[str, Any]]]:
    """Return the rows by label and model, each by set and quality."""
    grouped: dict[Any, dict[Any, Any]] = defaultdict(dict)
    for row in rows:
        grouped[_label(row), row["model"]][row["data"], row["quality"]] = row
    return grouped


def _beside_published(rows: Rows, cards: Mapping[str, Any], published: Mapping[str, Any]) -> str:
    """Return the table of published and own networks."""

    def cells(figures: Sequence[float | None]) -> str:
        return " / ".join("–" if figure is None else f"{figure:.2f}" for figure in figures)

    lines = []
    for network in published["network"]:
        kmac = network.get("kmac_per_px")
        exact = f"{kmac:,}" if kmac and kmac < 200 else f"≈ {kmac:,}" if kmac else ""
        figures = [cells(network[name][:2]) for name in SETS]
        lines.append([_cite(network, published), network["parameters"], exact, *figures])
    own = []
    for (label, model), found in by_model(rows).items():
        card = cards.get(model)
        size = ["", ""] if card is None else [f"{card.parameters:,}", f"{card.kmac_per_px:.1f}"]
        psnr = [[found[name, q]["psnr"] if (name, q) in found else None for q in (10, 20)] for name in SETS]
        own.append([label if card is None else f"**{label}**", *size, *(cells(figures) for figures in psnr)])
    head = ["network", "parameters", "kMAC/px", *(f"{name} q10 / q20" for name in SETS.values())]
    return _table(head, [*own[:1], *lines, *own[1:]])  # the JPEG comes first


def _all_figures(rows: Rows, cards: Mapping[str, Any]) -> list[str]:
    """Return one table for each set."""
    tables = []
    for data, name in SETS.items():
        lines = []
        for (label, model), found in by_model(rows).items():
            here = [found.get((data, quality)) for quality in QUALITIES]
            scores = [f"{r['psnr']:.2f} / {r['ssim']:.4f} / {r['psnr_b']:.2f}" if r else "" for r in here]
            times = [row["seconds_per_mp"] for row in here if row]
            time = f"{sum(times) / len(times):.2f}" if times and model in cards else ""
            lines.append([label, *scores, time])
        tables.append(_table([name, *(f"q{quality}" for quality in QUALITIES), "s/MP"], lines))
    return tables


def _commands(rows: Rows) -> str:
    """Return the commands that measure these rows, DIR being where the sets lie."""
    wanted = {(r["data"], r["precision"], r["protocol"]): None for r in rows if r["precision"]}
    lines = []
    for data, precision, protocol in wanted:
        models = {r["model"]: None for r in rows if (r["data"], r["precision"]) == (data, precision)}
        lines.append(
            f"napari-car evaluate --model {' '.join(models)} --data {PLACES[data]} --layout {data} "
            f"--quality {' '.join(map(str, QUALITIES))} --protocol {protocol} --precision {precision}"
        )
    return "```\n" + "\n".join(lines) + "\n```"


def _baseline(rows: Rows, published: Mapping[str, Any]) -> str:
    """Return the JPEG's scores as published and as measured."""
    found = by_model(rows).get(("JPEG", "jpeg"), {})
    lines = []
    for (data, quality), row in found.items():
        printed = published["jpeg"][data].get(str(quality))
        if printed is not None:
            measured = [f"{row['psnr']:.2f}", f"{row['ssim']:.4f}", f"{row['psnr_b']:.2f}"]
            marks = [b if a == b else f"**{b}**" for a, b in zip(printed, measured, strict=True)]
            lines.append([f"{SETS[data]} q{quality}", " / ".join(printed), " / ".join(marks)])
    return _table(["JPEG", "published", "measured"], lines)


def _gains(rows: Rows, published: Mapping[str, Any]) -> str:
    """Return mean gains on B200, of ours and of the published."""
    columns = {"idcn": "RGB", "gray": "grey", "unknown": "as claimed"}
    lines = [
        [_cite(entry, published), *(f"{entry[key]:.2f}" if key in entry else "" for key in columns)]
        for entry in published["gain"]
    ]
    gains: dict[str, dict[str, float]] = defaultdict(dict)
    for protocol in ("idcn", "gray"):
        grouped = by_model([r for r in rows if r["protocol"] == protocol and r["data"] == "bsds500"])
        jpeg = grouped.get(("JPEG", "jpeg"), {})
        for (label, _), found in grouped.items():
            if label != "JPEG" and set(found) == set(jpeg) == {("bsds500", q) for q in QUALITIES}:
                gains[label][protocol] = sum(found[k]["psnr"] - jpeg[k]["psnr"] for k in jpeg) / len(jpeg)
    for label, gain in gains.items():
        lines.append([f"**{label}**", *(f"{gain[k]:.2f}" if k in gain else "" for k in columns)])
    return _table(["", *columns.values()], lines)
