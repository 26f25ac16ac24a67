"""ONNX graphs as PyTorch modules: gradients, masks that hold, clear refusals."""

import weakref
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from masked_models import encoder
from onnx import helper
from onnx_cases import RNG, difference, made, weight
from strict_device import strict_device, values_on_another_device

from netsurgeon.models.onnx_module.module import OnnxModule
from netsurgeon.models.onnx_module.operators import OPERATORS


def test_the_comparison_can_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(OPERATORS, "Relu", lambda inputs, attributes: torch.relu(inputs[0] + 1e-3))
    nodes = [helper.make_node("Gemm", ["x", "w"], ["h"]), helper.make_node("Relu", ["h"], ["y"])]
    assert difference(nodes, {"w": weight(5, 7)}, (6, 5), 17) > 1e-5


def test_zeros_stay_and_the_rest_learns() -> None:
    sparse = weight(5, 7) * (RNG.random((5, 7)) < 0.4)
    module = OnnxModule(made([helper.make_node("Gemm", ["x", "w", "b"], ["y"])], {"w": sparse, "b": weight(7)}, (6, 5)))
    optimizer = torch.optim.AdamW(module.parameters(), lr=0.1)
    for _ in range(3):
        loss: Any = module(torch.from_numpy(weight(6, 5))).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    found = module.arrays()
    assert np.array_equal(found["w"] == 0, sparse == 0)
    assert not np.any(found["w"][sparse != 0] == sparse[sparse != 0])
    assert found["b"].all()


