"""MatMuls of matrices become Gemms with their bias; what is something else stays."""

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from quantized_models import Array, network_of, node, normal, run

from netsurgeon.passes.rewriting.gemm_of_matmul import MatMulToGemm


def product(
    bias: Array | None = None, side: int = 1, entry: tuple[int | str, ...] = ("N", 6), outputs: tuple[str, ...] = ("y",)
) -> ir.Model:
    weights = {"w": normal(6, 4)} | ({} if bias is None else {"b": bias})
    nodes = [node("MatMul", ["x", "w"], ["y" if bias is None else "h"], "product")]
    if bias is not None:
        nodes += [node("Add", ["h", "b"] if side else ["b", "h"], ["y"], "adds")]
    return network_of(nodes, weights, entry, outputs)


def rewritten(model: ir.Model, matrices: tuple[str, ...] = ("x",)) -> list[str]:
    """Operators after the rewrite, which must not change what the model computes."""
    before, x = model.clone(), normal(5, *[4] * (len(model.graph.inputs[0].shape or ()) - 2), 6)
    modified = MatMulToGemm(matrices)(model).modified
    np.testing.assert_allclose(run(model, x), run(before, x), rtol=1e-5, atol=1e-5)
    assert modified == ([part.op_type for part in model.graph] != [part.op_type for part in before.graph])
    assert [value.name for value in model.graph.outputs] == [value.name for value in before.graph.outputs]
    return [part.op_type for part in model.graph]


@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize(
    "bias", [normal(4), normal(1, 4), normal(1), np.float32(0.3)], ids=["row", "1 row", "1", "scalar"]
)
def test_a_product_and_its_bias_become_one_gemm_of_the_same_name(bias: Array, side: int) -> None:
    model = product(bias, side)
    output = model.graph.outputs[0]
    assert rewritten(model) == ["Gemm"]
    assert model.graph[0].name == "product"
    assert (model.graph.outputs[0].type, model.graph.outputs[0].shape) == (output.type, output.shape)


def test_a_product_without_bias_becomes_a_gemm_of_two() -> None:
    model = product()
    assert rewritten(model) == ["Gemm"]
    assert len(model.graph[0].inputs) == 2


@pytest.mark.parametrize(
    ("change", "operators"),
    [
        ({"bias": normal(5, 4)}, ["Gemm", "Add"]),
        ({"bias": normal(4), "outputs": ("y", "h")}, ["Gemm", "Add"]),
        ({"bias": normal(4), "entry": ("N", 4, 6)}, ["MatMul", "Add"]),
    ],
    ids=["a number a row", "the product is an output", "three axes"],
)
def test_a_bias_that_gemm_does_not_add_stays(change: dict[str, Any], operators: list[str]) -> None:
    model = product(**change)
    matrices = () if "entry" in change else ("x",)
    assert rewritten(model, matrices) == operators


def test_a_product_of_two_inputs_stays() -> None:
    nodes = [node("Transpose", ["x"], ["t"], perm=[1, 0]), node("MatMul", ["x", "t"], ["y"], "product")]
    model = network_of(nodes, {}, ("N", 6))
    assert rewritten(model, ("x", "t")) == ["Transpose", "MatMul"]


def test_products_in_a_row_with_the_product_added_to_itself() -> None:
    nodes = [
        node("MatMul", ["x", "w"], ["h"], "one"),
        node("Add", ["h", "h"], ["twice"], "adds"),
        node("MatMul", ["twice", "v"], ["k"], "two"),
        node("Add", ["k", "b"], ["y"], "adds2"),
    ]
    model = network_of(nodes, {"w": normal(6, 4), "v": normal(4, 3), "b": normal(3)}, ("N", 6))
    assert rewritten(model, ("x", "twice")) == ["Gemm", "Add", "Gemm"]
