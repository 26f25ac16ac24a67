"""Data as people hold it: every kind in the table of docs/data.md gives the same samples, labels and model."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.helper
import pytest
from perceptron_models import UNIFORM, built, proto_bytes, random
from PIL import Image
from sample_sources import F32, I64, PICTURE, X, rows, sizes, stacked

import netsurgeon
from netsurgeon.pipeline.data.images import PictureOptions
from netsurgeon.pipeline.data.input_spec import InputSpec
from netsurgeon.pipeline.data.opening import open_samples
from netsurgeon.pipeline.data.samples import Samples

ROOT = Path(netsurgeon.__file__).parent
COUNT = 6
Y = np.arange(COUNT) % 3
TWO = (InputSpec("age", F32, (None, 1)), InputSpec("rooms", I64, (None, 1)))
KINDS: dict[str, Callable[[], Any]] = {}
"""What the rows of the table say, and how to make one of each: `rows(6)` for the input x, or as the function says."""


def kind(name: str) -> Callable[[Callable[[], Any]], Callable[[], Any]]:
    def register(make: Callable[[], Any]) -> Callable[[], Any]:
        KINDS[name] = make
        return make

    return register


def torch_batches(shuffle: bool = False) -> Any:
    torch = pytest.importorskip("torch")
    from torch.utils.data import DataLoader, TensorDataset

    generator = torch.Generator().manual_seed(0)
    dataset = TensorDataset(torch.from_numpy(rows(COUNT)), torch.from_numpy(Y))
    return DataLoader(dataset, batch_size=4, shuffle=shuffle, generator=generator)


class Indexed:
    """A dataset as those of PyTorch are: it has a length and items by number."""

    def __len__(self) -> int:
        return COUNT

    def __getitem__(self, number: int) -> tuple[np.ndarray, int]:
        return rows(COUNT)[number], int(Y[number])


class OfNncf:
    """A Dataset of NNCF, as far as it is asked."""

    def get_inference_data(self) -> Iterator[Any]:
        return iter(netsurgeon.Dataset(torch_free_batches(), lambda batch: batch[0]))


def torch_free_batches() -> list[tuple[np.ndarray, np.ndarray]]:
    return [(rows(COUNT)[:4], Y[:4]), (rows(COUNT)[4:], Y[4:])]


@kind("an array, for a model with one input")
def array() -> Any:
    return rows(COUNT)


@kind("a `torch.Tensor`, also on a GPU, of bfloat16 or with a gradient")
def tensor() -> Any:
    return pytest.importorskip("torch").from_numpy(rows(COUNT)).requires_grad_()


@kind("a dict of arrays or tensors by input name, and perhaps `labels`")
def mapping() -> Any:
    return {"x": rows(COUNT), "labels": Y}


@kind("`(X, y)`: inputs and labels")
def pair() -> Any:
    return rows(COUNT), Y


@kind("a list of arrays: samples or batches")
def arrays() -> Any:
    return list(rows(COUNT))


@kind("a list of `(x, y)`")
def pairs() -> Any:
    return list(zip(rows(COUNT), Y.tolist(), strict=True))


@kind("a list, generator or function of dicts, one a sample or a batch")
def dicts() -> Any:
    return ({"x": row, "labels": label} for row, label in zip(rows(COUNT), Y, strict=True))


@kind("a `DataLoader` of batches `x`, `(x, y)` or dicts")
def loader() -> Any:
    return torch_batches()


@kind("a `Dataset` of PyTorch, or anything else with a length and items by number")
def indexed() -> Any:
    return Indexed()


@kind("`netsurgeon.Dataset(loader, transform)`, or what has NNCF's interface, `get_inference_data()`")
def transformed() -> Any:
    return netsurgeon.Dataset(torch_free_batches(), lambda batch: {"x": batch[0], "labels": batch[1]})


@kind("pictures of Pillow: one, a list of them or of `(picture, y)`")
def pictures() -> Any:
    return [(Image.new("RGB", (8, 8), (value, value, value)), int(Y[value])) for value in range(COUNT)]


@kind("a data frame of pandas, or of polars or another with the same `columns`, `[name]` and `to_numpy()`")
def frame() -> Any:
    frame = pytest.importorskip("pandas").DataFrame(rows(COUNT), columns=["a", "b", "c"])
    frame["label"] = Y
    return frame


@kind("a dataset of Hugging Face: columns by input name, `label` or `labels`")
def hugging_face() -> Any:
    datasets = pytest.importorskip("datasets")
    return datasets.Dataset.from_dict({"x": rows(COUNT).tolist(), "text": ["a"] * COUNT, "label": Y.tolist()})


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_gives_the_same_samples_and_labels(name: str) -> None:
    source = KINDS[name]()
    if "Pillow" in name:
        samples = open_samples(source, PICTURE, pictures=PictureOptions(scale=1.0), batch_size=4)
        assert stacked(samples, "image")[:, 0, 0, 0].tolist() == list(range(COUNT))
    else:
        samples = open_samples(source, X, batch_size=4)
        np.testing.assert_array_equal(stacked(samples), rows(COUNT))
        assert stacked(samples).dtype == F32
    assert (sizes(samples, samples.specs[0].name), samples.count) == ([4, 2], COUNT)
    has_labels = not any(start in name for start in ("an array,", "a `torch.Tensor`", "a list of arrays"))
    assert (samples.labels is not None) == has_labels
    if samples.labels is not None:
        assert samples.labels.tolist() == Y.tolist()
    assert samples.digest() == samples.digest()
    assert samples.warnings == ()


def flat_model(*shape: int) -> onnx.ModelProto:
    """Inputs of this shape, flattened, by a Gemm, a Relu and a Gemm to three scores."""
    width = int(np.prod(shape))
    nodes = [
        onnx.helper.make_node("Flatten", ["x"], ["f"]),
        onnx.helper.make_node("Gemm", ["f", "w1"], ["h"]),
        onnx.helper.make_node("Relu", ["h"], ["r"]),
        onnx.helper.make_node("Gemm", ["r", "w2"], ["y"]),
    ]
    weights = {"w1": random(width, 16), "w2": random(16, 3, seed=1)}
    return built(nodes, weights, entry=("N", *shape), end=("N", 3))


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_compresses_to_the_same_model(name: str) -> None:
    options: dict[str, Any] = {**UNIFORM, "sparsity": 0.5}
    if "Pillow" in name:
        model, options["pictures"] = flat_model(3, 8, 8), PictureOptions(scale=1.0)
        plain: Any = np.stack([np.full((3, 8, 8), value, np.float32) for value in range(COUNT)])
    else:
        model, plain = flat_model(3), rows(COUNT)
    result = netsurgeon.compress(model, KINDS[name](), **options)
    assert proto_bytes(result) == proto_bytes(netsurgeon.compress(model, plain, **{**options, "pictures": None}))
    assert result.report.validation.samples == COUNT


def test_the_table_of_the_guide_has_every_kind() -> None:
    text = (ROOT / "docs" / "data.md").read_text("utf-8")
    table = re.search(r"^\| in Python \|.*?\n\n", text, re.MULTILINE | re.DOTALL)
    assert table
    assert [row.split(" | ")[0].removeprefix("| ") for row in table[0].strip().splitlines()[2:]] == list(KINDS)


def columns(samples: Samples) -> dict[str, list[Any]]:
    feeds = list(samples.batches())
    return {spec.name: np.concatenate([feed[spec.name] for feed in feeds]).ravel().tolist() for spec in samples.specs}


@pytest.mark.parametrize("form", ["mapping", "rows", "pandas", "polars", "datasets"])
def test_named_scalars(form: str) -> None:
    table: dict[str, list[Any]] = {"age": [1.5, 2.5, 3.5], "rooms": [3, 4, 5], "label": [0, 1, 0]}
    source: Any = {name: table[name] for name in ("age", "rooms")} | {"labels": table["label"]}
    if form == "rows":
        source = [{"age": age, "rooms": count, "labels": y} for age, count, y in zip(*table.values(), strict=True)]
    if form in ("pandas", "polars"):
        source = pytest.importorskip(form).DataFrame({**table, "unused": ["a", "b", "c"]})
    if form == "datasets":
        source = pytest.importorskip("datasets").Dataset.from_dict({**table, "unused": ["a", "b", "c"]})
    samples = open_samples(source, TWO)
    assert columns(samples) == {"age": table["age"], "rooms": table["rooms"]}
    assert samples.labels is not None
    assert samples.labels.tolist() == table["label"]
    assert [feed["age"].shape for feed in samples.batches()] == [(3, 1)]


@pytest.mark.parametrize("column", ["image", "img"])
def test_pictures_in_a_dataset_of_hugging_face(column: str) -> None:
    datasets = pytest.importorskip("datasets")
    images = [Image.new("RGB", (8, 8), (value, 0, 0)) for value in (10, 20)]
    features = datasets.Features({column: datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])})
    source = datasets.Dataset.from_dict({column: images, "label": [1, 0]}, features=features)
    samples = open_samples(source, PICTURE, pictures=PictureOptions(scale=1.0))
    assert stacked(samples, "image")[:, 0, 0, 0].tolist() == [10.0, 20.0]
    assert samples.labels is not None
    assert samples.labels.tolist() == [1, 0]


def test_tensors_that_numpy_does_not_take_by_itself() -> None:
    torch = pytest.importorskip("torch")
    for source in (torch.ones(2, 3, dtype=torch.bfloat16), [torch.ones(3), torch.ones(3)], (torch.ones(2, 3), [0, 1])):
        assert stacked(open_samples(source, X)).tolist() == [[1.0] * 3] * 2


@pytest.mark.parametrize("shuffle", [False, True])
def test_a_loader_that_shuffles_is_kept_as_it_was_read(shuffle: bool) -> None:
    samples = open_samples(torch_batches(shuffle), X)
    first, again = stacked(samples), stacked(samples)
    np.testing.assert_array_equal(first, again)
    assert samples.labels is not None
    np.testing.assert_array_equal(samples.labels, Y[(first[:, 0] / 3).astype(int)])
    assert np.array_equal(first, rows(COUNT)) != shuffle
    wrapped = open_samples(netsurgeon.Dataset(torch_batches(shuffle), lambda batch: batch[0]), X)
    np.testing.assert_array_equal(stacked(wrapped), stacked(wrapped))


def test_a_dataset_of_nncf() -> None:
    np.testing.assert_array_equal(stacked(open_samples(OfNncf(), X)), rows(COUNT))  # type: ignore[arg-type]
