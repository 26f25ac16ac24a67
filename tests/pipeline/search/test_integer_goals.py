"""Goals on integers from end to end: bytes are saved by zeros and bits together."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from perceptron_models import weights_of
from plain_models import DENSE, DIGITS, TEST
from quantized_models import PADDED, network_of, node, normal
from searched_models import Data

from netsurgeon.pipeline.compress import compress
from netsurgeon.pipeline.compression import steps
from netsurgeon.pipeline.errors import CheckFailedError
from netsurgeon.pipeline.messages import Message
from netsurgeon.pipeline.profiling import timing_table
from netsurgeon.pipeline.quantization import Quantized
from netsurgeon.pipeline.report.report import Report
from netsurgeon.pipeline.search import descent, goal_search, structure_search
from netsurgeon.pipeline.search.candidates import CandidateEvaluator


@pytest.fixture(autouse=True)
def times(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is measured: every model on integers is twice as fast."""
    monkeypatch.setattr(timing_table, "time_models", lambda *_: (None, [np.tile([2e-3, 1e-3], (2, 3, 1))]))
    monkeypatch.setattr(timing_table, "node_times", lambda *_: [])


def searched(**options: Any) -> Report:
    given: Any = {"method": "obs", "damping": 0.01, **options}
    return compress(DENSE, DIGITS / "calibration.npz", test=TEST, **given).report


def test_a_size_is_met_by_fewer_bits_and_fewer_weights() -> None:
    limit = DENSE.stat().st_size // 8
    report = searched(max_size=f"{limit}B")
    assert report.search is not None
    assert report.integers is not None
    assert 0.9 * limit < report.compressed.bytes <= limit
    (chosen,) = (point for point in report.search.points if point.chosen)
    (whole,) = (point for point in report.search.points if point.kept == 1.0)
    assert (chosen.form, whole.bits) == ("w4a8", 7.0)
    assert chosen.bits is not None
    assert chosen.kept is not None
    assert chosen.bits < 6.0
    assert chosen.kept < 1.0
    bits = {layer.name: layer.bits for layer in report.integers.layers}
    assert len(set(bits.values())) > 1, "each layer has its own"


def test_integers_of_one_size_leave_zeros_alone_to_save_bytes() -> None:
    report = searched(max_size=f"{DENSE.stat().st_size // 6}B", quantize="int8")
    assert report.search is not None
    bits = {point.bits for point in report.search.points if point.kind == "candidate"}
    assert bits == {7.0}
    (chosen,) = (point for point in report.search.points if point.chosen)
    assert chosen.kept is not None
    assert chosen.kept < 0.7


def test_a_drop_alone_is_met_on_integers_and_a_first_look_tries_less_and_says_so(
    network: Path, guiding: Data, final: Data
) -> None:
    options: Any = {"method": "obs", "damping": 0.01, "repair": False}
    full, fast = (
        compress(network, guiding, test=final, max_drop="4%", effort=effort, **options).report
        for effort in ("full", "fast")
    )
    for report in (full, fast):
        assert report.integers is not None, "nobody has asked for them"
        assert report.search is not None
        assert report.search.form == "w4a8"
    searches = [report.search for report in (full, fast) if report.search is not None]
    tried = [sum(point.kind == "candidate" for point in search.points) for search in searches]
    assert tried[1] <= descent.FEW_TRIES + 1
    assert tried[1] < tried[0]
    assert [search.folds for search in searches] == [2, 1], "halves take no turns in a first look"
    assert "fast-effort" in [warning.code for warning in fast.warnings]
    assert "fast-effort" not in [warning.code for warning in full.warnings]


