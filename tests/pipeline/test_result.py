"""What the public functions return: one line, a summary, a table for notebooks, and files."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from short_timing import time_for_a_moment

import netsurgeon
from netsurgeon.pipeline.compress import Compression
from netsurgeon.pipeline.result import MOST_ROWS, Overview, Result, as_json
from netsurgeon.pipeline.runtime import Runtime

ROOT = Path(__file__).parent.parent.parent
DIGITS = ROOT / "models" / "digits"
NASTY = "<b>\x1b[2J&"


@dataclasses.dataclass(frozen=True, repr=False)
class Fruit(Result):
    """A result of a test."""

    json_properties = ("double",)
    weight: float
    rows: int = 1

    @property
    def double(self) -> float:
        """Twice the weight."""
        return 2 * self.weight

    def overview(self) -> Overview:
        """The fruit."""
        rows = tuple((f"{NASTY}{number}", "red", f"{self.weight:g}") for number in range(self.rows))
        return Overview(headline=f"ripe {NASTY}", sentences=("eat it",), titles=("name", "color", "kg"), rows=rows)


@pytest.fixture(scope="module")
def results(delivered: tuple[Path, Compression]) -> dict[str, Result]:
    folder, compression = delivered
    dense, data = DIGITS / "digits.onnx", DIGITS / "test.npz"
    job: Any = {"model": dense, "data": data, "sparsity": 0.5, "limit": 64, "method": "magnitude", "uniform": True}
    jobs = {"digits.onnx, half": job, "digits.onnx, no data": job | {"data": folder / "none.npz"}}
    with pytest.MonkeyPatch.context() as patch:
        time_for_a_moment(patch)
        timed = netsurgeon.profile(dense, folder / "small.onnx")
        alone = netsurgeon.profile(dense, rounds=5)
    return {
        "compression": compression,
        "report": compression.report,
        "comparison": netsurgeon.compare(dense, folder / "small.onnx", data),
        "comparisons": netsurgeon.compare_all(dense, [folder / "small.onnx", dense], data),
        "many": netsurgeon.compress_many(jobs, folder / "many"),
        "inspection": netsurgeon.inspect_model(dense),
        "profile": timed,
        "profile of one": alone,
        "sensitivity": netsurgeon.inspect_sensitivity(dense, data, limit=32),
        "quantization": netsurgeon.inspect_quantization(dense, data, limit=32, target="qnn"),
    }


NAMES = (
    *("compression", "report", "comparison", "comparisons", "many", "inspection", "profile", "profile of one"),
    *("sensitivity", "quantization"),
)


@pytest.mark.parametrize("name", NAMES)
def test_a_result_is_shown_in_one_line_and_summed_up(results: dict[str, Result], name: str) -> None:
    result = results[name]
    shown, summary = repr(result), result.summary()
    assert "\n" not in shown
    assert len(shown) < 250
    assert shown == f"<{type(result).__name__}: {result.overview().headline}>"
    assert ("1 of 2 models are there" if name == "many" else "digits.onnx") in shown
    assert "digits.onnx" in summary
    assert summary.startswith(result.overview().headline)
    assert len(summary.splitlines()) > 3


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_gets_the_verdict_and_the_table(results: dict[str, Result], name: str) -> None:
    overview, page = results[name].overview(), results[name]._repr_html_()
    assert page.count("<tr>") == 1 + min(len(overview.rows), MOST_ROWS)
    assert page.count("<th ") == len(overview.titles)
    assert {len(row) for row in overview.rows} == {len(overview.titles)}
    assert "<strong>" in page


@pytest.mark.parametrize("name", NAMES)
def test_a_result_as_a_file(results: dict[str, Result], name: str, tmp_path: Path) -> None:
    result = results[name]
    assert json.loads(result.to_json())["schema"]
    assert result.to_html().startswith("<!DOCTYPE html>")
    if isinstance(result, Compression):
        return
    result.save(tmp_path / "result.html")
    result.save(str(tmp_path / "result.json"))
    assert (tmp_path / "result.html").read_text("utf-8") == result.to_html()
    assert (tmp_path / "result.json").read_text("utf-8") == result.to_json()
    with pytest.raises(netsurgeon.InputError, match=r"result.pdf is not a name for a \w+: let it end in .html"):
        result.save(tmp_path / "result.pdf")


def test_the_summary_of_a_report_is_that_of_the_page(delivered: tuple[Path, Compression]) -> None:
    report = delivered[1].report
    assert f"<h1>{report.headline}</h1>" in report.to_html()
    assert report.headline == f"digits.onnx is {report.ratio:.1f} times smaller, and verified"
    assert f"{report.dense.bytes:,}" in report.summary()
    assert "450 inputs that calibration never saw" in report.summary()


def test_warnings_are_part_of_a_summary() -> None:
    options: Any = {"sparsity": 0.5, "limit": 16, "method": "magnitude", "uniform": True}
    report = netsurgeon.compress(DIGITS / "digits.onnx", DIGITS / "calibration.npz", **options).report
    assert report.warnings
    for warning in report.warnings:
        assert f"warning: {warning}" in report.summary()


def test_a_compression_is_saved_as_the_model_that_was_verified(
    delivered: tuple[Path, Compression], tmp_path: Path
) -> None:
    folder, result = delivered
    result.save(tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx").read_bytes() == (folder / "small.onnx").read_bytes()
    x = np.zeros((1, 1, 8, 8), np.float32)
    feed = {onnx.load(tmp_path / "again.onnx").graph.input[0].name: x}
    Runtime().session(tmp_path / "again.onnx").run(feed)


def test_a_compression_is_never_saved_over_the_dense_model_or_as_a_report(tmp_path: Path) -> None:
    dense = tmp_path / "dense.onnx"
    dense.write_bytes((DIGITS / "digits.onnx").read_bytes())
    options: Any = {"sparsity": 0.5, "limit": 16, "method": "magnitude", "uniform": True}
    result = netsurgeon.compress(dense, DIGITS / "calibration.npz", **options)
    with pytest.raises(netsurgeon.InputError, match="inputs are never written to"):
        result.save(dense)
    with pytest.raises(netsurgeon.InputError, match=r"small.html is not a name for a model: .* report.save"):
        result.save(tmp_path / "small.html")
    assert dense.read_bytes() == (DIGITS / "digits.onnx").read_bytes()


def test_names_from_files_cannot_steer_what_shows_them() -> None:
    for text in (repr(Fruit(1.0)), Fruit(1.0).summary(), Fruit(1.0)._repr_html_(), Fruit(1.0).to_html()):
        assert "\x1b" not in text
    assert "<b>" not in Fruit(1.0)._repr_html_()


def test_long_tables_are_cut_and_columns_aligned() -> None:
    lines = Fruit(1.5, rows=MOST_ROWS + 3).summary().splitlines()
    assert lines[-1] == "… and 3 more"
    assert len(lines) == 2 + 1 + 1 + MOST_ROWS + 1
    assert lines[3].index("color") == lines[4].index("red")
    assert lines[3].index("kg") + 2 == len(lines[4])
    assert "… and 3 more" in Fruit(1.5, rows=MOST_ROWS + 3)._repr_html_()
    assert "more" not in Fruit(1.5, rows=MOST_ROWS).summary()
    assert 'text-align: left">red' in Fruit(1.5)._repr_html_()
    assert 'text-align: right">1.5' in Fruit(1.5)._repr_html_()


def test_json_has_fields_properties_and_no_number_that_is_not_finite() -> None:
    assert json.loads(as_json(Fruit(float("nan")))) == {"schema": 2, "weight": None, "rows": 1, "double": None}
