"""Packing is lossless, folds away in ONNX Runtime, shrinks the file, and can be undone."""

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packed_models import (
    EXTENDED,
    FLOATS,
    LAYOUTS,
    OFF,
    assert_same,
    model_of,
    pack_as,
    plain,
    run,
    sparse,
    unpacked_weight,
)

from netsurgeon.passes.packing.encodings import Encoding, choose_encoding
from netsurgeon.passes.packing.indices import IndexCode
from netsurgeon.passes.packing.pack_weights import OpsetTooLowError, PackWeights, plan_packing
from netsurgeon.passes.packing.unpack_weights import UnpackWeights, packed_weights


@settings(max_examples=60)
@given(
    shape=st.lists(st.integers(1, 12), min_size=1, max_size=4).map(tuple),
    sparsity=st.floats(0, 1),
    dtype=st.sampled_from(FLOATS),
    grid=st.sampled_from([0, 1, 2, 16, 255, 256, 300]),
    layout=st.sampled_from(LAYOUTS),
    seed=st.integers(0, 99),
)
def test_round_trip(
    shape: tuple[int, ...], sparsity: float, dtype: str, grid: int, layout: Encoding, seed: int
) -> None:
    weight = sparse(shape, sparsity, dtype, seed, grid)
    for encoding in (choose_encoding(weight, 1)[0], Encoding(layout.layout, dtype, layout.gap_bits)):
        packed = pack_as(weight, encoding)
        assert run(packed, OFF).tobytes() == weight.tobytes()
        assert unpacked_weight(packed).tobytes() == weight.tobytes()


@pytest.mark.parametrize(
    ("sparsity", "grid", "layout"),
    [(0.0, 16, "dense"), (0.5, 0, "bitmap"), (0.95, 0, "gaps"), (0.95, 16, "gaps"), (1.0, 0, "gaps")],
)
@pytest.mark.parametrize(("operator", "shape"), [("Gemm", (60, 50)), ("Conv", (16, 8, 5, 5))])
def test_onnx_runtime_folds_the_chain_away(
    operator: str, shape: tuple[int, ...], sparsity: float, grid: int, layout: str, tmp_path: Path
) -> None:
    weight = sparse(shape, sparsity, grid=grid)
    packed = model_of(weight, operator)
    [packing] = plan_packing(packed)
    assert packing.encoding.layout == layout
    assert PackWeights()(packed).modified
    onnx.checker.check_model(ir.to_proto(packed), full_check=True)
    assert_same(model_of(weight, operator), packed)
    run(packed, EXTENDED, tmp_path / "optimized.onnx")
    assert [node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node] == [operator]


def test_a_perturbed_value_is_noticed() -> None:
    weight = sparse((60, 50), 0.9)
    packed = model_of(weight, "Gemm")
    PackWeights()(packed)
    weight.reshape(-1)[np.flatnonzero(weight)[5]] *= 1 + 1e-6
    with pytest.raises(AssertionError):
        assert_same(model_of(weight, "Gemm"), packed)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("sparsity", "layout"), [(0.0, "dense"), (0.5, "bitmap"), (0.95, "gaps")])
@pytest.mark.parametrize(("shape", "axis"), [((300, 400), 0), ((300, 400), 1), ((64, 16, 5, 5), 0)])
def test_slices_of_different_size_share_a_codebook(
    shape: tuple[int, ...], axis: int, sparsity: float, layout: str, dtype: str, tmp_path: Path
) -> None:
    along = [size if place == axis else 1 for place, size in enumerate(shape)]
    scales = 2.0 ** np.random.default_rng(2).integers(-9, 3, along)
    weight = (sparse(shape, sparsity, dtype, grid=31) * scales).astype(dtype)
    operator = "Conv" if len(shape) == 4 else "Gemm"
    packed = model_of(weight, operator)
    [packing] = plan_packing(packed)
    assert (packing.encoding.layout, packing.encoding.scaled_axis, packing.encoding.index) == (
        layout,
        axis,
        IndexCode((5,)),
    )
    assert "scaled codebook" in str(packing.encoding)
    ir.save(packed, tmp_path / "plain.onnx")
    PackWeights()(packed)
    ir.save(packed, tmp_path / "packed.onnx")
    saved = (tmp_path / "plain.onnx").stat().st_size - (tmp_path / "packed.onnx").stat().st_size
    shared = (
        580 if layout == "gaps" else 310
    )  # bytes of the constants that all weights of a model would share, and that the estimate leaves out
    assert saved == pytest.approx(packing.bytes_before - packing.bytes_after - shared, abs=130)
    if dtype == "float32" or operator == "Gemm":  # ONNX Runtime has no convolution of float64
        assert_same(model_of(weight, operator), packed)
        run(packed, EXTENDED, tmp_path / "optimized.onnx")
        assert [node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node] == [operator]
    assert unpacked_weight(packed).tobytes() == weight.tobytes()


