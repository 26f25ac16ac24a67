"""Which tables are found, and who takes them."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from netsurgeon.passes.layers import find_tables
from netsurgeon.passes.rewriting import normal_form

LOOKUP = "y = Gather(table, x)"
TWICE = "a = Gather(table, x) b = Gather(table, x) y = Add(a, b)"
SHARED = "a = Gather(table, x) s = ReduceMax <keepdims = 0> (table) y = Mul(a, s)"


def network(nodes: str, shape: tuple[int, ...] = (2048, 48), dtype: type = np.float32) -> ir.Model:
    text = f'<ir_version: 8, opset_import: ["": 17]> net (int64[N, S] x) => (float[N, S, 48] y) {{ {nodes} }}'
    proto = onnx.parser.parse_model(text)
    proto.graph.initializer.append(onnx.numpy_helper.from_array(np.ones(shape, dtype), "table"))
    model = ir.from_proto(proto)
    normal_form()(model)
    return model


@pytest.mark.parametrize(
    ("nodes", "lookups", "tied"),
    [(LOOKUP, 1, []), (TWICE, 2, []), (SHARED, 1, ["ReduceMax"])],
    ids=["one", "two", "tied"],
)
def test_a_table_is_found_once_with_all_who_take_it(nodes: str, lookups: int, tied: list[str]) -> None:
    (table,) = find_tables(network(nodes).graph)
    assert table.name == "table"
    assert len(table.lookups) == len(table.names) == lookups
    assert [node.op_type for node in table.tied] == tied


@pytest.mark.parametrize(
    ("nodes", "shape", "dtype"),
    [
        (LOOKUP, (64, 48), np.float32),
        ("y = Gather <axis = 1> (table, x)", (48, 2048), np.float32),
        ("a = Gather(table, x) y = ReduceSum <keepdims = 0> (a)", (2048, 48, 2), np.float32),
        ("a = Gather(table, x) y = Cast <to = 1> (a)", (2048, 48), np.float16),
    ],
    ids=["small", "other axis", "three axes", "float16 already"],
)
def test_others_are_left(nodes: str, shape: tuple[int, ...], dtype: type) -> None:
    assert not find_tables(network(nodes, shape, dtype).graph)


@pytest.mark.parametrize(
    ("looked_up", "shown"),
    [("Reshape(x, flat)", ["x", "x", "x"]), ("Abs(x)", None)],
    ids=["in another shape", "computed in the body"],
)
def test_a_table_that_bodies_take_is_one_with_all_lookups(looked_up: str, shown: list[str] | None) -> None:
    text = f"""<ir_version: 8, opset_import: ["": 17]> net (int64[N] x, bool c) => (float[N, 48] y) {{
        a = Gather(table, x)
        b = If (c) <
            then_branch = one () => (float[N, 48] t) {{ t = Gather(table, x) }},
            else_branch = other () => (float[N, 48] e) {{ i = {looked_up} e = Gather(table, i) }}
        >
        y = Add(a, b)
    }}"""
    proto = onnx.parser.parse_model(text)
    for name, array in (("table", np.ones((2048, 48), np.float32)), ("flat", np.array([-1]))):
        proto.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    model = ir.from_proto(proto)
    normal_form()(model)
    (table,) = find_tables(model.graph)
    assert (len(table.lookups), table.tied) == (3, ())
    indices = table.indices(model.graph)
    assert (None if indices is None else [value.name for value in indices]) == shown


def test_a_table_that_is_stored_in_a_body_is_left() -> None:
    inner = onnx.helper.make_graph(
        [onnx.helper.make_node("Gather", ["own", "x"], ["t"])],
        "one",
        [],
        [onnx.helper.make_tensor_value_info("t", onnx.TensorProto.FLOAT, None)],
        [onnx.numpy_helper.from_array(np.ones((2048, 48), np.float32), "own")],
    )
    model = network(LOOKUP)
    choice = onnx.helper.make_node("If", ["c"], ["z"], then_branch=inner, else_branch=inner)
    proto = ir.to_proto(model)
    proto.graph.input.append(onnx.helper.make_tensor_value_info("c", onnx.TensorProto.BOOL, []))
    proto.graph.node.append(choice)
    assert [table.name for table in find_tables(ir.from_proto(proto).graph)] == ["table"]
