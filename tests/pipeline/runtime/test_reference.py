"""ONNX's reference evaluator gives what ONNX Runtime gives, and says in a sentence what it cannot."""

import numpy as np
import onnx_ir as ir
import pytest

from netsurgeon.pipeline.errors import RunError
from netsurgeon.pipeline.runtime.reference import reference_outputs
from netsurgeon.pipeline.runtime.session import Runtime

X = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)


def graph(body: str, domain: str = "") -> ir.Model:
    imports = f', "{domain}" : 1' if domain else ""
    return ir.from_onnx_text(
        f'<ir_version: 8, opset_import: ["" : 17{imports}]> made (float[N,4] x) => (float[N,4] y) {{ {body} }}'
    )


def test_outputs_are_those_of_onnx_runtime() -> None:
    model = graph("s = Softmax(x) y = Mul(s, x)")
    expected = Runtime(threads=1).session(model).run({"x": X})["y"]
    np.testing.assert_allclose(np.asarray(reference_outputs(model, {"x": X})["y"]), expected, rtol=1e-6)
    assert not np.allclose(np.asarray(reference_outputs(model, {"x": 2.0 * X})["y"]), expected)


def test_the_model_is_left_as_it_is() -> None:
    model = graph("y = Relu(x)")
    before = ir.to_proto(model).SerializeToString()
    reference_outputs(model, {"x": X})
    assert ir.to_proto(model).SerializeToString() == before


def test_an_operator_that_it_does_not_know_is_named_in_a_sentence() -> None:
    with pytest.raises(RunError, match=r"ONNX's reference evaluator cannot run the model: .*NoSuch"):
        reference_outputs(graph("y = elsewhere.NoSuch(x)", "elsewhere"), {"x": X})


def test_a_feed_that_does_not_fit_is_an_error_too() -> None:
    with pytest.raises(RunError, match="cannot run the model"):
        reference_outputs(graph("y = Relu(x)"), {})
