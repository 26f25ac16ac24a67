"""The report as a page: complete, escaped, without references to anything outside, and drawn by a real browser."""

import dataclasses
import html.parser
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from browser import Browser
from report_files import point, searched

import netsurgeon
from netsurgeon.cli import run
from netsurgeon.pipeline.messages import Message
from netsurgeon.pipeline.profiling import Timed, TimingTable
from netsurgeon.pipeline.profiling.kernel_times import NodeTime
from netsurgeon.pipeline.profiling.model_profile import Cost, Profile, Timing
from netsurgeon.pipeline.profiling.timing import Ratio, Spread
from netsurgeon.pipeline.quantization import IntegerFacts, IntegerLayerFacts
from netsurgeon.pipeline.report.page import render
from netsurgeon.pipeline.report.report import Report
from netsurgeon.pipeline.report.reproduction import invocation
from netsurgeon.pipeline.trimming.facts import GroupFacts, TrimFacts
from netsurgeon.pipeline.verification.promise import OutputLimit, Promise
from netsurgeon.pipeline.verification.tolerance import ToleranceLimit
from netsurgeon.pipeline.verification.validation import Scores

NASTY = "<script>alert('$x$')</script>&\""
VOID = {"meta", "link", "br", "img", "input", "path", "use", "rect", "line", "circle"}
TOP1 = Scores(0.9, None, None)
OPTIONS: Any = {"method": "obs", "damping": 0.01, "uniform": True, "sparsity": 0.75}


CONTROL = "\x1b[2J\x00\x07\x9b\u202e"
"""Clears a terminal, rings it, and turns the direction of writing."""


def network() -> ir.Model:
    """x (N, 32) to y by a Gemm; both have nasty names; and to e by an Einsum, which is declined."""
    rng = np.random.default_rng(0)
    weights = {name: ir.tensor(rng.standard_normal(shape).astype(np.float32), name=name) for name, shape in
               {"w1": (32, 48), "w2": (48, 8), "w3": (8, 8)}.items()}  # fmt: skip
    model = ir.from_onnx_text(
        '<ir_version: 8, opset_import: ["" : 17]> g (float[N,32] x, float[32,48] w1, float[48,8] w2, float[8,8] w3) '
        "=> (float[N,8] y, float[N,8] e) { h = Gemm(x, w1) r = Relu(h) y = Gemm(r, w2) "
        'e = Einsum<equation = "ab,bc->ac">(y, w3) }'
    )
    for value in list(model.graph.inputs)[1:]:
        value.const_value = weights[value.name or ""]
        model.graph.register_initializer(value)
    del model.graph.inputs[1:]
    model.graph[2].name = NASTY
    model.graph.outputs[0].name = f"out {NASTY}"
    return model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Model, data, the compressed model and the page."""
    folder = tmp_path_factory.mktemp("page")
    ir.save(network(), folder / "mo<b>del.onnx")
    np.savez(folder / "data.npz", x=np.random.default_rng(1).standard_normal((80, 32)).astype(np.float32))
    return folder


@pytest.fixture(scope="module")
def report(folder: Path) -> Report:
    """Of a real compression, with latency and trimmed units filled in: timing is tested elsewhere."""
    found = netsurgeon.compress(
        folder / "mo<b>del.onnx",
        folder / "data.npz",
        output=folder / "small.onnx",
        report=folder / "plain.html",
        **OPTIONS,
    ).report
    spread = Spread(2.0, 1.9, 2.4)
    nodes = (NodeTime(NASTY, NASTY, "CPUExecutionProvider", 1.5), NodeTime("b", "Relu", "CPUExecutionProvider", 0.5))
    cost = Cost(NASTY, 10, spread, 1000, 2000, (), nodes)
    timing = Timing(
        batch=4, fed="the first of the data", rounds=15, model=spread, other=spread, speedup=Ratio(1.5, 1.4, 1.6)
    )
    latency = Profile(
        versions={},
        machine="a machine",
        provider="CPUExecutionProvider",
        threads=None,
        optimisation="all",
        model=cost,
        other=cost,
        timings=(timing,),
        notes=(),
    )
    groups, failed = (
        (GroupFacts(node=NASTY, operators=("Gemm",), units=48, removed=12),),
        ((NASTY, Message(NASTY, "removal-fails")),),
    )
    trim = TrimFacts(
        asked=0.3,
        is_ceiling=False,
        saved=0.31,
        saved_by_choice=0.3,
        macs_dense=1000.0,
        macs=600.0,
        unread=1,
        groups=groups,
        frozen=(),
        failed=failed,
        proof=None,
    )
    return dataclasses.replace(
        found, latency=latency, trim=trim, warnings=(Message(NASTY, "few-samples"),), on_the_cpu=(f"Relu {NASTY}",)
    )


@pytest.fixture(scope="module")
def page(report: Report) -> str:
    return render(report)


@pytest.fixture(scope="module")
def searched_page(report: Report) -> str:
    """Of a search for a goal: a candidate that loses too much, two that do not, and the model that was delivered."""
    labelled = dataclasses.replace(report.validation, measure="top-1", dense=TOP1, compressed=TOP1)
    points = (point(9000, 0.02), point(11000, 0.004), point(9500, 0.006, chosen=True))
    return render(searched(dataclasses.replace(report, validation=labelled), *points))


class Reader(html.parser.HTMLParser):
    """Tags that are open, everything that refers to something, and the headings."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.references: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.references += [
            value or "" for name, value in attrs if name in ("src", "href", "xlink:href", "srcset", "action")
        ]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    reader.close()
    return reader


