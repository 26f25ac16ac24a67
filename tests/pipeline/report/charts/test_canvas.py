"""What charts are drawn on: SVG that refers to nothing outside of it, in colours that a page's style gives."""

import re
from xml.etree import ElementTree

from netsurgeon.pipeline.report.charts.canvas import LIGHT, SERIES, STAND_INS, as_svg, canvas, shortened, standing_alone


def drawn(title: str = "layer") -> str:
    with canvas(1.0) as figure:
        axes = figure.add_subplot()
        axes.plot([0.0, 1.0], [0.0, 1.0], color=STAND_INS["accent"])
        axes.set_title(title)
        return as_svg(figure, "salt")


def test_an_element_has_variables_for_colours_and_neither_a_date_nor_an_address() -> None:
    svg = drawn()
    assert svg.startswith("<svg")
    assert "var(--accent)" in svg
    assert not any(stand_in in svg for stand_in in STAND_INS.values())
    assert not re.search(r"https?:|<metadata|xmlns", svg)


def test_the_same_chart_is_the_same_bytes() -> None:
    assert drawn() == drawn()
    assert drawn() != drawn("another layer")


def test_a_chart_that_stands_alone_is_whole_and_knows_its_colours() -> None:
    alone = standing_alone(drawn())
    root = ElementTree.fromstring(alone)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert all(f"--{name}:{colour};" in alone for name, colour in LIGHT.items())


def test_names_of_layers_are_texts_not_formulas() -> None:
    assert "$w_1$" in drawn("$w_1$")


def test_a_long_name_keeps_its_end() -> None:
    assert shortened("conv") == "conv"
    assert shortened("a" * 30 + "last", 10) == "…aaaaalast"
    assert len(shortened("b" * 100)) == 22


def test_every_name_of_a_colour_stands_for_one_of_its_own() -> None:
    assert len(set(STAND_INS.values())) == len(STAND_INS)
    assert set(SERIES) <= STAND_INS.keys() == LIGHT.keys()
