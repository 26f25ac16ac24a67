"""Packing is lossless, folds away in ONNX Runtime, shrinks the file, and can be undone."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx_ir.passes import common as common_passes

from netsurgeon.passes.packing.encodings import Encoding, choose_encoding, encode
from netsurgeon.passes.packing.pack_weights import OpsetTooLowError, Packing, PackWeights, plan_packing
from netsurgeon.passes.packing.unpack_weights import UnpackWeights, packed_weights

Array = NDArray[Any]

OFF = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
EXTENDED = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
FLOATS = ("float16", "float32", "float64")
LAYOUTS = [Encoding("dense", ""), Encoding("bitmap", "")] + [Encoding("gaps", "", bits) for bits in (2, 3, 5, 8)]


def model_of(weight: Array, operator: str = "Identity", opset: int = 13) -> ir.Model:
    """One operator on the initializer ``w``: ``Identity`` gives the weight itself."""
    value = ir.val("w", const_value=ir.tensor(weight, name="w"))
    dtype = ir.DataType.from_numpy(weight.dtype)
    shapes: dict[str, tuple[list[int], list[int]]] = {
        "Identity": ([1], list(weight.shape)),
        "Gemm": ([3, weight.shape[0]], [3, *weight.shape[1:]]),
        "Conv": ([1, *weight.shape[1:]], [1, weight.shape[0], 1, 1]),
    }
    entry = ir.val("x", dtype, shapes[operator][0])
    inputs = [value] if operator == "Identity" else [entry, value]
    node = ir.node(operator, inputs, outputs=[ir.val("y", dtype, shapes[operator][1])], name="op")
    graph = ir.Graph([entry], node.outputs, nodes=[node], initializers=[value], opset_imports={"": opset}, name="g")
    return ir.Model(graph, ir_version=7)


def run(model: ir.Model, level: Any = EXTENDED, optimized: Path | None = None) -> Array:
    """The first output in ONNX Runtime on a fixed input."""
    options = ort.SessionOptions()
    options.graph_optimization_level = level
    options.log_severity_level = 3
    if level == OFF:
        # A weight that is not folded cannot be rearranged ahead of time, and without this the plain model's is: the
        # two would take different matrix kernels, which differ in the last bit.
        options.add_session_config_entry("session.disable_prepacking", "1")
    if optimized is not None:
        options.optimized_model_filepath = str(optimized)
    source = ir.to_proto(model).SerializeToString()
    session = ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    entry = session.get_inputs()[0]
    dtype = {"tensor(float)": "float32", "tensor(double)": "float64", "tensor(float16)": "float16"}[entry.type]
    data = np.random.default_rng(7).standard_normal(entry.shape).astype(dtype)
    return np.asarray(session.run(None, {entry.name: data})[0])


def assert_same(expected: ir.Model, actual: ir.Model) -> None:
    """Both models give the same bytes, with ONNX Runtime's optimisation off and on."""
    for level in (OFF, EXTENDED):
        assert run(expected, level).tobytes() == run(actual, level).tobytes()


def plain(model: ir.Model) -> tuple[list[Any], dict[str, bytes]]:
    """Nodes and initializers, for an exact comparison."""
    proto = ir.to_proto(model)
    nodes = [node.SerializeToString() for node in proto.graph.node]
    return nodes, {tensor.name: tensor.SerializeToString() for tensor in proto.graph.initializer}


def sparse(shape: tuple[int, ...], sparsity: float, dtype: str = "float32", seed: int = 0, grid: int = 0) -> Array:
    """Normal values, at most ``grid`` distinct ones if given, a share of them zero."""
    rng = np.random.default_rng(seed)
    weight = rng.standard_normal(shape)
    if grid:
        weight = rng.choice(np.linspace(0.5, 2, grid), shape)
    weight[rng.random(shape) < sparsity] = 0
    return weight.astype(np.float16).astype(dtype) if grid else weight.astype(dtype)


def pack_as(weight: Array, encoding: Encoding, operator: str = "Identity") -> ir.Model:
    model = model_of(weight, operator)
    PackWeights([Packing("w", encoding, 0, 0)])(model)
    return model