def test_what_gains_nothing_is_not_planned() -> None:
    assert plan_packing(model_of(sparse((50, 50), 0))) == []
    small = model_of(sparse((7, 9), 0.9))
    assert plan_packing(small) == []
    assert not PackWeights()(small).modified


@pytest.mark.parametrize("opset", [7, 10])
def test_old_operator_sets_are_refused(opset: int) -> None:
    model = model_of(sparse((60, 50), 0.9), opset=opset)
    before = plain(model)
    with pytest.raises(OpsetTooLowError, match=f"set 11 or later, the model has {opset}"):
        PackWeights()(model)
    with pytest.raises(ValueError, match="upgrade it first"):
        plan_packing(model)
    assert plain(model) == before


def test_the_oldest_operator_set_runs() -> None:
    weight = sparse((60, 50), 0.9)
    model = model_of(weight, "Gemm", opset=11)
    model.ir_version = 6
    PackWeights()(model)
    onnx.checker.check_model(ir.to_proto(model), full_check=True)
    assert_same(model_of(weight, "Gemm"), model)


@pytest.mark.parametrize("role", ["inputs", "outputs"])
def test_inputs_and_outputs_of_the_graph_stay(role: str) -> None:
    model = model_of(sparse((60, 50), 0.9), "Gemm")
    getattr(model.graph, role).append(model.graph.initializers["w"])
    before = plain(model)
    assert not PackWeights()(model).modified
    assert plain(model) == before


def test_other_types_and_unused_weights_stay() -> None:
    assert plan_packing(model_of(np.zeros((60, 50), np.int64))) == []
    model = model_of(sparse((60, 50), 0.9), "Gemm")
    unused = ir.val("unused", const_value=ir.tensor(sparse((60, 50), 0.9), name="unused"))
    model.graph.register_initializer(unused)
    assert [packing.name for packing in plan_packing(model)] == ["w"]


def test_packing_twice_changes_nothing() -> None:
    model = model_of(sparse((80, 80), 0.9), "Gemm")
    PackWeights()(model)
    before = plain(model)
    assert not PackWeights(min_elements=1)(model).modified
    assert plain(model) == before


def test_helper_names_are_free_names() -> None:
    weight = sparse((60, 50), 0.9)
    taken = model_of(weight, "Gemm")
    taken.graph.initializers["w"].metadata_props["note"] = "kept"
    for name in ("p7", "u9"):
        other = ir.val(name, const_value=ir.tensor(np.ones(2, np.float32), name=name))
        taken.graph.register_initializer(other)
    taken.graph[0].name = "w/unpack"
    before = plain(taken)
    PackWeights()(taken)
    assert packed_weights(taken) == ["w"]
    assert_same(model_of(weight, "Gemm"), taken)
    UnpackWeights()(taken)
    assert plain(taken) == before
    assert taken.graph.initializers["w"].metadata_props == {"note": "kept"}


def test_a_shared_weight_is_packed_once() -> None:
    model = model_of(sparse((60, 60), 0.9), "Gemm")
    first = model.graph[0]
    second = ir.node("Gemm", [first.outputs[0], model.graph.initializers["w"]], name="second")
    second.outputs[0].name, second.outputs[0].type, second.outputs[0].shape = (
        "z",
        first.outputs[0].type,
        ir.Shape([3, 60]),
    )
    model.graph.append(second)
    model.graph.outputs[:] = second.outputs
    dense = model.clone()
    PackWeights()(model)
    assert packed_weights(model) == ["w"]
    assert_same(dense, model)


