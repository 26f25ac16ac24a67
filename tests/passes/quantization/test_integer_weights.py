"""Weights that a file holds as integers are found under the name of the layer that takes them, with what they are."""

import onnx_ir as ir
import pytest

from netsurgeon.passes.quantization import find_integer_weights


@pytest.mark.parametrize(("integers", "form"), [("int8", "int8"), ("int4", "int4")])
def test_what_a_weight_is_stored_as_is_named(integers: str, form: str) -> None:
    model = ir.from_onnx_text(
        f'<ir_version: 10, opset_import: ["" : 21]> g (float[N,4] x) => (float[N,2] y) <{integers}[4,2] codes = '
        "{1, -2, 3, 0, 5, -6, 7, 0}, float step = {0.5}, float[4,2] plain = {1, 2, 3, 4, 5, 6, 7, 8}> "
        "{ w = DequantizeLinear(codes, step) y = MatMul(x, w) z = MatMul(x, plain) }"
    )
    model.graph[1].name, model.graph[2].name = "layer", "floats"
    (name, stored), *others = find_integer_weights(model.graph).items()
    assert not others
    assert (name, stored.name, stored.form) == ("layer", "codes", form)
    assert stored.bytes == (8 if integers == "int8" else 4)
