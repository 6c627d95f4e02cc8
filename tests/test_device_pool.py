"""Patches that a GPU makes by itself: what JPEG does to them is what libjpeg does, and they are drawn as elsewhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data

torch = pytest.importorskip("torch", reason="needs the train extra")
pytest.importorskip("onnx", reason="needs the train extra")
pytest.importorskip("safetensors", reason="needs the train extra")

from napari_car.train import batches, degradation, tensor_jpeg  # noqa: E402
from napari_car.train.degradation import Degradation, condition  # noqa: E402
from napari_car.train.device_pool import DevicePatches  # noqa: E402
from napari_car.train.fit import _Run  # noqa: E402
from napari_car.train.pool import Patches, load  # noqa: E402
from napari_car.train.recipe import Recipe  # noqa: E402

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Pictures to draw from, one of them smaller than a crop."""
    folder = tmp_path_factory.mktemp("pictures")
    for number, picture in enumerate((data.astronaut(), data.chelsea(), data.coffee(), data.astronaut()[:90, :150])):
        Image.fromarray(picture).save(folder / f"{number}.png")
    return sorted(folder.iterdir())


def patches(pictures: list[Path], made: Degradation, *, augment: bool = True, patch: int = 48) -> DevicePatches:
    return DevicePatches(pictures, made, patch=patch, batch=24, seed=3, augment=augment, device=CPU)


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0", "grey"])
@pytest.mark.parametrize("quality", [5, 20, 50, 90])
def test_tensors_are_compressed_as_by_libjpeg(quality: int, subsampling: str) -> None:
    image = np.ascontiguousarray(data.astronaut()[:256, :256])
    if subsampling == "grey":
        image = np.repeat(np.asarray(Image.fromarray(image).convert("L"))[..., None], 3, axis=2)
    expected = degradation.recompress(image, quality, subsampling).astype(np.float64)
    planes = torch.from_numpy(image).permute(2, 0, 1)[None].float()
    both = torch.cat([planes.flip(-1), planes])  # another picture beside it changes nothing
    result = tensor_jpeg.recompress(both, [100, quality], subsampling)[1].permute(1, 2, 0).numpy().astype(np.float64)
    error = np.mean((expected - image) ** 2)
    # Where a coefficient lies halfway between two levels the other one may be taken; nothing else differs.
    assert np.mean((result - expected) ** 2) < 0.02 * error + 0.3
    assert np.mean((result - image) ** 2) == pytest.approx(error, rel=5e-3)
    assert np.mean(np.abs(result - expected) > 1) < 0.06


def test_patches_are_places_of_pictures(pictures: list[Path]) -> None:
    made = patches(pictures[:3], Degradation(grey=0), augment=False)
    reference, degraded, told = next(iter(made))
    assert reference.dtype == degraded.dtype == torch.uint8
    assert reference.shape == degraded.shape == (24, 3, 48, 48)
    assert told.shape == (24, 3)
    windows = [np.lib.stride_tricks.sliding_window_view(load(p), (48, 48, 3))[:, :, 0] for p in pictures[:3]]
    for patch in reference.permute(0, 2, 3, 1).numpy():
        near = [w for w in windows if (w[:, :, 0, 0] == patch[0, 0]).all(-1).any()]
        found = [w[(w[:, :, 0, 0] == patch[0, 0]).all(-1)] for w in near]
        assert any((places == patch).all((1, 2, 3)).any() for places in found)


def test_they_are_drawn_as_those_of_the_cpu(pictures: list[Path]) -> None:
    recipe = Degradation(clean=0.1, double=0.3, grey=0.1)
    streams = patches(pictures, recipe), Patches(pictures, recipe, patch=48, batch=24, seed=3)
    errors, shares, clean = [], [], []
    for stream in streams:
        drawn = [batch for _, batch in zip(range(40), stream, strict=False)]
        reference, degraded, told = (torch.cat(tensors).double() for tensors in zip(*drawn, strict=True))
        error = (degraded - reference).square().mean((1, 2, 3))
        errors.append(float(error[error > 0].log().mean()))
        shares.append([float((told[:, 2] == value).double().mean()) for value in (0, 0.5, 1)])
        clean.append(float((error == 0).double().mean()))
        assert (error[(told[:, 0] > 100)] > 0).all()
        is_grey = (reference == reference[:, :1]).all(1).all(1).all(1)
        assert 0.05 < float(is_grey.double().mean()) < 0.2
    assert errors[0] == pytest.approx(errors[1], abs=0.25)  # of about 3; quality alone spreads it by 1
    assert shares[0] == pytest.approx(shares[1], abs=0.05)
    assert clean[0] == pytest.approx(clean[1], abs=0.04)


def test_what_is_told_is_what_was_done(pictures: list[Path]) -> None:
    reference, degraded, told = next(iter(patches(pictures, Degradation(quality=10, clean=0.9, double=0.9))))
    assert (told == torch.from_numpy(condition(10, "4:2:0"))).all()
    assert ((degraded.float() - reference.float()).square().mean((1, 2, 3)) > 0).sum() > 20  # none is clean
    _, _, told = next(iter(patches(pictures, Degradation(clean=1.0))))
    assert (told[:, 0] == condition(100, "4:2:0")[0]).all()


def test_a_network_of_one_quality_takes_patches_of_any_side(pictures: list[Path]) -> None:
    reference, degraded, _ = next(iter(patches(pictures, Degradation(quality=10), patch=24)))
    assert reference.shape == degraded.shape == (24, 3, 24, 24)


def test_a_gpu_makes_its_own_unless_there_is_a_teacher(pictures: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def where(device: str, teacher: str | None) -> tuple[object, object]:
        recipe = Recipe(epochs=1, teacher=teacher)
        return batches.stream(recipe, pictures, torch.device(device), step=0, workers=0)

    monkeypatch.setattr(batches, "DevicePatches", lambda *_, device, **__: f"made on {device}")
    assert where("cuda", None) == ("made on cuda", "made on cuda")
    assert isinstance(where("cuda", "car-s")[0], Patches)
    assert isinstance(where("cpu", None)[0], Patches)


def test_a_run_takes_them(pictures: list[Path], tmp_path: Path) -> None:
    run = _Run(Recipe("ARCNN", quality=10, epochs=1, patch=32, batch=4), tmp_path / "all.safetensors", CPU)
    run.train(*next(iter(patches(pictures, Degradation(quality=10), patch=32))))
    assert run.step == 1
