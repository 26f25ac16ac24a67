"""By what models are judged: as labels and outputs suggest, or as the user names it."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import pytest

from netsurgeon.pipeline.data import Samples, open_samples
from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.model_files import input_specs
from netsurgeon.pipeline.runtime import Runtime
from netsurgeon.pipeline.verification.judging import Judging, check_metric, choose_measure, labels_only_measure

Array = npt.NDArray[Any]
RNG = np.random.default_rng(0)
WIDTH = 48


def text_of(array: Array) -> str:
    return "{" + ", ".join(f"{value:.6g}" for value in array.ravel()) + "}"


def network(text: str, outputs: str, rows: int = 12, columns: int = WIDTH, one: str = "") -> ir.Model:
    weight = RNG.standard_normal((rows, columns)) / np.sqrt(rows)
    return ir.from_onnx_text(
        f'<ir_version: 8, opset_import: ["" : 17]> network (float[N, {rows}] x) => ({outputs}) '
        f"<float[{rows}, {columns}] w = {text_of(weight)}{f', {one}' if one else ''}> {{ {text} }}"
    )


def language() -> ir.Model:
    """Eleven tokens, each with a row, and scores of the next one: a projection of that row."""
    table, head = RNG.standard_normal((11, 8)), RNG.standard_normal((8, 11))
    return ir.from_onnx_text(
        '<ir_version: 8, opset_import: ["" : 17]> network (int64[N, L] input_ids) => (float[N, L, 11] logits) '
        f"<float[11, 8] table = {text_of(table)}, float[8, 11] head = {text_of(head)}> "
        "{ rows = Gather(table, input_ids) logits = MatMul(rows, head) }"
    )


def samples(model: ir.Model, labels: Array | None = None, count: int = 64) -> Samples:
    (spec,) = input_specs(model)
    shape = [5 if size is None else size for size in (spec.shape or ())[1:]]
    x: Array = RNG.standard_normal((count, *shape)).astype(np.float32)
    if spec.dtype.kind == "i":
        x = RNG.integers(0, 11, (count, *shape))
    return open_samples({spec.name: x} if labels is None else {spec.name: x, "labels": labels}, (spec,))


def chosen(model: ir.Model, given: Samples, **how: Any) -> Judging:
    return choose_measure(model, Runtime().session(model), given, **how)


SCORES = "h = MatMul(x, w) y = Softmax(h)"
UNIT = "h = MatMul(x, w) n = ReduceL2<axes = [1]>(h) y = Div(h, n)"


def test_labels_of_classes_are_for_top1_and_without_them_the_dense_model_is() -> None:
    model = network(SCORES, f"float[N, {WIDTH}] y")
    labelled = samples(model, np.arange(64) % WIDTH)
    judging = chosen(model, labelled)
    assert (judging.name, judging.measure(labelled).name, judging.warnings) == ("top-1", "top-1", ())
    assert judging.measure(samples(model)).name == "agreement", "as calibration inputs without labels guide"
    assert chosen(model, samples(model)).name == "agreement"


def test_labels_beside_the_test_inputs_only_are_said_to_guide_nothing() -> None:
    model = network(SCORES, f"float[N, {WIDTH}] y")
    labelled, plain = samples(model, np.arange(64) % WIDTH), samples(model)
    judging = chosen(model, plain, labelled=True)
    (warning,) = labels_only_measure(judging, plain, labelled)
    assert (warning.code, warning.data) == ("labels-only-measure", {"guiding": 64, "labelled": 64})
    assert labels_only_measure(judging, plain, plain) == ()
    assert labels_only_measure(chosen(model, labelled), labelled, labelled) == ()
    named = chosen(model, plain, metric="agreement", labelled=True)
    assert labels_only_measure(named, plain, labelled) == (), "asked for"


@pytest.mark.parametrize("text", [UNIT, "y = MatMul(x, w)"], ids=["of length 1", "projected"])
def test_embeddings_are_no_class_scores(text: str) -> None:
    """A projection may give scores: of as many numbers one would stand out."""
    model = network(text, f"float[N, {WIDTH}] y")
    judging = chosen(model, samples(model))
    assert (judging.name, judging.embedding_outputs, judging.class_outputs) == ("cosine", ("y",), ())
    for note in judging.notes:
        assert "none of them stands out" in note
        assert "The cosine to the dense model's counts" in note
    drop = judging.measure(samples(model))
    assert drop.needs_dense


def test_scores_of_a_vocabulary_are_for_the_next_token() -> None:
    model = language()
    assert chosen(model, samples(model)).name == "token-agreement"
    perplexity = chosen(model, samples(model), metric="perplexity")
    assert perplexity.measure(samples(model)).name == "perplexity"


@pytest.mark.parametrize(("name", "measure"), [("states", "outputs"), ("logits", "token-agreement")])
def test_hidden_states_are_no_scores_of_tokens(name: str, measure: str) -> None:
    """A vector for each position that a product gives, narrower than the vocabulary, unless its name says otherwise."""
    weight = text_of(RNG.standard_normal((8, WIDTH)))
    model = ir.from_onnx_text(
        f'<ir_version: 8, opset_import: ["" : 17]> network (int64[N, L] input_ids) => (float[N, L, {WIDTH}] {name}) '
        f"<float[60, 8] table = {text_of(RNG.standard_normal((60, 8)))}, float[8, {WIDTH}] w = {weight}> "
        f"{{ rows = Gather(table, input_ids) {name} = MatMul(rows, w) }}"
    )
    given = open_samples({"input_ids": RNG.integers(0, 60, (64, 5))}, input_specs(model))
    assert chosen(model, given).name == measure


@pytest.mark.parametrize(("scale", "measure"), [(0.0, "outputs"), (8.0, "token-agreement")])
def test_hidden_states_wider_than_a_small_vocabulary_are_told_by_their_numbers(scale: float, measure: str) -> None:
    """Letters: 20 of them are fed, and each has a row of 64 numbers; in a score one of them stands out."""
    head = text_of(RNG.standard_normal((20, 64)) + scale * np.eye(20, 64))
    model = ir.from_onnx_text(
        '<ir_version: 8, opset_import: ["" : 17]> network (int64[N, L] input_ids) => (float[N, L, 64] y) '
        f"<float[20, 20] table = {text_of(np.eye(20))}, float[20, 64] w = {head}> "
        "{ rows = Gather(table, input_ids) y = MatMul(rows, w) }"
    )
    samples = open_samples({"input_ids": RNG.integers(0, 20, (64, 5))}, input_specs(model))
    assert chosen(model, samples).name == measure


def test_a_text_need_not_hold_half_the_tokens_of_a_large_vocabulary() -> None:
    """The score of the next token is 12 above the others': of 32,000 numbers that skews too little to tell."""
    model = ir.from_onnx_text(
        '<ir_version: 8, opset_import: ["" : 17]> network (int64[N, L] input_ids, float[20, 32000] head) '
        f"=> (float[N, L, 32000] y) <float[20, 20] table = {text_of(np.eye(20))}> "
        "{ rows = Gather(table, input_ids) y = MatMul(rows, head) }"
    )
    head = model.graph.inputs.pop()
    scores = RNG.standard_normal((20, 32_000)) + 12.0 * np.eye(20, 32_000)
    head.const_value = ir.Tensor(scores.astype(np.float32), name=head.name)
    model.graph.register_initializer(head)
    samples = open_samples({"input_ids": RNG.integers(0, 20, (64, 5))}, input_specs(model))
    assert chosen(model, samples).name == "token-agreement"


