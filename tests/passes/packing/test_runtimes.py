"""Every encoding in every runtime that is there: the weight comes back to the last bit, and is folded at load."""

import numpy as np
import onnx_ir as ir
import pytest
from _runtimes import ONNX_RUNTIME, OPENVINO, REFERENCE, RUNTIMES, WEB, Answer, Runtime
from numpy.typing import NDArray
from packed_models import model_of, packed_before, sparse

from netsurgeon.passes.packing import pack_weights
from netsurgeon.passes.packing.encodings import Encoding, Layout
from netsurgeon.passes.packing.indices import IndexCode
from netsurgeon.passes.packing.pack_weights import PackWeights, plan_packing
from netsurgeon.passes.packing.shared_streams import Packing
from netsurgeon.passes.packing.store_tables import StoreTables
from netsurgeon.passes.packing.table_rows import RowForm
from netsurgeon.passes.quantization import RoundTables

Array = NDArray[np.floating]

SHAPE = (37, 23)  # fills no word
LARGE = (128, 96)  # fills words
LEVELS = (IndexCode((1, 2, 4, 8)), IndexCode((2, 1, 3), low=3), IndexCode((4, 4), low=1))
LAYOUTS: list[tuple[Layout, int]] = [("dense", 0), ("bitmap", 0), *(("gaps", bits) for bits in range(2, 9))]
SCALE = np.array([3], np.float32)
UNPACKING = {"BitShift", "CumSum", "Gather", "Mod", "Reshape", "ScatterElements", "ScatterElementsUpdate", "Slice"}
"""Operators that a graph has only while a weight is not folded, as the runtimes call them."""


def encoded_weights(dtype: str) -> dict[str, tuple[Array, Encoding]]:
    """A weight for each encoding, by the encoding's name; a codebook has as many values as its indices can tell."""
    weights = {}
    for layout, gap_bits in LAYOUTS:
        for index in (None, *(IndexCode((bits,)) for bits in range(1, 9)), *LEVELS):
            weight = sparse(SHAPE, 0.7, dtype, grid=index.entries - 1 if index else 300)
            encoding = Encoding(layout, "float16", gap_bits, index)
            weights[str(encoding)] = weight, encoding
        for axis in (0, 1) if dtype != "float16" else ():
            along = [size if place == axis else 1 for place, size in enumerate(LARGE)]
            powers = 2.0 ** np.random.default_rng(2).integers(-9, 3, along)
            encoding = Encoding(layout, "float16", gap_bits, IndexCode((4,)), axis)
            weights[f"{encoding} along {axis}"] = (sparse(LARGE, 0.5, dtype, grid=15) * powers).astype(dtype), encoding
    weights["a bitmap that fills its words"] = sparse(LARGE, 0.5, dtype), Encoding("bitmap", dtype)
    weights["nothing but zeros"] = np.zeros(SHAPE, dtype), Encoding("gaps", dtype, 8)
    return weights


def multiplied(weights: dict[str, Array]) -> ir.Model:
    """Each weight times the only input, as an output with the weight's name and ``y``."""
    dtype = ir.DataType.from_numpy(next(iter(weights.values())).dtype)
    scale = ir.val("scale", dtype, [1])
    values = [ir.val(name, const_value=ir.tensor(weight, name=name)) for name, weight in weights.items()]
    nodes = [
        ir.node("Mul", [value, scale], outputs=[ir.val(f"{value.name} y", dtype, weights[str(value.name)].shape)])
        for value in values
    ]
    outputs = [node.outputs[0] for node in nodes]
    return ir.Model(ir.Graph([scale], outputs, nodes=nodes, initializers=values, opset_imports={"": 13}), ir_version=7)


def answer(runtime: Runtime, model: ir.Model, **feeds: NDArray[np.generic]) -> Answer:
    if runtime.version() is None:
        pytest.skip(f"{runtime.name} is not installed: make test-runtimes")
    return runtime.answer(ir.to_proto(model).SerializeToString(), feeds, 0)


