"""Nodes that unpack weights: names that nobody else has, constants that are one, and values that are right."""

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from netsurgeon.passes.packing.chain_builder import ChainBuilder, names_in
from netsurgeon.passes.packing.packed_integers import pack_integers
from netsurgeon.passes.packing.unpack_weights import MARK
from netsurgeon.pipeline.runtime.session import Runtime


def graph_of(opset: int = 13) -> ir.Model:
    header = f'<ir_version: 8, opset_import: ["" : {opset}]>'
    return ir.from_onnx_text(header + "made (float[1] x) => (float[1] y) { p0 = Relu(x) y = Neg(p0) }")


def computed(model: ir.Model, builder: ChainBuilder, *values: ir.Value) -> list[Any]:
    """What has been built gives in ONNX Runtime."""
    builder.insert()
    model.graph.outputs.extend(values)
    outputs = Runtime(threads=1).session(model).run({"x": np.zeros(1, np.float32)})
    return [outputs[value.name or ""] for value in values]


def builder_of(model: ir.Model) -> ChainBuilder:
    return ChainBuilder(model.graph, names_in(model.graph))


def test_names_that_are_taken_are_left_out() -> None:
    model = graph_of()
    builder = builder_of(model)
    assert {"x", "p0", "y"} <= builder.names
    assert [builder.tensor(np.zeros(2)).name for _ in range(2)] == ["p1", "p2"]
    assert builder.tensor(np.zeros(2), "weight").name == "weight"
    assert builder.mark() != builder.mark()
    assert builder.mark().startswith(MARK)


def test_equal_constants_are_one_and_others_are_not() -> None:
    builder = builder_of(graph_of())
    assert builder.integers(1, 2) is builder.integers(1, 2)
    assert builder.integers(1, 2) is not builder.integers(2, 1)
    assert builder.constant(np.zeros(2, np.int32)) is not builder.constant(np.zeros((2, 1), np.int32))
    assert builder.tensor(np.zeros(2)) is not builder.tensor(np.zeros(2))


@pytest.mark.parametrize("bits", range(1, 9))
def test_fields_of_bytes_are_the_integers_again(bits: int) -> None:
    model = graph_of()
    builder = builder_of(model)
    integers = np.random.default_rng(bits).integers(0, 1 << bits, 21).astype(np.uint8)
    fields = builder.first(builder.fields(pack_integers(integers, bits), ir.DataType.INT32), 21)
    table = np.random.default_rng(0).standard_normal(1 << bits).astype(np.float32)
    (entries,) = builder.looked_up(pack_integers(integers, bits), builder.tensor(table))
    seen = computed(model, builder, fields, builder.first(entries, 21))
    np.testing.assert_array_equal(seen[0], integers)
    np.testing.assert_array_equal(seen[1], table[integers])


@pytest.mark.parametrize("opset", [11, 13])
def test_a_value_is_cut_in_every_operator_set(opset: int) -> None:
    model = graph_of(opset)
    builder = builder_of(model)
    whole = np.arange(6, dtype=np.float32)
    stored = builder.tensor(whole)
    assert builder.cut(stored, [6]) == [stored], "there is nothing to cut"
    parts = computed(model, builder, *builder.cut(stored, [2, 1, 3]))
    for part, expected in zip(parts, np.split(whole, [2, 3]), strict=True):
        np.testing.assert_array_equal(part, expected)


def test_only_nodes_that_give_weights_keep_a_name() -> None:
    model = graph_of()
    builder = builder_of(model)
    tensor = ir.tensor(np.zeros((2, 3), np.float32))
    scales = np.array([[2.0], [3.0]], np.float32)
    weight = builder.unpacked(builder.tensor(np.arange(6, dtype=np.float32)), tensor, "weight", scales)
    (values,) = computed(model, builder, weight)
    np.testing.assert_array_equal(values, scales * np.arange(6).reshape(2, 3))
    named = [node for node in builder.nodes if node.name]
    assert [node.outputs[0] for node in named] == [weight]
    assert (named[0].name or "").startswith(MARK)
    assert list(model.graph)[: len(builder.nodes)] == builder.nodes, "in front of all that reads them"
