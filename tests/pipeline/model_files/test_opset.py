"""An operator set is raised where something needs it, and only where nothing else changes."""

import numpy as np
import onnx_ir as ir
import pytest

from netsurgeon.pipeline.model_files.opset import changed_interface, raised_opset
from netsurgeon.pipeline.runtime.session import Runtime

TEXT = '<ir_version: 7, opset_import: ["" : {opset}]> graph (float[N,4] x) => (float[N,4] y) {{ {body} }}'
FEED: dict[str, np.ndarray] = {"x": np.linspace(-2.0, 2.0, 8, dtype=np.float32).reshape(2, 4)}


def model_of(body: str, opset: int = 11) -> ir.Model:
    return ir.from_onnx_text(TEXT.format(opset=opset, body=body))


def test_the_raised_model_computes_the_same() -> None:
    model = model_of("h = Softmax <axis = 1> (x) y = Relu(h)")
    raised = raised_opset(model, 13, dict(FEED), Runtime())
    assert isinstance(raised, ir.Model)
    assert (raised.graph.opset_imports[""], model.graph.opset_imports[""]) == (13, 11)
    before, after = (Runtime().session(candidate).run(FEED)["y"] for candidate in (model, raised))
    np.testing.assert_array_equal(before, after)


def test_what_cannot_be_converted_is_a_reason() -> None:
    model = model_of('y = Upsample <mode = "nearest", scales = [1.0, 1.0]> (x)', opset=7)
    model.graph[0].op_type = "NoSuchOperator"
    reason = raised_opset(model, 13, dict(FEED), Runtime())
    assert isinstance(reason, str)
    assert reason
    assert "\n" not in reason


@pytest.mark.parametrize("side", ["inputs", "outputs"])
@pytest.mark.parametrize("change", ["name", "shape", "type"])
def test_another_interface_is_a_reason(side: str, change: str) -> None:
    model, other = model_of("y = Relu(x)"), model_of("y = Relu(x)")
    assert changed_interface(model, other) is None
    (value,) = getattr(other.graph, side)
    if change == "name":
        value.name = "z"
    elif change == "shape":
        value.shape = ir.Shape([2, 4])
    else:
        value.type = ir.TensorType(ir.DataType.FLOAT16)
    reason = changed_interface(model, other)
    assert reason is not None
    assert reason.startswith(f"the model's {side} changed from ")