@pytest.mark.parametrize("dtype", ["int64", "bool"])
@pytest.mark.parametrize("columns", [8, 64, 384])
@pytest.mark.parametrize("mask", ["attention_mask", "which"])
def test_a_mask_of_integers_is_no_vocabulary(mask: str, columns: int, dtype: str) -> None:
    """States of rows that are fed in place of tokens are judged by their error, whatever type their mask has."""
    judging = chosen(*masked_rows("states", mask, columns, dtype))
    assert judging.name == "outputs"


def test_logits_of_rows_that_are_fed_in_place_of_tokens_are_known_by_their_name() -> None:
    assert chosen(*masked_rows("logits", "attention_mask", WIDTH, "int64")).name == "token-agreement"
    assert chosen(*masked_rows("states", "attention_mask", WIDTH, "int64"), metric="token-agreement").is_named


def masked_rows(name: str, mask: str, columns: int, dtype: str) -> tuple[ir.Model, Samples]:
    """An output (N, 6, columns) of this name, a product with rows x (N, 6, 16) and a mask (N, 6), and inputs."""
    model = ir.from_onnx_text(
        f'<ir_version: 8, opset_import: ["" : 17]> network (float[N, 6, 16] x, {dtype}[N, 6] {mask}) '
        f"=> (float[N, 6, {columns}] {name}) "
        f"<float[16, {columns}] w = {text_of(RNG.standard_normal((16, columns)))}, int64[1] last = {{-1}}> "
        f"{{ numbers = Cast<to = 1>({mask}) wide = Unsqueeze(numbers, last) rows = Mul(x, wide) "
        f"{name} = MatMul(rows, w) }}"
    )
    kept = np.arange(6) < RNG.integers(2, 7, (64, 1))
    data = {"x": RNG.standard_normal((64, 6, 16)).astype(np.float32), mask: kept.astype(dtype)}
    return model, open_samples(data, input_specs(model))


