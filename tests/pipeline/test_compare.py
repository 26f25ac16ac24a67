"""compare on the embedded network and on small models."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pytest
from masked_models import encoder, padded, sentences
from plain_models import DENSE, PLAIN, TEST, parsed
from rich.console import Console

from netsurgeon.pipeline import compare as module
from netsurgeon.pipeline.compare import compare, compare_all
from netsurgeon.pipeline.compress import Compression, compress
from netsurgeon.pipeline.errors import CheckFailedError, InputError
from netsurgeon.pipeline.options import Metric
from netsurgeon.pipeline.profiling import profile
from netsurgeon.pipeline.result import as_json
from netsurgeon.pipeline.terminal.console import print_comparison, print_comparisons


def test_a_model_is_equal_to_itself() -> None:
    result = compare(DENSE, DENSE, TEST)
    assert result.dense == result.compressed
    assert result.validation.samples == 450
    assert result.validation.agreement == 1.0
    assert [output.relative_error for output in result.validation.outputs] == [0.0]
    assert result.bound is not None
    assert [(output.bound, output.measured) for output in result.bound.outputs] == [(0.0, 0.0)]


def test_compare_measures_what_compress_has_reported(small: tuple[Path, Compression]) -> None:
    path, written = small
    result = compare(DENSE, path, TEST)
    assert result.validation.dense == written.report.validation.dense
    assert result.validation.compressed == written.report.validation.compressed
    assert result.validation.agreement == written.report.validation.agreement
    assert result.validation.outputs[0].relative_error == pytest.approx(
        written.report.validation.outputs[0].relative_error
    )
    assert result.dense == written.report.dense
    assert result.compressed == written.report.compressed


def test_answers_of_one_class_promise_nothing(small: tuple[Path, Compression]) -> None:
    image = np.load(TEST, allow_pickle=False)["image"][:1]
    result = compare(DENSE, small[0], np.repeat(image, 100, axis=0))
    assert [warning.code for warning in result.warnings] == ["answers-alike"]
    assert result.validation.promise.withheld is not None
    assert result.validation.promise.withheld.code == "answers-alike"
    assert not result.validation.promise.outputs


def test_what_is_done_about_padding_is_said_as_compress_says_it(capsys: pytest.CaptureFixture[str]) -> None:
    model, data = encoder(), padded(sentences())
    notes = compress(model, data, sparsity=0.2).report.notes
    result = compare(model, model, data)
    told = [note for note in notes if note.code == "padding-taken-off"]
    assert told
    assert [note for note in result.notes if note.code == "padding-taken-off"] == told
    print_comparison(result, Console(width=400))
    print_comparisons(compare_all(model, [model, model], data), Console(width=400))
    assert capsys.readouterr().out.count(f"note: {told[0]}") == 2
    assert f"note: {told[0]}" in result.overview().sentences


def test_a_blank_sentence_is_left_out_of_what_is_compared_and_named() -> None:
    """The dense model's mean over no position is 0 / 0."""
    model, data = encoder(), padded(sentences())
    data["attention_mask"][[40, 60]] = 0
    for result in (
        compare(model, model, data, metric="cosine"),
        compress(model, padded(sentences()), test=data, metric="cosine", sparsity=0.2).report,
    ):
        (warning,) = (warning for warning in result.warnings if warning.code == "outputs-not-finite")
        assert "'embedding' is NaN or infinite for 2 of 100 inputs (the first is sample 40 of " in warning
        assert warning.data["inputs"] == 2
        assert result.validation.drop is not None
        assert result.validation.drop.samples == 98


@pytest.mark.parametrize("metric", ["spearman", lambda outputs, labels: float("nan")])
def test_a_metric_that_is_nan_for_the_reference_is_refused(metric: Metric) -> None:
    model, data = encoder(), padded(sentences())
    labels = np.full(50, 0.5)  # of which none ranks above another
    with pytest.raises(InputError, match="the metric gives NaN for the dense model on these inputs"):
        compare(model, model, {**data, "labels": labels}, metric=metric)


def test_a_metric_that_is_nan_for_the_other_model_alone_is_told(small: tuple[Path, Compression]) -> None:
    figures = iter((0.5, np.nan))
    result = compare(DENSE, small[0], TEST, metric=lambda outputs, labels: next(figures))
    assert [warning.data for warning in result.warnings if warning.code == "metric-nan"] == [{"model": "compressed"}]


def test_labels_at_chance_are_refused(small: tuple[Path, Compression]) -> None:
    with np.load(TEST, allow_pickle=False) as arrays:
        shuffled = {**arrays, "labels": np.random.default_rng(0).permutation(arrays["labels"])}
    with pytest.raises(InputError, match="no more than chance"):
        compare(DENSE, small[0], shuffled)


def test_few_inputs_are_told(small: tuple[Path, Compression]) -> None:
    assert [warning.code for warning in compare(DENSE, small[0], TEST, limit=8).warnings] == ["few-inputs"]


def test_compare_bounds_the_error_of_a_packed_model(small: tuple[Path, Compression]) -> None:
    bound = compare(DENSE, small[0], TEST, limit=64).bound
    assert bound is not None
    assert bound.samples == 64
    assert bound.outputs[0].bound is not None
    assert 0.0 < bound.outputs[0].measured <= bound.outputs[0].bound