def test_values_that_nobody_asks_for_go_with_their_last_node(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = [
        helper.make_node("Gemm", ["x", "w"], ["h"]),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("Tanh", ["r"], ["t"]),
        helper.make_node("Add", ["t", "r"], ["y"]),
    ]
    module = OnnxModule(made(nodes, {"w": weight(5, 5)}, (6, 5)))
    alive: list[list[bool]] = []
    results: list[weakref.ref[Any]] = []

    def followed(function: Any) -> Any:
        def apply(inputs: Any, attributes: Any) -> Any:
            alive.append([reference() is not None for reference in results])
            result = function(inputs, attributes)
            results.append(weakref.ref(result))
            return result

        return apply

    for name in ("Gemm", "Relu", "Tanh", "Add"):
        monkeypatch.setitem(OPERATORS, name, followed(OPERATORS[name]))
    feed = {"x": torch.from_numpy(weight(6, 5))}
    with torch.no_grad():
        everything = module.values(feed)
        assert alive[3] == [True, True, True]
        alive.clear()
        results.clear()
        values = module.values(feed, ["t", "y"])
        assert alive == [[], [True], [False, True], [False, True, True]]
    assert set(values) == {"t", "y"}
    for name, value in values.items():
        torch.testing.assert_close(value, everything[name], rtol=0, atol=0)
    with torch.no_grad():
        doubled = {name: 2.0 * value for name, value in module.weights().items()}
        assert torch.allclose(module.values(feed, ["h"], doubled)["h"], 2.0 * everything["h"])  # type: ignore


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ([helper.make_node("Gemm", ["x", "w"], ["h"]), helper.make_node("Det", ["h"], ["y"])], "operators Det cannot"),
        ([helper.make_node("Mine", ["x", "w"], ["y"], domain="my.own")], "operators my.own.Mine cannot be trained"),
        ([helper.make_node("Relu", ["x"], ["y"])], "no weight of the model can be trained"),
        ([helper.make_node("Cast", ["x"], ["y"], name="names", to=8)], "Cast 'names' to STRING cannot be trained"),
    ],
)
def test_what_cannot_be_trained_is_refused(nodes: list[onnx.NodeProto], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        OnnxModule(made(nodes, {"w": weight(5, 5)}, (5, 5)))


def test_weights_in_another_type_are_named() -> None:
    nodes = [
        helper.make_node("Cast", ["x"], ["short"], to=onnx.TensorProto.FLOAT16),
        helper.make_node("Gemm", ["short", "w"], ["y"]),
    ]
    with pytest.raises(ValueError, match="can be trained: only those in float32 are, and it has float16"):
        OnnxModule(made(nodes, {"w": weight(5, 7).astype(np.float16)}, (6, 5)))


def test_types_of_pytorch_alone_may_lie_between() -> None:
    nodes = [
        helper.make_node("Gemm", ["x", "w"], ["h"]),
        helper.make_node("Cast", ["h"], ["short"], to=onnx.TensorProto.BFLOAT16),
        helper.make_node("Cast", ["short"], ["y"], to=onnx.TensorProto.FLOAT),
    ]
    module = OnnxModule(made(nodes, {"w": weight(5, 7)}, (6, 5)))
    values = module.values({"x": torch.from_numpy(weight(6, 5))})
    h, y = values["h"], values["y"]
    assert h is not None
    assert y is not None
    torch.testing.assert_close(y, h, rtol=2**-8, atol=0)
    assert not torch.equal(y, h)


def test_an_output_that_pytorch_does_not_give_is_named() -> None:
    nodes = [
        helper.make_node("Gemm", ["x", "w"], ["h"]),
        helper.make_node("LayerNormalization", ["h", "scale"], ["y", "mean"]),
    ]
    module = OnnxModule(made(nodes, {"w": weight(5, 7), "scale": weight(7)}, (6, 5)))
    with pytest.raises(ValueError, match="PyTorch does not give the value 'mean'"):
        module.values({"x": torch.from_numpy(weight(6, 5))}, ["y", "mean"])


def test_constants_that_are_no_floats_meet_values_on_another_device() -> None:
    nodes = [
        helper.make_node("Gemm", ["x", "w"], ["h"]),
        helper.make_node("Cast", ["places"], ["floats"], to=1),
        helper.make_node("Mul", ["floats", "h"], ["m"]),
        helper.make_node("Where", ["mask", "m", "h"], ["c"]),
        helper.make_node("Concat", ["floats", "c"], ["j"], axis=0),
        helper.make_node("Reshape", ["j", "to"], ["y"]),
    ]
    arrays = {"w": weight(5, 7), "places": np.arange(7)[None], "mask": np.arange(7) > 3, "to": np.array([-1])}
    module = OnnxModule(made(nodes, arrays, (6, 5)))
    output = values_on_another_device(module, {"x": torch.zeros(6, 5)})["y"]
    assert (output.device.type, output.shape) == ("meta", (49,))


@pytest.mark.parametrize("operator", ["MatMul", "Gemm"])
def test_products_of_what_is_made_on_the_cpu_meet_values_on_another_device(operator: str) -> None:
    nodes = [
        helper.make_node("Gemm", ["x", "w"], ["h"]),
        helper.make_node("Range", ["zero", "four", "one"], ["places"]),  # as positions that turn queries and keys
        helper.make_node("Cast", ["places"], ["floats"], to=1),
        helper.make_node("Unsqueeze", ["floats", "one_axis"], ["column"]),
        helper.make_node(operator, ["column", "row"], ["angles"]),
        helper.make_node("Concat", ["h", "angles"], ["y"], axis=0),
    ]
    arrays = {"w": weight(5, 7), "row": weight(1, 7), "one_axis": np.array([1])}
    arrays |= {name: np.array(value) for name, value in (("zero", 0), ("four", 4), ("one", 1))}
    assert difference(nodes, arrays, (6, 5), 17) < 1e-5
    module = OnnxModule(made(nodes, arrays, (6, 5)))
    output = values_on_another_device(module, {"x": torch.zeros(6, 5)})["y"]
    assert (output.device.type, output.shape) == ("meta", (10, 7))


def test_an_encoder_with_a_mask_runs_on_another_device() -> None:
    module = OnnxModule(ir.to_proto(encoder()))
    outputs = values_on_another_device(module, dict.fromkeys(module.inputs, torch.ones(2, 5, dtype=torch.int64)))
    assert {name: tuple(output.shape) for name, output in outputs.items()} == {"states": (2, 5, 8), "embedding": (2, 8)}
    assert {output.device.type for output in outputs.values()} == {"meta"}


def test_another_device_refuses_what_cuda_refuses() -> None:
    with strict_device(), pytest.raises(RuntimeError, match="aten::mm takes tensors on cpu and meta"):
        torch.zeros(2, 3, device="meta") @ torch.zeros(3, 2)