def test_a_model_that_goes_on_from_what_it_remembers_is_judged_by_tokens_though_most_feeds_have_one() -> None:
    """Logits of a single position have the shape of class scores; the first feed and the last one are of such."""
    model = ir.from_onnx_text(
        '<ir_version: 8, opset_import: ["" : 17]> network (int64[N, L] input_ids, float[N, P, 8] past) '
        f"=> (float[N, L, 11] logits) <float[11, 8] table = {text_of(RNG.standard_normal((11, 8)))}, "
        f"float[8, 11] head = {text_of(RNG.standard_normal((8, 11)))}> "
        "{ m = ReduceMean<axes = [1]>(past) rows = Gather(table, input_ids) h = Add(rows, m) logits = MatMul(h, head) }"
    )
    feeds = [
        {"input_ids": RNG.integers(0, 11, (1, tokens)), "past": RNG.standard_normal((1, past, 8)).astype(np.float32)}
        for tokens, past in (*((1, 3),) * 9, (6, 1), *((1, 9),) * 9)
    ]
    given = open_samples(feeds, input_specs(model))
    assert [feed["input_ids"].shape[1] for feed in given.batches()] == [1, 6, 1]
    assert chosen(model, given).name == "token-agreement"


def test_other_outputs_are_for_their_error() -> None:
    shaped = network("a = MatMul(x, w) b = Tanh(a) y = Identity(b)", "float[N, 4] y", columns=4)
    assert chosen(shaped, samples(shaped)).name == "outputs", "four numbers are no embedding"
    spread = network("a = MatMul(x, w) b = Tanh(a) y = CumSum(b, one)", f"float[N, {WIDTH}] y", one="int64 one = {1}")
    assert chosen(spread, samples(spread)).name == "outputs", "neighbours of a signal are alike"


def test_what_is_as_long_as_an_input_is_no_embedding() -> None:
    text = (
        '<ir_version: 8, opset_import: ["" : 17]> network (int64[N, length] input_ids) '
        "=> (float[N, length] mask, float[N, 32] sentence_embedding) "
        f"<float[11, 32] table = {text_of(RNG.standard_normal((11, 32)))}> "
        "{ mask = Cast<to = 1>(input_ids) rows = Gather(table, input_ids) "
        "sentence_embedding = ReduceMean<axes = [1], keepdims = 0>(rows) }"
    )
    model = ir.from_onnx_text(text)
    given = open_samples({"input_ids": RNG.integers(0, 11, (64, 40))}, input_specs(model))
    judging = chosen(model, given)
    assert (judging.name, judging.embedding_outputs) == ("cosine", ("sentence_embedding",))
    paired = open_samples({"input_ids": RNG.integers(0, 11, (64, 40)), "labels": RNG.random(32)}, input_specs(model))
    assert chosen(model, paired, metric="spearman").embedding_outputs == ("sentence_embedding",)


def test_labels_that_nothing_uses_are_left_out_and_said() -> None:
    model = network(UNIT, f"float[N, {WIDTH}] y")
    (warning,) = chosen(model, samples(model, RNG.random(32))).warnings
    assert (warning.code, warning.data) == ("targets-left-out", {"dtype": "float64"})
    assert "one for two inputs" in warning
    assert chosen(model, samples(model, RNG.random(32)), metric="spearman").warnings == ()


