"""Weights of large models in a file: the same numbers, mapped, and a full disk is said."""

import os
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from layer_files import assert_a_sentence, model_in_memory

from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.execution.weight_file import WeightFile
from netsurgeon.pipeline.runtime import EXTERNAL_BYTES, PAGE, large_models


def arrays() -> list[np.ndarray[Any, Any]]:
    rng = np.random.default_rng(0)
    return [
        rng.standard_normal((130, 131)).astype(np.float32),
        rng.standard_normal((256, 300)).astype(np.float16).T,
        rng.standard_normal((100, 200)),
    ]


def is_mapped(array: np.ndarray[Any, Any]) -> bool:
    base: Any = array
    while isinstance(base, np.ndarray):
        if isinstance(base, np.memmap):
            return True
        base = base.base
    return False


def test_what_is_kept_is_mapped_and_the_same() -> None:
    originals = arrays()
    file = WeightFile(sum(array.nbytes for array in originals) + 4 * PAGE)
    kept = [file.keep(array) for array in originals]
    for array, original in zip(kept, originals, strict=True):
        np.testing.assert_array_equal(array, original)
        assert array.dtype == original.dtype
        assert is_mapped(array)
        assert array.ctypes.data % PAGE == 0
        assert not array.flags.writeable
    del file
    np.testing.assert_array_equal(kept[0], originals[0], "the file lives as long as what is mapped from it")


def test_small_arrays_stay_where_they_are() -> None:
    small = np.zeros(EXTERNAL_BYTES // 4 - 1, np.float32)
    assert WeightFile(PAGE).keep(small) is small


def test_constants_are_taken_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("netsurgeon.pipeline.execution.weight_file.EXTERNAL_BYTES", 16)
    model = model_in_memory()
    assert WeightFile.of(model) is None, "a small model stays in memory"
    monkeypatch.setattr(large_models, "IN_MEMORY_LIMIT", 16)
    file, weight = WeightFile.of(model), model.graph.initializers["w"]
    assert file is not None
    assert weight.const_value is not None
    before = weight.const_value.numpy().copy()
    file.take([weight])
    assert weight.const_value.name == "w"
    assert weight.const_value.dtype == ir.DataType.FLOAT
    assert is_mapped(weight.const_value.numpy())
    np.testing.assert_array_equal(weight.const_value.numpy(), before)


def test_a_full_disk_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    file = WeightFile(1 << 20)

    def full(*_: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(file, "_write", full)
    with pytest.raises(InputError, match=r"weights cannot be kept in .*: No space left on device; set TMPDIR") as error:
        file.keep(np.ones((200, 200)))
    assert_a_sentence(error)
