"""Small integer weights in one stream: the file is smaller, and every weight comes back to the last bit."""

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from packed_models import Array, assert_same, plain

from netsurgeon.passes.packing import pack_weights, shared_streams
from netsurgeon.passes.packing.encodings import choose_encoding
from netsurgeon.passes.packing.pack_weights import PackWeights, plan_packing
from netsurgeon.passes.packing.shared_streams import Packing
from netsurgeon.passes.packing.unpack_weights import UnpackWeights


def codes(shape: tuple[int, ...], most: int = 63, sparsity: float = 0.8, seed: int = 0) -> Array:
    rng = np.random.default_rng([seed, *shape])
    return np.where(rng.random(shape) < sparsity, 0, rng.integers(-most, most + 1, shape)).astype(np.int8)


def chain_of(weights: Sequence[Array]) -> ir.Model:
    """A row of MatMul nodes on weights w0, w1, … that are made floats of."""
    step = ir.val("step", const_value=ir.tensor(np.float32(0.01), name="step"))
    entry = ir.val("x", ir.DataType.FLOAT, [3, weights[0].shape[0]])
    nodes, initializers, value = list[ir.Node](), [step], entry
    for at, array in enumerate(weights):
        weight = ir.val(f"w{at}", const_value=ir.tensor(array, name=f"w{at}"))
        floats = ir.node("DequantizeLinear", [weight, step], name=f"floats{at}")
        output = ir.val(f"y{at}", ir.DataType.FLOAT, [3, array.shape[1]])
        nodes += [floats, ir.node("MatMul", [value, floats.outputs[0]], outputs=[output], name=f"layer{at}")]
        initializers.append(weight)
        value = output
    graph = ir.Graph([entry], [value], nodes=nodes, initializers=initializers, opset_imports={"": 13}, name="g")
    return ir.Model(graph, ir_version=7)


def streams_of(plan: Sequence[Packing]) -> dict[str, int | None]:
    return {packing.name: packing.stream for packing in plan}


def packed_and_back(model: ir.Model, plan: Sequence[Packing] | None = None) -> ir.Model:
    """The packed model, which gives the same outputs, and whose weights come back to the last bit."""
    packed = model.clone()
    PackWeights(plan)(packed)
    onnx.checker.check_model(ir.to_proto(packed), full_check=True)
    assert_same(model, packed)
    restored = packed.clone()
    UnpackWeights()(restored)
    assert weights_of(restored) == weights_of(model)
    assert plain(restored)[0] == plain(model)[0]
    return packed


def weights_of(model: ir.Model) -> Mapping[str, tuple[tuple[int, ...], bytes]]:
    arrays = {name: value.const_value for name, value in model.graph.initializers.items()}
    return {name: (tensor.numpy().shape, tensor.tobytes()) for name, tensor in arrays.items() if tensor is not None}


def size_of(model: ir.Model) -> int:
    return len(ir.to_proto(model).SerializeToString())


@pytest.mark.parametrize("sparsity", [0.6, 0.95])
def test_one_stream_is_smaller_than_each_weight_by_itself(sparsity: float) -> None:
    shapes = ((40, 40), (40, 25), (25, 30), (30, 40))
    model = chain_of([codes(shape, most=40, sparsity=sparsity) for shape in shapes])
    plan = plan_packing(model)
    assert set(streams_of(plan)) == {"w0", "w1", "w2", "w3"}
    assert len(set(streams_of(plan).values()) - {None}) == 1
    alone = [packed_alone(model, name) for name in streams_of(plan)]
    assert sum(packing.bytes_after for packing in plan) < sum(packing.bytes_after for packing in alone)
    assert size_of(packed_and_back(model)) < size_of(packed_and_back(model, alone)) < size_of(model)


def packed_alone(model: ir.Model, name: str) -> Packing:
    """How a weight is packed that shares no stream."""
    tensor = model.graph.initializers[name].const_value
    assert tensor is not None
    encoding, size = choose_encoding(tensor.numpy(), len(name))
    return Packing(name=name, encoding=encoding, bytes_before=tensor.nbytes, bytes_after=size)


def test_weights_of_4_and_of_7_bits_lie_in_streams_of_their_own() -> None:
    few = [codes((40, 40), most=7, sparsity=0.0, seed=seed) for seed in range(3)]
    many = [codes((40, 40), most=63, sparsity=0.7, seed=seed) for seed in range(3)]
    model = chain_of([weight for both in zip(few, many, strict=True) for weight in both])
    streams = streams_of(plan_packing(model))
    assert streams["w0"] == streams["w2"] == streams["w4"] is not None
    assert streams["w1"] == streams["w3"] == streams["w5"] is not None
    assert streams["w0"] != streams["w1"]
    packed_and_back(model)


