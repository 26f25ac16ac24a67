"""Trimmed and masked models in ONNX Runtime, for every family of operators, and what is refused."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper, numpy_helper

from netsurgeon.passes.dependencies.analysis import analyse
from netsurgeon.passes.graph.nodes import present, set_initializer, tensor
from netsurgeon.passes.rewriting.normalise import normal_form
from netsurgeon.passes.trimming.mask_units import MaskUnits
from netsurgeon.passes.trimming.trim_neurons import TrimNeurons
from netsurgeon.pipeline.runtime.observations import observe
from netsurgeon.pipeline.runtime.session import Runtime
from netsurgeon.pipeline.verification.equivalence import check_equivalence

X = "x"


class Net:
    """A small model, node by node, with random weights."""

    def __init__(self, *shape: int, opset: int = 17, dtype: type = np.float32):
        self.rng = np.random.default_rng(len(shape))
        self.shape, self.opset, self.dtype = shape, opset, dtype
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, np.ndarray] = {}

    def const(self, array: Any, dtype: type = np.int64) -> str:
        name = f"c{len(self.constants)}"
        self.constants[name] = np.asarray(array, dtype)
        return name

    def weight(self, *shape: int) -> str:
        return self.const(self.rng.standard_normal(shape), self.dtype)

    def op(self, kind: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        names = [f"n{len(self.nodes)}_{k}" for k in range(outputs)]
        self.nodes.append(helper.make_node(kind, inputs, names, name=f"{kind}{len(self.nodes)}", **attributes))
        return names[0] if outputs == 1 else names

    def conv(self, x: str, into: int, out: int, kernel: int = 1, group: int = 1) -> str:
        pads = [kernel // 2] * 4
        weights = self.weight(out, into // group, kernel, kernel), self.weight(out)
        return str(self.op("Conv", x, *weights, group=group, pads=pads))

    def dense(self, x: str, into: int, out: int) -> str:
        return str(self.op("Add", self.op("MatMul", x, self.weight(into, out)), self.weight(out)))

    def build(self, *outputs: str) -> ir.Model:
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(self.dtype))
        graph = helper.make_graph(
            self.nodes,
            "net",
            [helper.make_tensor_value_info(X, kind, ["N", *self.shape[1:]])],
            [onnx.ValueInfoProto(name=name) for name in outputs],
            [numpy_helper.from_array(array, name) for name, array in self.constants.items()],
        )
        proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=8)
        return ir.from_proto(proto)

    @property
    def feed(self) -> Mapping[str, np.ndarray]:
        return {X: np.random.default_rng(9).standard_normal(self.shape).astype(self.dtype)}


Family = Callable[[Net], Any]
CASES: dict[str, tuple[Family, list[int], int]] = {}
"""By name: the network on (2, 4, 6, 6), the units of each group in order, and its opset."""


def case(*units: int, opset: int = 17) -> Callable[[Family], Family]:
    def register(build: Family) -> Family:
        CASES[f"{build.__name__}_{opset}"] = build, list(units), opset
        return build

    return register


@case(8)
def conv(net: Net) -> Any:
    return net.conv(net.op("Sigmoid", net.conv(X, 4, 8, 3)), 8, 3, 3)


@case(8)
def padding_between(net: Net) -> Any:
    pads = net.const([0, 0, 1, 1, 0, 0, 1, 1])
    shifted = net.op("Pad", net.op("Exp", net.conv(X, 4, 8)), pads, net.const(0.7, np.float32))
    return net.conv(shifted, 8, 3, 3)


@case(6)
def padded_channels(net: Net) -> Any:
    stream = net.op("Pad", net.conv(X, 4, 6), net.const([0, 1, 0, 0, 0, 1, 0, 0]))
    return net.conv(net.op("Relu", stream), 8, 3)


@case(2, 6, opset=9)
def padded_residual(net: Net) -> Any:
    narrow = net.conv(X, 4, 6)
    stream = net.op("Pad", narrow, pads=[0, 1, 0, 0, 0, 1, 0, 0], mode="constant", value=0.0)
    return net.conv(net.op("Add", net.conv(X, 4, 8), stream), 8, 3)


@case(8, 5)
def depthwise(net: Net) -> Any:
    wide = net.op("Clip", net.conv(net.conv(X, 4, 8), 8, 8, 3, group=8), net.const(0, np.float32))
    return net.conv(net.op("HardSwish", net.conv(wide, 8, 5)), 5, 3)


@case(4)
def depthwise_multiplier(net: Net) -> Any:
    return net.conv(net.conv(net.conv(X, 4, 4), 4, 12, 3, group=4), 12, 3)


@case(6, 3)
def grouped(net: Net) -> Any:
    return net.conv(net.conv(net.conv(X, 4, 12), 12, 6, 3, group=2), 6, 3)


@case(4)
def whole_groups(net: Net) -> Any:
    return net.conv(net.conv(net.conv(X, 4, 8), 8, 4, 3, group=4), 4, 3)


@case(8, 6)
def conv_transpose(net: Net) -> Any:
    up = net.op("ConvTranspose", net.conv(X, 4, 8), net.weight(8, 6, 2, 2), net.weight(6), strides=[2, 2])
    return net.conv(net.op("Tanh", up), 6, 3)


@case(4, 3)
def grouped_conv_transpose(net: Net) -> Any:
    up = net.op("ConvTranspose", net.conv(X, 4, 8), net.weight(8, 3, 2, 2), net.weight(6), group=2, strides=[2, 2])
    return net.conv(up, 6, 3)


@case(8)
def batch_normalization(net: Net) -> Any:
    made = net.op("Relu", net.conv(X, 4, 8))
    variance = net.const(np.abs(net.rng.standard_normal(8)) + 0.5, np.float32)
    parameters = [net.weight(8) for _ in range(3)]
    return net.conv(net.op("BatchNormalization", made, *parameters, variance), 8, 3)


@case(8)
def instance_normalization(net: Net) -> Any:
    made = net.op("InstanceNormalization", net.conv(X, 4, 8, 3), net.weight(8), net.weight(8))
    return net.conv(made, 8, 3)


@case(8)
def prelu_and_scale(net: Net) -> Any:
    made = net.op("PRelu", net.conv(X, 4, 8), net.weight(8, 1, 1))
    return net.conv(net.op("Mul", made, net.weight(1, 8, 1, 1)), 8, 3)


@case(8, 4)
def residual(net: Net) -> Any:
    stream = net.conv(X, 4, 8)
    branch = net.conv(net.op("Relu", net.conv(stream, 8, 4)), 4, 8, 3)
    return net.conv(net.op("Sum", stream, branch), 8, 3)


@case(8, 4)
def squeeze_and_excitation(net: Net) -> Any:
    stream = net.conv(X, 4, 8)
    small = net.op("Relu", net.conv(net.op("GlobalAveragePool", stream), 8, 4))
    return net.conv(net.op("Mul", stream, net.op("Sigmoid", net.conv(small, 4, 8))), 8, 3)


@case(8, 4)
def squeeze_by_dense_layers(net: Net) -> Any:
    stream = net.conv(X, 4, 8)
    mean = net.op("ReduceMean", stream, axes=[2, 3], keepdims=0)
    gate = net.op("Sigmoid", net.dense(net.op("Relu", net.dense(mean, 8, 4)), 4, 8))
    wide = net.op("Unsqueeze", gate, net.const([2, 3]))
    return net.conv(net.op("Mul", stream, wide), 8, 3)


@case(5, 7)
def concat(net: Net) -> Any:
    both = net.op("Concat", net.conv(X, 4, 5), net.op("Sigmoid", net.conv(X, 4, 7)), axis=1)
    return net.conv(net.op("MaxPool", both, kernel_shape=[2, 2]), 12, 3)


@case(6, 2, opset=17)
def split(net: Net) -> Any:
    one, other = net.op("Split", net.conv(X, 4, 8), net.const([6, 2]), axis=1, outputs=2)
    return net.op("Add", net.conv(one, 6, 3), net.conv(net.op("Exp", other), 2, 3))


@case(4, 4, opset=11)
def equal_split(net: Net) -> Any:
    one, other = net.op("Split", net.conv(X, 4, 8), axis=1, outputs=2)
    return net.op("Add", net.conv(one, 4, 3), net.conv(net.op("Exp", other), 4, 3))


@case(4, 4, opset=18)
def split_by_number(net: Net) -> Any:
    one, other = net.op("Split", net.conv(X, 4, 8), axis=1, outputs=2, num_outputs=2)
    return net.op("Add", net.conv(one, 4, 3), net.conv(net.op("Exp", other), 4, 3))


@case(5, 3)
def slices(net: Net) -> Any:
    made = net.op("Softplus", net.conv(X, 4, 8))
    one = net.op("Slice", made, net.const([-8]), net.const([5]), net.const([1]))
    other = net.op("Slice", made, net.const([5]), net.const([2**63 - 1]), net.const([-3]))
    return net.op("Add", net.conv(one, 5, 3), net.conv(other, 3, 3))


@case(5, 3, opset=9)
def old_slices(net: Net) -> Any:
    made = net.op("Relu", net.conv(X, 4, 8))
    one, other = (net.op("Slice", made, axes=[1], starts=[a], ends=[b]) for a, b in ((0, 5), (-3, 2**63 - 1)))
    return net.op("Add", net.conv(one, 5, 3), net.conv(other, 3, 3))


@case(4, 4)
def every_other(net: Net) -> Any:
    made = net.op("Relu", net.conv(X, 4, 8))
    bounds = [net.const([2**63 - 1, 5]), net.const([1, 2]), net.const([2, 1])]
    one, other = (net.op("Slice", made, net.const([a, 1]), *bounds) for a in (0, 1))
    return net.op("Add", net.conv(one, 4, 3), net.conv(other, 4, 3))


@case(8)
def backwards(net: Net) -> Any:
    made = net.op("Relu", net.conv(X, 4, 8))
    mirrored = net.op("Slice", made, net.const([-1]), net.const([-(2**63) + 1]), net.const([1]), net.const([-1]))
    return net.conv(mirrored, 8, 3)


@case(3, 3)
def gather(net: Net) -> Any:
    made = net.op("Relu", net.conv(X, 4, 6))
    one = net.op("Gather", made, net.const([4, 0, -1]), axis=1)
    return net.op("Add", net.conv(made, 6, 3), net.conv(one, 3, 3))


@case(6)
def picked(net: Net) -> Any:
    """The two channels that are picked stay."""
    made = net.conv(X, 4, 8)
    one, other = net.op("Gather", made, net.const([-1]), axis=1), net.op("Gather", made, net.const(3), axis=1)
    both = net.op("Mul", one, net.op("Unsqueeze", other, net.const([1])))
    return net.op("Mul", net.conv(made, 8, 3), both)


@case(8)
def embedding(net: Net) -> Any:
    index = net.op("Cast", net.op("Abs", X), to=onnx.TensorProto.INT64)
    made = net.op("Gather", net.weight(20, 8), index)
    return net.dense(made, 8, 3)


@case(8)
def flatten(net: Net) -> Any:
    return net.op("Gemm", net.op("Flatten", net.conv(X, 4, 8, 3)), net.weight(3, 288), net.weight(3), transB=1)


@case(8)
def constant_reshape(net: Net) -> Any:
    flat = net.op("Reshape", net.op("Relu", net.conv(X, 4, 8)), net.const([-1, 288]))
    return net.op("Gemm", flat, net.weight(288, 3))


@case(8)
def computed_reshape(net: Net) -> Any:
    made = net.op("Relu", net.conv(X, 4, 8))
    batch = net.op("Unsqueeze", net.op("Gather", net.op("Shape", made), net.const(0)), net.const([0]))
    flat = net.op("Reshape", made, net.op("Concat", batch, net.const([8, 36]), axis=0))
    swapped = net.op("Transpose", flat, perm=[0, 2, 1])
    return net.dense(swapped, 8, 3)


@case(8)
def reshape_by_the_shape_of_another(net: Net) -> Any:
    made, other = net.conv(X, 4, 8), net.conv(X, 4, 8)
    flat = net.op("Reshape", made, net.const([0, 0, 36]))
    back = net.op("Reshape", flat, net.op("Shape", other))
    return net.op("Add", net.conv(back, 8, 3), net.conv(other, 8, 3))


@case(6)
def channel_shuffle(net: Net) -> Any:
    made = net.conv(X, 4, 12)
    five = net.op("Transpose", net.op("Reshape", made, net.const([-1, 2, 6, 6, 6])), perm=[0, 2, 1, 3, 4])
    return net.conv(net.op("Sigmoid", net.op("Reshape", five, net.const([-1, 12, 6, 6]))), 12, 3)


@case(8)
def depth_to_space(net: Net) -> Any:
    return net.conv(net.op("DepthToSpace", net.conv(X, 4, 32), blocksize=2), 8, 3)


@case(8)
def space_to_depth(net: Net) -> Any:
    return net.conv(net.op("SpaceToDepth", net.conv(X, 4, 8), blocksize=2), 32, 3)


@case(8)
def resize_by_scales(net: Net) -> Any:
    scales = net.const([1, 1, 2, 2], np.float32)
    return net.conv(net.op("Resize", net.conv(X, 4, 8), "", scales, mode="nearest"), 8, 3)


@case(8)
def resize_by_sizes(net: Net) -> Any:
    sizes = net.const([2, 8, 12, 12])
    return net.conv(net.op("Resize", net.conv(X, 4, 8), "", "", sizes, mode="nearest"), 8, 3)


@case(8, opset=9)
def upsample(net: Net) -> Any:
    scales = net.const([1, 1, 2, 2], np.float32)
    return net.conv(net.op("Upsample", net.conv(X, 4, 8), scales, mode="nearest"), 8, 3)


@case(8)
def expand(net: Net) -> Any:
    mean = net.op("GlobalAveragePool", net.conv(X, 4, 8))
    return net.conv(net.op("Expand", mean, net.const([1, 8, 3, 3])), 8, 3)


@case(8)
def computed_expand(net: Net) -> Any:
    made, mean = net.conv(X, 4, 8), net.op("GlobalAveragePool", net.conv(X, 4, 8))
    batch = net.op("Slice", net.op("Shape", made), net.const([0]), net.const([1]))
    wide = net.op("Expand", mean, net.op("Concat", batch, net.const([8, 6, 6]), axis=0))
    return net.conv(net.op("Add", wide, made), 8, 3)


@case(8)
def filled(net: Net) -> Any:
    made = net.conv(X, 4, 8)
    batch = net.op("Slice", net.op("Shape", made), net.const([0]), net.const([1]))
    ones = net.op("ConstantOfShape", net.op("Concat", batch, net.const([8, 6, 6]), axis=0))
    return net.conv(net.op("Concat", net.op("Add", ones, made), made, axis=1), 16, 3)


@case(8)
def tile(net: Net) -> Any:
    mean = net.op("GlobalMaxPool", net.conv(X, 4, 8))
    return net.conv(net.op("Tile", mean, net.const([1, 1, 2, 3])), 8, 3)


@case(8)
def where(net: Net) -> Any:
    made, other = net.conv(X, 4, 8), net.conv(X, 4, 8)
    return net.conv(net.op("Where", net.op("Greater", made, other), made, net.op("Exp", other)), 8, 3)


@case(8, 5)
def gemms(net: Net) -> Any:
    flat = net.op("Flatten", net.op("GlobalAveragePool", net.conv(X, 4, 8)))
    hidden = net.op("Gemm", flat, net.weight(8, 5), net.weight(1, 5), alpha=0.5, beta=2.0)
    return net.op("Gemm", net.op("Elu", hidden), net.weight(3, 5), transB=1)


@case(8)
def weight_on_the_left(net: Net) -> Any:
    rows = net.op("Add", net.op("MatMul", net.weight(8, 6), X), net.weight(8, 1))
    return net.op("MatMul", net.weight(3, 8), net.op("Sigmoid", rows))


@case(4, 4, 16)
def attention(net: Net) -> Any:
    tokens = net.op("Reshape", X, net.const([0, 4, 36]))

    def projected(order: list[int]) -> Any:
        return _heads(net, net.dense(tokens, 36, 12), 3, order)

    return _attend(net, tokens, projected([0, 2, 1, 3]), projected([0, 2, 3, 1]), projected([0, 2, 1, 3]), heads=3)


@case(5, 16)
def attention_split_from_one_weight(net: Net) -> Any:
    tokens = net.op("Reshape", X, net.const([0, 4, 36]))
    parts = net.op("Split", net.dense(tokens, 36, 60), net.const([20, 20, 20]), axis=2, outputs=3)
    orders = ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3])
    made = [_heads(net, part, 5, order) for part, order in zip(parts, orders, strict=True)]
    return _attend(net, tokens, *made, heads=5)


@case(5, 16)
def attention_gathered_from_one_weight(net: Net) -> Any:
    tokens = net.op("Reshape", X, net.const([0, 4, 36]))
    apart = net.op("Reshape", net.dense(tokens, 36, 60), net.const([0, 0, 3, 5, 4]))
    stacked = net.op("Transpose", apart, perm=[2, 0, 3, 1, 4])
    query, key, value = (net.op("Gather", stacked, net.const(at), axis=0) for at in range(3))
    return _attend(net, tokens, query, net.op("Transpose", key, perm=[0, 1, 3, 2]), value, heads=5)


def _heads(net: Net, made: str, heads: int, order: list[int]) -> Any:
    """Heads of 4 numbers each."""
    return net.op("Transpose", net.op("Reshape", made, net.const([0, 0, heads, 4])), perm=order)


def _attend(net: Net, tokens: str, query: str, key: str, value: str, *, heads: int) -> Any:
    """The rest of an attention block, with a feed-forward part of 16."""
    scaled = net.op("Softmax", net.op("Div", net.op("MatMul", query, key), net.const(2.0, np.float32)), axis=-1)
    mixed = net.op("Transpose", net.op("MatMul", scaled, value), perm=[0, 2, 1, 3])
    out = net.dense(net.op("Reshape", mixed, net.const([0, 0, heads * 4])), heads * 4, 36)
    return net.dense(net.op("Erf", net.dense(net.op("Add", out, tokens), 36, 16)), 16, 5)


@case(7, opset=14)
def lstm(net: Net) -> Any:
    return _read(net, _recurrent(net, "LSTM", 4)[0])


@case(7, opset=14)
def gru(net: Net) -> Any:
    return _read(net, _recurrent(net, "GRU", 3, linear_before_reset=1)[0])


@case(7, opset=14)
def rnn(net: Net) -> Any:
    return _read(net, _recurrent(net, "RNN", 1)[0])


@case(7, opset=14)
def lstm_with_peepholes(net: Net) -> Any:
    return _read(net, _recurrent(net, "LSTM", 4, "", "", "", net.weight(2, 21))[0])


@case(7, opset=14)
def lstm_from_given_states(net: Net) -> Any:
    return _read(net, _recurrent(net, "LSTM", 4, "", net.weight(2, 2, 7), net.weight(2, 2, 7))[0])


@case(7, opset=14)
def lstm_states(net: Net) -> Any:
    _, hidden, cell = _recurrent(net, "LSTM", 4)
    return net.op("Add", _read(net, hidden), _read(net, cell))


@case(7, opset=14)
def gru_with_its_state(net: Net) -> Any:
    made, hidden = _recurrent(net, "GRU", 3)
    return net.op("Add", _read(net, made), _read(net, hidden))


def _recurrent(net: Net, kind: str, gates: int, *more: str, **attributes: Any) -> list[str]:
    """All outputs of a bidirectional cell of 7 units; `more` are inputs after the bias."""
    steps = net.op("Transpose", net.op("Reshape", X, net.const([0, 4, 36])), perm=[1, 0, 2])
    weights = net.weight(2, gates * 7, 36), net.weight(2, gates * 7, 7), net.weight(2, 2 * gates * 7)
    given = {"hidden_size": 7, "direction": "bidirectional", **attributes}
    return list(net.op(kind, steps, *weights, *more, outputs=3 if kind == "LSTM" else 2, **given))


def _read(net: Net, made: str) -> Any:
    """A dense layer over both directions of Y, (steps, directions, batch, units), or of a state, without the steps."""
    every_step = made.endswith("_0")
    order, shape = ([0, 2, 1, 3], [0, 0, 14]) if every_step else ([1, 0, 2], [0, 14])
    return net.dense(net.op("Reshape", net.op("Transpose", made, perm=order), net.const(shape)), 14, 3)


@pytest.mark.parametrize("name", CASES)
def test_a_trimmed_model_is_the_masked_one(name: str, trim: Any) -> None:
    build, units, opset = CASES[name]
    net = Net(2, 4, 6, 6, opset=opset)
    model = net.build(build(net))
    for seed in range(2):
        done = trim(model, net.feed, seed=seed)
        assert sorted(len(group.units) for group in done.found.groups) == sorted(units)
        assert done.proof.holds, str(done.proof)
        assert done.proof.is_informative
        assert done.sizes[1] < done.sizes[0]


# ------------------------------------------------------------------------------------------------ refusals
def analysed(net: Net, *outputs: str) -> tuple[ir.Model, Any]:
    model = net.build(*outputs)
    normal_form()(model)
    return model, analyse(model, observe(model, net.feed, Runtime()))


def reasons(found: Any) -> set[tuple[str, str]]:
    return {(each.operator, each.reason) for each in found.frozen}


def refuse_output(net: Net) -> Any:
    return net.conv(X, 4, 8)


def refuse_unknown(net: Net) -> Any:
    return net.conv(net.op("GroupNormalization", net.conv(X, 4, 8), net.weight(2), net.weight(2), num_groups=2), 8, 3)


def refuse_reduction(net: Net) -> Any:
    made = net.conv(X, 4, 8)
    return net.conv(net.op("Sub", made, net.op("ReduceMax", made, net.const([1]))), 8, 3)


def refuse_softmax(net: Net) -> Any:
    return net.conv(net.op("Softmax", net.conv(X, 4, 8), axis=1), 8, 3)


def refuse_picked(net: Net) -> Any:
    made = net.conv(X, 4, 8)
    return net.conv(made, 8, 3), net.op("Gather", made, net.op("ArgMax", X, keepdims=0), axis=1)


def refuse_size(net: Net) -> Any:
    made = net.conv(X, 4, 8)
    size = net.op("Cast", net.op("Gather", net.op("Shape", made), net.const(1)), to=onnx.TensorProto.FLOAT)
    return net.conv(net.op("Div", made, net.op("Sqrt", size)), 8, 3)


def refuse_reflection(net: Net) -> Any:
    pads = net.const([0, 1, 0, 0, 0, 1, 0, 0])
    return net.conv(net.op("Pad", net.conv(X, 4, 8), pads, mode="reflect"), 10, 3)


def refuse_size_output(net: Net) -> Any:
    made = net.conv(X, 4, 8)
    return net.conv(made, 8, 3), net.op("Shape", made)


def refuse_captured(net: Net) -> Any:
    made = net.conv(X, 4, 8)
    body = [
        helper.make_graph(
            [helper.make_node(kind, [made], [f"inner_{kind}"])], kind, [], [onnx.ValueInfoProto(name=f"inner_{kind}")]
        )
        for kind in ("Relu", "Exp")
    ]
    condition = net.const(True, np.bool_)
    chosen = net.op("If", condition, then_branch=body[0], else_branch=body[1])
    return net.conv(chosen, 8, 3)


def refuse_second_output(net: Net) -> Any:
    made, indices = net.op("MaxPool", net.conv(X, 4, 8), outputs=2, kernel_shape=[2, 2])
    return net.conv(made, 8, 3), indices


def refuse_layer_norm(net: Net) -> Any:
    rows = net.op("Transpose", net.conv(X, 4, 8), perm=[0, 2, 3, 1])
    return net.dense(net.op("LayerNormalization", rows, net.weight(8), net.weight(8)), 8, 3)


@pytest.mark.parametrize(
    ("build", "operator", "reason"),
    [
        (refuse_output, "output", "output of the model"),
        (refuse_unknown, "GroupNormalization", "does not declare"),
        (refuse_reduction, "ReduceMax", "reduces over the axis"),
        (refuse_softmax, "Softmax", "normalises over the axis"),
        (refuse_picked, "Gather", "picks from the axis"),
        (refuse_size, "Sqrt", "computes with the size"),
        (refuse_reflection, "Pad", "pads the axis"),
        (refuse_layer_norm, "LayerNormalization", "normalises over the axis"),
        (refuse_size_output, "output", "output of the model"),
        (refuse_captured, "If", "has a body"),
        (refuse_second_output, "MaxPool", "indices run over channels"),
    ],
)
def test_what_is_not_followed_is_frozen(build: Family, operator: str, reason: str) -> None:
    net = Net(2, 4, 6, 6, opset=18)
    made = build(net)
    _, found = analysed(net, *([made] if isinstance(made, str) else made))
    assert not found.units
    assert any(operator == each and reason in text for each, text in reasons(found))


def sample(dtype: type = np.float32) -> tuple[ir.Model, Any, Net]:
    net = Net(2, 4, 6, 6, dtype=dtype)
    model, found = analysed(net, net.conv(net.op("Relu", net.conv(X, 4, 8)), 8, 3))
    return model, found, net


def bytes_of(model: ir.Model) -> bytes:
    data: bytes = ir.to_proto(model).SerializeToString(deterministic=True)
    return data


def test_columns_that_still_count_are_refused() -> None:
    model, found, _ = sample()
    before = bytes_of(model)
    with pytest.raises(ir.passes.PassError) as caught:
        ir.passes.Sequential(TrimNeurons(found, found.units[:2]))(model)
    assert "its columns there are not zero" in str(caught.value.__cause__)
    assert bytes_of(model) == before


def test_the_last_unit_of_a_group_stays() -> None:
    model, found, _ = sample()
    MaskUnits(found.units)(model)
    before = bytes_of(model)
    with pytest.raises(ValueError, match="at least one must stay"):
        TrimNeurons(found, found.units)(model)
    assert bytes_of(model) == before


def test_a_model_that_was_not_analysed_is_refused() -> None:
    _, found, _ = sample()
    other = Net(2, 4, 6, 6)
    model = other.build(other.conv(X, 4, 3))
    with pytest.raises(ValueError, match="analyse it again"):
        TrimNeurons(found, found.units[:1])(model)
    with pytest.raises(ValueError, match="analyse it again"):
        MaskUnits(found.units[:1])(model)


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 1e-4), (np.float16, 1e-2)])
def test_the_proof_can_fail(dtype: type, tolerance: float) -> None:
    model, found, net = sample(dtype)
    units = found.units[:3]
    MaskUnits(units)(model)
    trimmed = model.clone()
    TrimNeurons(found, units)(trimmed)
    feeds = [dict(net.feed)]
    proof = check_equivalence(model, trimmed, feeds, Runtime())
    assert proof.holds
    assert proof.tolerance == tolerance
    node = next(node for node in trimmed.graph if node.op_type == "Conv")
    weight = tensor(present(node.inputs[1])).numpy()
    set_initializer(node, 1, (weight * (1 + 10 * tolerance)).astype(dtype), "weight")
    assert not check_equivalence(model, trimmed, feeds, Runtime()).holds


def test_shared_constants_are_cloned_where_the_uses_differ() -> None:
    net = Net(2, 4, 6, 6)
    shared = net.weight(8)
    one = net.op("Conv", X, net.weight(8, 4, 1, 1), shared)
    other = net.op("Conv", X, net.weight(8, 4, 1, 1), shared)
    model, found = analysed(net, net.op("Add", net.conv(one, 8, 3), net.conv(net.op("Exp", other), 8, 3)))
    units = [found.units[0], found.units[8], found.units[9]]
    MaskUnits(units)(model)
    trimmed = model.clone()
    TrimNeurons(found, units)(trimmed)
    assert check_equivalence(model, trimmed, [dict(net.feed)], Runtime()).holds
    biases = [tensor(present(node.inputs[2])).size for node in trimmed.graph if node.op_type == "Conv"]
    assert sorted(biases) == [3, 3, 6, 7]


def test_shared_matrices_stay_shared() -> None:
    net = Net(2, 4, 6, 6)
    shared = net.weight(8, 4, 1, 1)
    one, other = (net.op("Conv", X, shared), net.op("Conv", net.op("Neg", X), shared))
    model, found = analysed(net, net.op("Add", net.conv(one, 8, 3), net.conv(net.op("Exp", other), 8, 3)))
    assert [len(group.units) for group in found.groups] == [8]
    assert all(len(unit.consumers) == 2 for unit in found.units)
    MaskUnits(found.units[:2])(model)
    count = len(model.graph.initializers)
    TrimNeurons(found, found.units[:2])(model)
    assert len(model.graph.initializers) == count
