"""Tables that rows are looked up in, in a model whose matrix products have integer weights."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from netsurgeon.passes.rewriting import normal_form
from netsurgeon.pipeline.calibration import Calibration
from netsurgeon.pipeline.data import open_samples
from netsurgeon.pipeline.model_files import input_specs
from netsurgeon.pipeline.options import Options
from netsurgeon.pipeline.quantization import IntegerChoice, Quantized, quantize_model
from netsurgeon.pipeline.quantization.quantize import excluded
from netsurgeon.pipeline.runtime import Runtime

TEXT = """<ir_version: 8, opset_import: ["": 17]> net (int64[N, 6] ids) => (float[N, 6, 12] y) {
    rows = Gather(table, ids)
    y = MatMul(rows, head)
}"""


def network() -> ir.Model:
    rng, proto = np.random.default_rng(0), onnx.parser.parse_model(TEXT)
    for name, shape in (("table", (2048, 32)), ("head", (32, 12))):
        proto.graph.initializer.append(
            onnx.numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32), name)
        )
    model = ir.from_proto(proto)
    normal_form()(model)
    return model


def quantized(model: ir.Model, options: Options) -> Quantized:
    ids = np.random.default_rng(1).integers(0, 2048, (64, 6))
    calibration = Calibration(open_samples({"ids": ids}, input_specs(model)), Runtime(threads=1))
    choice = IntegerChoice(stay=excluded(model, options))
    return quantize_model(model, options, calibration, choice, lambda stage, done, count: None)


@pytest.mark.parametrize("mode", ["w4", "w8", "dynamic"])
def test_a_table_has_eight_bits_and_stands_first_in_the_report(mode: str) -> None:
    model = network()
    result = quantized(network(), Options(quantize=mode))
    assert result.facts is not None
    table, product = result.facts.layers
    assert (table.operator, table.bits, table.kernel, table.reason) == ("Gather", 8, "Gather", None)
    assert table.error is not None
    assert 0.0 < table.error < 1e-3
    assert product.bits is not None
    feed = {"ids": np.random.default_rng(2).integers(0, 2048, (9, 6))}
    dense, integers = (Runtime(threads=1).session(variant).run(feed)["y"] for variant in (model, result.model))
    assert np.linalg.norm(integers - dense) < (0.12 if mode == "w4" else 0.03) * np.linalg.norm(dense)
    sizes = [len(ir.to_proto(variant).SerializeToString()) for variant in (model, result.model)]
    assert sizes[1] < 0.32 * sizes[0]


def test_a_table_that_is_excluded_stays_as_it_is() -> None:
    result = quantized(network(), Options(quantize="w8", exclude=("row*",)))
    assert result.facts is not None
    assert [layer.operator for layer in result.facts.layers] == ["MatMul"]
    assert np.dtype(np.float32) == result.model.graph.initializers["table"].const_value.numpy().dtype  # type: ignore[union-attr]
