"""What is trained behind integers: it starts as the file is, every part learns, and nothing leaves its range."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from integer_models import CEILING, float_net, integer_net, pictures
from onnx import numpy_helper

from netsurgeon.models.onnx_module.module import OnnxModule
from netsurgeon.pipeline.quantization import integer_model

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def proto() -> onnx.ModelProto:
    return ir.to_proto(integer_net(float_net(zeros=0.4)))


def initializers(proto: onnx.ModelProto) -> dict[str, Any]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}


def trained(proto: onnx.ModelProto, rate: float = 0.05, patterns: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Initializers after a few steps towards other outputs than those that it has."""
    module = OnnxModule(proto, patterns)
    optimizer = torch.optim.Adam(module.parameters(), lr=rate)
    x = torch.from_numpy(pictures(16))
    for _ in range(8):
        loss: Any = (module(x) - 3.0).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return module.arrays()


def weights(arrays: Mapping[str, Any]) -> dict[str, Any]:
    return {name: array for name, array in arrays.items() if array.dtype == np.int8 and array.ndim > 1}


def test_untrained_it_is_what_the_file_holds_to_the_last_bit(proto: onnx.ModelProto) -> None:
    stored, module = initializers(proto), OnnxModule(proto)
    arrays = module.arrays()
    assert len(weights(arrays)) == 4
    for name, array in arrays.items():
        assert array.dtype == stored[name].dtype
        assert np.array_equal(array, stored[name])


def test_gradients_reach_every_weight_bias_and_scale(proto: onnx.ModelProto) -> None:
    module = OnnxModule(proto)
    module(torch.from_numpy(pictures(16))).square().mean().backward()
    for parameter in module.parameters():
        assert parameter.grad is not None
        assert parameter.grad.abs().sum() > 0.0


def test_what_is_behind_integers_has_rates_of_its_own(proto: onnx.ModelProto) -> None:
    module = OnnxModule(proto)
    parameters = dict(module.named_parameters())
    assert set(module.rates) <= set(parameters)
    by_rate = {
        rate: {name.rpartition(".")[2] for name, r in module.rates.items() if r == rate} for rate in (4.0, 0.01, 0.1)
    }
    assert by_rate[4.0] == {"latent"}
    assert by_rate[0.01] == {"logarithm"}
    assert by_rate[0.1] <= {"bias", "original"}
    assert by_rate[0.1]
    assert not {name for name in parameters if name.startswith("latent.")} - set(module.rates)


def test_integers_that_lie_nearer_together_learn_more_slowly() -> None:
    rates = [OnnxModule(ir.to_proto(integer_net(float_net(), most=most))).rates for most in (1, 7, 63)]
    coarse, medium, fine = (max(each.values()) for each in rates)
    assert coarse == medium == 4.0
    assert fine == pytest.approx(4.0 / 9)


def test_zeros_stay_integers_keep_their_bits_and_scales_are_positive(proto: onnx.ModelProto) -> None:
    before, after = initializers(proto), trained(proto, rate=0.5)
    for name, codes in weights(after).items():
        assert not codes[before[name] == 0].any()
        assert not np.array_equal(codes, before[name])
        assert np.abs(codes).max() <= 7
    scales = [array for array in after.values() if array.dtype == np.float32 and array.size]
    positive = [array for name, array in after.items() if array.dtype == np.float32 and (before[name] > 0.0).all()]
    assert len(scales) >= len(positive) > 4
    learnt = [name for name in OnnxModule(proto).latent.places if after[name].dtype == np.float32]
    assert all((after[name] > 0.0).all() for name in learnt)


def test_what_rounding_alone_made_zero_grows_where_it_may(proto: onnx.ModelProto) -> None:
    before = initializers(proto)
    name = next(iter(weights(before)))
    allowed = np.ones(before[name].shape, bool)
    after = trained(proto, patterns={name: allowed})
    assert after[name][before[name] == 0].any()
    others = set(weights(before)) - {name}
    assert not any(after[other][before[other] == 0].any() for other in others)


def test_a_range_never_reaches_beyond_the_clip_in_front_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(integer_model, "DropClips", lambda: lambda _: None)  # other tools leave the clip where it is
    module = OnnxModule(ir.to_proto(integer_net(float_net())))
    bounded: list[Any] = [part for part in module.latent.modules() if np.isfinite(getattr(part, "largest", np.inf))]
    assert len(bounded) == 1
    with torch.no_grad():
        bounded[0].logarithm += 1.0
        assert float(bounded[0]()) * 255 <= CEILING


def test_activations_with_one_scale_keep_one(proto: onnx.ModelProto) -> None:
    model = onnx.ModelProto.FromString(proto.SerializeToString())
    quantizer = next(node for node in model.graph.node if node.op_type == "QuantizeLinear")
    step = numpy_helper.to_array(next(t for t in model.graph.initializer if t.name == quantizer.input[1]))
    model.graph.initializer.append(numpy_helper.from_array(np.full(3, step), "spread"))
    model.graph.initializer.append(numpy_helper.from_array(np.full(3, 128, np.uint8), "spread_zero"))
    zero = numpy_helper.to_array(next(t for t in model.graph.initializer if t.name == quantizer.input[2]))
    model.graph.initializer[-1].CopyFrom(numpy_helper.from_array(np.full(3, zero, np.uint8), "spread_zero"))
    scalar = quantizer.input[1]
    quantizer.input[1:] = ["spread", "spread_zero"]
    after = trained(model)
    assert after["spread"].shape == (3,)
    assert (after["spread"] == after[scalar]).all()
    assert after[scalar] != step


def test_a_gemm_adds_its_bias_on_the_scale_of_its_sums(proto: onnx.ModelProto) -> None:
    after = trained(proto)
    producers = {name: node for node in proto.graph.node for name in node.output}
    for gemm in (node for node in proto.graph.node if node.op_type == "Gemm"):
        step, rows, sums = (after[producers[name].input[1]] for name in gemm.input)
        assert sums == pytest.approx(rows * step, rel=1e-6)
        assert after[producers[gemm.input[2]].input[0]].dtype == np.int32


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"codes": np.ones((4, 4), np.uint8), "zero": np.full(4, 3, np.uint8)},
            "is stored as uint8: only int8 around 0",
        ),
        ({"codes": np.ones((4, 4), np.int8), "zero": np.full(4, 3, np.int8)}, "is stored as int8: only int8 around 0"),
        ({"step": np.array([1.0, 2.0, 3.0, 4.0], np.float32)}, "differ by channel, which cannot be trained"),
    ],
)
def test_integers_of_another_kind_are_refused(change: dict[str, Any], message: str) -> None:
    arrays = {
        "step": np.full(4, 0.1, np.float32),
        "codes": np.ones((4, 4), np.int8),
        "scale": np.full(4, 0.1, np.float32),
        "zero": np.zeros(4, np.int8),
    }
    text = """<ir_version: 8, opset_import: ["" : 17]> net (float[N,4] x) => (float[N,4] y) {
        q = QuantizeLinear (x, step)  a = DequantizeLinear (q, step)
        w = DequantizeLinear (codes, scale, zero)  y = MatMul (a, w)
    }"""
    model = onnx.parser.parse_model(text)
    model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in {**arrays, **change}.items())
    with pytest.raises(ValueError, match=message):
        OnnxModule(model)
