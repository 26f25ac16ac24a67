"""Tables that rows are looked up in, on integers: which, how exactly, and what ONNX Runtime computes."""

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

from netsurgeon.passes.quantization import RoundTables, StoreTables, find_integer_weights, find_tables
from netsurgeon.passes.rewriting import normal_form
from netsurgeon.pipeline.runtime import Runtime

Array = NDArray[Any]
LOOKUP = "y = Gather(table, x)"
SHARED = "a = Gather(table, x) s = ReduceMax <keepdims = 0> (a) t = Mul(table, s) b = ReduceMax(t) y = Add(a, b)"


def network(nodes: str = LOOKUP, shape: tuple[int, ...] = (2048, 48)) -> ir.Model:
    text = f'<ir_version: 8, opset_import: ["": 17]> net (int64[N, S] x) => (float[N, S, 48] y) {{ {nodes} }}'
    proto = onnx.parser.parse_model(text)
    table = np.random.default_rng(0).standard_normal(shape)
    table *= np.exp(np.linspace(0.0, 1.0, shape[0])).reshape(-1, *[1 for _ in shape[1:]])
    proto.graph.initializer.append(onnx.numpy_helper.from_array(table.astype(np.float32), "table"))
    model = ir.from_proto(proto)
    normal_form()(model)
    return model


def run(model: ir.Model) -> Array:
    return np.asarray(Runtime().session(model).run({"x": np.array([[0, 5, 2047], [5, 7, 1]])})["y"])


def rounded_and_stored(model: ir.Model) -> tuple[ir.Model, ir.Model, RoundTables]:
    rounded = model.clone()
    tables = RoundTables(frozenset(str(node.name) for node in find_tables(model.graph, {})))
    tables(rounded)
    stored = rounded.clone()
    StoreTables(tables.scales)(stored)
    return rounded, stored, tables


@pytest.mark.parametrize("nodes", [LOOKUP, "a = Gather(table, x) b = Gather(table, x) y = Add(a, b)"])
def test_rows_of_the_stored_table_are_those_of_the_rounded_one(nodes: str) -> None:
    model = network(nodes)
    rounded, stored, tables = rounded_and_stored(model)
    onnx.checker.check_model(ir.to_proto(stored))
    np.testing.assert_allclose(run(stored), run(rounded), rtol=1e-6)
    np.testing.assert_allclose(run(rounded), run(model), rtol=0.0, atol=0.02 * np.abs(run(model)).max())
    assert all(0.0 < error < 1e-3 for error in tables.errors.values())
    sizes = [len(ir.to_proto(variant).SerializeToString()) for variant in (model, stored)]
    assert sizes[1] < 0.3 * len(tables.scales) * sizes[0]


def test_the_node_keeps_its_name_and_its_integers_are_found_by_it() -> None:
    model = network()
    (node,) = find_tables(model.graph, {})
    name = str(node.name)
    _, stored, _ = rounded_and_stored(model)
    assert find_integer_weights(stored.graph)[name].codes.shape == (2048, 48)
    assert [value.name for value in stored.graph.outputs] == ["y"]


@pytest.mark.parametrize(
    ("nodes", "shape"),
    [
        (LOOKUP, (64, 48)),
        ("y = Gather <axis = 1> (table, x)", (48, 2048)),
        (SHARED, (2048, 48)),
        ("a = Gather(table, x) y = ReduceSum <keepdims = 0> (a)", (2048, 48, 2)),
    ],
    ids=["small", "other axis", "taken by another node", "three axes"],
)
def test_other_tables_stay_floats(nodes: str, shape: tuple[int, ...]) -> None:
    assert not find_tables(network(nodes, shape).graph, {})


def test_a_table_whose_node_is_excluded_stays_floats() -> None:
    model = network()
    (node,) = find_tables(model.graph, {})
    assert not find_tables(model.graph, {str(node.name): "excluded by the user"})
