"""A small network with and without zeros, and inputs of a repair that are made for each step."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

Array = NDArray[Any]


def random(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def perceptron(zeros: bool) -> onnx.ModelProto:
    """Gemm, Relu, Gemm: from 12 inputs to 4 outputs by way of 24; four fifths of the first weights may be 0."""
    weights = {"w1": random(12, 24, seed=1), "b1": random(24, seed=2), "w2": random(24, 4, seed=3) / 5}
    if zeros:
        weights["w1"] = weights["w1"] * (np.abs(weights["w1"]) > 1.3)
    nodes = [
        helper.make_node("Gemm", ["x", "w1", "b1"], ["h"], name="first"),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("Gemm", ["r", "w2"], ["y"], name="second"),
    ]
    values = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["N", n]) for name, n in (("x", 12), ("y", 4))
    ]
    constants = [numpy_helper.from_array(np.asarray(array, np.float32), name) for name, array in weights.items()]
    return helper.make_model(helper.make_graph(nodes, "network", values[:1], values[1:], constants))


class Inputs:
    """Two hundred and fifty-six rows to train on, in batches of two feeds, and sixty-four others."""

    def steps(self, start: int) -> Iterator[Sequence[tuple[dict[str, Array], int]]]:
        for step in range(start, 10_000):
            rows = random(32, 12, seed=100 + step % 8)
            yield [({"x": rows[:20]}, 20), ({"x": rows[20:]}, 12)]

    def held_out(self) -> Iterator[tuple[dict[str, Array], int]]:
        yield {"x": random(40, 12, seed=7)}, 40
        yield {"x": random(24, 12, seed=8)}, 24

    def entries(self, name: str, feed: Any, shape: tuple[int, ...]) -> NDArray[np.bool_] | None:
        return None


class HalfOfThem(Inputs):
    """The same, of which two of four outputs count."""

    def entries(self, name: str, feed: Any, shape: tuple[int, ...]) -> NDArray[np.bool_] | None:
        return None if name != "y" else np.array([[True, False, True, False]])


class OneByOne(Inputs):
    """The same rows in feeds of one, as of a model whose batch is fixed."""

    def steps(self, start: int) -> Iterator[Sequence[tuple[dict[str, Array], int]]]:
        for feeds in super().steps(start):
            yield [({"x": row[None]}, 1) for feed, _ in feeds for row in feed["x"]]

    def held_out(self) -> Iterator[tuple[dict[str, Array], int]]:
        for feed, _ in super().held_out():
            yield from (({"x": row[None]}, 1) for row in feed["x"])


class HalfOfEach(OneByOne, HalfOfThem):
    """In feeds of one, of which two of four outputs count."""