def unpacked_weight(model: ir.Model) -> Array:
    UnpackWeights()(model)
    tensor = model.graph.initializers["w"].const_value
    assert tensor is not None
    return tensor.numpy()


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("stored", ["own", "float16"])
@pytest.mark.parametrize("index_bits", [0, 5, 8])
@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: f"{layout.layout}{layout.gap_bits or ''}")
def test_every_encoding_gives_back_every_bit(layout: Encoding, index_bits: int, stored: str, dtype: str) -> None:
    weight = sparse((17, 23), 0.8, dtype, grid=20)
    encoding = Encoding(layout.layout, dtype if stored == "own" else stored, layout.gap_bits, index_bits)
    packed = pack_as(weight, encoding)
    assert packed_weights(packed) == ["w"]
    assert_same(model_of(weight), packed)
    assert unpacked_weight(packed).tobytes() == weight.tobytes()


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


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("index_bits", [0, 8])
def test_signed_zeros_infinities_and_nan_are_kept(layout: Encoding, index_bits: int) -> None:
    weight = np.zeros(500, np.float32)
    weight[::7] = -0.0
    weight[3:9] = [np.inf, -np.inf, np.nan, 1e-45, -1e-45, 3.0]
    weight[99:100].view(np.uint32)[:] = 0xFFC12345
    packed = pack_as(weight, Encoding(layout.layout, "float32", layout.gap_bits, index_bits))
    assert run(packed, OFF).tobytes() == run(packed).tobytes() == weight.tobytes()
    assert unpacked_weight(packed).tobytes() == weight.tobytes()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_float16_comes_back(dtype: str) -> None:
    halves = np.arange(2**16).astype(np.uint16).view(np.float16)
    weight = halves[~np.isnan(halves)].astype(dtype)
    encoding, _ = choose_encoding(weight, 1)
    assert encoding == Encoding("dense", "float16")
    assert_same(model_of(weight), pack_as(weight, encoding))


@pytest.mark.parametrize("value", [1e6, 1e-9, 1.0001, np.nan])
def test_values_that_float16_does_not_hold_stay(value: float) -> None:
    weight = sparse((40, 40), 0.9, grid=30)
    weight[0, 0] = value
    assert choose_encoding(weight, 1)[0].dtype == "float32"
    with pytest.raises(ValueError, match="plan the packing again"):
        encode(weight, Encoding("gaps", "float16", 8))


def test_too_many_values_for_a_codebook() -> None:
    assert choose_encoding(sparse((64, 64), 0, grid=257), 1)[0].index_bits == 0
    with pytest.raises(ValueError, match="257 distinct values"):
        encode(sparse((64, 64), 0, grid=257), Encoding("dense", "float16", 0, 8))


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


@pytest.mark.parametrize(("sparsity", "ratio", "shared"), [(0.9, 14, 240), (0.95, 26.5, 240), (0.99, 115, 30)])
def test_sizes(sparsity: float, ratio: float, shared: int, tmp_path: Path) -> None:
    """The estimate leaves out the constants that all weights of a model would share."""
    model = model_of(sparse((1000, 1000), sparsity).astype(np.float16).astype(np.float32), "Gemm")
    [packing] = plan_packing(model)
    ir.save(model, tmp_path / "plain.onnx")
    PackWeights()(model)
    ir.save(model, tmp_path / "packed.onnx")
    before, after = ((tmp_path / name).stat().st_size for name in ("plain.onnx", "packed.onnx"))
    assert before / after > ratio
    assert before - after == pytest.approx(packing.bytes_before - packing.bytes_after - shared, abs=50)


@pytest.mark.parametrize("bits", [5, 6])
@pytest.mark.parametrize("count", [2_000, 200_000, 200_001])
def test_integers_of_five_and_six_bits(bits: int, count: int, tmp_path: Path) -> None:
    """Many of them are stored in two parts that fill bytes, few in words of 64 bits, for two parts take more nodes."""
    grid = np.random.default_rng(0).standard_normal(2**bits).astype(np.float16).astype(np.float32)
    weight = grid[np.random.default_rng(1).integers(0, 2**bits, (1, count))]
    packed = model_of(weight)
    [packing] = plan_packing(packed)
    assert packing.encoding == Encoding("dense", "float16", 0, bits)
    PackWeights()(packed)
    assert any(node.op_type == "Add" for node in packed.graph) == (count > 2_000)
    assert_same(model_of(weight), packed)
    ir.save(packed, tmp_path / "packed.onnx")
    spent = (tmp_path / "packed.onnx").stat().st_size
    assert count == 2_000 or spent < 1.02 * count * bits / 8
    assert spent == pytest.approx(packing.bytes_after, abs=400)
    assert unpacked_weight(packed).tobytes() == weight.tobytes()