def test_the_page_refers_to_nothing_outside(page: str) -> None:
    reader = read(page)
    assert not reader.open
    assert reader.references
    assert all(each.startswith("#") and f'id="{each[1:]}"' in page for each in reader.references)
    assert not re.search(r"https?:|@import|url\((?!#)", page)
    assert "script" not in reader.tags
    assert "default-src 'none'" in page


def test_names_are_escaped_everywhere(page: str) -> None:
    assert page.count("&lt;script&gt;") >= 8
    assert "<script" not in page
    assert "mo&lt;b&gt;del.onnx" in page
    assert "\\mathdefault" not in page


def test_no_two_elements_have_one_id(page: str) -> None:
    found = re.findall(r' id="([^"]*)"', page)
    assert len(found) == len(set(found))


def test_everything_is_on_it(report: Report, page: str) -> None:
    for text in (
        "Dense against compressed",
        "Accuracy against bytes",
        "Layer by layer",
        "Units trimmed",
        "Bound against",
        "Latency",
        "Left alone",
    ):
        assert f"<h2>{text}" in page
    assert page.count("<svg") == 6
    assert report.compressed.sha256 in page
    assert "Einsum" in page
    assert "fell back to the CPU" in page
    assert "÷ 1.5 (1.4 to 1.6)" in page
    assert page.index("verified</h1>") < page.index("Dense against compressed")


def promising(report: Report, *outputs: OutputLimit) -> Report:
    promise = Promise(outputs=outputs, margin_loss=None, agreement=None, withheld=None)
    return dataclasses.replace(report, validation=dataclasses.replace(report.validation, promise=promise))


def test_what_holds_for_other_inputs_stands_beside_the_bound(report: Report, page: str) -> None:
    limit = ToleranceLimit(share=0.95, confidence=0.9, samples=60, rank=60, limit=0.125)
    output = OutputLimit(output=report.bound.outputs[0].output, scale=3.0, change=limit)
    section = render(promising(report, output)).partition("<h2>Bound against")[2].partition("</section>")[0]
    assert f"the {report.bound.samples} calibration inputs" in section
    assert '<th scope="col">95% of others, at most</th>' in section
    assert section.count("<td>0.375</td>") == 1
    assert "change output &#39;out &lt;script&gt;" in section
    assert "rests on 60 inputs that calibration never saw.</li>" in section
    assert "95% of others, at most" not in page
    assert "No limit for other inputs: 10 inputs are too few" in page


