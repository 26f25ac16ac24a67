"""Charts of one run and of several: what is on them, and figures of matplotlib for Python."""

import dataclasses
import itertools
import math
import re
import xml.etree.ElementTree as ElementTree

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure

from netsurgeon.pipeline.report.charts.canvas import LIGHT
from netsurgeon.pipeline.report.charts.frontier import frontier_charts, plot_frontier
from netsurgeon.pipeline.report.spots import Frontier, Spot

TRIED = Spot(kind="tried", score=97.0, low=96.0, high=97.0, bytes=9000, milliseconds=1.5, form="floats", label="50%")
CHOSEN = dataclasses.replace(TRIED, kind="chosen", score=98.5, bytes=12000, form="integers", label="4.1 bits, 71%")
DELIVERED = dataclasses.replace(CHOSEN, kind="delivered", score=98.6, high=99.0, label="")
RUN = Frontier(
    name="small.onnx",
    axis="top-1, %",
    dense_digest="d",
    dense_score=99.0,
    dense_bytes=186000,
    dense_milliseconds=3.0,
    goal=98.0,
    spots=(TRIED, CHOSEN, DELIVERED),
)
OTHER = dataclasses.replace(RUN, name="other.onnx", goal=None, spots=(dataclasses.replace(DELIVERED, bytes=20000),))


def untimed(run: Frontier) -> Frontier:
    spots = tuple(dataclasses.replace(spot, milliseconds=None) for spot in run.spots)
    return dataclasses.replace(run, dense_milliseconds=None, spots=spots)


def texts(svg: str) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]*)</text>", svg)


@pytest.mark.parametrize("runs", [[RUN], [RUN, OTHER]], ids=["one", "two"])
def test_charts_are_whole_and_refer_only_to_themselves(runs: list[Frontier]) -> None:
    charts = frontier_charts(runs)
    assert len(charts) == 2
    ids = [re.findall(r' id="([^"]+)"', svg) for svg in charts]
    for svg, own in zip(charts, ids, strict=True):
        ElementTree.fromstring(svg.replace("<svg", '<svg xmlns:xlink="http://www.w3.org/1999/xlink"', 1))
        assert set(re.findall(r'(?:url\(#|href="#)([^)"]+)', svg)) == set(own)
        assert not re.search(r"#(0[1-9a-d])\1\1", svg), "every colour is one of the page's"
    assert set(ids[0]).isdisjoint(ids[1]), "charts of one page share no reference"
    assert frontier_charts(runs) == charts


def test_one_run_shows_all_that_was_tried_and_the_dense_model_and_the_goal() -> None:
    by_size, by_time = map(texts, frontier_charts([RUN]))
    assert {"tried: floats", "chosen: integers", "delivered, measured", "goal"} <= set(by_size)
    assert {"50%", "4.1 bits, 71%"} <= set(by_size)
    assert {"dense, 186 kB", "file, kB", "top-1, %"} <= set(by_size)
    assert {"dense, 3 ms", "milliseconds a run"} <= set(by_time)
    assert "50%" not in by_time, "said once"


def test_one_form_of_weights_needs_no_name() -> None:
    alike = dataclasses.replace(RUN, spots=(dataclasses.replace(TRIED, form="integers"), CHOSEN, DELIVERED))
    assert {"tried", "chosen"} <= set(texts(frontier_charts([alike])[0]))


@pytest.mark.parametrize(
    "times", [(0.0285, 0.02815, 0.0282), (1234.5, 1234.1), (0.9, 3.0), (0.02, 70.0), (2.0, 1900.0)]
)
def test_numbers_under_an_axis_do_not_run_into_each_other(times: tuple[float, ...]) -> None:
    spots = [dataclasses.replace(DELIVERED, milliseconds=time, bytes=round(1e6 * time)) for time in times]
    runs = [
        dataclasses.replace(RUN, name=f"{time}", dense_milliseconds=max(times), spots=(spot,))
        for time, spot in zip(times, spots, strict=True)
    ]
    several = dataclasses.replace(RUN, spots=(*(dataclasses.replace(spot, kind="tried") for spot in spots), *spots[:1]))
    for figure in (plot_frontier(runs), plot_frontier([several])):
        figure.draw_without_rendering()
        for axes in figure.axes:
            places = [label.get_window_extent() for label in axes.get_xticklabels() if label.get_text()]
            shown = [place for place in places if axes.bbox.x0 - 1 <= (place.x0 + place.x1) / 2 <= axes.bbox.x1 + 1]
            assert len(shown) >= 2
            assert all(right.x0 - left.x1 > 4.0 for left, right in itertools.pairwise(shown)), "dots between them"