def assert_weights_come_back(runtime: Runtime, weights: dict[str, tuple[Array, Encoding]], dtype: str) -> None:
    plain = multiplied({name: weight for name, (weight, _) in weights.items()})
    packed = plain.clone()
    plan = [
        Packing(name=name, encoding=encoding, bytes_before=0, bytes_after=0) for name, (_, encoding) in weights.items()
    ]
    PackWeights(plan)(packed)
    expected, actual = (answer(runtime, model, scale=SCALE.astype(dtype)) for model in (plain, packed))
    differing = [name for name, array in expected.outputs.items() if array.tobytes() != actual.outputs[name].tobytes()]
    assert not differing
    for name, (weight, _) in weights.items():
        np.testing.assert_allclose(actual.outputs[f"{name} y"], 3 * weight, rtol=1e-3, atol=0)
    assert not UNPACKING & {*(actual.operators or ())}


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
@pytest.mark.parametrize("runtime", [ONNX_RUNTIME, OPENVINO, REFERENCE], ids=lambda runtime: runtime.name)
def test_every_encoding_comes_back_and_is_folded(runtime: Runtime, dtype: str) -> None:
    assert_weights_come_back(runtime, encoded_weights(dtype), dtype)


def test_every_encoding_comes_back_in_the_browsers_runtime() -> None:
    assert_weights_come_back(WEB, encoded_weights("float32"), "float32")


