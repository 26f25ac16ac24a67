"""A small network and what `compress --quantize` makes of it, but for the choice of layers by time."""

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
from onnx import numpy_helper

from netsurgeon.passes.layers import find_layers
from netsurgeon.pipeline.calibration import Calibration
from netsurgeon.pipeline.data import InputSpec, open_samples
from netsurgeon.pipeline.quantization import IntegerPlan, make_integer_model
from netsurgeon.pipeline.runtime import Runtime

Floats = npt.NDArray[np.float32]
SHAPE = (3, 6, 6)
CEILING = 2.0
"""At which the first layer is clipped."""
TEXT = """<ir_version: 8, opset_import: ["" : 17]> net (float[N,3,6,6] x) => (float[N,4] y) {
    a = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (x, first, first_bias)
    b = Clip (a, low, high)
    c = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (b, second, second_bias)
    d = Relu (c)
    e = GlobalAveragePool (d)
    f = Flatten (e)
    g = Gemm <transB = 1> (f, third, third_bias)
    h = Relu (g)
    y = Gemm <transB = 1> (h, last, last_bias)
}"""
SHUFFLE = """
    halves = Reshape (b, two_halves)
    turned = Transpose <perm = [0, 2, 1, 3, 4]> (halves)
    shuffled = Reshape (turned, channels)
"""
"""Between the first two layers: channels 0, 4, 1, 5, … of eight."""


def pictures(count: int, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).standard_normal((count, *SHAPE), dtype=np.float32)


def float_net(zeros: float = 0.0, *, is_shuffled: bool = False) -> ir.Model:
    """The network, with a share of the weights of each layer at zero, and perhaps with a shuffle of its channels."""
    shuffling = TEXT.replace("    c = Conv", f"{SHUFFLE}    c = Conv").replace("(b, second", "(shuffled, second")
    rng, model = np.random.default_rng(1), onnx.parser.parse_model(shuffling if is_shuffled else TEXT)
    shapes = {"first": (8, 3, 3, 3), "second": (8, 8, 3, 3), "third": (8, 8), "last": (4, 8)}
    arrays: dict[str, Any] = {"low": np.float32(0.0), "high": np.float32(CEILING)}
    if is_shuffled:
        arrays |= {"two_halves": np.array([0, 2, 4, 6, 6]), "channels": np.array([0, 8, 6, 6])}
    for name, shape in shapes.items():
        spread = (2.0 / np.prod(shape[1:])) ** 0.5
        weight = (rng.standard_normal(shape) * spread).astype(np.float32)
        arrays[name] = weight * (rng.random(shape) >= zeros).astype(np.float32)
        arrays[f"{name}_bias"] = (0.3 * rng.random(shape[0])).astype(np.float32)
    for number, node in enumerate(model.graph.node):
        node.name = f"{node.op_type}_{number}"
    model.graph.initializer.extend(numpy_helper.from_array(np.asarray(array), name) for name, array in arrays.items())
    return ir.from_proto(model)


def integer_net(model: ir.Model, most: int = 7) -> ir.Model:
    """The same on integers, all its layers, corrected on a few pictures."""
    spec = InputSpec("x", np.dtype(np.float32), (None, *SHAPE))
    calibration = Calibration(open_samples({"x": pictures(64)}, (spec,), batch_size=32), Runtime())
    plan = IntegerPlan(most={layer.name: most for layer in find_layers(model.graph)[0]})
    return make_integer_model(model, plan, calibration, lambda stage, done, count: None).model