def test_a_goal_is_a_line_only_where_there_is_one() -> None:
    assert "goal" not in texts(frontier_charts([dataclasses.replace(RUN, goal=None)])[0])


def test_a_label_is_left_out_where_another_one_is() -> None:
    beside = dataclasses.replace(TRIED, score=98.5, bytes=12010, label="hidden")
    shown = texts(frontier_charts([dataclasses.replace(RUN, spots=(TRIED, beside, CHOSEN, DELIVERED))])[0])
    assert {"50%", "4.1 bits, 71%"} <= set(shown)
    assert "hidden" not in shown


def test_without_times_there_is_no_chart_of_them() -> None:
    assert len(frontier_charts([untimed(RUN)])) == 1
    assert len(frontier_charts([untimed(RUN), OTHER])) == 2


def test_several_runs_bear_their_names_and_models_of_a_megabyte_their_unit() -> None:
    shown = texts(frontier_charts([RUN, OTHER])[0])
    assert {"small.onnx", "other.onnx", "dense"} <= set(shown)
    assert "goal" not in shown
    large = dataclasses.replace(OTHER, spots=(dataclasses.replace(DELIVERED, bytes=4e6),))
    assert "file, MB" in texts(frontier_charts([RUN, large])[0])


def test_what_is_no_number_is_not_drawn() -> None:
    lost = dataclasses.replace(DELIVERED, score=math.nan, low=math.nan, high=math.nan)
    run = dataclasses.replace(RUN, dense_score=math.nan, spots=(dataclasses.replace(TRIED, bytes=0), lost))
    for runs in ([run], [run, OTHER], [run, run]):
        for svg in frontier_charts(runs):
            assert "nan" not in svg.lower()


def test_a_figure_has_a_panel_an_axis_and_its_own_colours() -> None:
    figure = plot_frontier([RUN])
    assert isinstance(figure, Figure)
    assert [axes.get_xlabel() for axes in figure.axes] == ["file, kB", "milliseconds a run"]
    (star,) = [line for line in figure.axes[0].lines if line.get_marker() == "*"]
    assert star.get_color() == LIGHT["ink"]
    assert np.asarray(star.get_xydata()).tolist() == [[12.0, 98.6]]
    stairs = [line for line in figure.axes[0].lines if line.get_drawstyle() == "steps-post"]
    assert [np.asarray(line.get_xydata()).tolist() for line in stairs] == [[[9.0, 97.0], [12.0, 98.5]]]
    assert len(plot_frontier([untimed(RUN)]).axes) == 1


def test_a_notebook_shows_a_figure_whatever_names_hold() -> None:
    before = dict(mpl.rcParams)
    figure = plot_frontier([dataclasses.replace(RUN, name="$\\frac{$"), OTHER])
    assert figure._repr_png_().startswith(b"\x89PNG")
    assert dict(mpl.rcParams) == before, "a user's own figures are as they were"


def test_figures_that_hardly_differ_and_large_files_are_written_out() -> None:
    score = 99.9991
    spots = (dataclasses.replace(DELIVERED, score=score, low=score - 1e-4, high=score + 1e-4),)
    run = dataclasses.replace(RUN, dense_score=99.9999, dense_bytes=2_987_921, goal=None, spots=spots)
    words = texts(frontier_charts([run])[0])
    assert "dense, 2,988 kB" in words
    assert not [word for word in words if word.startswith("+")], "no number that is to be added to all others"
