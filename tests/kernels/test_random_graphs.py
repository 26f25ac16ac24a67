"""Graphs drawn at random: whatever lies between the layers, a session loads, and its outputs are the CPU provider's."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from _sparse_models import Network
from onnx import helper
from sparse_sessions import inputs, run

STEPS = ((0.02, 120), (4 / 255, 0), (8 / 255, 128), (0.03, 7))


class Drawing:
    """A network that grows from its open ends, each a value with its channels, size and step."""

    def __init__(self, seed: int):
        self.rng = np.random.default_rng(seed)
        self.network = Network(float(self.rng.choice([0.5, 0.8, 0.95])), seed=seed)
        self.channels = int(self.rng.choice([3, 16, 32, 64]))
        start = (self.network.quantize("x", *STEPS[0]), self.channels, 12, STEPS[0])
        self.ends = [start]

    def scale(self) -> tuple[float, int]:
        return STEPS[self.rng.integers(len(STEPS))]

    def grow(self) -> None:
        value, channels, size, (step, zero_point) = self.ends[self.rng.integers(len(self.ends))]
        value = self.network.again(value)
        kind = self.rng.choice(
            ["convolution", "convolution", "convolution", "grouped", "pool", "add", "scale", "turn", "relu"]
        )
        to = self.scale()
        if kind in ("convolution", "grouped"):
            kernel, stride = int(self.rng.choice([1, 1, 3])), int(self.rng.choice([1, 1, 2]))
            rows = int(self.rng.choice([16, 32, 40, channels]))
            grouped = kind == "grouped" and channels % 4 == 0 and rows % 4 == 0
            weight, unit = self.network.weights((rows, channels // (4 if grouped else 1), kernel, kernel), 0.7)
            output = self.network.node(
                "Conv", [value, weight, self.network.bias(unit, step)], kernel_shape=[kernel] * 2, strides=[stride] * 2,
                pads=[kernel // 2] * 4, group=4 if grouped else 1,
            )  # fmt: skip
            if self.rng.random() < 0.5:
                output = self.network.node("Relu", [output])
            if self.rng.random() < 0.1:
                output = self.network.node("Sigmoid", [output])
            self.ends.append((self.network.quantize(output, *to), rows, (size - 1) // stride + 1, to))
        elif kind == "pool" and size > 3:
            pool = self.network.node("MaxPool", [value], kernel_shape=[2, 2], strides=[2, 2])
            again = (step, zero_point) if self.rng.random() < 0.7 else to
            self.ends.append((self.network.quantize(pool, *again), channels, size // 2, again))
        elif kind == "add":
            alike = [end for end in self.ends if end[1:3] == (channels, size)]
            other = self.network.again(alike[self.rng.integers(len(alike))][0])
            output = self.network.node("Add", [value, other] if self.rng.random() < 0.5 else [other, value])
            if self.rng.random() < 0.5:
                output = self.network.node("Relu", [output])
            self.ends.append((self.network.quantize(output, *to), channels, size, to))
        elif kind == "turn":
            turned = self.network.node("Transpose", [value], perm=[0, 1, 3, 2])
            self.ends.append((self.network.quantize(turned, step, zero_point), channels, size, (step, zero_point)))
        elif kind == "relu":
            self.ends.append((self.network.node("Relu", [value]), channels, size, to))
            self.ends[-1] = (self.network.quantize(self.ends[-1][0], *to), *self.ends[-1][1:])
        else:
            weighted = self.network.node("Mul", [value, self.network.constant(np.array([0.5], np.float32))])
            self.ends.append((self.network.quantize(weighted, *to), channels, size, to))

    def model(self) -> onnx.ModelProto:
        while len(self.ends) < 14:
            self.grow()
        model = self.network.model({"x": ["batch", self.channels, 12, 12]}, self.ends[-1][0], [None] * 4)
        for value, *_ in {self.ends[i][0]: self.ends[i] for i in self.rng.integers(0, 13, 2)}.values():
            if value != self.ends[-1][0]:
                model.graph.output.append(helper.make_tensor_value_info(value, onnx.TensorProto.FLOAT, [None] * 4))
        return model


@pytest.mark.parametrize("seed", range(12))
def test_random_graphs_give_what_the_cpu_provider_gives(seed: int) -> None:
    model = Drawing(seed).model()
    feed = inputs(model, seed, batch=1 + seed % 3)
    sparse, dense = run(model, feed), run(model, feed, claim=None)
    for mine, expected in zip(sparse, dense, strict=True):
        # layers that the CPU provider runs in floats where it cannot fuse them round elsewhere, once in a few hundred
        # values, by a step; what follows moves with it
        assert mine.shape == expected.shape
        assert np.mean(np.abs(mine - expected) > 1e-5) < 0.05
        assert np.abs(mine - expected).max() < 0.3
