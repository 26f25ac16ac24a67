"""The presets for ImageNet, end to end on a few small pictures: read, trained with surgery, and trimmed.

Where the fully connected layers hold nearly all parameters, the networks are narrower than they are.
"""

import dataclasses
import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from netsurgeon.models.networks import alexnet, presets, vgg
from netsurgeon.models.training.distributed import Process
from netsurgeon.models.trimming import TrimmingPlan
from netsurgeon.pipeline.data.training_data import Arrays
from netsurgeon.pipeline.training.network_trimming import trim_and_retrain
from netsurgeon.pipeline.training.training_run import Training, train

pytestmark = pytest.mark.usefixtures("one_thread")
CLASSES = ("n01440764", "n01443537", "n01484850")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve pictures to train on in class folders, and six to test on in a zip of class folders."""
    folder = tmp_path_factory.mktemp("imagenet")
    rng = np.random.default_rng(0)
    for name in CLASSES:
        (folder / "train" / name).mkdir(parents=True)
        for number in range(4):
            (folder / "train" / name / f"{number}.JPEG").write_bytes(_jpeg(rng))
    with zipfile.ZipFile(folder / "test.zip", "w") as archive:
        for name in CLASSES:
            for number in range(2):
                archive.writestr(f"{name}/{number}.JPEG", _jpeg(rng))
    return folder


def _jpeg(rng: np.random.Generator) -> bytes:
    file = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (40, 56, 3), np.uint8)).save(file, "JPEG")
    return file.getvalue()


def fit(network: str, data: Path, out: Path) -> Training:
    found = train(network, data, out, surgery=True, steps=2, batch_size=2)
    assert found is not None
    assert found.test_error is not None
    assert all(layer.kept < layer.size for layer in found.layers)
    return found


def test_alexnet(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alexnet, "HIDDEN", 64)
    result = fit("alexnet", pictures, tmp_path / "run")
    assert [layer.name for layer in result.layers] == [*(f"conv{n}" for n in range(1, 6)), "fc6", "fc7", "fc8"]


@pytest.mark.parametrize("network", ["vgg16", "vgg16_bn"])
def test_vgg16(network: str, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vgg, "WIDTHS", tuple(tuple(width // 16 for width in widths) for widths in vgg.WIDTHS))
    monkeypatch.setattr(vgg, "HIDDEN", 64)
    assert len(fit(network, pictures, tmp_path / "run").layers) == 16


def test_resnet50(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = dataclasses.replace(presets.NETWORKS["resnet50"], shape=(3, 64, 64), resize=72)
    monkeypatch.setattr(presets, "NETWORKS", {**presets.NETWORKS, "resnet50": small})
    assert len(fit("resnet50", pictures, tmp_path / "run").layers) == 54


@pytest.mark.parametrize("network", ["alexnet", "vgg16", "vgg16_bn"])
def test_idle_units_are_trimmed_behind_groups_and_normalisation(network: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vgg, "WIDTHS", tuple(tuple(width // 16 for width in widths) for widths in vgg.WIDTHS))
    for each in (alexnet, vgg):
        monkeypatch.setattr(each, "HIDDEN", 64)
    preset = presets.NETWORKS[network]
    inputs = np.random.default_rng(0).standard_normal((4, *preset.shape)).astype(np.float32)
    dense = presets.built(network, 3, 0)
    trimmed, widths = trim_and_retrain(dense, TrimmingPlan(rounds=1), Arrays(inputs), lambda *_: 0.0, Process())
    before, after = ({width.layer: width.units for width in widths if width.round == number} for number in (0, 1))
    assert before.keys() == after.keys()
    narrower = [layer for layer in before if after[layer] < before[layer]]
    assert any("fc" in layer for layer in narrower)
    assert any("fc" not in layer for layer in narrower)
    assert trimmed(torch.from_numpy(inputs)).shape == (4, 3)
    assert sum(p.numel() for p in trimmed.parameters()) < sum(p.numel() for p in dense.parameters())


def test_pictures_in_a_zip_train_as_those_in_folders(pictures: Path, tmp_path: Path) -> None:
    zipped = tmp_path / "zipped"
    zipped.mkdir()
    with zipfile.ZipFile(zipped / "train.zip", "w") as archive:
        for file in sorted((pictures / "train").rglob("*.JPEG")):
            archive.write(file, file.relative_to(pictures / "train"))
    (zipped / "test.zip").write_bytes((pictures / "test.zip").read_bytes())
    for name, data in (("zipped", zipped), ("folders", pictures)):
        train("resnet20", data, tmp_path / name / "run", steps=2, batch_size=4)
    one, other = ((tmp_path / name / "run" / "log.csv").read_bytes() for name in ("zipped", "folders"))
    assert one == other