def test_small_fields_beat_bytes_and_bitmap() -> None:
    assert choose_encoding(sparse((500, 500), 0.9, grid=250), 1)[0] == Encoding("gaps", "float16", 5, 8)
    assert choose_encoding(sparse((500, 500), 0.6, grid=30), 1)[0] == Encoding("bitmap", "float16", 0, 5)
    assert choose_encoding(sparse((500, 500), 0.995), 1)[0] == Encoding("gaps", "float32", 8)


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
    assert (packing.encoding.layout, packing.encoding.scaled_axis, packing.encoding.index_bits) == (layout, axis, 5)
    assert "scaled codebook" in str(packing.encoding)
    ir.save(packed, tmp_path / "plain.onnx")
    PackWeights()(packed)
    ir.save(packed, tmp_path / "packed.onnx")
    saved = (tmp_path / "plain.onnx").stat().st_size - (tmp_path / "packed.onnx").stat().st_size
    assert saved == pytest.approx(packing.bytes_before - packing.bytes_after, abs=400)
    if dtype == "float32" or operator == "Gemm":  # ONNX Runtime has no convolution of float64
        assert_same(model_of(weight, operator), packed)
        run(packed, EXTENDED, tmp_path / "optimized.onnx")
        assert [node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node] == [operator]
    assert unpacked_weight(packed).tobytes() == weight.tobytes()


def test_float16_has_no_scales() -> None:
    """ONNX Runtime would multiply it each time the model runs."""
    weight = (sparse((300, 400), 0.5, grid=31) * 2.0 ** np.arange(300)[:, None] % 5).astype(np.float16)
    assert choose_encoding(weight, 1)[0].scaled_axis is None


def test_scales_that_are_no_longer_there_are_refused() -> None:
    with pytest.raises(ValueError, match="plan the packing again"):
        encode(sparse((60, 50), 0.5), Encoding("bitmap", "float16", 0, 5, 0))


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


def test_a_saved_file_unpacks_to_the_original(tmp_path: Path) -> None:
    original = model_of(sparse((60, 50), 0.9), "Gemm")
    before = plain(original)
    PackWeights()(original)
    ir.save(original, tmp_path / "packed.onnx")
    loaded = ir.load(tmp_path / "packed.onnx")
    assert loaded.ir_version == 7
    assert UnpackWeights()(loaded).modified
    assert plain(loaded) == before
    assert not UnpackWeights()(loaded).modified


def test_external_data_is_packed_and_left_alone(tmp_path: Path) -> None:
    weight = sparse((60, 50), 0.9)
    ir.save(model_of(weight, "Gemm"), tmp_path / "m.onnx", external_data="m.data", size_threshold_bytes=0)
    data = (tmp_path / "m.data").read_bytes()
    model = ir.load(tmp_path / "m.onnx")
    assert isinstance(model.graph.initializers["w"].const_value, ir.ExternalTensor)
    PackWeights(plan_packing(model))(model)
    assert_same(model_of(weight, "Gemm"), model)
    assert (tmp_path / "m.data").read_bytes() == data


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
    for name in ("packed.7", "unpacked.9"):
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


def test_a_chain_that_is_not_constant_stays() -> None:
    model = model_of(sparse((60, 50), 0.9), "Gemm")
    PackWeights()(model)
    [scatter] = [node for node in model.graph if node.op_type == "ScatterElements"]
    assert scatter.inputs[2] is not None
    model.graph.inputs.append(scatter.inputs[2])
    before = plain(model)
    assert packed_weights(model) == []
    assert not UnpackWeights()(model).modified
    assert plain(model) == before


def test_a_plan_that_no_longer_fits_is_refused() -> None:
    plan = plan_packing(model_of(sparse((60, 50), 0.9, grid=300), "Gemm"))
    model = model_of(sparse((60, 50), 0.9), "Gemm")
    before = plain(model)
    with pytest.raises(ValueError, match="float16 does not hold"):
        PackWeights(plan)(model)
    assert plain(model) == before


def test_chains_that_share_nodes_unpack() -> None:
    """A tool that merges equal tensors and nodes makes two chains use the same ones."""
    model = model_of(sparse((60, 60), 0.9), "Gemm")
    weight = ir.val("v", const_value=ir.tensor(2 * sparse((60, 60), 0.9), name="v"))
    model.graph.register_initializer(weight)
    first = model.graph[0]
    second = ir.node("Gemm", [first.outputs[0], weight], outputs=[ir.val("z", ir.DataType.FLOAT, [3, 60])], name="op2")
    model.graph.append(second)
    model.graph.outputs[:] = second.outputs
    before = plain(model)
    PackWeights()(model)
    merge = ir.passes.Sequential(
        common_passes.DeduplicateInitializersPass(), common_passes.CommonSubexpressionEliminationPass()
    )
    assert merge(model).modified
    assert sorted(packed_weights(model)) == ["v", "w"]
    UnpackWeights()(model)
    assert plain(model) == before
