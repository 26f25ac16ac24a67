"""What the sanitizers watch: shapes, malformed layers, a session, and hostile models, in a process of its own.

NETSURGEON_SPARSE_LIBRARY=… LD_PRELOAD=libasan.so python sparse_attack.py [all or threads] [seed]
"""

from __future__ import annotations

import contextlib
import os
import random
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import sparse_kernels
from sparse_kernels import Fields, Layer

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "benchmarks"), str(ROOT / "kernels")]

EXTREMES = (-(1 << 63), -1, 0, 1, 2, 3, 7, 64, 255, 256, 65536, 65537, 1 << 31, 1 << 62)
SIZES = (-(1 << 63), -1, 0, 1 << 31, 1 << 62)
WELL_FORMED, MALFORMED, HOSTILE = 25, 300, 60


def attack(rng: np.random.Generator) -> tuple[int, int]:
    """Layers of random shapes, run; and layers of random numbers, made. Gives how many of the latter were refused."""
    isas = sparse_kernels.library().isas
    for _ in range(WELL_FORMED):
        kernel = (int(rng.integers(1, 6)), int(rng.integers(1, 6)))
        top, left, bottom, right = (int(pad) for pad in rng.integers(0, 5, 4))
        pads = (top, left, bottom, right)
        fields = Fields(
            kernel=kernel, stride=tuple(rng.integers(1, 4, 2).tolist()), dilation=tuple(rng.integers(1, 4, 2).tolist()),
            pads=pads, input_zero_point=int(rng.integers(256)), output=int(rng.integers(3)), product_ratio=1.0,
            residual_ratio=1.0,
        )  # fmt: skip
        rows, channels = (int(n) for n in rng.integers(1, 150, 2))
        weight = rng.integers(-128, 128, (rows, *kernel, channels)).astype(np.int8)
        weight[rng.random(weight.shape) < rng.random()] = 0
        inputs = rng.integers(0, 256, (int(rng.integers(3)), *rng.integers(1, 20, 2).tolist(), channels), np.uint8)
        for isa in isas:
            layer = Layer(weight, rng.uniform(1e-6, 1e-2, rows).astype(np.float32), fields=fields, isa=isa)
            reach = [d * (k - 1) + 1 for d, k in zip(fields.dilation, kernel, strict=True)]
            sizes = [
                max(0, (size + pads[axis] + pads[axis + 2] - reach[axis]) // fields.stride[axis] + 1)
                for axis, size in enumerate(inputs.shape[1:3])
            ]
            layer(inputs, np.zeros((len(inputs), *sizes, rows), np.uint8))
    refused = 0
    for _ in range(MALFORMED):
        numbers = [int(rng.choice(EXTREMES)) if rng.random() < 0.3 else 1 for _ in range(8)]
        fields = Fields(
            stride=(numbers[0], numbers[1]), dilation=(numbers[2], numbers[3]),
            pads=(numbers[4] - 1, numbers[5] - 1, numbers[6] - 1, numbers[7] - 1), output=int(rng.integers(-1, 4)),
            low=int(rng.integers(-2, 300)), input_zero_point=int(rng.integers(-2, 300)),
        )  # fmt: skip
        # one weight, or sizes that nothing holds: the library takes the caller's word for what lies behind a pointer
        rows, height, width, channels = (int(rng.choice(SIZES)) if rng.random() < 0.2 else 1 for _ in range(4))
        shape = (rows, height, width, channels)
        try:
            Layer(np.ones((1, 1, 1, 1), np.int8), np.ones(1, np.float32), fields=fields, shape=shape)
        except (ValueError, OverflowError):
            refused += 1
    return refused, MALFORMED


def threads(rng: np.random.Generator) -> None:
    """Layers that several callers run at a time, each on several threads; every one gets what one alone gets."""
    for kernel, rows, channels, size in ((1, 96, 130, 9), (3, 40, 64, 12), (7, 24, 3, 20), (1, 512, 700, 1)):
        weight = rng.integers(-128, 128, (rows, kernel, kernel, channels)).astype(np.int8)
        weight[rng.random(weight.shape) < 0.8] = 0
        layer = Layer(weight, np.full(rows, 1e-3, np.float32), fields=Fields(kernel=(kernel, kernel)))
        inputs = rng.integers(0, 256, (2, size, size, channels), np.uint8)
        expected = layer(inputs)
        with ThreadPoolExecutor(3) as pool:
            for outputs in pool.map(lambda _, run=layer, feed=inputs: run(feed, threads=3), range(6)):
                assert np.array_equal(outputs, expected)


def session() -> None:
    """A small network through the provider, whose library the environment names."""
    import netsurgeon_sparse
    import onnxruntime
    from _sparse_models import resnet50

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = 2
    model = resnet50(0.8, size=32, narrower=16).SerializeToString()
    sparse = onnxruntime.InferenceSession(model, netsurgeon_sparse.session_options(settings, claim="all"))
    for batch in (1, 3):
        sparse.run(None, {"image": np.ones((batch, 3, 32, 32), np.float32)})


def small_model() -> Any:
    """Two convolutions, a pooling between them, and a residual block, as a model."""
    from _sparse_models import Network

    network = Network(0.8)
    value = network.convolution(network.quantize("x", 0.02, 120), (16, 32), 3, step=0.02)
    value = network.quantize(network.node("MaxPool", [value], kernel_shape=[2, 2], strides=[2, 2]), 4 / 255, 0)
    inner = network.convolution(network.again(value), (32, 32), step=4 / 255, relu=False, to=(8 / 255, 128))
    added = network.node("Relu", [network.node("Add", [inner, value])])
    return network.model({"x": ["batch", 16, 8, 8]}, network.quantize(added, 0.03, 3), [None] * 4)


def hostile_models(seed: int) -> int:
    """Models with changes that an attacker could make: what loads and runs without the provider does so with it.

    Gives how many did.
    """
    import netsurgeon_sparse
    import onnxruntime
    from _fuzz_mutations import mutate_field
    from _fuzz_structure import GRAPH_CHANGES

    def runs(data: bytes, settings: Any) -> bool:
        settings.log_severity_level, settings.intra_op_num_threads = 4, 1
        with contextlib.suppress(Exception):
            onnxruntime.InferenceSession(data, settings, enable_fallback=0).run(None, {"x": feed})
            return True
        return False

    rng, feed = random.Random(seed), np.ones((2, 16, 8, 8), np.float32)
    good = 0
    for number in range(HOSTILE):
        model = small_model()
        # functions are left alone: one that calls itself never loads, with the provider or without
        with contextlib.suppress(ValueError, TypeError, IndexError, StopIteration):
            if number % 2:
                mutate_field(model, rng)
            else:
                rng.choice(GRAPH_CHANGES)(model.graph, rng)
        with contextlib.suppress(ValueError):  # what no file can hold
            data = model.SerializeToString()
            if runs(data, onnxruntime.SessionOptions()):
                assert runs(data, netsurgeon_sparse.session_options(claim="all")), f"model {number} of seed {seed}"
                good += 1
    return good


if __name__ == "__main__":
    built = Path(os.environ["NETSURGEON_SPARSE_LIBRARY"])
    sparse_kernels.library_file = lambda sanitize="": built  # type: ignore[assignment]
    drawn = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    generator = np.random.default_rng(drawn)
    if sys.argv[1:2] == ["threads"]:  # ONNX Runtime's own threads are built without what watches these
        threads(generator)
    else:
        print(*attack(generator), hostile_models(drawn))
        session()
    print("done")
