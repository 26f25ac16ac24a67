"""Outputs of every type are compared: numbers by their error, texts, integers, truth values and keys exactly."""

import math
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from netsurgeon.pipeline.compare import Comparison, compare
from netsurgeon.pipeline.errors import CheckFailedError
from netsurgeon.pipeline.runtime.large_models import Feed
from netsurgeon.pipeline.runtime.same_outputs import same_bits, verify_same
from netsurgeon.pipeline.runtime.session import Runtime
from netsurgeon.pipeline.verification.equivalence import check_equivalence
from netsurgeon.pipeline.verification.fidelity import Agreement, Fidelity, OutputComparison

F = np.float32
SAMPLES = np.random.default_rng(0).standard_normal((40, 4)).astype(F)
WEIGHT = np.random.default_rng(1).standard_normal((4, 3)).astype(F)
OPSETS = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
FLOATS = helper.make_tensor_type_proto(TensorProto.FLOAT, None)


def texts(*words: str) -> np.typing.NDArray[Any]:
    return np.array(words, object)


def compared(dense: Any, compressed: Any, samples: int = 2) -> tuple[Fidelity | None, list[Agreement]]:
    comparison = OutputComparison("y")
    comparison.update(dense, compressed, samples)
    return comparison.fidelity(), list(comparison.agreements())


@pytest.mark.parametrize(
    ("dense", "compressed", "kind", "equal", "entries"),
    [
        (texts("a", "b", "c"), texts("a", "x", "c"), "texts", 2, 3),
        (np.array([True, False]), np.array([True, True]), "truth values", 1, 2),
        (np.array([[1], [2]], np.uint8), np.array([[1], [2]], np.uint8), "integers", 2, 2),
        (np.array([1, 2]), np.array([1, 2, 3]), "integers", 0, 3),
        ([texts("a"), texts("b", "c")], [texts("a"), texts("b", "d")], "texts", 2, 3),
        ([texts("a"), texts("b", "c")], [texts("a")], "texts", 1, 3),
        ([np.array([1])], [np.array([1]), np.array([2, 3])], "integers", 1, 3),
        (None, None, "entries", 1, 1),
        (texts(), texts(), "entries", 0, 0),
        ([], [], "entries", 0, 0),
    ],
)
def test_what_has_no_error_is_counted(dense: Any, compressed: Any, kind: str, equal: int, entries: int) -> None:
    fidelity, (agreement,) = compared(dense, compressed)
    assert fidelity is None
    assert (agreement.kind, agreement.equal, agreement.entries) == (kind, equal, entries)
    assert agreement.agreement == (equal / entries if entries else None)


def test_sequences_are_measured_element_by_element() -> None:
    fidelity, agreements = compared([np.array([3.0]), np.array([0.0, 4.0])], [np.array([3.0]), np.array([0.0, 3.0])])
    assert fidelity is not None
    assert fidelity.relative_error == pytest.approx(0.2)
    assert agreements == []


def test_a_sequence_that_is_shorter_has_no_error() -> None:
    fidelity, _ = compared([np.ones(2), np.ones(2)], [np.ones(2)])
    assert fidelity is not None
    assert math.isnan(fidelity.relative_error)


def test_maps_are_compared_by_keys_and_by_the_values_of_keys_that_both_have() -> None:
    dense, compressed = [{"a": 3.0, "b": 4.0}, {"a": 0.0, "b": 0.0}], [{"b": 4.0, "a": 3.0}, {"b": 5.0, "c": 9.0}]
    fidelity, (keys,) = compared(dense, compressed)
    assert fidelity is not None
    assert fidelity.relative_error == pytest.approx(1.0)
    assert (keys.kind, keys.equal, keys.entries) == ("keys", 3, 5)


def test_values_of_maps_may_be_texts() -> None:
    fidelity, (keys, values) = compared({1: "cat", 2: "dog"}, {1: "cat", 2: "elephant"})
    assert fidelity is None
    assert (keys.agreement, values.kind, values.agreement) == (1.0, "texts", 0.5)


@pytest.mark.parametrize(
    ("value", "count"),
    [
        (np.ones((2, 3)), 0),
        (np.array([[1.0, np.inf, np.nan], [1.0, 2.0, 3.0]]), 1),
        (np.array([np.nan, np.inf]), 2),
        (np.full((3, 2), np.nan), 1),  # 3 rows of 2 samples: which is whose is not known
        ([{1: np.inf}, {1: 0.5}], 0),
    ],
)
def test_samples_for_which_the_dense_model_is_not_finite_are_counted(value: Any, count: int) -> None:
    fidelity, _ = compared(value, value)
    assert fidelity is not None
    assert fidelity.not_finite == count


