"""float16 inside a model becomes float32, and nothing else changes."""

import numpy as np
import onnx
import onnx_ir as ir
from quantized_models import RUNTIME, conv_net, in_float16, pictures, run

from netsurgeon.passes.rewriting.widen_floats import WidenFloats

BRANCHES = """<ir_version: 8, opset_import: ["": 17]> net
(float16[N, 4] x, bool b, float s) => (float16[N, 4] y, float t)
<float16[4] w = {14336, 15872, 16640, 17152}> {
    half = Cast <to = 10> (s)
    u = Mul(x, half)
    y = If (b) <
        then_branch = small () => (float16[N, 4] p) {
            k = Constant <value = float16[1] {13312}> () p = Mul(u, k) },
        else_branch = large () => (float16[N, 4] q) { q = Mul(u, w) }>
    t = Cast <to = 1> (half)
}"""
"""Constants are written as their bits: 0.5, 1.5, 2.5 and 3.5, and 0.25."""
X = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float16)


def test_a_network_computes_in_float32_between_inputs_and_outputs_of_float16() -> None:
    half, x = in_float16(conv_net()), pictures().astype(np.float16)
    wide = half.clone()
    assert WidenFloats()(wide).modified
    (y,) = wide.graph.outputs
    assert (wide.graph.inputs[0].dtype, y.name, y.dtype) == (ir.DataType.FLOAT16, "y", ir.DataType.FLOAT16)
    assert [node.op_type for node in wide.graph].count("Cast") == 2
    for name, value in half.graph.initializers.items():
        np.testing.assert_array_equal(wide.graph.initializers[name].const_value, value.const_value)
        assert wide.graph.initializers[name].dtype == ir.DataType.FLOAT
    expected = run(half, x)
    assert np.abs(run(wide, x) - expected).max() < 1e-2 * np.abs(expected).max()
    onnx.checker.check_model(ir.to_proto(wide), full_check=True)


def test_bodies_casts_and_constants_in_attributes_are_widened() -> None:
    half = ir.from_onnx_text(BRANCHES)
    wide = half.clone()
    assert WidenFloats()(wide).modified
    assert [node.op_type for node in wide.graph] == ["Cast", "Mul", "If", "Cast", "Cast"]
    for chosen in (True, False):
        feed = {"x": X, "b": np.array(chosen), "s": np.array(1.5, np.float32)}
        before, after = RUNTIME.session(half).run(feed), RUNTIME.session(wide).run(feed)
        for name in ("y", "t"):
            assert after[name].dtype == before[name].dtype
            np.testing.assert_allclose(after[name], before[name], rtol=2e-3)


def test_a_float32_model_is_left_alone() -> None:
    model = conv_net()
    before = ir.to_proto(model).SerializeToString()
    assert not WidenFloats()(model).modified
    assert ir.to_proto(model).SerializeToString() == before
