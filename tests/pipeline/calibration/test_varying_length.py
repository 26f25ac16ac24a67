"""Samples of varying length: each position counts as much as another, whatever batch it is in."""

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

from netsurgeon.pipeline.calibration.sweep import Calibration
from netsurgeon.pipeline.data.opening import open_samples
from netsurgeon.pipeline.model_files.loading import input_specs
from netsurgeon.pipeline.quantization import ranges
from netsurgeon.pipeline.quantization.ranges import measure_ranges
from netsurgeon.pipeline.runtime.session import Runtime

WIDTH = 4
SHORT, LONG = 2, 50


def model() -> ir.Model:
    weight = ", ".join(map(str, np.arange(WIDTH * 3) / 10.0))
    return ir.from_onnx_text(
        f'<ir_version: 8, opset_import: ["" : 17]> g (float[N,S,{WIDTH}] x) => (float[N,S,3] y) '
        f"<float[{WIDTH},3] w = {{{weight}}}> {{ [layer] y = MatMul(x, w) }}"
    )


def arrays() -> list[NDArray[Any]]:
    """Long samples of small numbers, and among them a few short ones of large numbers."""
    rng = np.random.default_rng(0)
    sizes = [(SHORT, 30.0) if number % 8 == 0 else (LONG, 1.0) for number in range(64)]
    return [(scale * rng.standard_normal((length, WIDTH))).astype(np.float32) for length, scale in sizes]


def calibration(**options: Any) -> Calibration:
    return Calibration(open_samples({"x": arrays()}, input_specs(model()), batch_size=28), Runtime(), **options)


def test_rows_are_drawn_from_all_batches_alike() -> None:
    rows = np.concatenate(arrays())
    ((_, moments),) = calibration(max_elements=300 * WIDTH, rows_per_column=1).dense(model(), ["layer"])
    together = moments.fit.merged(moments.held_out)
    assert together.count == pytest.approx(300, abs=5)
    energy = together.statistics(centred=False).gram.trace(axis1=1, axis2=2)[0] / np.mean(np.sum(rows**2, axis=1))
    assert 0.3 < energy < 3.0, "as many rows of each batch would give short samples thirteen times their part"
    assert moments.positions == len(rows)


def test_numbers_of_short_batches_count_no_more_in_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    batches = calibration().samples.batch_count
    monkeypatch.setattr(ranges, "MOST_NUMBERS", 64 * batches)
    statistics = measure_ranges(model(), ["x"], calibration())["x"]
    rows = np.concatenate(arrays())
    assert statistics._counts.sum() == pytest.approx(rows.size, rel=0.1)
