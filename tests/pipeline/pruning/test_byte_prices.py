"""A weight's price is what packing writes."""

import numpy as np
import onnx_ir as ir
import pytest

from netsurgeon.passes.packing.pack_weights import PackWeights
from netsurgeon.passes.packing.write_lean import WriteLean
from netsurgeon.pipeline.pruning.byte_prices import bytes_a_weight

SIZE = 40_000
UNPACKING = 700
"""Bytes of the nodes that unpack a stream, which many weights share: no price of a weight."""


def file_bytes(values: np.ndarray) -> int:
    """Of a packed model that holds these values, less those of one that holds next to none."""

    def written(array: np.ndarray) -> int:
        weight = ir.Value(name="w", const_value=ir.tensor(array, name="w"))
        node = ir.node("Identity", [weight])
        graph = ir.Graph([], node.outputs, nodes=[node], initializers=[weight], opset_imports={"": 13})
        model = ir.Model(graph, ir_version=8)
        PackWeights()(model)
        WriteLean()(model)
        return len(ir.to_proto(model).SerializeToString())

    return written(values) - written(values[:1])


@pytest.mark.parametrize("density", [1.0, 0.62, 0.5, 0.2, 0.04])
@pytest.mark.parametrize("most", [127, 63, 7, 1, None])
def test_the_price_is_what_the_file_holds(density: float, most: int | None) -> None:
    values = np.random.default_rng(3).normal(size=SIZE).astype(np.float32)
    order = np.argsort(np.abs(values))
    if most is not None:
        values = (np.sign(values) * np.clip(np.rint(most * np.abs(values) / 2.6), 1, most)).astype(np.int8)
    values[order[: round((1.0 - density) * SIZE)]] = 0
    (price,) = bytes_a_weight(np.array([density]), most)
    assert price * SIZE == pytest.approx(file_bytes(values), rel=0.05, abs=UNPACKING)


def test_fewer_weights_and_fewer_bits_are_cheaper() -> None:
    density = np.linspace(0.0, 0.9, 40)
    prices = np.stack([bytes_a_weight(density, most) for most in (None, 127, 31, 15, 7, 3)])
    assert (np.diff(prices, axis=1) >= -1e-9).all()
    assert (np.diff(prices, axis=0) <= 0.0).all()
    assert (np.diff(prices[:, 20:], axis=0) < 0.0).all()
    assert (prices[:, 0] == 0.0).all()
