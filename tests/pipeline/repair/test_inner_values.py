"""Values through which alone anything flows: residual joins, and what chains hand on."""

import onnx_ir as ir

from netsurgeon.pipeline.repair import inner_values
from netsurgeon.pipeline.repair.inner_values import MOST_VALUES


def names(text: str) -> tuple[str, ...]:
    graph = ir.from_onnx_text(f'<ir_version: 8, opset_import: ["" : 17]> g {text}').graph
    return inner_values(graph, [node for node in graph if node.op_type in ("MatMul", "Conv")])


def test_a_chain_hands_on_what_is_behind_each_activation() -> None:
    assert names(
        "(float[N,4] x, float[4,4] w, float[4,4] v) => (float[N,4] y) { a = MatMul(x, w) b = Relu(a) y = MatMul(b, v) }"
    ) == ("b",)


def test_a_residual_block_is_narrow_where_it_joins() -> None:
    body = "a = MatMul(x, w) b = Relu(a) c = MatMul(b, v) d = Relu(c) e = Add(d, b) y = MatMul(e, w)"
    assert names(f"(float[N,4] x, float[4,4] w, float[4,4] v) => (float[N,4] y) {{ {body} }}") == ("b", "e")


def test_masks_that_pass_by_and_shapes_do_not_count() -> None:
    body = "a = MatMul(x, w) s = Shape(a) b = Mul(a, mask) c = MatMul(b, w) d = Mul(c, mask) e = Reshape(d, s)"
    body += " y = MatMul(e, w)"
    assert names(f"(float[N,4] x, float[N,4] mask, float[4,4] w) => (float[N,4] y) {{ {body} }}") == ("b", "e")


def test_of_many_a_few_at_even_distances() -> None:
    body = " ".join(f"h{at + 1} = MatMul(h{at}, w)" for at in range(40))
    chosen = names(f"(float[N,4] h0, float[4,4] w) => (float[N,4] h40) {{ {body} }}")
    assert len(chosen) == MOST_VALUES
    assert (chosen[0], chosen[-1]) == ("h1", "h39")