def test_for_a_target_that_is_not_timed_here_drop_and_size_choose_integers(
    monkeypatch: pytest.MonkeyPatch, network: Path, guiding: Data, final: Data
) -> None:
    monkeypatch.setattr(timing_table, "time_models", lambda *_: pytest.fail("nothing is to be timed"))
    monkeypatch.setattr(timing_table, "node_times", lambda *_: pytest.fail("nothing is to be timed"))
    report = compress(network, guiding, test=final, max_drop="12%", effort="fast", target="openvino").report
    assert report.search is not None
    assert report.search.form == "w4a8"
    assert report.integers is not None
    assert (report.integers.on_integers, report.integers.timed) == (len(report.integers.layers), None)


@pytest.mark.parametrize(
    ("target", "goals", "first"),
    [
        ("cuda", {"speedup": 1.5}, "codebook"),
        ("tensorrt", {"latency": "1ms"}, "codebook"),
        ("qnn", {"speedup": 1.5, "max_drop": 0.02}, "codebook"),
        ("cuda", {"max_size": "4KB"}, "w4a8"),
        ("cuda", {"max_macs": "10k"}, "w4a8"),
        ("cpu", {"speedup": 1.5}, "w4a8"),
    ],
)
def test_times_of_this_machine_are_reached_on_floats_for_a_target_elsewhere(
    monkeypatch: pytest.MonkeyPatch, target: str, goals: dict[str, Any], first: str
) -> None:
    """Its integers are signed, which the CPU provider does not fuse: a stand-in for them would be faster than they."""
    forms_tried: list[tuple[str, ...]] = []

    def look_at_forms(*arguments: Any, **_: object) -> None:
        forms_tried.append(arguments[3])
        raise CheckFailedError("the forms are known")

    monkeypatch.setattr(goal_search, "search", look_at_forms)
    with pytest.raises(CheckFailedError, match="the forms are known"):
        searched(target=target, effort="fast", **goals)
    assert [forms[0] for forms in forms_tried] == [first]


