"""What the tests say inside of GIMP: run by its Python, before the lines of each test."""

import json
import os

from gi.repository import Babl, Gegl, Gimp, Gio

Gegl.init(None)
FOLDER = os.environ["NAPARI_CAR_TEST"]
OPENED = Gimp.get_images()
kept = {}


def load(name):
    """A picture file as an image."""
    return Gimp.file_load(Gimp.RunMode.NONINTERACTIVE, Gio.File.new_for_path(os.path.join(FOLDER, name)))


def opened():
    """The image that was named on the command line."""
    return OPENED[0]


def run(image, *drawables, **properties):
    """Run the filter on drawables, or on all layers: "" where it succeeded, else the message."""
    procedure = Gimp.get_pdb().lookup_procedure("plug-in-napari-car")
    config = procedure.create_config()
    config.set_property("run-mode", Gimp.RunMode.NONINTERACTIVE)
    config.set_property("image", image)
    config.set_core_object_array("drawables", list(drawables) or image.get_layers())
    for name, value in properties.items():
        config.set_property(name, value)
    result = procedure.run(config)
    if result.index(0) == Gimp.PDBStatusType.SUCCESS:
        return ""
    assert result.index(0) == Gimp.PDBStatusType.EXECUTION_ERROR, result.index(0)
    return result.index(1) if result.length() > 1 else Gimp.get_pdb().get_last_error()


def keep(name, value):
    """Hand a value to the test."""
    kept[name] = value


def keep_pixels(name, layer, kind):
    """Hand a layer's pixels to the test: babl type u8, u16 or float, values as in the space of its profile."""
    colours = ("Y'" if layer.is_gray() else "R'G'B'") + ("A" if layer.has_alpha() else "")
    form = Babl.get_name(Babl.format_with_space(f"{colours} {kind}", layer.get_format()))
    width, height = layer.get_width(), layer.get_height()
    content = layer.get_buffer().get(Gegl.Rectangle.new(0, 0, width, height), 1.0, form, Gegl.AbyssPolicy.NONE)
    with open(os.path.join(FOLDER, f"{name}.raw"), "wb") as file:
        file.write(content)
    dtype = {"u8": "uint8", "u16": "uint16", "float": "float32"}[kind]
    kept[name] = {"shape": [height, width, -1], "dtype": dtype}


def finish():
    """Write down what was kept."""
    with open(os.path.join(FOLDER, "kept.json"), "w") as file:
        json.dump(kept, file)
