"""Small integer weights in one stream: the file is smaller, and every weight comes back to the last bit."""

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from packed_models import Array, assert_same, plain

from netsurgeon.passes.packing import shared_streams
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
    alone = [packing for name in streams_of(plan) for packing in plan_packing(model_with_only(model, name))]
    assert sum(packing.bytes_after for packing in plan) < sum(packing.bytes_after for packing in alone)
    assert size_of(packed_and_back(model)) < size_of(packed_and_back(model, alone)) < size_of(model)


def model_with_only(model: ir.Model, name: str) -> ir.Model:
    """A model whose one weight that can be packed is this one."""
    tensor = model.graph.initializers[name].const_value
    assert tensor is not None
    array = tensor.numpy()
    value = ir.val(name, const_value=ir.tensor(array, name=name))
    entry = ir.val("x", ir.DataType.FLOAT, [3, array.shape[0]])
    node = ir.node("MatMulInteger", [ir.val("i", ir.DataType.INT8, [3, array.shape[0]]), value])
    return ir.Model(ir.Graph([entry], [], nodes=[node], initializers=[value], opset_imports={"": 13}), ir_version=7)


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
