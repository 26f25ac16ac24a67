"""Pictures are well-formed SVG in the page's colours, show what they are given, and refer to nothing outside."""

import math
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable

import pytest

from netsurgeon.pipeline.report import charts

LONG = "model/layer1/block2/very_long_name/Conv_output_0"
CHARTS: dict[str, Callable[[], str]] = {
    "layers": lambda: charts.layer_chart([0.5, 0.0, 1.0], [0.1, None, 0.0]),
    "pair": lambda: charts.pair_chart(["Conv", LONG], [3.0, 0.0], [1.5, 2.0], "milliseconds", "pair"),
    "bars": lambda: charts.bars_chart(["Conv", LONG], [[1.0, 2.0], [3.0, math.nan], [0.0, 1.0]], "kB", "bars"),
    "bound": lambda: charts.bound_chart(["y", "z"], [0.1, 0.0], [1.0, 2.0]),
    "sensitivity": lambda: charts.sensitivity_chart(["a", "b"], [[0.0, 0.1, 0.3], [0.2, 0.5, 1.0]], [0.5, 0.8, 0.9]),
}


def texts(svg: str) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]*)</text>", svg)


def parsed(svg: str) -> ElementTree.Element:
    """As an element of a page, whose parser knows the prefix of links by itself."""
    spaces = 'xmlns:xlink="http://www.w3.org/1999/xlink"'
    return ElementTree.fromstring(svg if "xmlns" in svg else svg.replace("<svg", f"<svg {spaces}", 1))


@pytest.mark.parametrize("name", CHARTS)
def test_a_picture_is_whole_and_refers_only_to_itself(name: str) -> None:
    svg = CHARTS[name]()
    assert parsed(svg).tag.endswith("svg")
    ids = re.findall(r' id="([^"]+)"', svg)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:url\(#|href="#)([^)"]+)', svg)) == set(ids)
    assert not re.search(r'href="(?!#)|@import|<script|<metadata|<image', svg)
    assert not re.search(r"#(0[1-9a-d])\1\1", svg), "every colour is one of the page's"
    assert "var(--" in svg


@pytest.mark.parametrize("name", CHARTS)
def test_the_same_numbers_give_the_same_bytes(name: str) -> None:
    assert CHARTS[name]() == CHARTS[name]()


def test_two_pictures_on_one_page_share_no_reference() -> None:
    one, other = (charts.pair_chart(["a"], [1.0], [2.0], "units", salt) for salt in ("units", "operators"))
    ids = [set(re.findall(r' id="([^"]+)"', svg)) for svg in (one, other)]
    assert ids[0]
    assert ids[0].isdisjoint(ids[1])


@pytest.mark.parametrize("name", ["<b>&", "$x^2$", "\\frac{", "%s", ""])
def test_names_are_text_whatever_they_hold(name: str) -> None:
    escaped = name.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    svg = charts.pair_chart([name], [1.0], [2.0], "units", "names")
    parsed(svg)
    assert escaped in texts(svg) or not name


def test_long_names_keep_their_end() -> None:
    shown = texts(charts.pair_chart([LONG, "x" * 22], [1.0, 1.0], [1.0, 1.0], "units", "long"))
    assert "x" * 22 in shown
    assert "…" + LONG[-21:] in shown


def test_layers_without_an_error_have_no_point() -> None:
    def points(errors: list[float | None]) -> int:
        return charts.layer_chart([0.5] * 3, errors).count("var(--warn)")

    assert points([0.1, 0.2, 0.3]) > points([0.1, None, 0.0]) > points([None, None, None])


def test_each_run_has_bars_of_its_colour_and_nine_begin_anew() -> None:
    svg = charts.bars_chart(["a", "b"], [[1.0, 2.0]] * 9, "kB", "bars")
    drawn = [svg.count(f"var(--{name})") for name in charts.SERIES]
    assert drawn[0] == 2 * drawn[1] > 0
    assert len(set(drawn[1:])) == 1
    assert not {"dense", "compressed", "_0"} & set(texts(svg)), "a page names the runs"


def test_an_output_without_an_error_still_has_its_bound() -> None:
    shown = charts.bound_chart(["y", "z"], [0.0, 1e-3], [1e-2, 1.0])
    assert {"y", "z", "measured", "bound"} <= set(texts(shown))


def test_a_picture_of_its_own_stands_without_a_page() -> None:
    svg = CHARTS["sensitivity"]()
    root = ElementTree.fromstring(svg)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    style = root.attrib["style"]
    used = set(re.findall(r"var\(--(\w+)\)", svg))
    assert used <= set(re.findall(r"--(\w+):", style)), "the colours it uses are its own"
    assert {"50% pruned", "90% pruned", "a", "b"} <= set(texts(svg))


def test_a_layer_that_loses_nothing_can_be_shown_on_a_logarithmic_axis() -> None:
    svg = charts.sensitivity_chart(["a"], [[0.0, 0.0, 0.0]], [0.5, 0.8, 0.9])
    assert "nan" not in svg.lower()
    ElementTree.fromstring(svg)
