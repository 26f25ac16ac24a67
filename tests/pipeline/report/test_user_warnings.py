"""What a user should know of a result is said, and only where there is something to say."""

import json
from typing import Any

import numpy as np
import onnx.helper
import onnx_ir as ir
import pytest
from perceptron_models import (
    UNIFORM,
    Array,
    built,
    inputs,
    perceptron,
    random,
)

from netsurgeon.pipeline.calibration.selection import select
from netsurgeon.pipeline.compress import compress
from netsurgeon.pipeline.options.options import Options
from netsurgeon.pipeline.report.record import LayerFacts
from netsurgeon.pipeline.report.user_warnings import alike, emptied, grown, not_finite, not_measured, unmeasured
from netsurgeon.pipeline.verification.fidelity import Agreement, Fidelity
from netsurgeon.pipeline.verification.promise import Promise
from netsurgeon.pipeline.verification.validation import Scores, Validation


def test_layers_that_lost_everything_are_named() -> None:
    report = compress(perceptron(), inputs(), layers={"first": 0.9999}, **UNIFORM).report
    assert [layer.kept for layer in report.layers] == [0, 320]
    emptied = [warning.data for warning in report.warnings if warning.code == "layers-emptied"]
    assert emptied == [{"layers": ["first"]}]
    assert not any(
        warning.code == "layers-emptied"
        for warning in compress(perceptron(), inputs(), sparsity=0.5, **UNIFORM).report.warnings
    )


def test_a_metric_without_a_number_is_a_warning() -> None:
    def metric(outputs: dict[str, Array], labels: object) -> float:
        return float("nan")

    result = compress(perceptron(), inputs(), sparsity=0.5, metric=metric, **UNIFORM)
    models = [warning.data["model"] for warning in result.report.warnings if warning.code == "metric-nan"]
    assert models == ["dense", "compressed"]
    assert json.loads(result.report.to_json())["validation"]["dense"]["metric"] is None


def validation(
    samples: int = 10,
    outputs: tuple[Fidelity, ...] = (),
    agreements: tuple[Agreement, ...] = (),
    **metrics: float | None,
) -> Validation:
    dense, compressed = (Scores(None, None, metrics.get(name)) for name in ("dense", "compressed"))
    return Validation(
        measure="agreement",
        samples=samples,
        held_out=True,
        outputs=outputs,
        agreements=agreements,
        agreement=None,
        lost=None,
        gained=None,
        dense=dense,
        compressed=compressed,
        promise=Promise(outputs=(), margin_loss=None, agreement=None, withheld=None),
    )


@pytest.mark.parametrize(
    ("metrics", "named"),
    [
        ({}, []),
        ({"dense": 0.5, "compressed": 0.0}, []),
        ({"dense": np.nan, "compressed": 0.5}, ["dense"]),
        ({"dense": 0.5, "compressed": np.nan}, ["compressed"]),
        ({"dense": np.nan, "compressed": np.nan}, ["dense", "compressed"]),
    ],
)
def test_a_metric_that_is_no_number_names_the_model(metrics: dict[str, Any], named: list[str]) -> None:
    warnings = list(unmeasured(validation(**metrics)))
    assert [warning.data["model"] for warning in warnings] == named
    assert {warning.code for warning in warnings} <= {"metric-nan"}


@pytest.mark.parametrize(("samples", "same", "warned"), [(10, 5, False), (10, 6, True), (1, 1, False), (2, 2, True)])
def test_outputs_that_most_inputs_share_are_named(samples: int, same: int, warned: bool) -> None:
    outputs = (
        Fidelity(output="fine", relative_error=0.1, snr_db=20.0, alike=1 if samples > 2 else 0, not_finite=0),
        Fidelity(output="dull", relative_error=0.1, snr_db=20.0, alike=same, not_finite=0),
    )
    warnings = list(alike(validation(samples, outputs)))
    assert [warning.data for warning in warnings] == (
        [{"output": "dull", "alike": same, "samples": samples}] if warned else []
    )