@pytest.mark.parametrize("layout", ["gaps", "bitmap"])
@pytest.mark.parametrize("runtime", RUNTIMES, ids=lambda runtime: runtime.name)
def test_weights_too_large_for_sums_of_float32_come_back(
    runtime: Runtime, layout: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenVINO does not fold these: it is the proof that what is left would be seen."""
    monkeypatch.setattr(pack_weights, "_EXACT_FLOAT32", 100)
    weight = sparse(SHAPE, 0.7)
    packed = multiplied({"w": weight})
    encoding = Encoding("gaps", "float32", 6) if layout == "gaps" else Encoding("bitmap", "float32")
    PackWeights([Packing(name="w", encoding=encoding, bytes_before=0, bytes_after=0)])(packed)
    actual = answer(runtime, packed, scale=SCALE)
    assert actual.outputs["w y"].tobytes() == (3 * weight).tobytes()
    assert bool(UNPACKING & {*(actual.operators or ())}) == (runtime is OPENVINO)


@pytest.mark.parametrize(("operator", "shape"), [("Gemm", (60, 50)), ("Conv", (16, 8, 5, 5))])
@pytest.mark.parametrize("runtime", RUNTIMES, ids=lambda runtime: runtime.name)
def test_layers_answer_as_with_plain_weights(runtime: Runtime, operator: str, shape: tuple[int, ...]) -> None:
    plain, packed = (model_of(sparse(shape, 0.9), operator) for _ in range(2))
    assert PackWeights()(packed).modified
    entry = plain.graph.inputs[0]
    assert entry.shape is not None
    x = np.random.default_rng(7).standard_normal(entry.shape.numpy()).astype(np.float32)
    expected, actual = (answer(runtime, model, x=x) for model in (plain, packed))
    assert actual.outputs["y"].tobytes() == expected.outputs["y"].tobytes()
    assert actual.operators == expected.operators


@pytest.mark.parametrize("form", ["float16", "int8", "int4"])
@pytest.mark.parametrize("runtime", RUNTIMES, ids=lambda runtime: runtime.name)
def test_rows_of_tables_are_looked_up(runtime: Runtime, form: RowForm) -> None:
    rows, columns = 2048, 32
    x = ir.val("x", ir.DataType.INT64, [2, 3])
    table = np.random.default_rng(4).standard_normal((rows, columns)).astype(np.float32)
    value = ir.val("table", const_value=ir.tensor(table, name="table"))
    node = ir.node("Gather", [value, x], name="look up")
    node.outputs[0].name = "rows"
    end = ir.node("Neg", node.outputs, name="negate", outputs=[ir.val("y", ir.DataType.FLOAT, [2, 3, columns])])
    graph = ir.Graph([x], end.outputs, nodes=[node, end], initializers=[value], opset_imports={"": 13}, name="g")
    plain = ir.Model(graph, ir_version=7)
    RoundTables({"table": form})(plain)
    stored = plain.clone()
    assert StoreTables()(stored).modified
    feed = {"x": np.array([[0, 7, rows - 1], [3, 3, 1024]])}
    (expected,), (actual,) = (answer(runtime, model, **feed).outputs.values() for model in (plain, stored))
    assert actual.tobytes() == expected.tobytes()


def integer_layers(sparsity: float) -> ir.Model:
    """A row of convolutions on 8-bit integers: weights that share a stream, scales of rows that share another."""
    rng = np.random.default_rng(3)
    entry = value = ir.val("x", ir.DataType.FLOAT, [1, 16, 8, 8])
    step = ir.val("step", const_value=ir.tensor(np.float32(0.05), name="step"))
    zero = ir.val("zero", const_value=ir.tensor(np.array(128, np.uint8), name="zero"))
    nodes, constants = list[ir.Node](), [step, zero]
    for at, shape in enumerate([(32, 16, 3, 3), (32, 32, 3, 3), (16, 32, 1, 1)]):
        codes = np.clip(np.rint(rng.standard_normal(shape) * 2.5), -7, 7) * (rng.random(shape) >= sparsity)
        scales = rng.random(shape[0]).astype(np.float16).astype(np.float32)
        weight = ir.val(f"w{at}", const_value=ir.tensor(codes.astype(np.int8), name=f"w{at}"))
        scale = ir.val(f"s{at}", const_value=ir.tensor(scales, name=f"s{at}"))
        constants += [weight, scale]
        integers = ir.node("QuantizeLinear", [value, step, zero])
        floats = ir.node("DequantizeLinear", [integers.outputs[0], step, zero])
        weights = ir.node("DequantizeLinear", [weight, scale], {"axis": 0})
        layer = ir.node("Conv", [floats.outputs[0], weights.outputs[0]], name=f"layer{at}")
        nodes += [integers, floats, weights, layer]
        value = layer.outputs[0]
    value.name, value.type, value.shape = "y", ir.TensorType(ir.DataType.FLOAT), ir.Shape([1, 16, 4, 4])
    graph = ir.Graph([entry], [value], nodes=nodes, initializers=constants, opset_imports={"": 13}, name="g")
    return ir.Model(graph, ir_version=7)


@pytest.mark.parametrize(("sparsity", "layout"), [(0.0, "dense"), (0.5, "bitmap"), (0.98, "gaps")])
@pytest.mark.parametrize("runtime", [ONNX_RUNTIME, OPENVINO, WEB], ids=lambda runtime: runtime.name)
def test_layers_on_integers_answer_as_with_plain_weights(runtime: Runtime, sparsity: float, layout: str) -> None:
    plain, packed = integer_layers(sparsity), integer_layers(sparsity)
    plan = [packing for packing in plan_packing(packed) if packing.name.startswith("w")]
    assert {(packing.encoding.layout, packing.stream) for packing in plan} == {(layout, plan[0].stream)}
    PackWeights()(packed)
    x = np.random.default_rng(7).standard_normal((1, 16, 8, 8)).astype(np.float32)
    expected, actual = (answer(runtime, model, x=x) for model in (plain, packed))
    assert np.abs(expected.outputs["y"]).max() > 0
    assert actual.outputs["y"].tobytes() == expected.outputs["y"].tobytes()
    assert actual.operators == expected.operators


def test_what_earlier_versions_packed_is_noticed_in_openvino() -> None:
    """The comparison can fail: bytes are shifted wrongly there, the reason for longer words."""
    weight = sparse((60, 50), 0.5, grid=15)
    wrong = answer(OPENVINO, packed_before(weight, "bitmap"), x=np.eye(3, 60, dtype=np.float32))
    assert not np.allclose(wrong.outputs["y"], weight[:3])
