"""Padding is taken off where the mask says so and nothing depends on it, and what is left is as if there was none."""

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from masked_models import encoder, padded, sentences, unpadded

from netsurgeon.passes.layers import find_layers
from netsurgeon.passes.rewriting.normalise import normal_form
from netsurgeon.pipeline.calibration.sweep import Calibration
from netsurgeon.pipeline.compress import compress
from netsurgeon.pipeline.data.samples import Samples
from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.model_files.loading import open_model
from netsurgeon.pipeline.options import Options
from netsurgeon.pipeline.quantization.integer_model import (
    IntegerModel,
    IntegerPlan,
    make_integer_model,
    rounding_errors,
)
from netsurgeon.pipeline.quantization.matrices import Matrices, make_matrix_model
from netsurgeon.pipeline.quantization.quantize import integer_form
from netsurgeon.pipeline.quantization.ranges import measure_ranges
from netsurgeon.pipeline.runtime.session import Runtime
from netsurgeon.pipeline.trimming.unit_finder import find_units
from netsurgeon.pipeline.verification.drop_evaluator import DropEvaluator
from netsurgeon.pipeline.verification.inputs import open_by_options
from netsurgeon.pipeline.verification.judging import Judging
from netsurgeon.pipeline.verification.validation import validate

ROWS = sentences()
TOKENS = sum(map(len, ROWS))


def opened(model: ir.Model, data: Any, **options: Any) -> Samples:
    settings = Options(sparsity=0.5, **options)
    return open_by_options(open_model(model, settings.runtime()), data, settings, None)


def in_order(samples: Samples, name: str = "ids") -> list[list[int]]:
    rows = [row.tolist() for feed in samples.batches() for row in feed[name]]
    return [rows[place] for place in samples.order]


@pytest.mark.parametrize(
    "name",
    ["attention_mask", "decoder.attention_mask", "padding_mask", "mask", "input_mask_1:0", "attention_mask.1", "which"],
)
@pytest.mark.parametrize("before", [False, True])
def test_padding_is_taken_off_at_either_end(name: str, before: bool) -> None:
    samples = opened(encoder(name=name), padded(ROWS, name=name, before=before))
    assert in_order(samples) == [row.tolist() for row in ROWS]
    assert {entry for row in in_order(samples, name) for entry in row} == {0 if "padding" in name else 1}
    (note,) = samples.notes
    assert note.code == "padding-taken-off"
    assert note.data == {"input": name, "positions": 1600, "excluded": 1600 - TOKENS}
    assert not samples.warnings
    assert samples.batch_count <= len({len(row) for row in ROWS}) + len(ROWS) // 32


def test_axes_without_names_are_known_by_their_length() -> None:
    model = encoder()
    for value in model.graph.inputs:
        value.shape = ir.Shape([None, None])
    assert in_order(opened(model, padded(ROWS))) == [row.tolist() for row in ROWS]


def test_padding_that_changes_the_outputs_stays_and_the_user_is_told() -> None:
    samples = opened(encoder(is_heedless=True), padded(ROWS))
    assert {feed["ids"].shape[1] for feed in samples.batches()} == {16}
    (warning,) = samples.warnings
    assert warning.code == "padding-kept"
    assert warning.data["input"] == "attention_mask"
    assert warning.data["difference"] > 0.05


def scorer(length: int | str, *, entry: float, place: str, is_heedless: bool) -> ir.Model:
    """y (N, 4) = mean of the tokens' rows · w + b, where one number of b, or of the row of the padding, is not finite.

    Args:
        length: extent of the sequence, or what it is called.
        entry: that number.
        place: "b" or "table".
        is_heedless: the mean is over all positions, whatever the mask says.
    """
    counted = "Equal(attention_mask, attention_mask)" if is_heedless else "Cast<to = 9>(attention_mask)"
    rng = np.random.default_rng(0)
    arrays = {"table": rng.standard_normal((20, 8)), "w": rng.standard_normal((8, 4)), "b": rng.standard_normal(4)}
    arrays[place][(0, 3)[-arrays[place].ndim :]] = entry
    model = onnx.parser.parse_model(
        f'<ir_version: 8, opset_import: ["" : 17]> g (int64[N, {length}] ids, int64[N, {length}] attention_mask) '
        "=> (float[N, 4] y) <int64[1] last = {-1}, int64[1] along = {1}, float zero = {0}> "
        f"{{ is_counted = {counted} wide = Unsqueeze(is_counted, last) rows = Gather(table, ids) "
        "there = Where(wide, rows, zero) numbers = Cast<to = 1>(wide) count = ReduceSum<keepdims = 0>(numbers, along) "
        "total = ReduceSum<keepdims = 0>(there, along) mean = Div(total, count) h = MatMul(mean, w) y = Add(h, b) }"
    )
    model.graph.initializer.extend(
        onnx.numpy_helper.from_array(array.astype(np.float32), name) for name, array in arrays.items()
    )
    return ir.from_proto(model)


