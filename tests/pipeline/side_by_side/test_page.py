"""The page of several runs: complete, nothing from outside, no script but its own, and used in a real browser."""

import dataclasses
import html.parser
import json
import re
from pathlib import Path
from typing import Any

import pytest
from browser import Browser
from report_files import HOSTILE, point, searched, smaller

from netsurgeon.pipeline.compress import Compression
from netsurgeon.pipeline.messages import Message
from netsurgeon.pipeline.report.report import Report
from netsurgeon.pipeline.side_by_side import Run, render_runs, run_of

TIMES = "\N{MULTIPLICATION SIGN}"
FIGURES = "[...document.querySelectorAll('#figures tbody tr')].map(row => row.cells[0].textContent)"


def hostile(report: Report) -> Report:
    """Every name and text of a report that would break out of a page."""
    layers = tuple(
        dataclasses.replace(layer, name=f"{HOSTILE}{at}", operator=HOSTILE, stored=HOSTILE)
        for at, layer in enumerate(report.layers)
    )
    return dataclasses.replace(
        report,
        dense=dataclasses.replace(report.dense, name=HOSTILE, sha256=HOSTILE),
        compressed=dataclasses.replace(report.compressed, name=HOSTILE, sha256=HOSTILE),
        calibration=dataclasses.replace(report.calibration, source=HOSTILE, sha256=HOSTILE),
        options={**report.options, HOSTILE: HOSTILE, "pictures": HOSTILE, "seed": {"__proto__": HOSTILE}},
        layers=layers,
        warnings=(Message(HOSTILE, "few-samples"),),
    )


@pytest.fixture(scope="module")
def runs(delivered: tuple[Path, Compression]) -> list[Run]:
    report = delivered[1].report
    first = searched(report, point(9000, 0.02), point(9500, 0.0, chosen=True))
    fewer = dataclasses.replace(report, options={**report.options, "sparsity": 0.5}, layers=report.layers[1:])
    return [
        run_of(smaller(first, 9500), "searched"),
        run_of(smaller(fewer, 120000), "by hand"),
        run_of(hostile(smaller(report, 30000)), HOSTILE),
    ]


@pytest.fixture(scope="module")
def page(runs: list[Run]) -> str:
    return render_runs(runs)


