"""Training: runs that survive a kill, stages that build on others, and models that come out."""

from __future__ import annotations

import csv
import json
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from skimage import data

from napari_car import FileError, InputError, ModelError, Session, open_session, restore
from napari_car.cards import read_card
from napari_car.cli import main
from napari_car.steps import count_cores

torch = pytest.importorskip("torch", reason="needs the train extra")
pytest.importorskip("onnx", reason="needs the train extra")
pytest.importorskip("safetensors", reason="needs the train extra")

from safetensors.torch import save_file  # noqa: E402

from napari_car.train import checkpoint  # noqa: E402
from napari_car.train.degradation import Degradation, condition  # noqa: E402
from napari_car.train.export import export, final_checkpoints  # noqa: E402
from napari_car.train.fit import _loss, _Run, fit  # noqa: E402
from napari_car.train.networks import build, residual_scale  # noqa: E402
from napari_car.train.pool import Patches, _taught, find_pictures, split  # noqa: E402
from napari_car.train.recipe import Recipe, read_recipe  # noqa: E402
from napari_car.train.shipped import unpack  # noqa: E402

TINY = {"unshuffle": 4, "widths": [16], "blocks": [1], "phase": 2}
MODELS = Path(__file__).parent.parent / "models"


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of six pictures to train on."""
    folder = tmp_path_factory.mktemp("images")
    for number, (y, x) in enumerate((y, x) for y in (0, 250) for x in (0, 120, 240)):
        Image.fromarray(data.astronaut()[y : y + 260, x : x + 260]).save(folder / f"{number}.png")
    return folder


@pytest.mark.parametrize("quality", [None, 10])
def test_degraded_crops_stay_on_their_reference(quality: int | None) -> None:
    crop = np.ascontiguousarray(data.astronaut()[:256, :256])
    degradation = Degradation(quality, double=0.5, grey=0.2)
    rng = np.random.default_rng(0)
    for _ in range(40):
        reference, degraded, told = degradation(crop, rng)
        assert reference.shape == degraded.shape
        assert told.shape == (3,)
        shifted = np.mean((np.roll(degraded, 3, 0) - 1.0 * reference) ** 2)
        assert np.mean((degraded - 1.0 * reference) ** 2) < shifted  # a crop cut elsewhere would be no nearer


def learn(recipe: Recipe, images: Path, folder: Path) -> tuple[Path, float]:
    """Train, and return the checkpoint and the gain over the JPEG of quality 10 on the held-out picture, dB."""
    path = fit(recipe, images, folder, device="cpu", workers=0)
    with path.with_suffix(".csv").open(newline="") as file:
        last = list(csv.DictReader(file))[-1]
    assert int(last["step"]) == recipe.epochs  # one step an epoch
    assert float(last["loss"]) > 0
    return path, float(last["q10"])


@pytest.mark.slow
def test_a_reference_network_learns(images: Path, tmp_path: Path) -> None:
    tiny = np.float32(1e-40)
    recipe = Recipe("ARCNN", quality=10, epochs=120, patch=32, batch=6, lr=0.03, ema=0.9)
    _, gain = learn(recipe, images, tmp_path)
    assert gain > 0.03  # it began at 0; 0.1 is reached
    assert tiny * np.float32(1) > 0, "the process is left as it was: training itself takes denormals for zero"


def test_a_teacher_takes_noise_out_of_the_references(images: Path) -> None:
    def batch(teacher: str | None) -> list[Any]:
        patches = Patches(sorted(images.iterdir()), Degradation(clean=0.3), patch=48, batch=8, seed=1, teacher=teacher)
        return [tensor.numpy().astype(float) for tensor in next(iter(patches))]

    alone, taught = batch(None), batch("car-s")
    for mine, its in zip(alone, taught[:3], strict=True):
        np.testing.assert_array_equal(mine, its)
    for reference, degraded, told, learned in zip(*taught, strict=True):
        if told[0] < 10:  # not compressed: there is nothing to be taught
            np.testing.assert_array_equal(reference, learned)
        else:  # of what JPEG took away, only what can be known is asked for
            assert np.mean((learned - degraded) ** 2) < np.mean((reference - degraded) ** 2)
            assert np.mean((learned - reference) ** 2) < np.mean((reference - degraded) ** 2)
    assert {bool(told[0] < 10) for told in alone[2]} == {True, False}


def test_a_teachers_errors_are_others_each_time() -> None:
    crop = np.ascontiguousarray(data.astronaut()[:128, 64:192])
    patch, teacher = Degradation(10)(crop, np.random.default_rng(0)), open_session("car-s", provider="cpu", threads=1)
    aims = [_taught(patch, teacher, np.random.default_rng(seed)).astype(float) for seed in range(12)]
    assert len({aim.tobytes() for aim in aims}) > 4
    error = [np.mean((aim - crop) ** 2) for aim in (np.mean(aims, axis=0), *aims, patch.degraded.astype(float))]
    assert error[0] < min(error[1:-1]) < max(error[1:-1]) < error[-1]


@pytest.mark.slow
def test_a_network_learns_and_becomes_a_model(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = Recipe("CarNet", TINY, epochs=300, patch=48, batch=6, lr=0.04, ema=0.9)
    path, gain = learn(recipe, images, tmp_path)
    assert gain > 0.03  # it began at 0; 0.08 is reached

    folder = tmp_path / "mine"
    monkeypatch.setattr("napari_car.train.export.CALIBRATION_CROPS", 8)
    told = ["--to", str(folder), "--images-dir", str(images), "--summary", "Mine.", "--half"]
    assert main(["export", str(path), *told]) == 0
    card = read_card(folder)
    assert (card.id, card.summary, card.precisions) == ("mine", "Mine.", ("int8", "fp16", "fp32"))
    assert card.training["steps"] == recipe.epochs
    reference = data.astronaut()[100:260, 100:260]
    degraded = Degradation(10)(reference, np.random.default_rng(0)).degraded
    int8, fp16, fp32 = (
        np.mean((restore(degraded, quality=10, session=Session(card, "cpu", precision, 1)) - 1.0 * reference) ** 2)
        for precision in card.precisions
    )
    assert abs(10 * np.log10(int8 / fp32)) < 0.1  # dB
    assert abs(10 * np.log10(fp16 / fp32)) < 0.001
    assert fp32 < np.mean((degraded - 1.0 * reference) ** 2)


def test_a_conditioned_network_of_one_quality_becomes_a_model(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = fit(
        Recipe("CarNet", TINY, quality=25, epochs=1, patch=48, batch=6), images, tmp_path, device="cpu", workers=0
    )
    monkeypatch.setattr("napari_car.train.export.CALIBRATION_CROPS", 2)
    export([path], tmp_path / "mine", images)
    card = read_card(tmp_path / "mine")
    assert card.conditioning
    assert {weights.quality for weights in card.weights} == {25}
    assert restore(data.astronaut()[:40, :60], quality=25, session=Session(card, "cpu", "int8", 1)).shape == (40, 60, 3)


KILLED = """
import sys
from pathlib import Path
from napari_car.train import fit
from napari_car.train.pool import Patches  # noqa: E402
from napari_car.train.recipe import Recipe
fit.SAVE_SECONDS = 0.2
recipe = Recipe("ARCNN", quality=10, epochs=10**6, patch=16, batch=2)
fit.fit(recipe, Path(sys.argv[1]), Path(sys.argv[2]), device="cpu")
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is of POSIX")
def test_a_killed_run_continues_from_its_checkpoint(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "q10.safetensors"
    with subprocess.Popen([sys.executable, "-c", KILLED, images, tmp_path], stderr=subprocess.DEVNULL) as process:
        while not (path.exists() and checkpoint.read(path)[2]["step"] >= 5):
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    tensors, recipe, progress = checkpoint.read(path)
    before = progress["step"]
    assert before >= 5
    assert any(name.startswith("optimizer.") for name in tensors)

    steps, train = [], _Run.train
    monkeypatch.setattr(_Run, "train", lambda run, *batch: (steps.append(run.step), train(run, *batch)))
    longer = Recipe(**vars(recipe) | {"epochs": -(-(before + 4) // 3)})  # three steps an epoch
    assert fit(longer, images, tmp_path, device="cpu", workers=0) == path
    after = checkpoint.read(path)[2]
    total = longer.epochs * 3
    assert steps == list(range(before, total))
    assert after["step"] == total
    assert after["minutes"] > progress["minutes"]

    steps.clear()
    fit(longer, images, tmp_path, device="cpu", workers=0)
    assert not steps  # a finished run is left as it is


SMALL = Recipe("FastARCNN", quality=10, epochs=1, patch=16, batch=6)


def test_a_checkpoint_of_another_recipe_is_refused(images: Path, tmp_path: Path) -> None:
    path = fit(SMALL, images, tmp_path, device="cpu", workers=0)
    before = path.read_bytes()
    for key, value in {"lr": 0.02, "seed": 4, "optimizer": "adam", "arch": "ARCNN", "batch": 3, "clean": 0.5}.items():
        with pytest.raises(InputError, match=f"{path} was trained with {key} = .*; train by that in another folder"):
            fit(replace(SMALL, **{key: value}), images, tmp_path, device="cpu", workers=0)
    with pytest.raises(InputError, match="options = "):
        fit(Recipe(options=TINY, epochs=1, label="q10"), images, _renamed(tmp_path), device="cpu", workers=0)
    assert path.read_bytes() == before
    other = replace(SMALL, epochs=2, minutes=9, in_memory=False, label="q10")  # its budget, and what changes nothing
    assert checkpoint.read(fit(other, images, tmp_path, device="cpu", workers=0))[2]["step"] == 2


def test_a_checkpoint_of_another_recipe_is_refused_before_any_is_trained(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fit(SMALL, images, tmp_path, device="cpu", workers=0)
    common = 'arch = "FastARCNN"\nepochs = 1\npatch = 16\nbatch = 6\n'
    later = "[[weights]]\nquality = 20\n[[weights]]\nquality = 10\nseed = 4\n"
    (tmp_path / "recipe.toml").write_text(common + later)
    arguments = ["train", "--recipe", str(tmp_path / "recipe.toml"), "--images-dir", str(images)]
    assert main([*arguments, "--outputs-dir", str(tmp_path), "--workers", "0"]) == 1
    assert "was trained with seed = " in capsys.readouterr().err
    assert not (tmp_path / "q20.safetensors").exists()


def _renamed(folder: Path) -> Path:
    """A folder in which the checkpoint of another architecture goes by the name of the first."""
    (folder / "other").mkdir()
    network = build("CarNet")
    state = {
        f"{part}.{name}": value.clone() for part in ("network", "ema") for name, value in network.state_dict().items()
    }
    checkpoint.save(folder / "other" / "q10.safetensors", state, Recipe(epochs=1), {"step": 0, "minutes": 0})
    return folder / "other"


def test_of_what_an_older_checkpoint_does_not_tell_nothing_is_asked(images: Path, tmp_path: Path) -> None:
    path = fit(SMALL, images, tmp_path, device="cpu", workers=0)
    tensors, recipe, progress = checkpoint.read(path)
    facts = {key: value for key, value in vars(recipe).items() if key not in ("loss", "headroom", "fine")}
    metadata = {"recipe": json.dumps(facts), "progress": json.dumps(progress)}
    save_file(tensors, path, metadata)
    newer = replace(SMALL, loss="relative", headroom=1.2, epochs=2)
    assert checkpoint.read(fit(newer, images, tmp_path, device="cpu", workers=0))[2]["step"] == 2


def test_nothing_starts_from_another_architecture(images: Path, tmp_path: Path) -> None:
    fit(SMALL, images, tmp_path, device="cpu", workers=0)
    with pytest.raises(InputError, match="start is 'q10', a network that 'all' cannot be made of"):
        fit(Recipe(options=TINY, epochs=1, start="q10"), images, tmp_path, device="cpu", workers=0)


@pytest.mark.parametrize("in_memory", [True, False])
@pytest.mark.parametrize("workers", [0, 1])
def test_a_picture_that_cannot_be_read_is_named(
    workers: int, in_memory: bool, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "pictures"
    shutil.copytree(images, folder)
    training, _ = split(find_pictures(folder))
    for path in training:  # any of them may be the first
        path.write_bytes(path.read_bytes()[:20_000])
    command = ["train", "--arch", "FastARCNN", "--jpeg-quality", "10", "--batch-size", "6", "--images-dir", str(folder)]
    fast = ["--use-fast-loader"] * in_memory
    assert main([*command, "--outputs-dir", str(tmp_path / "run"), "--workers", str(workers), *fast]) == 1
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert re.search(rf"{re.escape(str(folder))}.\d\.png: cannot be trained on: ", said)
    assert "Traceback" not in said


def test_rows_of_the_log_that_a_kill_undid_are_cut(images: Path, tmp_path: Path) -> None:
    path = fit(SMALL, images, tmp_path, device="cpu", workers=0)
    log = path.with_suffix(".csv")
    header, first = log.read_text().splitlines()
    log.write_text(f"{header}\n{first}\n{first.replace(',1,', ',7,', 1)}\n0.9,9,")
    fit(replace(SMALL, epochs=2), images, tmp_path, device="cpu", workers=0)
    with log.open(newline="") as file:
        assert [row["step"] for row in csv.DictReader(file)] == ["1", "2"]
    path.unlink()  # whoever begins anew begins the log anew
    fit(SMALL, images, tmp_path, device="cpu", workers=0)
    with log.open(newline="") as file:
        assert [row["step"] for row in csv.DictReader(file)] == ["1"]


def test_finished_weights_without_a_log_are_left_as_they_are(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["train", "--arch", "FastARCNN", "--jpeg-quality", "10", "--num-epochs", "1", "--images-dir", str(images)]
    command += ["--outputs-dir", str(tmp_path), "--workers", "0"]
    assert main(command) == 0
    (tmp_path / "q10.csv").unlink()
    (tmp_path / "q10.png").unlink()
    assert main(command) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'q10.safetensors'}\n" * 2
    assert not (tmp_path / "q10.png").exists()


def test_a_rounded_stage_keeps_its_levels_through_a_stop_and_into_the_graph(images: Path, tmp_path: Path) -> None:
    import onnx
    from onnx import numpy_helper

    recipe = Recipe(options=TINY, epochs=2, patch=32, batch=4, revive=True, label="first")
    fit(recipe, images, tmp_path, device="cpu", workers=0)
    rounded = Recipe(options=TINY, epochs=3, patch=32, batch=4, start="first", rounded=True, headroom=1.5)
    fit(rounded, images, tmp_path, device="cpu", workers=0)
    path = fit(replace(rounded, epochs=6), images, tmp_path, device="cpu", workers=0)
    tensors, _, progress = checkpoint.read(path)
    assert progress["step"] == 12  # two steps an epoch
    levels = checkpoint.load_levels(path)
    assert {"head", "head.seen", "head.told", "stages.0.0.relu", "stages.0.0", "tail"} < set(levels)
    steps = {name: tensors[f"network.{name}.levels.log_step"].exp().item() for name in levels}
    assert any(abs(steps[name] / step - 1) > 1e-6 for name, (step, _) in levels.items())  # they learn: the mean lags

    export([path], tmp_path / "tiny", images)
    graph = onnx.load(tmp_path / "tiny" / "all.int8.onnx").graph
    constants = {constant.name: numpy_helper.to_array(constant) for constant in graph.initializer}
    for name, (step, zero) in levels.items():
        assert constants[f"{name}_scale"] == pytest.approx(step * (1.5 if name == "tail" else 1), rel=1e-6)
        assert constants[f"{name}_zero_point"] == zero

    again = Recipe(options=TINY, epochs=1, patch=32, batch=4, start="all", label="next")  # goes on without them
    assert not checkpoint.load_levels(fit(again, images, tmp_path, device="cpu", workers=0))


def test_stages_that_others_start_from_are_not_exported(tmp_path: Path) -> None:
    network = build("CarNet", **TINY)
    for recipe in (Recipe(epochs=1, label="first"), Recipe(epochs=1, start="first"), Recipe(epochs=1, quality=10)):
        checkpoint.save(tmp_path / f"{recipe.name}.safetensors", network.state_dict(), recipe, {})
    assert [path.stem for path in final_checkpoints(tmp_path)] == ["all", "q10"]


@pytest.mark.parametrize(
    ("model", "name"), [("car-s", "all"), ("car-l", "all"), ("arcnn", "q20"), ("fast-arcnn", "q30")]
)
def test_training_goes_on_from_what_ships(model: str, name: str, tmp_path: Path) -> None:
    from onnxruntime import InferenceSession

    recipe = next(r for r in read_recipe(MODELS / model / "recipe.toml") if r.name == name)
    network, _ = checkpoint.load_network(unpack(model, recipe, tmp_path))
    told = condition(recipe.quality or 30, "4:2:0")
    image = data.astronaut()[None, 64:128, 64:160] / np.float32(255)
    with torch.no_grad():
        tensors = torch.from_numpy(image).permute(0, 3, 1, 2), torch.from_numpy(told)[None]
        found = (network(*tensors) * residual_scale(tensors[1])).permute(0, 2, 3, 1).numpy()
    session = InferenceSession(MODELS / model / f"{name}.fp32.onnx")
    shipped = session.run(None, {"image": image} | ({} if recipe.quality else {"condition": told[None]}))[0]
    np.testing.assert_allclose(found, shipped, rtol=0, atol=1e-5)
    assert np.abs(shipped).max() > 0.01


def test_training_goes_on_from_no_other_network(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ModelError, match="not the network"):
        unpack("car-s", Recipe(options=TINY, epochs=1), tmp_path)
    assert not list(tmp_path.iterdir())
    arguments = ["train", "--recipe", str(MODELS / "car-s" / "recipe.toml"), "--images-dir", str(tmp_path)]
    assert main([*arguments, "--outputs-dir", str(tmp_path), "--shipped", "tenth"]) == 1
    assert "'tenth'; it goes with --recipe and is one of first," in capsys.readouterr().err


@pytest.mark.parametrize(("asked", "used"), [("1", 1), ("1000", count_cores())])
def test_threads_are_the_machine_s_whatever_the_recipe(
    asked: str, used: int, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    monkeypatch.setattr("torch.set_num_threads", seen.append)
    (tmp_path / "recipe.toml").write_text('arch = "ARCNN"\nquality = 10\nepochs = 1\npatch = 16\nbatch = 6\n')
    arguments = ["train", "--recipe", str(tmp_path / "recipe.toml"), "--images-dir", str(images)]
    assert main([*arguments, "--outputs-dir", str(tmp_path), "--workers", "0", "--threads", asked]) == 0
    assert seen == [used]


def test_the_relative_loss_weighs_smooth_patches_like_rich_ones() -> None:
    torch.manual_seed(0)
    target = torch.randn(2, 3, 16, 16) * torch.tensor([0.5, 4.0]).view(2, 1, 1, 1)  # units of the residual scale
    smooth_mended, rich_mended = target.clone(), target.clone()
    smooth_mended[1] = 0
    rich_mended[0] = 0
    mended = smooth_mended, rich_mended
    mse, relative = ([_loss(r, target, target, kind) for r in mended] for kind in ("mse", "relative"))
    assert mse[0] > 50 * mse[1]
    assert relative[0] < 3 * relative[1]
    # A teacher asks for little of what is rich; it counts no more for that
    aims = target * torch.tensor([0.9, 0.2]).view(2, 1, 1, 1)
    smooth, rich = (
        _loss(aims * torch.tensor(part).view(2, 1, 1, 1), aims, target, "relative") for part in ((0, 1.0), (1.0, 0))
    )
    assert smooth > 3 * rich


def test_what_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    (tmp_path / "q10.safetensors").write_bytes(b"not one")
    for name in ("q10.safetensors", "none.safetensors"):
        with pytest.raises(FileError, match=name):
            checkpoint.read(tmp_path / name)


@pytest.mark.parametrize("text", ["= 3", "\xff"])
def test_what_is_no_recipe_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(text, "latin-1")
    with pytest.raises(FileError, match="no recipe"):
        read_recipe(path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("colour = 1", "unknown key 'colour'; known are arch, augment"),
        ("[[weights]]\ncolour = 1", "unknown key 'colour'"),
        ("weights = 3", "weights is 3; it must be one"),
        ("weights = []", r"weights is \[\]; it must be one"),
        ("weights = [1]", r"weights is \[1\]; it must be one"),
        ("[[weights]]\nseed = 1\n[[weights]]\nseed = 2", "2 .* are named all; label tells them apart"),
        ("epochs = 0", "epochs is 0; it must be a whole number from 1"),
        ("epochs = true", "epochs is True; it must be a whole number from 1"),
        ("minutes = 0", "minutes is 0; it must be a number above 0"),
        ("minutes = inf", "minutes is inf"),
        ('arch = "Foo"', "arch is 'Foo'; it must be one of 'ARCNN', 'CarNet', 'FastARCNN'"),
        ("options = 3", "options is 3; it must be a table"),
        ("[options]\nunshufle = 4", "unknown option of CarNet 'unshufle'; known are blocks, phase, unshuffle, widths"),
        ('arch = "ARCNN"\n[options]\nphase = 4', "unknown option of ARCNN 'phase'; known are none"),
        ("[options]\nwidths = [48, 0]", r"widths is \[48, 0\]; it must be a list, a whole number from 1"),
        ("[options]\nwidths = [48, 64]", "blocks has 1 numbers; it needs 3 where widths has 2"),
        ('batch = "16"', "batch is '16'; it must be a whole number from 1"),
        ("batch = 0", "batch is 0"),
        ("patch = 30", "patch is 30; CarNet takes multiples of 16 px"),
        ('arch = "FastARCNN"\npatch = 25', "patch is 25; FastARCNN takes multiples of 2 px"),
        ("quality = 101", "quality is 101; it must be a whole number from 1 to 100"),
        ('optimizer = "sgd"', "optimizer is 'sgd'"),
        ('loss = "l1"', "loss is 'l1'"),
        ("lr = 0", "lr is 0"),
        ("ema = 1.5", "ema is 1.5; it must be a number from 0 to 1"),
        ("rounded = 1", "rounded is 1; it must be true or false"),
        ('label = "../all"', "label is '../all'; it must be a name"),
    ],
)
def test_a_wrong_recipe_is_refused_in_a_sentence(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(text if text.startswith("epochs") else f"epochs = 1\n{text}")
    with pytest.raises(InputError, match=f"recipe.toml: {said}"):
        read_recipe(path)


def test_a_recipe_needs_a_budget() -> None:
    with pytest.raises(InputError, match="budget"):
        Recipe()


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("--num-epochs=0", "epochs is 0"),
        ("--minutes=0", "minutes is 0.0"),
        ("--batch-size=0", "batch is 0"),
        ("--threads=0", "threads is 0"),
        ("--workers=-1", "workers -1"),
    ],
)
def test_numbers_that_are_too_small_are_refused(
    option: str, said: str, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["--jpeg-quality", "10", "--images-dir", str(images), "--outputs-dir", str(tmp_path / "run")]
    assert main(["train", *asked, option]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line


@pytest.mark.parametrize("device", ["cuda:99", "toaster"])
def test_a_device_that_is_not_there_is_refused(
    device: str, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["--jpeg-quality", "10", "--images-dir", str(images), "--outputs-dir", str(tmp_path / "run")]
    assert main(["train", *asked, "--device", device]) == 1
    assert f"device is {device!r}; PyTorch finds cpu" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_folder_without_pictures_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["train", "--images-dir", str(tmp_path), "--outputs-dir", str(tmp_path / "run"), "--jpeg-quality", "10"]
    assert main(arguments) == 1
    assert f"{tmp_path}: holds no picture" in capsys.readouterr().err