@pytest.mark.parametrize("length", ["sequence", 16])
@pytest.mark.parametrize(("place", "entry"), [("b", -np.inf), ("b", np.nan), ("table", np.nan)])
def test_outputs_that_are_not_finite_hide_no_dependence_on_padding(length: int | str, place: str, entry: float) -> None:
    """-inf, as of tokens that are never to be chosen, is the same with padding and without; the other scores are not.

    NaN in the row of the padding makes all scores NaN with it, and so with nothing but padding: that is not the same.
    """
    samples = opened(scorer(length, entry=entry, place=place, is_heedless=True), padded(ROWS))
    assert [warning.code for warning in samples.warnings] == ["padding-kept"]
    assert (samples.mask, samples.notes) == (None, ())


@pytest.mark.parametrize(("length", "code"), [("sequence", "padding-taken-off"), (16, "padding-left-out")])
@pytest.mark.parametrize("entry", [-np.inf, np.nan])
def test_outputs_that_are_not_finite_with_padding_and_without_are_the_same(
    length: int | str, code: str, entry: float
) -> None:
    samples = opened(scorer(length, entry=entry, place="b", is_heedless=False), padded(ROWS))
    assert ([note.code for note in samples.notes], samples.warnings) == ([code], ())
    assert samples.mask is None or samples.mask.is_proven


def test_holes_within_a_sentence_stay_in_the_mask() -> None:
    data = padded(ROWS)
    data["attention_mask"][:, 1] *= np.arange(len(ROWS)) % 2
    samples = opened(encoder(), data)
    masks = in_order(samples, "attention_mask")
    assert sum(map(sum, masks)) == data["attention_mask"].sum()
    assert any(0 in mask for mask in masks)


@pytest.mark.parametrize("case", ["none", "nothing excluded", "no mask"])
def test_where_there_is_nothing_to_take_off_all_stays(case: str) -> None:
    data = padded(ROWS)
    if case == "nothing excluded":
        data["attention_mask"][:] = 1
    if case == "no mask":
        data["attention_mask"][0, 0] = 2
    options = {"mask": "none"} if case == "none" else {}
    samples = opened(encoder(), data, **options)
    assert {feed["ids"].shape[1] for feed in samples.batches()} == {16}
    assert not samples.notes


@pytest.mark.parametrize("name", ["attention_mask", "padding_mask", "which"])
@pytest.mark.parametrize("length", ["sequence", 16])
@pytest.mark.parametrize("full", [0, 40])
def test_a_sample_that_is_masked_wholly_is_left_as_it_is_and_the_others_lose_their_padding(
    name: str, length: int | str, full: int
) -> None:
    """Whether or not other samples have no padding at all, which the mask's other meaning would exclude wholly."""
    rows = [np.full(16, 3) if at < full else row for at, row in enumerate(ROWS)]
    data = padded(rows, name=name)
    blank = [50, 70]
    data[name][blank] = int("padding" in name)
    samples = opened(encoder(name=name, length=length), data)
    (warning,) = samples.warnings
    assert warning.code == "padding-only"
    assert "2 of 100 inputs (the first is sample 50 of " in warning
    assert (warning.data["input"], warning.data["inputs"]) == (name, 2)
    (note,) = samples.notes
    excluded = sum(16 - len(row) for at, row in enumerate(rows) if at not in blank)
    assert (note.code, note.data["excluded"]) == (
        "padding-taken-off" if length == "sequence" else "padding-left-out",
        excluded,
    )
    if samples.mask is None:
        lengths = [len(row) for row in in_order(samples)]
        assert lengths == [16 if at in blank else len(row) for at, row in enumerate(rows)]
    else:
        assert not samples.mask.is_proven


def test_samples_without_a_position_are_named_where_nothing_else_is_masked() -> None:
    rows = [*ROWS[:40], np.zeros(0, np.int64), *ROWS[40:]]
    samples = opened(encoder(), unpadded(rows))
    assert in_order(samples) == [row.tolist() for row in rows]
    (warning,) = samples.warnings
    assert warning.code == "padding-only"
    assert "1 of 101 inputs (the first is sample 0 of feed 40 of " in warning
    assert opened(encoder(), unpadded(ROWS)).warnings == ()
    padding = padded(rows[:1])
    ragged = {name: [*padding[name], *rows] for name, rows in unpadded(rows).items()}
    assert [message.code for message in opened(encoder(), ragged).notes] == ["padding-taken-off"]


