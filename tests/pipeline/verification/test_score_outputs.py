"""Which outputs are taken for class scores: by what makes them and what reads them, not by their shape."""

import onnx_ir as ir
import pytest

from netsurgeon.pipeline.verification.score_outputs import class_outputs


def model(text: str, outputs: str = "float[N, 8] y", inputs: str = "float[N, 8] x") -> ir.Model:
    zeros = "{" + ", ".join(["0"] * 64) + "}"
    constants = f"<float[8, 8] w = {zeros}, float[8, 8, 1] k = {zeros}, float[1] b = {{1}}, float[1] s = {{2}}>"
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
    assert class_outputs(model(text), labelled=False) == ("y",)


@pytest.mark.parametrize(
    "text",
    [
        "h = Gemm(x, w, b) y = Tanh(h)",  # a waveform
        "h = Gemm(x, w, b) n = ReduceL2<axes = [1]>(h) y = Div(h, n)",  # an embedding
        "h = Gemm(x, w, b) e = Exp(h) y = Mul(e, x)",  # boxes from anchors
    ],
)
def test_other_vectors_are_no_scores(text: str) -> None:
    assert class_outputs(model(text), labelled=False) == ()


@pytest.mark.parametrize(("length", "names"), [("1", ("y",)), ("4", ()), ("L", ())])
def test_a_convolution_gives_scores_only_at_one_position(length: str, names: tuple[str, ...]) -> None:
    """Flattened positions are samples of a signal, not classes."""
    text = "c = Conv(x, k) y = Flatten(c)"
    convolution = model(text, outputs="float[N, M] y", inputs=f"float[N, 8, {length}] x")
    convolution.graph.node(0).outputs[0].shape = ir.Shape(["N", 8, int(length) if length.isdigit() else length])
    assert class_outputs(convolution, labelled=False) == names


def test_a_pooled_convolution_gives_scores_whatever_its_extents_are() -> None:
    text = "p = GlobalAveragePool(x) c = Conv(p, k) r = Relu(c) d = Conv(r, k) y = Flatten(d)"
    assert class_outputs(model(text, inputs="float[N, 8, L] x"), labelled=False) == ("y",)
    text = "c = Conv(x, k) p = GlobalAveragePool(c) y = Flatten(p)"
    assert class_outputs(model(text, inputs="float[N, 8, L] x"), labelled=False) == ("y",)


def test_where_one_output_is_surely_scores_the_boxes_beside_it_are_not() -> None:
    text = "y = Gemm(x, w, b) h = Gemm(x, w, b) scores = Softmax(h)"
    both = model(text, outputs="float[N, 8] y, float[N, 8] scores")
    assert class_outputs(both, labelled=False) == ("scores",)


def test_labels_say_that_there_are_classes() -> None:
    assert class_outputs(model("h = Gemm(x, w, b) y = Tanh(h)"), labelled=True) is None
