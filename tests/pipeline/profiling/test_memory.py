"""Memory of a process that loads a model and runs it once."""

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from timed_models import graph

from netsurgeon.pipeline.errors import CheckFailedError
from netsurgeon.pipeline.profiling.memory import footprint
from netsurgeon.pipeline.runtime.session import Runtime


def weighted(columns: int) -> ir.Model:
    """y = x w, a weight of 1000 rows."""
    model = graph("y = MatMul(x, w)", "float[N,1000] x, float[1000,M] w", "float[N,M] y")
    (value,) = (each for each in model.graph.inputs if each.name == "w")
    value.const_value = ir.tensor(np.ones((1000, columns), np.float32), name="w")
    model.graph.inputs.remove(value)
    model.graph.register_initializer(value)
    return model


def test_memory_is_that_of_the_model_alone(tmp_path: Path) -> None:
    feed = {"x": np.ones((1, 1000), np.float32)}
    sizes = []
    for columns in (10, 10_000):
        ir.save(weighted(columns), tmp_path / "model.onnx")
        found = footprint(tmp_path / "model.onnx", feed, Runtime())
        sizes.append(found.peak - found.before)
        assert found.before > 10_000_000
    assert sizes[1] - sizes[0] > 35_000_000  # 40 MB of weights
    assert sizes[0] < 35_000_000


def test_a_process_that_fails_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(CheckFailedError, match="a process that runs the model alone failed"):
        footprint(tmp_path / "missing.onnx", {}, Runtime())