def test_streams_that_would_become_too_long_are_cut_between_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_streams, "MOST_ELEMENTS", 2 * 40 * 40)
    model = chain_of([codes((40, 40), seed=seed) for seed in range(5)])
    streams = streams_of(plan_packing(model))
    assert streams["w0"] == streams["w1"] != streams["w2"] == streams["w3"]
    assert None not in (streams["w0"], streams["w2"])
    assert streams["w4"] is None, "nothing is left to share one with"
    packed_and_back(model)


def test_large_weights_have_streams_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_streams, "MOST_OF_ONE", 40 * 40)
    model = chain_of([codes(shape, sparsity=0.5) for shape in ((40, 40), (40, 41), (41, 30), (30, 40))])
    streams = streams_of(plan_packing(model))
    assert streams["w1"] is None
    assert streams["w0"] == streams["w2"] == streams["w3"] is not None
    packed_and_back(model)


def test_float_weights_share_no_stream() -> None:
    weight = np.where(codes((40, 40)) == 0, 0.0, 0.5).astype(np.float32)
    values = [ir.val(f"w{at}", const_value=ir.tensor(weight, name=f"w{at}")) for at in range(3)]
    entry = ir.val("x", ir.DataType.FLOAT, [3, 40])
    nodes, value = list[ir.Node](), entry
    for constant in values:
        nodes.append(ir.node("MatMul", [value, constant], outputs=[ir.Value(name=f"of_{constant.name}")]))
        value = nodes[-1].outputs[0]
    graph = ir.Graph([entry], [value], nodes=nodes, initializers=values, opset_imports={"": 13}, name="g")
    plan = plan_packing(ir.Model(graph, ir_version=7))
    assert streams_of(plan) == {"w0": None, "w1": None, "w2": None}


@pytest.mark.parametrize("opset", [11, 13, 18])
def test_vectors_of_float16_share_a_stream_and_keep_their_shape(opset: int) -> None:
    """Biases, and scales of rows, those of rows that are next to nothing among them."""
    rng = np.random.default_rng(0)
    vectors = [rng.standard_normal(size).astype(np.float16).astype(np.float32) for size in (140, 130, 116, 140)]
    vectors += [np.ldexp(vector, -22) for vector in vectors]
    vectors.append(rng.standard_normal(40).astype(np.float32))
    entry, nodes, outputs = ir.val("x", ir.DataType.FLOAT, [1]), list[ir.Node](), list[ir.Value]()
    values = [ir.val(f"v{at}", const_value=ir.tensor(vector, name=f"v{at}")) for at, vector in enumerate(vectors)]
    for value, vector in zip(values, vectors, strict=True):
        nodes.append(
            ir.node("Mul", [value, entry], outputs=[ir.val(f"of_{value.name}", ir.DataType.FLOAT, [vector.size])])
        )
        outputs += nodes[-1].outputs
    graph = ir.Graph([entry], outputs, nodes=nodes, initializers=values, opset_imports={"": opset}, name="g")
    model = ir.Model(graph, ir_version=7)
    streams = streams_of(plan_packing(model))
    assert streams["v0"] == streams["v1"] == streams["v2"] == streams["v3"]
    assert streams["v4"] == streams["v5"] == streams["v6"] == streams["v7"] != streams["v0"]
    assert "v8" not in streams
    packed = packed_and_back(model)
    assert sum(node.op_type == "Split" for node in packed.graph) == 2
    assert size_of(packed) < size_of(model)


def test_where_weights_are_many_indices_have_one_length(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of different length take memory while a session loads."""
    rng = np.random.default_rng(0)
    weights = [np.clip(np.rint(rng.standard_normal((80, 80)) * 2.5), -7, 7).astype(np.int8) for _ in range(3)]
    model = chain_of(weights)
    levels = {packing.encoding.index.levels for packing in plan_packing(model) if packing.encoding.index}
    assert all(len(level) > 1 for level in levels)
    packed_and_back(model)
    monkeypatch.setattr(pack_weights, "MOST_FOR_LEVELS", 3 * 80 * 80 - 1)
    levels = {packing.encoding.index.levels for packing in plan_packing(model) if packing.encoding.index}
    assert levels == {(4,)}
    packed_and_back(model)