def on_integers(report: Report) -> Report:
    """The report with one layer on integers and one on floats, timed without --profile."""
    runs = IntegerLayerFacts(
        name="first",
        operator="Gemm",
        bits=7,
        kernel="QGemm",
        error=0.0125,
        floats_ms=0.25,
        integers_ms=0.5,
        reason=None,
    )
    stays = dataclasses.replace(runs, name=NASTY, bits=None, kernel=None, error=None, reason=f"it is {NASTY}")
    timed = Timed(dense=3.5, model=1.75, speedup=2.0, low=1.9, high=2.1)
    facts = IntegerFacts(layers=(runs, stays), nodes=2, values=3, kernel_difference=0.01, timed=timed)
    layers = tuple(dataclasses.replace(layer, stored="int8") for layer in report.layers)
    return dataclasses.replace(report, integers=facts, latency=None, layers=layers)


def test_times_of_sparse_kernels_have_a_column_where_there_are_any(report: Report) -> None:
    dense = on_integers(report)
    assert dense.integers is not None
    sparse = dense.integers.with_sparse_kernels({"first": 0.0625}, "NetsurgeonSparse")
    page = render(dataclasses.replace(dense, integers=sparse))
    assert "<td>0.0625</td>" in page
    assert "NetsurgeonSparse" in page
    assert '<th scope="col">sparse, ms</th>' in page
    assert "sparse, ms" not in render(dense)


def test_a_doubt_about_all_figures_stands_before_them(report: Report) -> None:
    doubt, warning = Message("answers alike", "answers-alike"), Message("lost everything", "layers-emptied")
    page = render(dataclasses.replace(report, warnings=(warning, doubt)))
    assert page.count('<p class="warning">answers alike</p>') == 1
    assert page.index("answers alike") < page.index('class="tiles"') < page.index("lost everything")
    assert "hardly verified</h1>" in page


def test_what_runs_on_integers_has_a_section(report: Report, page: str) -> None:
    integers = render(on_integers(report))
    section = integers.partition("<h2>On integers")[2].partition("</section>")[0]
    assert "1 of 2 layers run on integers (7-bit weights, 8-bit activations): 2.00 times as fast" in section
    rows = [re.findall(r"<td[^>]*>([^<]*)</td>", row) for row in section.split("<tr>")[2:]]
    assert rows[0] == ["first", "Gemm", "7", "QGemm", "0.0125", "0.25", "0.5", ""]
    assert rows[1][2:5] == ["", "floats", ""]
    assert rows[1][-1] == f"it is {rows[1][0]}"
    assert "<script" not in integers
    assert "<li><b>÷ 2.00</b><span>latency</span><small>3.5 → 1.75 ms</small></li>" in integers
    assert "<p>Timed in turn with the dense model: 2.00 times as fast" in integers
    assert "are those of pruning alone" in integers
    for text in ("On integers</h2>", "pruning alone", "run on integers"):
        assert text not in page


def test_integers_that_are_not_packed_are_not_said_to_be(report: Report, page: str) -> None:
    claim = "Its packed weights give the same outputs"
    assert claim in page
    assert claim not in render(on_integers(report))


def test_a_difference_is_claimed_only_where_the_interval_shows_one(report: Report, page: str) -> None:
    assert report.latency is not None
    unsure = dataclasses.replace(report.latency.timings[0], speedup=Ratio(1.5, 0.9, 1.6))
    latency = dataclasses.replace(report.latency, timings=(unsure,))
    assert "no difference shown" not in page
    assert "no difference shown" in render(dataclasses.replace(report, latency=latency))


