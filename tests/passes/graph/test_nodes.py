"""Constants of nodes: what counts as one, and that a shared one is cloned before it changes."""

import numpy as np
import onnx_ir as ir
import pytest

from netsurgeon.passes.graph import nodes
from netsurgeon.passes.graph.nodes import (
    bodies,
    is_constant,
    label,
    names_read_once,
    optional_input,
    present,
    set_initializer,
    tensor,
    unused_name,
)


def model_of(text: str, **constants: float) -> ir.Model:
    """A graph from its text, with scalar initializers."""
    model = ir.from_onnx_text(f'<ir_version: 8, opset_import: ["" : 17]> {text}')
    for value in list(model.graph.inputs):
        if value.name in constants:
            value.const_value = ir.tensor(np.array([constants[value.name]], np.float32), name=value.name)
            model.graph.register_initializer(value)
            model.graph.inputs.remove(value)
    return model


def shared() -> ir.Model:
    return model_of("g (float[1] x, float[1] c) => (float[1] y) { h = Mul(x, c) y = Add(h, c) }", c=2.0)


def constant_of(node: ir.Node, index: int) -> float:
    return float(tensor(present(node.inputs[index])).numpy()[0])


def test_a_constant_of_one_use_is_changed_in_place() -> None:
    model = model_of("g (float[1] x, float[1] c) => (float[1] y) { y = Mul(x, c) }", c=2.0)
    (node,) = model.graph
    set_initializer(node, 1, np.array([[3.0, 4.0]], np.float32), "fresh")
    assert list(model.graph.initializers) == ["c"]
    assert tensor(present(node.inputs[1])).numpy().tolist() == [[3.0, 4.0]]
    assert present(node.inputs[1]).shape == (1, 2)


def test_a_shared_constant_is_cloned_under_a_free_name() -> None:
    model = shared()
    multiply, add = model.graph
    set_initializer(multiply, 1, np.array([5.0], np.float32), "h")
    assert (constant_of(multiply, 1), constant_of(add, 1)) == (5.0, 2.0)
    assert set(model.graph.initializers) == {"c", "h_own"}


def test_an_input_that_is_not_there_is_appended() -> None:
    model = model_of("g (float[1,1,2,2] x, float[1,1,1,1] w) => (y) { y = Conv(x, w) }")
    (node,) = model.graph
    assert optional_input(node, 2) is None
    set_initializer(node, 2, np.array([1.5], np.float32), "bias")
    assert present(optional_input(node, 2)).name == "bias"
    assert constant_of(node, 2) == 1.5


def test_what_a_caller_can_replace_is_no_constant() -> None:
    model = shared()
    (multiply, _) = model.graph
    value = present(multiply.inputs[1])
    assert is_constant(value)
    assert not is_constant(multiply.inputs[0])
    assert not is_constant(None)
    model.graph.inputs.append(value)
    assert not is_constant(value)


def test_a_free_name_is_free_in_bodies_too() -> None:
    model = model_of(
        "g (bool b, float[1] x) => (y) { y = If (b) <then_branch = t () => (z) { z = Neg(x) },"
        " else_branch = e () => (v) { v = Abs(x) }> }"
    )
    (node,) = model.graph
    assert {body.outputs[0].name for body in bodies(node)} == {"z", "v"}
    assert [unused_name(model.graph, name) for name in ("x", "y", "z", "v", "w")] == [
        "x_own",
        "y_own",
        "z_own",
        "v_own",
        "w",
    ]


def test_what_is_missing_is_refused() -> None:
    with pytest.raises(ValueError, match="a required input is missing"):
        present(None)
    (node, _) = shared().graph
    with pytest.raises(ValueError, match="'x' is not a constant"):
        tensor(present(node.inputs[0]))


@pytest.mark.parametrize(("name", "expected"), [("layer", "layer"), (None, "h"), ("", "h")])
def test_a_node_without_a_name_goes_by_its_output(name: str | None, expected: str) -> None:
    node = ir.Node("", "Neg", [ir.Value(name="x")], name=name, outputs=[ir.Value(name="h")])
    assert label(node) == expected


@pytest.mark.parametrize("count", [8, 16])
def test_a_block_of_edits_reads_the_names_of_the_graph_once(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = "\n".join(f"h{at} = Mul(x, c)" for at in range(count))
    plain, model = (model_of(f"g (float[1] x, float[1] c) => (float[1] h0) {{ {lines} }}", c=2.0) for _ in range(2))
    read, reads = nodes._names, []

    def counted(graph: ir.Graph) -> set[str | None]:
        reads.append(graph)
        return read(graph)

    monkeypatch.setattr(nodes, "_names", counted)
    for node in plain.graph:
        set_initializer(node, 1, np.ones(1, np.float32), "c")
    assert len(reads) >= count - 1
    reads.clear()
    with names_read_once(model.graph), names_read_once(model.graph):
        for node in model.graph:
            set_initializer(node, 1, np.ones(1, np.float32), "c")
    assert len(reads) == 1
    assert list(model.graph.initializers) == list(plain.graph.initializers)
    assert unused_name(model.graph, "c") not in model.graph.initializers
    assert len(reads) == 2
