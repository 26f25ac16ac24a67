"""Random graphs from the declared operators: whatever units are removed, the trimmed model is the masked one."""

import dataclasses
import math
import os
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from netsurgeon.pipeline.runtime.session import Runtime
from netsurgeon.pipeline.verification.equivalence import check_equivalence

EXAMPLES = int(os.environ.get("NETSURGEON_EXAMPLES", "40"))
SIDE = 4


@dataclasses.dataclass(frozen=True)
class Value:
    """A value (2, channels, SIDE, SIDE) of the graph."""

    name: str
    channels: int


class Growth:
    """A graph that grows by one random pattern at a time."""

    def __init__(self, draw: Any) -> None:
        self.draw = draw
        self.rng = np.random.default_rng(draw(st.integers(0, 2**16)))
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, np.ndarray] = {}
        self.values = [Value("x", 4)]

    def const(self, array: Any, dtype: type = np.int64) -> str:
        name = f"c{len(self.constants)}"
        self.constants[name] = np.asarray(array, dtype)
        return name

    def weight(self, *shape: int) -> str:
        return self.const(self.rng.standard_normal(shape) / np.sqrt(max(math.prod(shape[1:]), 1)), np.float32)

    def op(self, kind: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        names = [f"v{len(self.nodes)}_{k}" for k in range(outputs)]
        self.nodes.append(helper.make_node(kind, inputs, names, name=f"{kind}_{len(self.nodes)}", **attributes))
        return names[0] if outputs == 1 else names

    def any(self) -> Value:
        value: Value = self.draw(st.sampled_from(self.values))
        return value

    def add(self, name: str, channels: int) -> None:
        self.values.append(Value(name, channels))

    def conv_to(self, x: Value, channels: int, group: int = 1, kernel: int = 1) -> str:
        weights = self.weight(channels, x.channels // group, kernel, kernel), self.weight(channels)
        return str(self.op("Conv", x.name, *weights, group=group, pads=[kernel // 2] * 4))

    # ------------------------------------------------------------------------------------------------ patterns
    def grow_conv(self) -> None:
        channels = self.draw(st.sampled_from([2, 4, 6, 8, 12]))
        self.add(self.conv_to(self.any(), channels, kernel=self.draw(st.sampled_from([1, 3]))), channels)

    def grow_group(self) -> None:
        x = self.any()
        group = self.draw(st.sampled_from([g for g in (2, 3, 4, 6, 8, 12) if x.channels % g == 0] or [1]))
        channels = group * self.draw(st.integers(1, 3))
        self.add(self.conv_to(x, channels, group=group), channels)

    def grow_transposed(self) -> None:
        x = self.any()
        group = self.draw(st.sampled_from([g for g in (1, 2) if x.channels % g == 0]))
        each = self.draw(st.integers(2, 4))
        weights = self.weight(x.channels, each, 1, 1), self.weight(each * group)
        self.add(self.op("ConvTranspose", x.name, *weights, group=group), each * group)

    def grow_unary(self) -> None:
        x = self.any()
        kind = self.draw(st.sampled_from(["Relu", "Sigmoid", "Tanh", "HardSwish", "Softplus", "Neg", "Identity"]))
        self.add(self.op(kind, x.name), x.channels)

    def grow_normalized(self) -> None:
        x = self.any()
        variance = self.const(self.rng.random(x.channels) + 0.5, np.float32)
        parameters = [self.weight(x.channels) for _ in range(3)]
        self.add(self.op("BatchNormalization", x.name, *parameters, variance), x.channels)

    def grow_scaled(self) -> None:
        x = self.any()
        shape = self.draw(st.sampled_from([(x.channels, 1, 1), (1, x.channels, 1, 1), (1,), (1, 1, SIDE, 1)]))
        kind = self.draw(st.sampled_from(["Add", "Mul", "PRelu"]))
        self.add(self.op(kind, x.name, self.weight(*shape)), x.channels)

    def grow_residual(self) -> None:
        x, other = self.any(), self.any()
        name = other.name if other.channels == x.channels else self.conv_to(other, x.channels)
        kind = self.draw(st.sampled_from(["Add", "Mul", "Max", "Sub"]))
        self.add(self.op(kind, x.name, name), x.channels)

    def grow_gate(self) -> None:
        x = self.any()
        mean = Value(self.op("GlobalAveragePool", x.name), x.channels)
        small = Value(self.conv_to(mean, 3), 3)
        gate = self.op("Sigmoid", self.conv_to(Value(self.op("Relu", small.name), 3), x.channels))
        self.add(self.op("Mul", x.name, gate), x.channels)

    def grow_concat(self) -> None:
        chosen = [self.any() for _ in range(self.draw(st.integers(2, 3)))]
        channels = sum(x.channels for x in chosen)
        if channels <= 24:
            self.add(self.op("Concat", *(x.name for x in chosen), axis=1), channels)

    def grow_split(self) -> None:
        x = self.any()
        if x.channels > 3:
            first = self.draw(st.integers(1, x.channels - 1))
            parts = self.op("Split", x.name, self.const([first, x.channels - first]), axis=1, outputs=2)
            for name, channels in zip(parts, (first, x.channels - first), strict=True):
                self.add(name, channels)

    def grow_slice(self) -> None:
        x = self.any()
        step = self.draw(st.sampled_from([1, 1, 2, -1, -2]))
        start, end = (1, x.channels) if step > 0 else (-1, -(2**40))
        count = len(range(x.channels)[1::step] if step > 0 else range(x.channels)[::step])
        if count > 1:
            bounds = (self.const([each]) for each in (start, end, 1, step))
            self.add(self.op("Slice", x.name, *bounds), count)

    def grow_gather(self) -> None:
        x = self.any()
        indices = self.draw(st.lists(st.integers(-x.channels, x.channels - 1), min_size=2, max_size=8))
        self.add(self.op("Gather", x.name, self.const(indices), axis=1), len(indices))

    def grow_pick(self) -> None:
        x = self.any()
        index = self.const(self.draw(st.integers(-x.channels, x.channels - 1)))
        one = self.op("Unsqueeze", self.op("Gather", x.name, index, axis=1), self.const([1]))
        self.add(self.op("Mul", x.name, one), x.channels)

    def grow_pad(self) -> None:
        x = self.any()
        before, after = self.draw(st.integers(0, 2)), self.draw(st.integers(0, 2))
        pads = self.const([0, before, 0, 0, 0, after, 0, 0])
        self.add(self.op("Pad", x.name, pads, self.const(0.5, np.float32)), x.channels + before + after)

    def grow_shuffle(self) -> None:
        x = self.any()
        group = self.draw(st.sampled_from([g for g in (2, 3, 4) if x.channels % g == 0] or [1]))
        parts = self.op("Reshape", x.name, self.const([0, group, x.channels // group, SIDE, SIDE]))
        swapped = self.op("Transpose", parts, perm=[0, 2, 1, 3, 4])
        batch = self.op("Slice", self.op("Shape", x.name), self.const([0]), self.const([1]))
        target = self.op("Concat", batch, self.const([x.channels, SIDE, SIDE]), axis=0)
        self.add(self.op("Reshape", swapped, target), x.channels)

    def grow_attention(self) -> None:
        x = self.any()
        heads, inner = self.draw(st.sampled_from([(1, 4), (2, 3), (3, 2)]))
        rows = self.op("Transpose", self.op("Reshape", x.name, self.const([0, 0, -1])), perm=[0, 2, 1])

        def projected(order: list[int]) -> Any:
            made = self.op("MatMul", rows, self.weight(x.channels, heads * inner))
            biased = self.op("Add", made, self.weight(heads * inner))
            return self.op("Transpose", self.op("Reshape", biased, self.const([0, 0, heads, inner])), perm=order)

        scores = self.op("Softmax", self.op("MatMul", projected([0, 2, 1, 3]), projected([0, 2, 3, 1])), axis=-1)
        mixed = self.op("Transpose", self.op("MatMul", scores, projected([0, 2, 1, 3])), perm=[0, 2, 1, 3])
        flat = self.op("Reshape", mixed, self.const([0, 0, heads * inner]))
        out = self.op("Transpose", self.op("MatMul", flat, self.weight(heads * inner, 6)), perm=[0, 2, 1])
        self.add(self.op("Reshape", out, self.const([0, 0, SIDE, SIDE])), 6)

    # ------------------------------------------------------------------------------------------------ the end
    def finish(self) -> ir.Model:
        """Close the graph: the last values go through a layer each, so that their channels can vanish."""
        last = [self.values[-1], self.any()]
        outputs = [self.conv_to(last[0], 3)]
        flat = self.op("Flatten", last[1].name)
        outputs.append(self.op("Gemm", flat, self.weight(3, last[1].channels * SIDE**2), transB=1))
        graph = helper.make_graph(
            self.nodes,
            "random",
            [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["N", 4, SIDE, SIDE])],
            [onnx.ValueInfoProto(name=name) for name in outputs],
            [numpy_helper.from_array(array, name) for name, array in self.constants.items()],
        )
        return ir.from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))


PATTERNS = sorted(name for name in dir(Growth) if name.startswith("grow_"))


@st.composite
def graphs(draw: Any) -> ir.Model:
    growth = Growth(draw)
    growth.grow_conv()
    for name in draw(st.lists(st.sampled_from(PATTERNS), min_size=3, max_size=12)):
        getattr(growth, name)()
    return growth.finish()


@settings(max_examples=EXAMPLES, suppress_health_check=[HealthCheck.too_slow])
@given(graphs(), st.sampled_from([0.3, 0.6, 1.0]), st.integers(0, 9))
def test_masked_is_trimmed(trim: Any, model: ir.Model, share: float, seed: int) -> None:
    feed = {"x": np.random.default_rng(seed).standard_normal((2, 4, SIDE, SIDE)).astype(np.float32)}
    done = trim(model, feed, share, seed)
    assert done.proof.holds, str(done.proof)
    assert done.sizes[1] < done.sizes[0] or not done.units
    other = np.random.default_rng(seed).standard_normal((3, 4, SIDE, SIDE)).astype(np.float32)
    assert check_equivalence(
        done.masked, done.trimmed, [{"x": other}], Runtime()
    ).holds  # no batch was frozen into the graph
