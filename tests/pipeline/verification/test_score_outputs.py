"""Which outputs are taken for class scores: by what makes them, what reads them and what they look like."""

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import pytest

from netsurgeon.pipeline.data.input_spec import InputSpec
from netsurgeon.pipeline.data.opening import open_samples
from netsurgeon.pipeline.runtime.session import Runtime
from netsurgeon.pipeline.verification.score_outputs import (
    ClassOutputs,
    find_class_outputs,
    find_embeddings,
    outputs_by_graph,
)


def model(text: str, outputs: str = "float[N, 8] y", inputs: str = "float[N, 8] x") -> ir.Model:
    zeros = "{" + ", ".join(["0"] * 64) + "}"
    identity = "{" + ", ".join(str(int(number)) for number in np.eye(8).ravel()) + "}"
    matrices = f"float[8, 8] i = {identity}, float[8, 8] w = {zeros}, float[8, 8, 1] k = {zeros}"
    constants = f"<{matrices}, float[1] b = {{1}}, float[1] s = {{2}}>"
    return ir.from_onnx_text(
        f'<ir_version: 8, opset_import: ["" : 17]> network ({inputs}) => ({outputs}) {constants} {{ {text} }}'
    )


@pytest.mark.parametrize(
    "text",
    [
        "y = Gemm(x, w, b)",
        "h = MatMul(x, w) a = Add(h, b) y = Mul(a, s)",
        "h = Gemm(x, w, b) y = Softmax(h)",
        "h = Gemm(x, w, b) y = Sigmoid(h)",
        "h = Mul(x, x) y = LogSoftmax(h)",
        "h = Mul(x, x) y = Identity(h) most = ArgMax(h)",
    ],
)
def test_scores_are_projected_normalised_or_chosen_from(text: str) -> None:
    assert outputs_by_graph(model(text))[0] == ("y",)


@pytest.mark.parametrize(
    "text",
    [
        "h = Gemm(x, w, b) y = Tanh(h)",  # a waveform
        "h = Gemm(x, w, b) n = ReduceL2<axes = [1]>(h) y = Div(h, n)",  # an embedding
        "h = Gemm(x, w, b) e = Exp(h) y = Mul(e, x)",  # boxes from anchors
    ],
)
def test_other_vectors_are_no_scores(text: str) -> None:
    assert outputs_by_graph(model(text))[0] == ()


@pytest.mark.parametrize(
    ("one", "other", "names", "are_sure"),
    [
        ("Gemm(x, w, b)", "MatMul(x, w)", ("y",), False),
        ("Gemm(x, w, b)", "Tanh(x)", (), False),
        ("Softmax(x)", "LogSoftmax(x)", ("y",), True),
    ],
)
def test_branches_give_scores_where_both_do(one: str, other: str, names: tuple[str, ...], are_sure: bool) -> None:
    """As in a decoder that was merged with its cached form."""
    text = (
        f"y = If(c) <then_branch = one () => (float[N, 8] t) {{ t = {one} }}, "
        f"else_branch = other () => (float[N, 8] e) {{ e = {other} }}>"
    )
    assert outputs_by_graph(model(text, inputs="float[N, 8] x, bool c")) == (names, are_sure)


@pytest.mark.parametrize(("length", "names"), [("1", ("y",)), ("4", ()), ("L", ())])
def test_a_convolution_gives_scores_only_at_one_position(length: str, names: tuple[str, ...]) -> None:
    """Flattened positions are samples of a signal, not classes."""
    text = "c = Conv(x, k) y = Flatten(c)"
    convolution = model(text, outputs="float[N, M] y", inputs=f"float[N, 8, {length}] x")
    convolution.graph.node(0).outputs[0].shape = ir.Shape(["N", 8, int(length) if length.isdigit() else length])
    assert outputs_by_graph(convolution)[0] == names


def test_a_pooled_convolution_gives_scores_whatever_its_extents_are() -> None:
    text = "p = GlobalAveragePool(x) c = Conv(p, k) r = Relu(c) d = Conv(r, k) y = Flatten(d)"
    assert outputs_by_graph(model(text, inputs="float[N, 8, L] x"))[0] == ("y",)
    text = "c = Conv(x, k) p = GlobalAveragePool(c) y = Flatten(p)"
    assert outputs_by_graph(model(text, inputs="float[N, 8, L] x"))[0] == ("y",)


def test_where_one_output_is_surely_scores_the_boxes_beside_it_are_not() -> None:
    text = "y = Gemm(x, w, b) h = Gemm(x, w, b) scores = Softmax(h)"
    both = model(text, outputs="float[N, 8] y, float[N, 8] scores")
    assert outputs_by_graph(both) == (("scores",), True)


ORDERED = np.arange(8) + np.random.default_rng(0).standard_normal((100, 1))
"""Numbers in the same order for every input, which rise and fall together."""


def found(text: str, x: npt.NDArray[np.float64], *, labelled: bool = False) -> ClassOutputs:
    network = model(text)
    samples = open_samples({"x": x.astype(np.float32)}, (InputSpec("x", np.dtype(np.float32), (None, 8)),))
    return find_class_outputs(network, Runtime().session(network), samples, labelled=labelled)


def test_what_the_graph_allows_is_judged_by_its_error_where_it_does_not_look_like_scores() -> None:
    result = found("h = Gemm(x, i) y = Mul(h, s)", ORDERED)
    assert result.names == ()
    (note,) = result.notes
    assert (note.code, note.data) == ("no-class-scores", {"output": "y", "numbers": 8})
    assert "8 numbers of output 'y'" in note
    assert found("h = Gemm(x, i) y = Mul(h, s)", np.random.default_rng(1).standard_normal((100, 8))).names == ("y",)


def test_what_a_softmax_reads_is_scores_whatever_it_looks_like() -> None:
    assert found("y = Gemm(x, i) p = Softmax(y)", ORDERED) == ClassOutputs(("y",))


def test_labels_say_that_there_are_classes() -> None:
    assert found("h = Gemm(x, i) y = Mul(h, s)", ORDERED, labelled=True) == ClassOutputs(None)
    assert found("h = Gemm(x, i) y = Tanh(h)", ORDERED, labelled=True) == ClassOutputs(None)


def test_a_model_whose_outputs_are_no_vectors_is_run_on_one_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Logits of each token, of a model that may be large."""
    decoder = model("y = MatMul(x, w)", outputs="float[N, 5, 8] y", inputs="float[N, 5, 8] x")
    x = np.random.default_rng(0).standard_normal((100, 5, 8)).astype(np.float32)
    samples = open_samples({"x": x}, [InputSpec("x", np.dtype(np.float32), (None, 5, 8))], batch_size=10)
    session = Runtime().session(decoder)
    runs: list[int] = []
    real = session.run

    def counting(feed: Any) -> Any:
        runs.append(len(feed["x"]))
        return real(feed)

    monkeypatch.setattr(session, "run", counting)
    assert find_class_outputs(decoder, session, samples, labelled=False).names == ("y",)
    assert runs == [10]
    assert find_embeddings(decoder, session, samples) == ()
    assert runs == [10, 10]