def test_a_mask_that_is_named_must_be_one() -> None:
    with pytest.raises(InputError, match="there is no input 'masks' to be a mask: the model has 'ids', "):
        opened(encoder(), padded(ROWS), mask="masks")
    with pytest.raises(InputError, match="'ids' is not a mask: expected"):
        opened(encoder(), padded(ROWS), mask="ids")
    named = opened(encoder(name="which"), padded(ROWS, name="which"), mask="which")
    assert in_order(named) == [row.tolist() for row in ROWS]


@pytest.mark.parametrize("values", [{"quantize": "int8", "target": "openvino"}, {"sparsity": 0.6}])
def test_a_model_corrected_on_padded_inputs_is_that_of_unpadded_ones(values: dict[str, Any]) -> None:
    model = encoder()
    sources = (padded(ROWS), padded(ROWS, 30, before=True), unpadded(ROWS))
    results = [compress(model, data, **values) for data in sources]
    notes = [[note.code for note in result.report.notes] for result in results]
    assert ["padding-taken-off" in codes for codes in notes] == [True, True, False]
    feed = {name: array[:1] for name, array in padded(sentences(1), 12).items()}
    given = [Runtime().session(result.model).run(feed)["embedding"] for result in results]
    np.testing.assert_array_equal(given[0], given[1])
    np.testing.assert_array_equal(given[0], given[2])
    errors = [result.report.validation.outputs for result in results]
    assert errors[0] == errors[1] == errors[2]
    as_it_is = compress(model, padded(ROWS), mask="none", **values)
    assert as_it_is.report.validation.outputs != errors[0]


def test_a_model_of_fixed_length_is_corrected_on_what_is_there() -> None:
    fixed, free = encoder(length=16), encoder()
    data = padded(ROWS)
    options: Any = {"sparsity": 0.6, "uniform": True, "effort": "fast", "damping": 0.01, "test": padded(sentences(20))}
    options |= {"values": "float32"}  # sums in another order may round a weight to the value next to it
    result = compress(fixed, data, **options)
    (note,) = (note for note in result.report.notes if note.code.startswith("padding"))
    assert note.code == "padding-left-out"
    assert note.data["excluded"] == 1600 - TOKENS
    assert (note.data["known"], note.data["layers"]) == (6, 6)
    feed = {name: array[:32] for name, array in data.items()}

    def embedding(compressed: ir.Model) -> Any:
        return Runtime().session(compressed).run(feed)["embedding"]

    apart = embedding(compress(free, data, **options).model)
    as_it_is = embedding(compress(fixed, data, mask="none", **options).model)
    np.testing.assert_allclose(embedding(result.model), apart, atol=1e-4)
    assert np.abs(as_it_is - apart).max() > 1e-2


@pytest.mark.parametrize("name", ["attention_mask", "padding_mask"])
def test_errors_and_ranges_leave_out_what_is_fed_but_does_not_count(name: str) -> None:
    samples = opened(encoder(name=name, length=16), padded(ROWS, name=name))
    free = opened(encoder(name=name), padded(ROWS, name=name))
    assert samples.mask is not None
    assert (samples.mask.keeps, free.mask) == (0 if "padding" in name else 1, None)
    model = encoder(name=name)
    calibrations = [Calibration(part, Runtime()) for part in (samples, free)]
    masked, cut = (measure_ranges(model, ["states", "active", "mixed"], entry) for entry in calibrations)
    for value in ("states", "active"):
        assert masked[value].low == pytest.approx(cut[value].low, rel=1e-4)
        assert masked[value].high == pytest.approx(cut[value].high, rel=1e-4)
    assert masked["states"]._counts.sum() == cut["states"]._counts.sum() == TOKENS * 8
    changed = encoder(name=name)
    table = changed.graph.initializers["down"]
    assert table.const_value is not None
    table.const_value = ir.tensor(table.const_value.numpy() * np.float32(1.25), name="down")
    dense, other_model = Runtime().session(model), Runtime().session(changed)
    judging = Judging("outputs")
    one, other = (validate(dense, other_model, part, judging=judging, held_out=True) for part in (samples, free))
    for first, second in zip(one.outputs, other.outputs, strict=True):
        assert first.relative_error == pytest.approx(second.relative_error, rel=1e-4)
    drops = [
        DropEvaluator(dense, part, judging.measure(part)).estimate_drop(other_model).drop for part in (samples, free)
    ]
    assert drops[0] == pytest.approx(drops[1], rel=1e-4)


