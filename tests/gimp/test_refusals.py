"""What cannot be restored is refused in a sentence and stays as it was."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., dict[str, Any]]

CASES = {
    "indexed": "indexed colours",
    "group": "a layer group",
    "mask": "a layer mask",
    "channel": "a channel",
    "text": "a text layer",
    "locked": "locked",
    "locked group": "“folder” are locked",
    "nothing selected": "selection is empty where the layer “elsewhere” is",
    "one of two": "locked",
}


@pytest.fixture(scope="module")
def refused(gimp: Run, photo: Path) -> dict[str, Any]:
    """What the filter says in each case, and whether the photo stayed as it was."""
    return gimp(
        """
def pixels(layer):
    rectangle = Gegl.Rectangle.new(0, 0, layer.get_width(), layer.get_height())
    return bytes(layer.get_buffer().get(rectangle, 1.0, "R'G'B'A float", Gegl.AbyssPolicy.NONE))

def attempt(name, image, *drawables):
    layers = [layer for layer in image.get_layers() if not layer.is_group()]
    before = [pixels(layer) for layer in layers]
    image.clean_all()
    keep(name, run(image, *drawables))
    keep(name + " is unchanged", before == [pixels(layer) for layer in layers] and not image.is_dirty())

def fresh():
    image = opened().duplicate()
    return image, image.get_layers()[0]

image, layer = fresh()
image.convert_indexed(Gimp.ConvertDitherType.NONE, Gimp.ConvertPaletteType.GENERATE, 16, False, False, "")
attempt("indexed", image, layer)

image, layer = fresh()
group = Gimp.GroupLayer.new(image, "folder")
image.insert_layer(group, None, 0)
image.reorder_item(layer, group, 0)
attempt("group", image, group)
group.set_lock_content(True)
attempt("locked group", image, layer)

image, layer = fresh()
mask = layer.create_mask(Gimp.AddMaskType.WHITE)
layer.add_mask(mask)
attempt("mask", image, mask)

image, layer = fresh()
channel = Gimp.Channel.new(image, "channel", 256, 192, 50, Gegl.Color.new("red"))
image.insert_channel(channel, None, 0)
attempt("channel", image, channel)

image, layer = fresh()
text = Gimp.TextLayer.new(image, "word", Gimp.context_get_font(), 30, Gimp.Unit.pixel())
image.insert_layer(text, None, 0)
attempt("text", image, text)

image, layer = fresh()
layer.set_lock_content(True)
attempt("locked", image, layer)
second = Gimp.Layer.new_from_drawable(opened().get_layers()[0], image)
image.insert_layer(second, None, 0)
attempt("one of two", image, second, layer)

image, layer = fresh()
layer.set_name("elsewhere")
layer.set_offsets(100, 100)
image.select_rectangle(Gimp.ChannelOps.REPLACE, 0, 0, 50, 50)
attempt("nothing selected", image, layer)
""",
        photo,
        has_fonts=True,
    )


@pytest.mark.parametrize("case", CASES)
def test_refused(refused: dict[str, Any], case: str) -> None:
    assert CASES[case] in refused[case]
    assert refused[f"{case} is unchanged"]