def test_the_first_sample_that_is_not_finite_is_named_by_its_place_among_all_batches() -> None:
    comparison = OutputComparison("y")
    for batch in (np.ones((3, 2)), np.array([[1.0, 2.0], [np.nan, 1.0]]), np.full((1, 2), np.inf)):
        comparison.update(batch, batch, len(batch))
    fidelity = comparison.fidelity(lambda places: f"samples {places}")
    assert fidelity is not None
    assert (fidelity.not_finite, fidelity.first_not_finite) == (2, "samples [4, 5]")


@pytest.mark.parametrize(
    ("value", "alike"),
    [
        ([{1: 0.5}, {1: 0.5}, {1: 0.25}], 2),
        ([np.array([1.0, 1.0, 2.0]), np.array([5.0, 5.0, 5.0])], 2),
        ([np.array([1.0, 1.0, 2.0]), np.array([5.0, 4.0, 3.0])], 1),
        ([np.ones(7), np.zeros(5)], 1),
        ([np.ones(3), np.array(["a", "b", "a"], object)], 2),
    ],
)
def test_samples_with_the_same_output_are_counted(value: Any, alike: int) -> None:
    fidelity, _ = compared(value, value, samples=3)
    assert fidelity is not None
    assert fidelity.alike == alike


@pytest.mark.parametrize(
    ("dense", "compressed"),
    [
        (np.ones(2), [np.ones(2)]),
        ({1: 0.5}, [0.5]),
        (None, np.ones(2)),
        (texts("1"), np.array([1])),
        ([np.ones(2)], [np.ones(2, F)]),
    ],
)
def test_another_type_fails(dense: Any, compressed: Any) -> None:
    with pytest.raises(CheckFailedError, match=r"'y' (of the compressed model is of another kind|has type)"):
        compared(dense, compressed)


@pytest.mark.parametrize(
    ("equal", "entries", "sentence"),
    [
        (40, 40, "output 'y': 40 of 40 texts are the same"),
        (199_999, 200_000, "output 'y': 199,999 of 200,000 texts are the same (100.00%)"),
        (0, 0, "output 'y': empty for all inputs, nothing is compared"),
    ],
)
def test_a_sentence_gives_the_counts(equal: int, entries: int, sentence: str) -> None:
    assert str(Agreement(output="y", kind="texts", entries=entries, equal=equal)) == sentence


def classifier(labels: list[str] | list[int], scale: float = 1.0) -> onnx.ModelProto:
    """What scikit-learn's converter writes: a class, and a map from classes to probabilities."""
    key, name = (TensorProto.STRING, "strings") if isinstance(labels[0], str) else (TensorProto.INT64, "int64s")
    attributes: dict[str, Any] = {f"classlabels_{name if name == 'strings' else 'ints'}": labels}
    zipped: dict[str, Any] = {f"classlabels_{name}": labels}
    weights = (scale * WEIGHT.T).ravel().tolist()
    nodes = [
        helper.make_node("MatMul", ["x", "eye"], ["h"], "layer"),
        helper.make_node(
            "LinearClassifier",
            ["h"],
            ["label", "scores"],
            "linear",
            domain="ai.onnx.ml",
            coefficients=weights,
            intercepts=[0.0] * 3,
            multi_class=1,
            post_transform="SOFTMAX",
            **attributes,
        ),
        helper.make_node("ZipMap", ["scores"], ["maps"], "zip", domain="ai.onnx.ml", **zipped),
    ]
    kind = helper.make_map_type_proto(key, helper.make_tensor_type_proto(TensorProto.FLOAT, []))
    outputs = [
        helper.make_tensor_value_info("label", key, ["n"]),
        helper.make_value_info("maps", helper.make_sequence_type_proto(kind)),
    ]
    return model(nodes, outputs, {"eye": np.eye(4, dtype=F)})


def encoder(*words: str) -> onnx.ModelProto:
    """The name of the class on top."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["scores"], "layer"),
        helper.make_node("ArgMax", ["scores"], ["best"], "top", axis=1, keepdims=0),
        helper.make_node(
            "LabelEncoder",
            ["best"],
            ["label"],
            "names",
            domain="ai.onnx.ml",
            keys_int64s=[0, 1, 2],
            values_strings=list(words),
        ),
    ]
    return model(nodes, [helper.make_tensor_value_info("label", TensorProto.STRING, ["n"])])


def sequence(operator: str, scale: float = 1.0) -> onnx.ModelProto:
    """A layer's output and its input side by side, or its output in parts."""
    inputs = ["y", "x"] if operator == "SequenceConstruct" else ["y"]
    attributes: dict[str, Any] = {} if operator == "SequenceConstruct" else {"axis": 1}
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["y"], "layer"),
        helper.make_node(operator, inputs, ["parts"], "parts", **attributes),
    ]
    output = helper.make_value_info("parts", helper.make_sequence_type_proto(FLOATS))
    return model(nodes, [output], {"w": F(scale) * WEIGHT})