def on_integers(mode: str, filler: int) -> tuple[IntegerModel, Calibration]:
    """The encoder of fixed length on integers, by sentences behind which one token fills the positions."""
    model, data = encoder(length=16), padded(ROWS)
    data["ids"][data["attention_mask"] == 0] = filler
    normal_form()(model)
    layers, calibration = find_layers(model.graph)[0], Calibration(opened(model, data), Runtime())
    if mode == "int8":
        plan = IntegerPlan(most={layer.name: 63 for layer in layers})
        return make_integer_model(model, plan, calibration, lambda *_: None), calibration
    matrices = Matrices("dynamic", "cpu")
    placement = matrices.place(model.graph, layers, {})
    return make_matrix_model(model, matrices, placement, calibration, lambda *_: None)[0], calibration


@pytest.mark.parametrize("mode", ["int8", "dynamic"])
def test_integers_do_not_depend_on_what_is_fed_but_does_not_count(mode: str) -> None:
    """Layers take copies of values under another name there."""
    (one, calibration), (other, others) = (on_integers(mode, filler) for filler in (0, 7))
    assert one.placement.entering
    for name, scale in one.scales.items():
        assert scale.step == pytest.approx(other.scales[name].step, rel=1e-5)
    # with `dynamic` scales are those of all that is fed together, in which each token is, but not each sum of tokens
    layers = ("to_q", "to_k", "to_v") if mode == "dynamic" else tuple(one.outcomes)
    for layer in layers:
        assert one.outcomes[layer].error == pytest.approx(other.outcomes[layer].error, rel=1e-4)
    if mode == "int8":
        errors = rounding_errors(one, one.model, calibration)
        assert errors == pytest.approx(rounding_errors(other, other.model, others), rel=1e-4)


def test_rows_of_products_that_become_gemms_are_known_to_be_positions() -> None:
    """Where all extents are fixed, what enters a Gemm is (samples · positions, channels)."""
    proto = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]> g (int64[4, 16] ids, int64[4, 16] attention_mask) '
        "=> (float[4, 16, 4] y) <int64[1] last = {-1}> { numbers = Cast<to = 1>(attention_mask) "
        "wide = Unsqueeze(numbers, last) x = Gather(table, ids) h = MatMul(x, w) a = Add(h, b) y = Mul(a, wide) }"
    )
    rng = np.random.default_rng(0)
    for name, shape in {"table": (20, 8), "w": (8, 4), "b": (4,)}.items():
        array = rng.standard_normal(shape).astype(np.float32)
        proto.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    model = ir.from_proto(proto)
    calibration = Calibration(opened(model, padded(ROWS)), Runtime())
    feed = next(calibration.samples.batches())
    ready = integer_form(model.clone(), feed, Runtime())
    assert not isinstance(ready, str)
    (gemm,) = find_layers(ready[0].graph)[0]
    mask, followed = calibration.samples.mask, calibration.counting_in(ready[0]).samples.mask
    assert mask is not None
    assert followed is not None
    assert (gemm.operator, gemm.input_name in mask.axes) == ("Gemm", False)
    entries = followed.entries(gemm.input_name, followed.kept(feed), (64, 8))
    assert entries is not None
    np.testing.assert_array_equal(entries.ravel(), feed["attention_mask"].ravel() == 1)


def test_a_model_of_fixed_length_that_depends_on_padding_keeps_it_unless_the_user_insists() -> None:
    model = encoder(length=16, is_heedless=True)
    samples = opened(model, padded(ROWS))
    assert samples.mask is None
    assert [warning.code for warning in samples.warnings] == ["padding-kept"]
    insisted = opened(model, padded(ROWS), mask="attention_mask").mask
    assert insisted is not None
    assert not insisted.is_proven
    heeded = opened(encoder(length=16), padded(ROWS)).mask
    assert heeded is not None
    assert heeded.is_proven


def test_samples_of_which_hardly_two_are_of_one_length_show_the_same_units() -> None:
    model = open_model(encoder(), Runtime()).model
    rows = [*ROWS[:3], *(np.full(length, 1) for length in range(20, 50))]
    ragged, even = opened(encoder(), unpadded(rows)), opened(encoder(), padded(rows, 60), mask="none")
    found = [find_units(model, Calibration(samples, Runtime())) for samples in (ragged, even)]
    assert [group.units for group in found[0].groups] == [group.units for group in found[1].groups]
    assert found[0].groups


def test_a_mask_beside_numbers_may_be_what_a_model_is_to_fill_in() -> None:
    text = "(float[N, S] x, float[N, S] mask) => (float[N, S] y) { a = Mul(x, mask) y = Relu(a) }"
    model = ir.from_onnx_text(f'<ir_version: 8, opset_import: ["" : 17]> g {text}')
    mask = padded(ROWS)["attention_mask"].astype(np.float32)
    data = {"x": np.random.default_rng(0).standard_normal(mask.shape).astype(np.float32), "mask": mask}
    assert {feed["x"].shape[1] for feed in opened(model, data).batches()} == {16}
    assert opened(model, data, mask="mask").notes[0].code == "padding-taken-off"
