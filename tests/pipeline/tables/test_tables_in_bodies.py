"""Tables whose rows bodies of an If look up, as in a decoder that was merged with its cached form."""

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from netsurgeon import compress
from netsurgeon.passes.packing import UnpackWeights
from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.runtime import Runtime

ROWS, COLUMNS = 4096, 32
RNG = np.random.default_rng(1)
FEEDS: list[dict[str, Any]] = [
    {"ids": RNG.integers(0, 2048, (1, 6)), "cached": np.array(bool(at % 2))} for at in range(40)
]
UNSEEN = np.setdiff1d(np.arange(ROWS), np.concatenate([feed["ids"].ravel() for feed in FEEDS]))
OPTIONS: dict[str, Any] = {"sparsity": 0.5, "damping": 0.01, "effort": "fast"}


BRANCH = (
    "i{0} = LOOKED_UP x{0} = Gather(table, i{0}) m{0} = MatMul(x{0}, up) r{0} = ACTIVATION(m{0}) "
    "d{0} = MatMul(r{0}, down) s{0} = Add(x{0}, d{0}) "
)
SHAPES = {"table": (ROWS, COLUMNS), "up": (COLUMNS, 96), "down": (96, COLUMNS), "head": (COLUMNS, 12)}


def network(*, is_tied: bool = False, looked_up: str = "Identity(flat_ids)") -> onnx.ModelProto:
    """Two branches with one table and one set of weights, of which the second has another activation."""
    tied = "w{0} = Transpose<perm = [1, 0]>(table) y{0} = MatMul(s{0}, w{0})"
    branch = BRANCH.replace("LOOKED_UP", looked_up) + (tied if is_tied else "y{0} = MatMul(s{0}, head)")
    one, other = (branch.format(at).replace("ACTIVATION", kind) for at, kind in ((1, "Relu"), (2, "Tanh")))
    proto = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["": 17]> net (int64[1, S] ids, bool cached) => (float[S, C] y) { '
        "flat_ids = Reshape(ids, flat) y = If(cached) <"
        f"then_branch = one () => (float[S, C] y1) {{ {one} }}, "
        f"else_branch = other () => (float[S, C] y2) {{ {other} }}> }}"
    )
    rng = np.random.default_rng(0)
    proto.graph.initializer.append(onnx.numpy_helper.from_array(np.array([-1]), "flat"))
    for name, shape in SHAPES.items():
        if name != "head" or not is_tied:
            array = (rng.standard_normal(shape) / (1.0 if name == "table" else 8.0)).astype(np.float32)
            proto.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    return proto


def outputs(model: Any) -> list[Any]:
    session = Runtime(threads=1).session(model)
    return [session.run(feed)["y"] for feed in FEEDS[:4]]


@pytest.mark.parametrize("is_tied", [False, True])
@pytest.mark.parametrize("tables", ["int8", "int4"])
def test_rows_are_stored_once_for_both_branches(tables: str, is_tied: bool) -> None:
    dense = network(is_tied=is_tied)
    result = compress(dense, FEEDS, tables=tables, **OPTIONS)
    (facts,) = result.report.tables
    assert (facts.stored, facts.rows_seen, len(facts.nodes)) == (tables, ROWS - len(UNSEEN), 2)
    assert len(facts.tied) == (2 if is_tied else 0)
    assert result.report.compressed.parameters == result.report.dense.parameters
    assert result.report.compressed.bytes < result.report.dense.bytes / (3.5 if tables == "int8" else 5.0)
    plain = result.model.clone()
    UnpackWeights()(plain)
    for packed, unpacked in zip(outputs(result.model), outputs(plain), strict=True):
        np.testing.assert_array_equal(packed, unpacked)
    tensors = [value.const_value for value in plain.graph.initializers.values()]
    assert sorted(tensor.size for tensor in tensors if tensor is not None)[-1] == ROWS * COLUMNS
    assert sum(node.op_type == "Gather" for node in plain.graph.all_nodes()) == 2


def test_rows_that_are_never_used_can_be_dropped() -> None:
    dropped = UNSEEN[-2000:]  # with more the table would be too small for integers
    whole, small = (compress(network(), FEEDS, drop_rows=rows, **OPTIONS) for rows in ({}, {"table": dropped}))
    assert small.report.compressed.bytes < 0.7 * whole.report.compressed.bytes
    for one, other in zip(outputs(small.model), outputs(whole.model), strict=True):
        np.testing.assert_array_equal(one, other)


def test_rows_that_nobody_can_watch_are_stored_in_fewer_bits_but_not_dropped() -> None:
    proto = network(looked_up="Abs(flat_ids)")
    (facts,) = compress(proto, FEEDS, **OPTIONS).report.tables
    assert (facts.stored, facts.rows_seen) == ("int8", 0)
    with pytest.raises(InputError, match="computes itself which rows it looks up"):
        compress(ir.from_proto(proto), FEEDS, drop_rows={"table": UNSEEN}, **OPTIONS)
