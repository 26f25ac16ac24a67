"""Channels are put in the order in which tiles lose least, or stay as they are."""

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from perceptron_models import built, random, weights_of
from trimmable_models import outputs, pictures, residual_network

from netsurgeon.passes.trimming import OrderUnits
from netsurgeon.pipeline.compress import compress
from netsurgeon.pipeline.model_files import open_model
from netsurgeon.pipeline.options import Options
from netsurgeon.pipeline.run.order_channels import with_ordered_channels
from netsurgeon.pipeline.runtime import Runtime


def ordered(**options: Any) -> tuple[ir.Model, ir.Model]:
    """The model as it was opened, and with its channels in order."""
    source = open_model(residual_network(), Runtime())
    result = with_ordered_channels(source, Options(**options), {"x": pictures(2)}, Runtime())
    assert [note.code for note in result.notes if note not in source.notes] == (
        [] if result is source else ["channels-ordered"]
    )
    return source.model, result.model


@pytest.mark.parametrize("options", [{"pattern": "k:64"}, {"target": "cpu-sparse", "max_drop": "1%"}])
def test_channels_are_ordered_where_tiles_are_wanted(options: dict[str, Any]) -> None:
    before, after = ordered(**options)
    assert after is not before
    np.testing.assert_allclose(outputs(after, pictures()), outputs(before, pictures()), atol=1e-5)
    assert not np.array_equal(weights_of(after)["a1"], weights_of(before)["a1"])


@pytest.mark.parametrize(
    "options",
    [
        {"sparsity": 0.5},
        {"pattern": "2:4"},
        {"pattern": "k:64", "sparsity": 0.0},
        {"target": "cpu-sparse", "trim": 0.3},
    ],
)
def test_channels_stay_where_no_weight_goes_to_tiles(options: dict[str, Any]) -> None:
    before, after = ordered(**options)
    assert after is before


def test_what_gives_other_outputs_is_undone(monkeypatch: pytest.MonkeyPatch) -> None:
    real = OrderUnits.call

    def wrong(self: OrderUnits, model: ir.Model) -> ir.passes.PassResult:
        result = real(self, model)
        model.graph.initializers["head"].const_value = ir.tensor(random(12, 5), name="head")
        return result

    monkeypatch.setattr(OrderUnits, "call", wrong)
    before, after = ordered(pattern="k:64")
    assert after is before


def uneven() -> onnx.ModelProto:
    """Two layers, of whose 64 neurons every other one has small weights."""
    nodes = [
        onnx.helper.make_node("Gemm", ["x", "w1"], ["h"], "first"),
        onnx.helper.make_node("Relu", ["h"], ["r"]),
        onnx.helper.make_node("Gemm", ["r", "w2"], ["y"], "second"),
    ]
    sizes = np.tile([1.0, 0.2], 32).astype(np.float32)
    return built(nodes, {"w1": random(64, 64) * sizes, "w2": random(64, 10, seed=1)}, entry=("N", 64))


def test_tiles_lose_less_of_channels_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    options: Any = {"sparsity": 0.6, "pattern": "k:64", "uniform": True, "damping": 0.01}
    x = random(200, 64, seed=2)

    def loss() -> float:
        report = compress(uneven(), x, **options).report
        assert [layer.kept for layer in report.layers] == [1638, 256]
        return float(report.validation.outputs[0].relative_error)

    in_order = loss()
    monkeypatch.setattr(OrderUnits, "call", lambda _, model: ir.passes.PassResult(model, False))
    assert in_order < 0.8 * loss()
