"""The `light_*` graphs that the onnx package carries, with seeded He weights: trimmed at random, nothing changes."""

from pathlib import Path
from typing import Any

import _models
import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import numpy_helper

LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
WIDE, NARROW = 4096, 256
LEAST_REMOVED = {"light_shufflenet": 0.5}


def narrowed(path: Path, folder: Path) -> Path:
    """The graph with its widest dense layers narrowed: they hold nearly all weights, and take nearly all the time."""
    proto = onnx.load(path)
    for constant in proto.graph.initializer:
        array = numpy_helper.to_array(constant)
        if array.dtype == np.int64 and WIDE in array:
            constant.CopyFrom(numpy_helper.from_array(np.where(array == WIDE, NARROW, array), constant.name))
    onnx.save(proto, folder / path.name)
    return folder / path.name


@pytest.mark.parametrize("path", sorted(LIGHT.glob("light_*.onnx")), ids=lambda path: path.stem)
def test_half_of_the_units_go_and_nothing_changes(path: Path, trim: Any, tmp_path: Path) -> None:
    proto = _models.he_model(narrowed(path, tmp_path), seed=0, free_batch=True)
    shape = [axis.dim_value or 2 for axis in proto.graph.input[0].type.tensor_type.shape.dim]
    feed = {proto.graph.input[0].name: np.random.default_rng(1).standard_normal(shape, dtype=np.float32)}
    done = trim(ir.from_proto(proto), feed)
    assert done.proof.holds, str(done.proof)
    assert done.proof.is_informative
    before, after = done.sizes
    assert after < (1.0 - LEAST_REMOVED.get(path.stem, 0.6)) * before


def test_all_nine_are_there() -> None:
    assert len(list(LIGHT.glob("light_*.onnx"))) == 9