def test_slots_of_a_sparse_kernel_stand_beside_what_is_kept(report: Report, page: str) -> None:
    assert ">slots</th>" not in page
    first, *others = report.layers
    tiled = dataclasses.replace(first, kept=first.weights // 4, slots=first.weights // 2)
    shown = render(dataclasses.replace(report, layers=(tiled, *others)))
    assert ">slots</th>" in shown
    assert "<td>25.0%</td><td>50.0%</td>" in shown


def test_what_was_not_measured_is_not_shown(report: Report) -> None:
    page = render(dataclasses.replace(report, latency=None, trim=None, warnings=(), on_the_cpu=()))
    assert "Not measured" in page
    assert "Units trimmed" not in page
    assert page.count("<svg") == 2


def test_a_page_is_written_where_the_name_says_so(folder: Path, report: Report) -> None:
    del report
    assert (folder / "plain.html").read_text("utf-8").startswith("<!DOCTYPE html>")


def test_the_same_report_gives_the_same_page(report: Report, page: str) -> None:
    assert render(report) == page


def test_the_command_gives_the_same_bytes_again(folder: Path, report: Report, monkeypatch: pytest.MonkeyPatch) -> None:
    again = folder / "again"
    again.mkdir()
    for name in ("mo<b>del.onnx", "data.npz"):
        shutil.copy(folder / name, again)
    monkeypatch.chdir(again)
    words = shlex.split(invocation(report))
    assert words[0] == "netsurgeon"
    assert run(words[1:]) == 0
    assert (again / "small.onnx").read_bytes() == (folder / "small.onnx").read_bytes()


def test_times_that_decided_are_named_among_what_has_to_be_the_same(report: Report, page: str) -> None:
    assert "versions and kind of processor give the same bytes.</p>" in page
    again = "<code>--timings</code> with this report as JSON takes them again"
    timed = dataclasses.replace(report, timings=TimingTable(machine="a processor", nodes={"n": 1.0}))
    assert again in render(timed)
    nothing_timed = dataclasses.replace(report, timings=TimingTable(machine="a processor"))
    assert again not in render(nothing_timed)


def test_options_are_those_that_were_given(report: Report) -> None:
    assert report.options == netsurgeon.Options(**OPTIONS).described()


def test_a_search_is_told_and_drawn(searched_page: str) -> None:
    reader = read(searched_page)
    assert not reader.open
    assert all(reference.startswith("#") for reference in reader.references)
    chart = searched_page.partition("<h2>Accuracy against bytes")[2].partition("</svg>")[0]
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", chart)
    assert {"tried", "chosen", "delivered, measured", "goal", "file, kB", "top-1, %"} <= set(texts)
    assert "9,500" in searched_page
    assert "--max-drop 1%" in searched_page


@pytest.mark.parametrize(("kind", "width"), [("page", 500), ("page", 1200), ("searched_page", 1200)])
def test_a_browser_draws_it(
    kind: str, browser: Browser, tmp_path: Path, width: int, request: pytest.FixtureRequest
) -> None:
    """Each picture is drawn in its colours, in the light and on the given width."""
    (tmp_path / "page.html").write_text(request.getfixturevalue(kind), "utf-8")
    browser.open(tmp_path / "page.html", width=width, height=5000)
    pixels = browser.pixels()
    assert pixels.shape == (5000, width, 3)
    for colour in ((15, 118, 110), (185, 196, 207), (194, 65, 12)):  # accent, before, warn
        assert (pixels == colour).all(axis=2).sum() > 50
    edge = pixels[:, -8:]
    assert (edge == pixels[0, 0]).all(), "something is wider than the page"


def test_control_characters_in_names_are_shown_escaped(tmp_path: Path) -> None:
    model = network()
    model.graph[2].name = f"second{CONTROL}"
    model.graph[3].name = f"declined{CONTROL}"
    model.graph.outputs[0].name = f"out{CONTROL}"
    ir.save(model, tmp_path / "model.onnx")
    np.savez(tmp_path / "data.npz", x=np.random.default_rng(1).standard_normal((80, 32)).astype(np.float32))
    names = [str(tmp_path / name) for name in ("model.onnx", "data.npz", "small.onnx", "report.html")]
    arguments = ["compress", names[0], "--data", names[1], "-o", names[2], "--report", names[3]]
    assert run([*arguments, "--sparsity", "0.5", "--method", "magnitude", "--quiet"]) == 0
    page = (tmp_path / "report.html").read_text("utf-8")
    assert [sign for sign in set(page) if not sign.isprintable() and sign != "\n"] == []
    for name in ("second", "declined", "out"):
        assert f"{name}\\x1b[2J\\x00\\x07\\x9b\\u202e" in page