@pytest.fixture(scope="module")
def file(page: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("view") / "page.html"
    path.write_text(page, "utf-8")
    return path


class Reader(html.parser.HTMLParser):
    """Tags with their attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_the_page_refers_to_nothing_and_holds_no_script_but_its_own(page: str) -> None:
    reader = Reader()
    reader.feed(page)
    tags = [tag for tag, _ in reader.found]
    assert tags.count("script") == 2
    assert not {"img", "link", "iframe", "object", "base"} & set(tags)
    references = [
        value for _, names in reader.found for name in ("src", "href", "xlink:href") if (value := names.get(name))
    ]
    assert all(reference.startswith("#") for reference in references)
    assert not [name for _, names in reader.found for name in names if name.startswith("on")]
    assert re.search(r"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-[\w+/]{43}='", page)
    assert not re.search(r"https?:|@import|url\((?!#)", page)
    assert [sign for sign in set(page) if not sign.isprintable() and sign != "\n"] == []


def test_no_two_elements_have_one_id(page: str) -> None:
    ids = re.findall(r' id="([^"]*)"', page)
    assert len(ids) == len(set(ids))


def test_the_same_runs_give_the_same_page(runs: list[Run], page: str) -> None:
    assert render_runs(runs) == page


def test_everything_is_on_it(runs: list[Run], page: str) -> None:
    for text in (
        "All figures",
        "Accuracy against bytes",
        "Layer by layer",
        "Difference of two",
        "What to know of each",
    ):
        assert f"<h2>{text}" in page
    assert page.count("<svg") == 4, "by bytes, by milliseconds, weights kept, bytes of layers"
    assert "3 models side by side" in page
    assert page.count("netsurgeon compress digits.onnx") == 2, "how to get each again"
    assert runs[0].model.sha256 in page


def test_one_run_has_no_difference(runs: list[Run]) -> None:
    page = render_runs(runs[:1])
    assert "<h1>searched</h1>" in page
    assert "Difference of two" not in page


def test_other_inputs_are_told(runs: list[Run], page: str) -> None:
    warning = "They were not measured on the same inputs"
    assert warning not in page
    fewer = dataclasses.replace(runs[1], validation=dataclasses.replace(runs[1].validation, samples=7))
    assert warning in render_runs([runs[0], fewer])


def test_runs_of_two_measures_have_a_chart_each(runs: list[Run]) -> None:
    validation = dataclasses.replace(runs[1].validation, measure="agreement")
    page = render_runs([runs[0], dataclasses.replace(runs[1], validation=validation, report=None)])
    assert page.count("<svg") == 2 + 1 + 2, "two charts of the first, one of the second, two of layers"


def test_a_browser_draws_it_and_asks_for_nothing(browser: Browser, file: Path) -> None:
    for width in (420, 1200):
        browser.open(file, width=width, height=4000)
        pixels = browser.pixels()
        for colour in ((15, 118, 110), (194, 65, 12), (59, 111, 182)):  # of the three runs
            assert (pixels == colour).all(axis=2).sum() > 50
        assert browser.value("document.documentElement.scrollWidth") == width, "something is wider than the page"
    assert browser.requested() == [file.as_uri()]
    assert browser.complaints() == []


def test_nothing_of_a_report_is_more_than_text(browser: Browser, file: Path) -> None:
    browser.open(file)
    for number in range(3):
        browser.value(f"const s{number} = document.getElementById('second'); s{number}.selectedIndex = {number};"
                      f"s{number}.dispatchEvent(new Event('change'))")  # fmt: skip
    assert browser.value("document.title").startswith("searched, by hand, <script>")
    assert browser.value("document.querySelectorAll('script').length") == 2
    assert browser.value("document.querySelectorAll('img').length") == 0
    shown = browser.value("document.querySelector('#figures tbody tr:last-child td').textContent")
    assert shown.startswith("<script>document.title = 'taken'</script><img src=x")
    assert shown.endswith("\\u2028\\x1b[2J")


def test_no_script_runs_but_the_one_that_was_meant(browser: Browser, page: str, tmp_path: Path) -> None:
    """The negative control: even an element that had come through would not run."""
    broken = tmp_path / "broken.html"
    more = "<script>document.title = 'taken'</script><img src=x onerror=\"document.title = 'taken'\"></main>"
    broken.write_text(page.replace("</main>", more), "utf-8")
    browser.open(broken)
    assert browser.value("document.querySelectorAll('script').length") == 3
    assert browser.value("document.title") != "taken"
    assert any("Content Security Policy" in text for text in browser.complaints())
    assert browser.value(FIGURES)[0] == "searched"


def sizes(browser: Browser) -> list[int]:
    texts = browser.value("[...document.querySelectorAll('#figures tbody tr')].map(row => row.cells[1].textContent)")
    return [int(text.replace(",", "")) for text in texts]


def test_a_click_sorts_the_table_and_another_one_turns_it_round(browser: Browser, file: Path) -> None:
    browser.open(file)
    assert sizes(browser) == [9500, 120000, 30000]
    browser.click("#figures th:nth-child(2) button")
    assert sizes(browser) == [9500, 30000, 120000]
    assert browser.value("document.querySelector('#figures th:nth-child(2)').ariaSort") == "ascending"
    browser.click("#figures th:nth-child(2) button")
    assert sizes(browser) == [120000, 30000, 9500]
    browser.click("#figures th:nth-child(1) button")
    assert browser.value(FIGURES)[1:] == ["by hand", "searched"]
    assert browser.value("document.querySelector('#figures th:nth-child(2)').ariaSort") is None


def test_what_was_not_measured_comes_last_in_both_directions(browser: Browser, file: Path) -> None:
    browser.open(file)
    heads = browser.value("[...document.querySelectorAll('#figures th')].map(head => head.textContent)")
    for _ in range(2):
        browser.click(f"#figures th:nth-child({1 + heads.index('faster')}) button")
        assert browser.value(FIGURES)[0] == "searched"


def cells(browser: Browser, table: str) -> list[list[str]]:
    rows = f"[...document.querySelectorAll('#{table} tbody tr')]"
    found: Any = browser.value(f"{rows}.map(row => [...row.cells].map(cell => cell.textContent))")
    return [list(row) for row in found]


def test_two_runs_are_set_against_each_other(browser: Browser, file: Path, runs: list[Run]) -> None:
    browser.open(file)
    rows = {row[0]: row[1:] for row in cells(browser, "difference-figures")}
    assert rows["bytes"] == ["9,500", "120,000", f"+110,500 ({TIMES} 12.6)"]
    assert rows["faster"] == ["÷ 2.00", "", ""]
    assert TIMES not in rows["top-1"][2]
    assert cells(browser, "difference-options") == [["sparsity", "0.9", "0.5"]]
    layers = {row[0]: row[1:] for row in cells(browser, "difference-layers")}
    assert runs[0].report is not None
    missing, second = runs[0].report.layers[:2]
    assert layers[missing.name][1] == layers[missing.name][3] == ""
    kept = f"{100 * second.kept / second.weights:.1f}%"
    assert layers[second.name][:2] == [kept, kept]
    choose = "(select => { select.selectedIndex = 1; select.dispatchEvent(new Event('change')); })"
    browser.value(f"{choose}(document.getElementById('first'))")
    rows = {row[0]: row[1:] for row in cells(browser, "difference-figures")}
    assert rows["bytes"] == ["120,000", "120,000", f"0 ({TIMES} 1.00)"]
    assert browser.value("document.getElementById('no-options').hidden") is False


def test_without_a_script_the_figures_are_there(page: str, runs: list[Run]) -> None:
    text = re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)
    for run in runs[:2]:
        assert f"{run.model.bytes:,}" in text
    block = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert block is not None
    assert [entry["name"] for entry in json.loads(block[1])["runs"]][:2] == ["searched", "by hand"]