def model(
    nodes: list[onnx.NodeProto], outputs: list[onnx.ValueInfoProto], constants: dict[str, Any] | None = None
) -> onnx.ModelProto:
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])]
    weights = [numpy_helper.from_array(array, name) for name, array in (constants or {"w": WEIGHT}).items()]
    return helper.make_model(
        helper.make_graph(nodes, "graph", inputs, outputs, weights), opset_imports=OPSETS, ir_version=8
    )


def shares(comparison: Comparison) -> dict[tuple[str, str], float | None]:
    return {(entry.output, entry.kind): entry.agreement for entry in comparison.validation.agreements}


@pytest.mark.parametrize(("labels", "kind"), [(["a", "b", "c"], "texts"), ([4, 5, 6], "integers")])
def test_a_classifier_with_maps_is_compared_whole(labels: Any, kind: str) -> None:
    same = compare(classifier(labels), classifier(labels), SAMPLES)
    assert shares(same) == {("label", kind): 1.0, ("maps", "keys"): 1.0}
    assert [(output.output, output.relative_error) for output in same.validation.outputs] == [("maps", 0.0)]
    other = compare(classifier(labels), classifier(labels, scale=-1.0), SAMPLES)
    assert shares(other)["maps", "keys"] == 1.0
    assert (shares(other)["label", kind] or 0.0) < 0.5
    assert other.validation.outputs[0].relative_error > 0.1


def test_labels_with_another_name_are_found_though_the_scores_are_the_same() -> None:
    comparison = compare(encoder("cat", "dog", "eel"), encoder("cat", "dog", "emu"), SAMPLES)
    top = (SAMPLES @ WEIGHT).argmax(axis=1)
    assert shares(comparison) == {("label", "texts"): float(np.mean(top != 2))}
    maps = compare(classifier(["a", "b", "c"]), classifier(["a", "b", "d"]), SAMPLES)
    assert shares(maps)["maps", "keys"] == pytest.approx(2 / 4)


@pytest.mark.parametrize("operator", ["SequenceConstruct", "SplitToSequence"])
def test_sequences_of_tensors_are_measured(operator: str) -> None:
    comparison = compare(sequence(operator), sequence(operator, scale=1.5), SAMPLES)
    (output,) = comparison.validation.outputs
    energy, kept = np.sum((SAMPLES @ WEIGHT) ** 2), np.sum(SAMPLES**2) * (operator == "SequenceConstruct")
    assert output.relative_error == pytest.approx(0.5 * math.sqrt(energy / (energy + kept)), rel=1e-5)
    assert output.alike == 1
    assert shares(comparison) == {}


@pytest.mark.parametrize(
    ("first", "other"),
    [
        (encoder("cat", "dog", "eel"), encoder("cat", "dog", "emu")),
        (classifier(["a", "b", "c"]), classifier(["a", "b", "d"])),
        (classifier([1, 2, 3]), classifier([1, 2, 4])),
        (sequence("SequenceConstruct"), sequence("SequenceConstruct", scale=1.01)),
        (sequence("SplitToSequence"), sequence("SplitToSequence", scale=1.01)),
    ],
    ids=["encoder", "texts", "integers", "construct", "split"],
)
def test_checks_of_equality_hold_for_the_same_model_and_find_another(
    first: onnx.ModelProto, other: onnx.ModelProto
) -> None:
    runtime = Runtime()
    models = [ir.from_proto(without_types(proto)) for proto in (first, first, other)]
    feeds: list[Feed] = [{"x": SAMPLES[:20]}, {"x": SAMPLES[20:]}]
    for check in (same_bits, verify_same):
        assert check(models[0], models[1], {"x": SAMPLES}, runtime) is None
        problem = check(models[0], models[2], {"x": SAMPLES}, runtime)
        assert problem is not None
        assert problem.code == "outputs-differ"
    proof = check_equivalence(models[0], models[1], feeds, runtime)
    assert proof.holds
    assert proof.is_informative
    assert not check_equivalence(models[0], models[2], feeds, runtime).holds


def without_types(proto: onnx.ModelProto) -> onnx.ModelProto:
    """As a model with maps is opened."""
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    for value in copy.graph.output:
        if not value.type.HasField("tensor_type"):
            value.ClearField("type")
    return copy


def test_a_text_that_differs_is_told_in_entries() -> None:
    first, other = (ir.from_proto(encoder("cat", "dog", last)) for last in ("eel", "emu"))
    count = int(np.count_nonzero((SAMPLES @ WEIGHT).argmax(axis=1) == 2))
    problem = verify_same(first, other, {"x": SAMPLES}, Runtime())
    assert problem == f"output 'label' differs in {count} of 40 entries"