@pytest.mark.parametrize(("count", "warned"), [(0, False), (3, True), (10, False)])
def test_outputs_that_are_finite_for_a_part_of_the_inputs_are_named(count: int, warned: bool) -> None:
    """Where they never are it is by design: scores that a mask makes infinite."""
    first = "sample 7 of test.npz" if count else None
    outputs = (
        Fidelity(output="y", relative_error=0.1, snr_db=20.0, alike=0, not_finite=count, first_not_finite=first),
    )
    warnings = list(not_finite(validation(10, outputs)))
    assert [warning.data for warning in warnings] == (
        [{"output": "y", "inputs": 3, "first": first, "samples": 10}] if warned else []
    )
    assert all("for 3 of 10 inputs (the first is sample 7 of test.npz): there it is left out" in w for w in warnings)


def test_only_outputs_of_which_nothing_was_compared_are_named() -> None:
    counts = {"a": 0, "b": 3, "c": 0, "d": 0, "e": 0}
    agreements = tuple(Agreement(output=name, kind="texts", entries=n, equal=0) for name, n in counts.items())
    (note,) = not_measured(validation(agreements=agreements))
    assert note.startswith("a, c, d, …: empty for all inputs")
    assert note.data == {"outputs": ["a", "c", "d", "e"]}
    assert not list(not_measured(validation(agreements=agreements[1:2])))


def facts(name: str, kept: int) -> LayerFacts:
    return LayerFacts(
        name=name,
        operator="Gemm",
        shape=(1, 2, 5),
        weights=10,
        kept=kept,
        sensitivity=None,
        damping=0.01,
        samples=80,
        error=0.0,
        stored="dense",
        bytes_before=40,
        bytes_after=40,
        seconds=0.0,
    )


def test_of_many_emptied_layers_three_are_listed_and_all_are_in_the_data() -> None:
    names = ["a", "b", "c", "d"]
    (warning,) = emptied([facts("kept", 1), *(facts(name, 0) for name in names)])
    assert warning.startswith("no weight is left in a, b, c, …: ")
    assert warning.data == {"layers": names}
    assert next(iter(emptied([facts(name, 0) for name in names[:3]]))).startswith("no weight is left in a, b, c: ")
    assert not list(emptied([facts("kept", 1)]))


def test_a_file_that_grew_says_whether_shared_weights_are_why() -> None:
    plain = select(ir.from_proto(perceptron()), Options())
    assert not list(grown(1000, 999, plain, Options()))
    assert not list(grown(1000, 1000, plain, Options()))
    (warning,) = grown(1000, 1234, plain, Options(sparsity=0.5))
    assert warning.startswith("the file has become larger, 1,000 → 1,234 bytes; leave layers out")
    nodes = [
        onnx.helper.make_node("MatMul", ["x", "w"], ["h"], name="first"),
        onnx.helper.make_node("MatMul", ["h", "w"], ["y"], name="second"),
    ]
    sharing = select(ir.from_proto(built(nodes, {"w": random(32, 32)}, end=("N", 32))), Options())
    (warning,) = grown(1000, 1234, sharing, Options(sparsity=0.5))
    assert "bytes: 2 layers got weights of their own in place of shared ones; leave" in warning
    assert warning.data == {"dense": 1000, "compressed": 1234, "sharing": 2}


@pytest.mark.parametrize(
    ("options", "advice"),
    [
        ({"sparsity": 0.2}, "leave layers out with --exclude, or give a larger --sparsity"),
        ({"trim": 0.2}, "leave layers out with --exclude, or give a larger --trim"),
        ({"max_drop": "1%"}, "leave layers out with --exclude"),
        ({"sparsity": 0.2, "pack": False}, "or give a larger --sparsity, or let weights be packed (without --no-pack)"),
    ],
)
def test_the_advice_fits_the_options(options: dict[str, Any], advice: str) -> None:
    (warning,) = grown(1000, 1234, select(ir.from_proto(perceptron()), Options()), Options(**options))
    assert warning.endswith(advice)
