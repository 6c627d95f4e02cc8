"""The filter's pixels are those of the Python API, whatever GIMP holds them in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_car import Coding, estimate_jpeg, read_jpeg, restore

Run = Callable[..., dict[str, Any]]

PRECISIONS = {
    "U8_NON_LINEAR": "u8", "U8_PERCEPTUAL": "u8", "U8_LINEAR": "float",
    "U16_NON_LINEAR": "u16", "U16_PERCEPTUAL": "u16", "U16_LINEAR": "float",
    "U32_NON_LINEAR": "float", "HALF_NON_LINEAR": "float",
    "FLOAT_NON_LINEAR": "float", "FLOAT_LINEAR": "float", "DOUBLE_LINEAR": "float",
}  # fmt: skip
"""How GIMP can hold a picture, and what of it reaches the network."""

STORED_AT_LEAST = {"U8_LINEAR": 1 / 255, "U16_LINEAR": 1 / 65535, "HALF_NON_LINEAR": 2**-11}
"""Steps of the formats that are coarser than what carries them, of full scale in the format's own transfer curve."""


@pytest.fixture(scope="module")
def held(gimp: Run, photo: Path) -> dict[str, Any]:
    """The photo before and after in every precision."""
    return gimp(
        f"""
for name, kind in {PRECISIONS}.items():
    image = opened().duplicate()
    if name != "U8_NON_LINEAR":
        image.convert_precision(getattr(Gimp.Precision, name))
    layer = image.get_layers()[0]
    keep_pixels(name + " before", layer, kind)
    keep(name + " error", run(image))
    keep_pixels(name + " after", layer, kind)
""",
        photo,
    )


@pytest.mark.parametrize("precision", PRECISIONS)
def test_every_precision(held: dict[str, Any], precision: str, photo: Path) -> None:
    before, after = (held[f"{precision} {when}"] for when in ("before", "after"))
    assert held[f"{precision} error"] == ""
    expected = restore(before, quality=read_jpeg(photo))
    assert np.abs(expected.astype(float) - before).mean() > 0.004 * (1 if before.dtype.kind == "f" else before.max())
    if precision == "U8_LINEAR":  # eight bits of light are few in the shadows
        assert np.abs(_to_light(after) - _to_light(expected)).max() <= 0.51 / 255
    elif precision in STORED_AT_LEAST:
        assert np.abs(after - expected).max() < 16 * STORED_AT_LEAST[precision]
    elif precision in ("U32_NON_LINEAR", "DOUBLE_LINEAR", "FLOAT_LINEAR"):
        assert np.abs(after - expected).max() < 1e-6  # there and back through another format
    else:
        np.testing.assert_array_equal(after, expected)


def _to_light(values: np.ndarray) -> np.ndarray:
    """Source: IEC 61966-2-1."""
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def test_grey_and_alpha(gimp: Run, photo: Path, grey: Path) -> None:
    kept = gimp(
        f"""
for name in ("photo", "grey"):
    for alpha in (False, True):
        image = load("{photo.parent}/" + name + ".jpg")
        layer = image.get_layers()[0]
        what = name + (" with alpha" if alpha else "")
        if alpha:
            layer.add_alpha()
            image.select_rectangle(Gimp.ChannelOps.REPLACE, 20, 30, 50, 60)
            layer.edit_clear()
            Gimp.Selection.none(image)
        keep_pixels(what + " before", layer, "u8")
        keep(what + " error", run(image))
        keep_pixels(what + " after", layer, "u8")
"""
    )
    for name, channels in (("photo", 3), ("grey", 1), ("photo with alpha", 4), ("grey with alpha", 2)):
        assert kept[f"{name} error"] == ""
        before, after = kept[f"{name} before"], kept[f"{name} after"]
        assert before.shape == (192, 256, channels)
        colours = 1 if channels < 3 else 3
        info = read_jpeg(photo.with_name(name.split()[0] + ".jpg"))
        expected = restore(np.ascontiguousarray(before[..., :colours]), quality=info)
        np.testing.assert_array_equal(after[..., :colours], expected)
        np.testing.assert_array_equal(after[..., colours:], before[..., colours:])
        assert channels in (1, 3) or 0 < (before[..., -1] == 0).mean() < 1


