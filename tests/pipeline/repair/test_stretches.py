"""What lies behind an unknown operator is tuned from narrow value to narrow value, as far as operators are known."""

import numpy as np
import onnx_ir as ir
import pytest

from netsurgeon.pipeline.repair.stretches import Stretch, in_front_of, part_of, stretches_behind
from netsurgeon.pipeline.runtime import Runtime

KNOWN = {"MatMul", "Relu", "Add", "Sub"}
HEAD = """<ir_version: 8, opset_import: ["" : 17]> net (float[N,4] x) => (float[N,4] y)
    <float[4,4] w = {1,0,0,0, 0,2,0,0, 0,0,3,0, 0,0,0,4}>"""


def network(body: str) -> ir.Model:
    model = ir.from_onnx_text(f"{HEAD} {{ {body} }}")
    for node in model.graph:
        node.name = node.outputs[0].name
    return model


def stretches(body: str) -> tuple[Stretch, ...]:
    graph = network(body).graph
    return stretches_behind(graph, [node for node in graph if node.op_type == "MatMul"], KNOWN)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("a = MatMul(x, w) b = Relu(a) y = MatMul(b, w)", ()),
        ("a = Celu(x) b = MatMul(a, w) c = Relu(b) y = MatMul(c, w)", (("a", ("y",), ("b", "y")),)),
        ("a = MatMul(x, w) b = Celu(a) c = MatMul(b, w) y = MatMul(c, w)", (("b", ("y",), ("c", "y")),)),
        (
            "a = MatMul(x, w) b = Celu(a) c = MatMul(b, w) d = Celu(c) e = MatMul(d, w) y = Relu(e)",
            (("b", ("c",), ("c",)), ("d", ("y",), ("e",))),
        ),
        # beside the unknown operator flows something else: only what is behind the join begins at one value
        (
            "a = MatMul(x, w) b = Celu(a) c = MatMul(b, w) d = Add(a, c) e = MatMul(d, w) f = Relu(e) y = Add(d, f)",
            (("d", ("y",), ("e",)),),
        ),
        ("a = MatMul(x, w) b = MatMul(a, w) y = Celu(b)", ()),
    ],
)
def test_a_stretch_reaches_to_the_next_unknown_operator(body: str, expected: tuple[object, ...]) -> None:
    assert stretches(body) == tuple(Stretch(*stretch) for stretch in expected)  # type: ignore[misc]


def test_a_stretch_is_a_model_whose_values_are_those_of_the_whole() -> None:
    model = network("a = MatMul(x, w) b = Celu(a) c = MatMul(b, w) d = Relu(c) y = Sub(d, b)")
    (stretch,) = stretches_behind(model.graph, [node for node in model.graph if node.op_type == "MatMul"], KNOWN)
    feed = {"x": np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)}
    runtime = Runtime()
    feed |= dict(runtime.session(in_front_of(model, ["b"], feed)).run(feed))
    part = part_of(model, stretch, ["c"], feed)
    assert [node.name for node in part.graph] == ["c", "d", "y"]
    outputs = dict(runtime.session(part).run(feed))
    whole = dict(runtime.session(in_front_of(model, ["c", "y"], feed)).run({"x": feed["x"]}))
    assert all(np.array_equal(outputs[name], whole[name]) for name in ("c", "y"))
