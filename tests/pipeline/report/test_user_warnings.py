"""What a user should know of a result is said, and only where there is something to say."""

import json

from perceptron_models import (
    UNIFORM,
    Array,
    inputs,
    perceptron,
)

from netsurgeon.pipeline.compress import compress


def test_layers_that_lost_everything_are_named() -> None:
    report = compress(perceptron(), inputs(), layers={"first": 0.9999}, **UNIFORM).report
    assert [layer.kept for layer in report.layers] == [0, 320]
    assert any(text.startswith("no weight is left in first: ") for text in report.warnings)
    assert not any(
        "no weight is left" in text
        for text in compress(perceptron(), inputs(), sparsity=0.5, **UNIFORM).report.warnings
    )


def test_a_metric_without_a_number_is_a_warning() -> None:
    def metric(outputs: dict[str, Array], labels: object) -> float:
        return float("nan")

    result = compress(perceptron(), inputs(), sparsity=0.5, metric=metric, **UNIFORM)
    assert sum("the metric gives NaN" in each for each in result.report.warnings) == 2
    assert json.loads(result.report.to_json())["validation"]["dense"]["metric"] is None