def test_a_colour_profile_changes_no_value(gimp: Run, photo: Path) -> None:
    kept = gimp(
        """
image = opened()
layer = image.get_layers()[0]
keep_pixels("decoded", layer, "u8")
assert image.set_color_profile(Gimp.ColorProfile.new_rgb_adobe())
keep_pixels("before", layer, "u8")
keep("space", Babl.get_name(Babl.format_get_space(layer.get_format())))
keep("error", run(image))
keep_pixels("after", layer, "u8")
""",
        photo,
    )
    assert kept["error"] == ""
    assert "sRGB" not in kept["space"]
    np.testing.assert_array_equal(kept["before"], kept["decoded"])
    np.testing.assert_array_equal(kept["after"], restore(kept["before"], quality=read_jpeg(photo)))


def test_a_selection_bounds_the_change_and_its_feather_blends(gimp: Run, photo: Path) -> None:
    kept = gimp(
        """
for name, feather in (("sharp", 0), ("soft", 20)):
    image = opened().duplicate()
    layer = image.get_layers()[0]
    keep_pixels("before", layer, "u8")
    image.select_rectangle(Gimp.ChannelOps.REPLACE, 70, 50, 90, 80)
    if feather:
        Gimp.Selection.feather(image, feather)
    selection = image.get_selection()
    width, height = image.get_width(), image.get_height()
    mask = selection.get_buffer().get(Gegl.Rectangle.new(0, 0, width, height), 1.0, "Y u8", Gegl.AbyssPolicy.NONE)
    keep(name + " mask", list(mask))
    keep(name + " error", run(image))
    keep_pixels(name, layer, "u8")
""",
        photo,
    )
    before = kept["before"]
    whole = restore(before, quality=read_jpeg(photo))
    for name in ("sharp", "soft"):
        assert kept[f"{name} error"] == ""
        share = np.array(kept[f"{name} mask"]).reshape(192, 256) / 255
        np.testing.assert_array_equal(kept[name][share == 0], before[share == 0])
        np.testing.assert_array_equal(kept[name][share == 1], whole[share == 1])
        # GIMP blends light, not code values.
        light, restored = _to_light(before / 255), _to_light(whole / 255)
        blend = light + share[..., None] * (restored - light)
        assert (_to_light((kept[name] - 0.51) / 255) <= blend).all()
        assert (blend <= _to_light((kept[name] + 0.51) / 255)).all()
        assert (share == 1).sum() > 100
    assert ((share > 0) & (share < 1)).sum() > 1000


def test_a_layer_that_was_cropped_and_moved_keeps_its_own_grid(gimp: Run, photo: Path) -> None:
    kept = gimp(
        """
image = opened()
layer = image.get_layers()[0]
layer.resize(240, 180, -5, -3)
layer.set_offsets(41, 17)
keep_pixels("before", layer, "u8")
keep("error", run(image))
keep_pixels("after", layer, "u8")
""",
        photo,
    )
    before, info = kept["before"], read_jpeg(photo)
    assert kept["error"] == ""
    assert before.shape == (180, 240, 3)
    phase = estimate_jpeg(before).mcu_phase
    assert phase == (13, 11)
    expected = restore(before, quality=replace(Coding.from_info(info), grid_phase=phase))
    # Where the layer reaches beyond the canvas no pixel is written.
    height, width = 192 - 17, 256 - 41
    np.testing.assert_array_equal(kept["after"][:height, :width], expected[:height, :width])


def test_consistent_with_the_file(gimp: Run, photo: Path) -> None:
    kept = gimp(
        """
layer = opened().get_layers()[0]
keep_pixels("before", layer, "u8")
keep("error", run(opened(), consistent=True))
keep_pixels("after", layer, "u8")
deep = opened().duplicate()
deep.convert_precision(Gimp.Precision.U16_NON_LINEAR)
keep("deep", run(deep, consistent=True))
""",
        photo,
    )
    assert kept["error"] == ""
    np.testing.assert_array_equal(kept["after"], restore(kept["before"], quality=read_jpeg(photo), consistent=True))
    assert "consistent needs the 8-bit pixels" in kept["deep"]


