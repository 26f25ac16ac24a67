"""How far networks are from each other, and whether samples may pass at once."""

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from repaired_networks import HalfOfThem, Inputs, OneByOne, perceptron, random

from netsurgeon.models.onnx_module import OPERATORS, OnnxModule
from netsurgeon.models.repair import outputs_of
from netsurgeon.models.repair.comparison import Comparison, as_tensors

Array = NDArray[Any]


def comparison(inputs: Inputs) -> Comparison:
    networks = [OnnxModule(perceptron(zeros)) for zeros in (True, False)]
    return Comparison(networks[0], networks[1], ["r", "nothing"], inputs, torch.device("cpu"))


@pytest.mark.parametrize("inputs", [Inputs(), HalfOfThem(), OneByOne()])
def test_the_error_is_a_share_of_the_variance_of_what_counts(inputs: Inputs) -> None:
    feeds = [feed for feed, _ in inputs.held_out()]
    values, dense_values = (
        np.concatenate([outputs_of(OnnxModule(perceptron(zeros)), feed)["y"] for feed in feeds])
        for zeros in (True, False)
    )
    compared = comparison(inputs)
    counted = slice(None, None, 2 if isinstance(inputs, HalfOfThem) else 1)
    error = np.mean((values - dense_values)[:, counted] ** 2)
    variance = dense_values.var(axis=0).mean() if counted.step == 1 else dense_values[:, counted].var()
    assert list(compared.losses()) == [pytest.approx(error / variance, rel=1e-4), 0.0]
    assert compared.names == ("y", "r")


class FirstOfThemPositive(Inputs):
    def held_out(self) -> Iterator[tuple[dict[str, Array], int]]:
        yield {"x": np.abs(random(40, 12, seed=7))}, 40
        yield {"x": random(24, 12, seed=8)}, 24


def test_outputs_that_are_not_finite_for_some_inputs_are_not_compared() -> None:
    networks = []
    for zeros in (True, False):
        model = perceptron(zeros)
        model.graph.node.append(helper.make_node("Log", ["x"], ["log"]))
        model.graph.output.append(helper.make_tensor_value_info("log", onnx.TensorProto.FLOAT, ["N", 12]))
        networks.append(OnnxModule(model))
    compared = Comparison(networks[0], networks[1], ["r"], FirstOfThemPositive(), torch.device("cpu"))
    assert compared.names == ("y", "r")
    assert np.isfinite(compared.losses()[0])


def test_only_what_may_be_class_scores_is_kept_for_the_divergence() -> None:
    """Of a model of language the scores of all positions are gigabytes."""
    networks = []
    for zeros in (True, False):
        model = perceptron(zeros)
        model.graph.initializer.append(numpy_helper.from_array(np.array([0, 3, 4]), "shape"))
        model.graph.node.append(helper.make_node("Reshape", ["x", "shape"], ["rows"]))
        model.graph.output.append(helper.make_tensor_value_info("rows", onnx.TensorProto.FLOAT, ["N", 3, 4]))
        networks.append(OnnxModule(model))
    compared = Comparison(networks[0], networks[1], ["r"], Inputs(), torch.device("cpu"))
    assert set(compared.outputs) == {"y", "rows"}
    names = list[list[str]]()

    def divergence(dense: Any, changed: Any) -> float:
        names.extend(map(list, [*dense, *changed]))
        return 0.5

    assert compared.losses(divergence)[1] == 0.5
    assert names == [["y"]] * 4


def test_strings_that_are_fed_are_left_out() -> None:
    """What reads them lies behind what PyTorch knows; the rest of the model is repaired."""
    feed = {"x": random(2, 12), "names": np.array(["a", "b"], object), "codes": np.array(["a", "b"])}
    assert list(as_tensors(feed)) == ["x"]
    assert outputs_of(OnnxModule(perceptron(zeros=True)), feed)["y"].shape == (2, 4)


@pytest.mark.parametrize("fault", ["reads numbers", "gives others", "warns"])
def test_feeds_pass_one_by_one_where_they_would_not_pass_alike_at_once(
    fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def relu(inputs: Any, attributes: Any) -> Any:
        x = inputs[0]
        is_stacked = torch._C._functorch.is_batchedtensor(x)
        if fault == "reads numbers":
            assert x.tolist()
        if fault == "warns" and is_stacked:
            warnings.warn("there is a performance drop", UserWarning, stacklevel=1)
        return torch.relu(x) + (fault == "gives others" and is_stacked)

    monkeypatch.setitem(OPERATORS, "Relu", relu)
    assert not comparison(OneByOne()).can_stack(first_two(OneByOne()))


def test_feeds_of_one_shape_may_pass_at_once() -> None:
    assert comparison(OneByOne()).can_stack(first_two(OneByOne()))


def test_feeds_that_are_cut_are_tried_once_whatever_their_lengths(monkeypatch: pytest.MonkeyPatch) -> None:
    compared, lengths = comparison(OneByOne()), list[int]()

    def is_tried(feeds: Any) -> bool:
        lengths.append(len(feeds[0]["x"]))
        return True

    monkeypatch.setattr(compared, "_stacks_alike", is_tried)
    for length in (5, 4, 4):
        assert compared.can_stack([{"x": np.zeros(length)}] * 2, is_cut=True)
    assert lengths == [5]
    for length in (5, 4, 4):
        assert compared.can_stack([{"x": np.zeros(length)}] * 2)
    assert lengths == [5, 5, 4]


def first_two(inputs: Inputs) -> list[dict[str, NDArray[Any]]]:
    """Feeds of one shape."""
    return [feed for feed, _ in next(inputs.steps(0))[:2]]


def test_values_that_no_weight_moves_are_refused() -> None:
    compared, (feed, _) = comparison(OneByOne()), first_two(OneByOne())
    leaves = {name: value.detach() for name, value in OnnxModule(perceptron(zeros=True)).weights().items()}
    with pytest.raises(ValueError, match="no weight has a gradient"):
        compared.add_gradients([feed], [compared.tensors(feed)], leaves, dict.fromkeys(compared.names, 1.0))