def test_a_size_costs_no_weights_for_integers_that_no_layer_can_have(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights on floats take 4 bytes in the form of integers, and 1 in that of floats."""
    conv = node("Conv", ["x", "w"], ["y"], "conv", **PADDED)
    model = network_of([conv], {"w": normal(16, 16, 3, 3, scale=0.1)}, entry=("N", 16, 6, 6))
    data = {"x": normal(128, 16, 6, 6)}
    report = compress(model, data, max_size="5KB", target="cuda", effort="fast").report
    assert report.search is not None
    (chosen,) = (point for point in report.search.points if point.chosen)
    assert (chosen.form, chosen.bits) == ("codebook", None)
    assert chosen.kept is not None
    assert chosen.kept > 0.9


def test_a_size_is_met_on_floats_where_float32_beside_integers_would_cost_more() -> None:
    """The last convolution stays on floats, so that the first one alone would have to make the file small."""
    weights = [normal(16, 16, 3, 3, scale=0.1) for _ in range(2)]
    nodes = [
        node("Conv", ["x", "w"], ["hidden"], "first", **PADDED),
        node("Relu", ["hidden"], ["kept"], "relu"),
        node("Conv", ["kept", "v"], ["y"], "last", **PADDED),
    ]
    model = network_of(nodes, dict(zip("wv", weights, strict=True)), entry=("N", 16, 6, 6))
    data = {"x": normal(256, 16, 6, 6)}
    report, forced = (
        compress(model, data, max_size="6KB", effort="fast", quantize=quantize).report for quantize in (None, "w4a8")
    )
    assert report.search is not None
    assert forced.search is not None
    assert {point.form for point in report.search.points if point.kind == "candidate"} == {"w4a8", "codebook"}
    assert (report.search.form, forced.search.form) == ("codebook", "w4a8")
    assert report.compressed.bytes <= 6_000
    assert report.search.evidence.high < forced.search.evidence.drop
    (note,) = (note for note in report.notes if note.code == "integers-lose")
    assert f"{forced.search.evidence.drop:.2%}" in str(note)


def test_a_search_goes_on_on_floats_where_models_turn_out_slower_on_integers(monkeypatch: pytest.MonkeyPatch) -> None:
    def time(timer: timing_table.StructureTimer, name: str, *_: object, **__: object) -> timing_table.Timed:
        speedup = 0.8 if "on integers beside" in name else 2.0
        return timing_table.Timed(speedup, 1.0, *[speedup] * 3)

    monkeypatch.setattr(timing_table.StructureTimer, "time", time)
    report = searched(max_drop="2%", effort="fast")
    assert report.integers is None
    assert report.search is not None
    assert report.search.form not in ("int8", "w4a8")
    (note,) = (note for note in report.notes if note.code in ("not-quantized", "integers-lose"))
    assert "on integers it is only 0.80 times as fast" in note


def test_the_reason_for_floats_is_that_of_the_model_that_would_be_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each candidate is refused for a reason of its own; the search looks at one that keeps few weights, and at all."""
    refused: list[int] = []

    def refuse(result: Quantized, model: ir.Model, *_: object) -> Quantized:
        refused.append(sum(int(np.count_nonzero(weight)) for weight in weights_of(model).values()))
        note = Message(f"{refused[-1]} weights run no faster", "not-quantized", reason="slower")
        return Quantized(model=model, facts=None, notes=(note,))

    monkeypatch.setattr(steps, "unless_slower", refuse)
    report = searched(max_drop="0.5%", effort="fast", method="magnitude", uniform=True)
    assert report.integers is None
    assert len(set(refused)) == 2, "half of the weights lose too much"
    notes = [str(note) for note in report.notes if note.code in ("not-quantized", "integers-lose")]
    assert notes == [f"{max(refused)} weights run no faster"]


def test_a_size_is_met_in_few_bytes_a_weight_where_models_turn_out_slower_on_integers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What was to run on integers and does not has float32, of which far fewer fit."""

    def refuse(model: ir.Model) -> Quantized:
        return Quantized(model=model, facts=None, notes=(Message("no faster", "not-quantized", reason="slower"),))

    monkeypatch.setattr(steps, "unless_slower", lambda _, model, *__: refuse(model))
    limit = DENSE.stat().st_size // 6
    report = searched(max_size=f"{limit}B", effort="fast")
    assert report.search is not None
    assert report.search.form == "codebook"
    assert report.compressed.bytes <= limit
    (chosen,) = (point for point in report.search.points if point.chosen)
    floats = [point for point in report.search.points if point.form == "w4a8" and (point.bytes or 0) <= limit]
    assert (chosen.kept or 0.0) > 2.0 * max(point.kept or 0.0 for point in floats)
    assert [str(note) for note in report.notes if note.code in ("not-quantized", "integers-lose")] == ["no faster"]


def test_the_smallest_model_is_looked_for_with_all_units_with_fewer_and_on_floats(
    monkeypatch: pytest.MonkeyPatch, network: Path, guiding: Data, final: Data
) -> None:
    monkeypatch.setattr(CandidateEvaluator, "can_try_units", True)
    monkeypatch.setattr(structure_search, "WORTH", 0.0)  # time does not decide here, since nothing is timed
    fastest, smallest = (
        compress(network, guiding, test=final, max_drop="12%", prefer=prefer, method="obs", damping=0.01).report
        for prefer in ("speed", "size")
    )
    assert fastest.search is not None
    assert smallest.search is not None
    assert smallest.compressed.bytes <= fastest.compressed.bytes
    candidates = [point for point in smallest.search.points if point.kind == "candidate"]
    assert {point.bits is None for point in candidates} == {True, False}, "on floats and on integers"
    on_integers = [point for point in candidates if point.bits is not None and (point.kept or 1.0) < 1.0]
    assert len({point.macs for point in on_integers}) == 2, "with all units and with fewer"
    assert {point.macs for point in fastest.search.points if (point.kept or 1.0) < 1.0} != {None}
    (chosen,) = (point for point in smallest.search.points if point.chosen)
    assert chosen.bytes == smallest.compressed.bytes