def test_compare_takes_models_from_memory(small: tuple[Path, Compression]) -> None:
    result = compare(onnx.load(DENSE), small[1].model, TEST, limit=32)
    assert result.dense.name == ""
    assert 0.0 < result.validation.outputs[0].relative_error < 1.0


def test_graphs_that_differ_have_no_bound() -> None:
    other = PLAIN.replace("{ [first] y = MatMul(x, w) }", "{ [first] h = MatMul(x, w)\n[second] y = Relu(h) }")
    result = compare(parsed(PLAIN), parsed(other), np.ones((8, 4), np.float32))
    assert result.bound is None
    assert result.validation.outputs[0].relative_error == 0.0


def test_models_of_different_opsets_have_no_bound() -> None:
    newer = parsed(PLAIN)
    newer.opset_import[0].version += 1
    result = compare(parsed(PLAIN), newer, np.ones((8, 4), np.float32))
    assert result.bound is None
    assert result.validation.outputs[0].relative_error == 0.0


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (lambda text: text.replace("] x)", "] z)").replace("(x, w)", "(z, w)"), "inputs"),
        (lambda text: text.replace("float[N, 4] x)", "float[N, 4] x, float[1] z)"), "inputs"),
        (lambda text: text.replace("float", "double"), "inputs"),
        (lambda text: text.replace("] y)", "] z)").replace("y = ", "z = "), "outputs"),
    ],
)
def test_models_that_are_not_alike(change: Callable[[str], str], kind: str) -> None:
    with pytest.raises(InputError, match=f"differ in their {kind}"):
        compare(parsed(PLAIN), parsed(change(PLAIN)), np.ones((8, 4), np.float32))


def test_compare_with_a_model_that_gives_nothing_finite() -> None:
    with pytest.raises(CheckFailedError, match="NaN or infinite"):
        compare(parsed(PLAIN), parsed(PLAIN.replace("{1,2", "{nan,2")), np.ones((8, 4), np.float32))


def table_of(rows: int) -> onnx.ModelProto:
    """A model that picks rows of a table."""
    return parsed(
        f"""
        <ir_version: 8, opset_import: ["" : 17]>
        network (int64[N] x) => (float[N, 2] y) <float[{rows}, 2] w = {{{", ".join(["1"] * 2 * rows)}}}>
        {{ y = Gather(w, x) }}
        """
    )


def test_compare_on_inputs_that_fail_only_the_other_model_is_a_failed_check() -> None:
    with pytest.raises(CheckFailedError, match="cannot run on this input"):
        compare(table_of(5), table_of(3), np.arange(64) % 5)


def test_compare_names_the_batch_that_the_models_cannot_run() -> None:
    with pytest.raises(InputError, match=r"as given cannot run on batch 1 \(sample 32 of the array"):
        compare(table_of(5), table_of(5), np.where(np.arange(64) == 40, 9, 0))


def test_several_models_are_each_what_they_are_alone(small: tuple[Path, Compression]) -> None:
    result = compare_all(DENSE, [small[0], DENSE], TEST, limit=64)
    alone = [compare(DENSE, other, TEST, limit=64) for other in (small[0], DENSE)]
    assert [as_json(entry) for entry in result.comparisons] == [as_json(entry) for entry in alone]
    assert [run.name for run in result.runs] == ["small.onnx", "digits.onnx"]
    assert [axes.get_xlabel() for axes in result.plot().axes] == ["file, kB"]
    page = result.to_html()
    assert "2 models side by side" in page
    assert "small.onnx" in page
    assert page.count("<svg") == 1


def test_a_generator_is_asked_once_for_several_models() -> None:
    asked = []

    def feeds() -> Iterator[dict[str, np.ndarray]]:
        asked.append(1)
        yield from ({"x": np.ones((8, 4), np.float32)} for _ in range(4))

    result = compare_all(parsed(PLAIN), [parsed(PLAIN), parsed(PLAIN)], feeds)
    once = len(asked)
    asked.clear()
    compare_all(parsed(PLAIN), [parsed(PLAIN)], feeds)
    assert result.comparisons[0] == result.comparisons[1]
    assert [run.name for run in result.runs] == ["model 1", "model 2"]
    assert once <= 2 * len(asked)


def test_a_model_to_compare_with_is_asked_for() -> None:
    with pytest.raises(InputError, match="there is no model to compare with"):
        compare_all(DENSE, [], TEST)


def test_the_model_that_is_not_alike_is_found_before_anything_is_run() -> None:
    other = parsed(PLAIN.replace("float", "double"))
    with pytest.raises(InputError, match="differ in their inputs"):
        compare_all(parsed(PLAIN), [parsed(PLAIN), other], "nowhere.npz")


def test_models_are_timed_in_turn_where_that_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "profile", partial(profile, rounds=15))
    result = compare(parsed(PLAIN), parsed(PLAIN), np.ones((8, 4), np.float32), profile=True, threads=1)
    assert result.latency is not None
    assert result.latency.threads == 1
    assert result.latency.timings[0].speedup is not None
    assert compare(parsed(PLAIN), parsed(PLAIN), np.ones((8, 4), np.float32)).latency is None
