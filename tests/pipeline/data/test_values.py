"""One value as an array, whatever library it is of."""

import sys
from typing import Any

import numpy as np
import pytest

from netsurgeon.pipeline.data.values import is_array, is_tensor, stack, to_array
from netsurgeon.pipeline.errors import InputError


class Foreign:
    """An array of another library, which NumPy can read."""

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return np.array([1.5, 2.5])


class Unreadable:
    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        raise RuntimeError("it lies on another device")


def test_arrays_of_other_libraries_and_lists() -> None:
    assert to_array(Foreign(), "x", "the data").tolist() == [1.5, 2.5]
    assert to_array([[1, 2]], "x", "the data").shape == (1, 2)
    assert is_array(Foreign())
    assert is_array(np.float32(1.0))
    assert not is_array([1.0])


@pytest.mark.parametrize("value", [[[1.0], [1.0, 2.0]], Unreadable()])
def test_what_is_no_array(value: Any) -> None:
    with pytest.raises(InputError, match=r"'x' of the data is not an array \(.*\): give a numpy array"):
        to_array(value, "x", "the data")


def test_samples_of_several_shapes_are_no_batch() -> None:
    with pytest.raises(InputError, match=r"the data holds samples of different shapes, \(1,\) and \(2,\)"):
        stack([np.ones(2), np.ones(1)], "the data")


def test_nothing_is_a_tensor_where_pytorch_is_not_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    assert not is_tensor(np.ones(1))
    assert "torch" not in sys.modules


@pytest.mark.parametrize("kind", ["float16", "bfloat16", "float64", "int64", "uint8", "bool"])
def test_tensors_of_every_kind(kind: str) -> None:
    torch = pytest.importorskip("torch")
    tensor = torch.tensor([0, 1, 2]).to(getattr(torch, kind))
    array = to_array(tensor, "x", "the data")
    assert array.dtype == np.dtype("float32" if kind == "bfloat16" else kind)
    assert array.tolist() == tensor.tolist()
    assert to_array([tensor, tensor], "x", "the data").shape == (2, 3)
    with pytest.raises(InputError, match="different shapes"):
        to_array([tensor, tensor[:2]], "x", "the data")
