"""Shards: a rule that knows of no workers, and moments that are the same wherever shards lie."""

import pickle
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from executor_tasks import Elsewhere
from numpy.typing import NDArray

from netsurgeon.passes.layers.layer_finder import find_layers
from netsurgeon.passes.pruning import LayerMoments
from netsurgeon.pipeline.calibration import row_moments, shards, sweep
from netsurgeon.pipeline.calibration.shards import cut_into_shards, feed_size
from netsurgeon.pipeline.calibration.sweep import Calibration
from netsurgeon.pipeline.data import open_samples
from netsurgeon.pipeline.execution import Executor, InProcess, open_executor
from netsurgeon.pipeline.execution.executors.executor import kind_of
from netsurgeon.pipeline.model_files import input_specs
from netsurgeon.pipeline.runtime import Runtime

DIGITS = Path(__file__).parent.parent.parent.parent / "models" / "digits"


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([], []),
        ([5], [range(1)]),
        ([30, 5, 5], [range(1), range(1, 3)]),
        ([4, 4, 4, 4, 4], [range(2), range(2, 4), range(4, 5)]),
        ([4, 6, 1], [range(2), range(2, 3)]),
    ],
)
def test_batches_share_a_shard_while_they_fit(
    sizes: list[int], expected: list[range], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "SHARD_BYTES", 10)
    assert list(cut_into_shards(sizes)) == expected


def test_a_token_counts_as_a_row_of_a_table_and_a_pixel_as_a_float() -> None:
    ids = np.zeros((2, 5), np.int64)
    assert feed_size({"x": np.zeros((2, 3), np.float32), "ids": ids, "mask": ids}) == 24 + 2048 * 10
    assert feed_size({"x": np.zeros((2, 3), np.uint8), "y": np.zeros(2, np.float64)}) == 24 + 16


def swept(executor: Executor) -> Iterator[tuple[str, LayerMoments]]:
    """All moments of a dense sweep, and of a walk on which each layer is thinned out before the next is reached."""
    model = ir.load(DIGITS / "digits.onnx")
    rng = np.random.default_rng(0)
    samples = open_samples(DIGITS / "calibration.npz", input_specs(model), batch_size=20).subset(200, rng)
    calibration = Calibration(samples, Runtime(threads=1), max_elements=30_000, executor=executor)
    names = [layer.name for layer in find_layers(model.graph)[0]]
    yield from ((layer.name, moments) for layer, moments in calibration.dense(model, names))
    current = model.clone()
    layers = {layer.name: layer for layer in find_layers(current.graph)[0]}
    for _, _, (by_name,) in calibration.paired(model, [current], dict.fromkeys(names, True)):
        yield from by_name.items()
        for name in by_name:
            matrix = layers[name].matrix()
            thinned = np.where(np.abs(matrix) > np.median(np.abs(matrix)), matrix, 0.0)
            layers[name].weight.const_value = ir.tensor(layers[name].stored(thinned))


def arrays(moments: LayerMoments) -> list[NDArray[Any]]:
    statistics = moments.statistics(centred=True)
    sides = (statistics.gram, statistics.cross, statistics.dense_mean, statistics.residual_cross, moments.ridge)
    return [side for side in sides if side is not None]


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "SHARD_BYTES", 30_000)  # five shards of two batches


@pytest.mark.usefixtures("small_shards")
def test_moments_are_the_same_bytes_where_nothing_is_shared_but_what_travels() -> None:
    here, elsewhere = list(swept(InProcess())), list(swept(Elsewhere()))
    assert [name for name, _ in here] == [name for name, _ in elsewhere]
    for (_, one), (_, other) in zip(here, elsewhere, strict=True):
        assert one.positions == other.positions
        assert all(np.array_equal(a, b) for a, b in zip(arrays(one), arrays(other), strict=True))


def test_moments_of_no_more_than_a_branch_of_the_tree_are_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "SHARD_BYTES", 1)  # a shard a batch
    made = list[weakref.ref[Any]]()
    alive = list[int]()

    def counted(*arguments: Any) -> Any:
        moments = row_moments.shard_moments(*arguments)
        made.append(weakref.ref(moments))
        alive.append(sum(reference() is not None for reference in made))
        return moments

    monkeypatch.setattr(sweep, "shard_moments", counted)
    next(swept(InProcess()))
    assert len(alive) == 10
    assert max(alive) <= 4, "a branch of a tree of ten, and the shard that is read"


@pytest.mark.usefixtures("small_shards", "quick_workers")
def test_moments_are_the_same_bytes_on_workers() -> None:
    with open_executor("local:2") as executor:
        for (_, one), (_, other) in zip(swept(InProcess()), swept(executor), strict=True):
            assert all(np.array_equal(a, b) for a, b in zip(arrays(one), arrays(other), strict=True))


def test_shards_change_moments_by_no_more_than_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = list(swept(InProcess()))
    monkeypatch.setattr(shards, "SHARD_BYTES", 30_000)
    for (_, one), (_, other) in zip(whole, swept(InProcess()), strict=True):
        assert one.positions == other.positions
        for a, b in zip(arrays(one), arrays(other), strict=True):
            np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-3 * np.abs(a).max())


def pooled_model() -> ir.Model:
    """A product that reads the mean of each picture, one row a picture."""
    model = ir.from_onnx_text(
        '<ir_version: 8, opset_import: ["" : 17]> g (float[N,16,4,4] x, float[16,5] w) => (float[N,5] y) '
        "{ p = GlobalAveragePool(x) f = Flatten(p) y = MatMul(f, w) }"
    )
    weight = model.graph.inputs.pop()
    weight.const_value = ir.tensor(np.random.default_rng(1).standard_normal((16, 5)).astype(np.float32), name="w")
    model.graph.register_initializer(weight)
    return model


@pytest.mark.parametrize("pictures", [1, 8, 16, 32])
def test_rows_are_held_out_of_shards_that_are_small(pictures: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model = pooled_model()
    data = {"x": np.random.default_rng(0).standard_normal((96, 16, 4, 4)).astype(np.float32)}
    samples = open_samples(data, input_specs(model), batch_size=pictures)

    def moments() -> LayerMoments:
        calibration = Calibration(samples, Runtime(threads=1))
        ((_, layer_moments),) = calibration.dense(model, [layer.name for layer in find_layers(model.graph)[0]])
        return layer_moments

    whole = moments()
    monkeypatch.setattr(shards, "SHARD_BYTES", data["x"][:pictures].nbytes)
    cut = moments()
    assert (cut.fit.count, cut.held_out.count) == (whole.fit.count, whole.held_out.count)
    assert 0 < 4 * cut.held_out.count <= cut.fit.count
    assert np.array_equal(arrays(cut)[0], arrays(whole)[0]), "rows that wait are not summed up by the shard"


def test_a_weight_travels_once_and_not_with_each_shard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "SHARD_BYTES", 30_000)
    sent: list[tuple[str, int]] = []

    class Counting(Elsewhere):
        def submit(self, function: Any, *arguments: Any, about: str = "", peers: str = "") -> Any:
            plain = [argument for argument in arguments if not hasattr(argument, "result")]
            sent.append((kind_of(function), len(pickle.dumps(plain))))
            return super().submit(function, *arguments, about=about)

    executor = Counting()
    first, again = list(swept(executor)), sum(kind == "open_shard" for kind, _ in sent)
    assert max(size for kind, size in sent if kind == "shard_moments") < 4000
    assert again == 2, "two shards, for both sweeps of the same samples"
    once = executor.send(b"a model", "its key")
    assert executor.send(b"a model", "its key") is once
    assert executor.send(b"a model") is not once
    assert first