def branching() -> ir.Model:
    """``If`` whose branches use the initializer ``w`` (60, 50) of the main graph."""
    weight = ir.val("w", const_value=ir.tensor(sparse((60, 50), 0.9), name="w"))
    x = ir.val("x", ir.DataType.FLOAT, [1, 60])
    test = ir.val("test", const_value=ir.tensor(np.array([0.0], np.float32), name="test"))
    total = ir.node("ReduceSum", [x], {"keepdims": 0}, name="sum")
    positive = ir.node("Greater", [total.outputs[0], test], name="positive")
    branches = []
    for name, operator in (("then", "MatMul"), ("else", "MatMul")):
        product = ir.node(operator, [x, weight], name=name)
        product.outputs[0].name = f"{name}_y"
        product.outputs[0].type, product.outputs[0].shape = ir.TensorType(ir.DataType.FLOAT), ir.Shape([1, 50])
        branches.append(ir.Graph([], product.outputs, nodes=[product], name=name))
    attributes = {"then_branch": branches[0], "else_branch": branches[1]}
    choice = ir.node("If", [positive.outputs[0]], attributes, outputs=[ir.val("y", ir.DataType.FLOAT, [1, 50])])
    nodes = [total, positive, choice]
    graph = ir.Graph([x], choice.outputs, nodes=nodes, initializers=[weight, test], opset_imports={"": 13}, name="g")
    return ir.Model(graph, ir_version=7)


def test_weights_that_subgraphs_capture_are_packed(tmp_path: Path) -> None:
    dense, packed = branching(), branching()
    PackWeights()(packed)
    assert packed_weights(packed) == ["w"]
    assert_same(dense, packed)
    run(packed, EXTENDED, tmp_path / "optimized.onnx")
    operators = {node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node}
    assert operators == {"ReduceSum", "Greater", "If"}
    UnpackWeights()(packed)
    assert plain(packed) == plain(branching())


def test_a_plan_for_another_model_is_refused() -> None:
    plan = plan_packing(model_of(sparse((60, 50), 0.9), "Gemm"))
    model = model_of(sparse((60, 50), 0.9), "Gemm")
    value = model.graph.initializers.pop("w")
    value.name = "v"
    model.graph.register_initializer(value)
    before = plain(model)
    with pytest.raises(ValueError, match="not weights that can be packed: w;"):
        PackWeights(plan)(model)
    assert plain(model) == before


def test_a_plan_that_no_longer_fits_is_refused() -> None:
    plan = plan_packing(model_of(sparse((60, 50), 0.9, grid=300), "Gemm"))
    model = model_of(sparse((60, 50), 0.9), "Gemm")
    before = plain(model)
    with pytest.raises(ValueError, match="float16 does not hold"):
        PackWeights(plan)(model)
    assert plain(model) == before


@pytest.mark.parametrize(("sparsity", "most"), [(0.0, 7), (0.5, 63), (0.9, 63), (0.95, 127)])
def test_integers_are_packed_and_unfold_in_front_of_their_dequantizer(sparsity: float, most: int) -> None:
    rng = np.random.default_rng(3)
    codes = np.where(rng.random((60, 50)) < sparsity, 0, rng.integers(-most, most + 1, (60, 50))).astype(np.int8)
    weight = ir.val("w", const_value=ir.tensor(codes, name="w"))
    scale = ir.val("s", const_value=ir.tensor(np.float32(0.1), name="s"))
    x = ir.val("x", ir.DataType.FLOAT, [3, 60])
    floats = ir.node("DequantizeLinear", [weight, scale], name="floats")
    layer = ir.node("MatMul", [x, floats.outputs[0]], outputs=[ir.val("y", ir.DataType.FLOAT, [3, 50])], name="layer")
    graph = ir.Graph(
        [x], layer.outputs, nodes=[floats, layer], initializers=[weight, scale], opset_imports={"": 13}, name="g"
    )
    model = ir.Model(graph, ir_version=7)
    packed = model.clone()
    [packing] = plan_packing(packed)
    assert packing.bytes_after < 0.9 * packing.bytes_before
    PackWeights()(packed)
    onnx.checker.check_model(ir.to_proto(packed), full_check=True)
    assert_same(model, packed)
    restored = unpacked_weight(packed)
    assert restored.dtype == np.int8
    assert restored.tobytes() == codes.tobytes()