@pytest.mark.parametrize(
    ("metric", "labels", "message"),
    [
        ("spearman", None, "spearman needs labels beside the inputs"),
        ("spearman", RNG.random(64), "needs one number for each input, which no output is; for pairs"),
        ("spearman", RNG.random((64, 2)), "needs one number as a label"),
        ("auc", RNG.random(32), "auc needs labels of classes"),
        ("auc", np.full(64, WIDTH), f"label {WIDTH} .* is not a class of the model, which has {WIDTH}"),
        ("f1", np.full(64, -1), "label -1 .* is not a class of the model"),
        ("f1", RNG.random(64), "f1 needs the class of each input"),
        ("top-1", np.arange(32), "top-1 needs the class of each input"),
        ("mse", RNG.random((64, 3)), "as large as the labels, 3 numbers a sample"),
        ("mse", RNG.random((32, WIDTH)), "mse needs a label for each input, and the data has one for two of them"),
        ("psnr", RNG.random((32, WIDTH)), "psnr needs a label for each input"),
        ("perplexity", np.zeros((32, 5), int), "perplexity needs a label for each input"),
        ("perplexity", None, r"\(samples, positions, vocabulary\)"),
        ("perplexity", RNG.random(64), "a token for each position as labels"),
        ("token-agreement", None, r"\(samples, positions, vocabulary\)"),
    ],
)
def test_a_metric_that_cannot_be_used(metric: str, labels: Array | None, message: str) -> None:
    model = network(UNIT, f"float[N, {WIDTH}] y")
    with pytest.raises(InputError, match=message):
        chosen(model, samples(model, labels), metric=metric)


def test_a_name_that_is_no_measure_is_told_which_there_are() -> None:
    check_metric(None)
    check_metric("psnr")
    with pytest.raises(InputError, match=r"expected module:function, or one of top-1, agreement, .*psnr$"):
        check_metric("accuracy")


def two_outputs() -> ir.Model:
    """Boxes first, which are vectors as well, and scores behind them."""
    weight, box = RNG.standard_normal((12, WIDTH)), RNG.standard_normal((12, 4))
    return ir.from_onnx_text(
        f'<ir_version: 8, opset_import: ["" : 17]> network (float[N, 12] x) => (float[N, 4] box, float[N, {WIDTH}] y) '
        f"<float[12, {WIDTH}] w = {text_of(weight)}, float[12, 4] v = {text_of(box)}> "
        "{ b = MatMul(x, v) box = Tanh(b) h = MatMul(x, w) y = Softmax(h) }"
    )


@pytest.mark.parametrize(
    ("model", "labels"),
    [
        (network(SCORES, f"float[N, {WIDTH}] y"), np.arange(64) % WIDTH),
        (network(SCORES, f"float[N, {WIDTH}] y"), None),
        (network(UNIT, f"float[N, {WIDTH}] y"), None),
        (network(UNIT, f"float[N, {WIDTH}] y"), RNG.random(32)),
        (network("a = MatMul(x, w) b = Tanh(a) y = Identity(b)", "float[N, 4] y", columns=4), None),
        (language(), None),
        (two_outputs(), None),
    ],
    ids=["classes", "no labels", "embedding", "labels left out", "numbers", "language", "box and scores"],
)
def test_naming_the_default_changes_nothing(model: ir.Model, labels: Array | None) -> None:
    given = samples(model, labels)
    default = chosen(model, given)
    named = chosen(model, given, metric=default.name)
    assert named == dataclasses.replace(default, is_named=True)


@pytest.mark.parametrize(("columns", "title"), [(2, "F1 of class 1"), (WIDTH, f"F1 of {WIDTH} classes, their mean")])
def test_the_scores_of_the_model_tell_which_f1_it_is(columns: int, title: str) -> None:
    model = network(SCORES, f"float[N, {columns}] y", columns=columns)
    labelled = samples(model, np.arange(64) % 2)
    judging = chosen(model, labelled, metric="f1")
    assert (judging.class_count, judging.measure(labelled).scale.title) == (columns, title)