def test_several_layers_new_layers_and_residuals(gimp: Run, photo: Path, grey: Path) -> None:
    kept = gimp(
        """
image = opened()
first = image.get_layers()[0]
second = first.copy()
image.insert_layer(second, None, 0)
second.set_name("second")
keep("error", run(image, first, second, result="new-layer", residual=True, strength=0.5, chroma=0.0, quality=30))
keep("names", [layer.get_name() for layer in image.get_layers()])
keep("visible", [layer.get_visible() for layer in image.get_layers()])
for i, layer in enumerate(image.get_layers()):
    keep_pixels(str(i), layer, "u8")
""",
        photo,
    )
    assert kept["error"] == ""
    title = "photo.jpg"
    assert kept["names"] == [
        "second residual", "second restored", "second", f"{title} residual", f"{title} restored", title,
    ]  # fmt: skip
    assert kept["visible"] == [False, True, True] * 2
    for start in (0, 3):
        residual, restored, original = (kept[str(start + i)] for i in range(3))
        np.testing.assert_array_equal(restored, restore(original, quality=30, strength=0.5, chroma=0))
        expected = 128 + restored.astype(int) - original
        np.testing.assert_array_equal(residual[..., :3], expected)
        assert (residual[..., 3] == 255).all()
        assert not (restored == original).all()


def test_a_picture_without_compression_is_left_alone(gimp: Run, reference: Any, tmp_path: Path) -> None:
    reference.save(tmp_path / "clean.png")
    kept = gimp(
        """
layer = opened().get_layers()[0]
keep_pixels("before", layer, "u8")
keep("error", run(opened()))
keep("dirty", opened().is_dirty())
keep_pixels("after", layer, "u8")
""",
        tmp_path / "clean.png",
    )
    assert kept["error"] == ""
    assert not kept["dirty"]
    assert "left alone" in kept["stderr"]
    np.testing.assert_array_equal(kept["after"], kept["before"])


def test_what_was_pasted_or_scaled_does_not_go_by_what_gimp_kept(gimp: Run, photo: Path, reference: Any) -> None:
    reference.crop((0, 0, 200, 150)).save(photo.with_name("clean.png"))
    kept = gimp(
        f"""
image = opened()
pasted = Gimp.file_load_layer(
    Gimp.RunMode.NONINTERACTIVE, image, Gio.File.new_for_path("{photo.with_name("clean.png")}")
)
image.insert_layer(pasted, None, 0)
scaled = image.get_layers()[1].copy()
image.insert_layer(scaled, None, 0)
scaled.scale(128, 96, False)
for name, layer in (("pasted", pasted), ("scaled", scaled)):
    keep_pixels(name + " before", layer, "u8")
    keep(name + " error", run(image, layer))
    keep_pixels(name, layer, "u8")
""",
        photo,
    )
    for name in ("pasted", "scaled"):
        assert kept[f"{name} error"] == ""
        np.testing.assert_array_equal(kept[name], kept[f"{name} before"])
    assert kept["stderr"].count("kept quality 20 from the file, of which this layer has no trace") == 2


def test_script_fu_calls_it(gimp: Run, photo: Path) -> None:
    kept = gimp(
        """
procedure = Gimp.get_pdb().lookup_procedure("plug-in-script-fu-eval")
config = procedure.create_config()
config.set_property("run-mode", Gimp.RunMode.NONINTERACTIVE)
config.set_property("script", '''
(let* ((image (vector-ref (car (gimp-get-images)) 0)))
  (plug-in-napari-car #:run-mode RUN-NONINTERACTIVE #:image image #:drawables (car (gimp-image-get-layers image))
                      #:quality 25 #:strength 0.75))
''')
keep_pixels("before", opened().get_layers()[0], "u8")
keep("is_done", procedure.run(config).index(0) == Gimp.PDBStatusType.SUCCESS)
keep_pixels("after", opened().get_layers()[0], "u8")
""",
        photo,
    )
    assert kept["is_done"]
    np.testing.assert_array_equal(kept["after"], restore(kept["before"], quality=25, strength=0.75))
