"""The report as one HTML page that needs nothing else: style and pictures inside, no scripts, no network."""

from __future__ import annotations

import collections
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
from markupsafe import Markup

from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.messages import printable
from netsurgeon.pipeline.notation import counted
from netsurgeon.pipeline.profiling import by_operator, speedup
from netsurgeon.pipeline.report.format import inputs_measured
from netsurgeon.pipeline.report.record import ReportRecord
from netsurgeon.pipeline.report.reproduction import invocation
from netsurgeon.pipeline.report.sentences.cluster import cluster_summary
from netsurgeon.pipeline.report.sentences.goals import goal_summary
from netsurgeon.pipeline.report.sentences.integers import (
    BOUND_OF_PRUNING,
    compared_speed,
    form_name,
    integer_summary,
)
from netsurgeon.pipeline.report.sentences.promise import at_most, promise_summary
from netsurgeon.pipeline.report.spots import Frontier, check_same_axis
from netsurgeon.pipeline.result import PAGES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TEMPLATES = Path(__file__).parent / "templates"
MOST_BARS = 12
"""Most operators and outputs in a picture; the tables have all."""


def check_report_path(path: Path | None) -> None:
    """Refuse a report that cannot be written, before anything is measured.

    Raises:
        InputError: its name ends neither as a page's nor as that of JSON.
    """
    if path is not None and path.suffix.lower() not in (*PAGES, ".json"):
        raise InputError(
            f"the report {path} cannot be told from its name: end it in .html for a page, which a browser prints to "
            "PDF, or in .json for data"
        )


def is_page(path: Path) -> bool:
    """Whether a report of that name is a page."""
    return path.suffix.lower() in PAGES


def render(report: ReportRecord) -> str:
    """The page, as HTML."""
    return page_template(TEMPLATES / "report.html").render(
        report=report,
        tiles=list(_tiles(report)),
        rows=report.comparison(),
        charts=_charts(report),
        declined=_declined(report),
        operators=_operators(report),
        goal_summary=goal_summary(report),
        integer_summary=integer_summary(report.integers, report.latency),
        integers_timed=_timed_in_words(report),
        bound_of_pruning=BOUND_OF_PRUNING,
        is_packed=any(", " in layer.stored for layer in report.layers),
        inputs_measured=inputs_measured(report.validation),
        promise=promise_summary(report.validation.promise),
        limits={limit.output: limit for limit in report.validation.promise.outputs},
        invocation=invocation(report),
        cluster_summary=cluster_summary(report.cluster),
    )


def page_template(path: Path) -> jinja2.Template:
    """A template that escapes whatever it is given; it may include those of reports, such as their style."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([path.parent, TEMPLATES], encoding="utf-8"),
        autoescape=True,
        finalize=_shown,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"size": _size, "share": "{:.1%}".format, "figure": "{:.3g}".format, "form": form_name}
    environment.filters |= {"speedup": speedup, "at_most": at_most, "counted": counted}
    return environment.get_template(path.name)


def _shown(value: Any) -> Any:
    """A value as the page has it: control characters of names are escaped, which autoescape leaves alone."""
    if isinstance(value, Markup):
        return Markup(printable(value, keep="\n"))
    return printable(value, keep="\n") if isinstance(value, str) else value


def _timed_in_words(report: ReportRecord) -> str | None:
    """How fast integers have made the model, where that was timed."""
    timed = report.integers.timed if report.integers else None
    return f"Timed in turn with the dense model: {compared_speed(timed)}" if timed else None


def _operators(report: ReportRecord) -> dict[str, tuple[tuple[float, int], ...]]:
    """Milliseconds and nodes of each operator, dense and compressed; none where that was not measured."""
    if report.latency is None or report.latency.other is None:
        return {}
    return by_operator([report.latency.model, report.latency.other])


def _tiles(report: ReportRecord) -> Iterator[dict[str, str]]:
    """What to see first: a figure, what it is, and what it comes from."""
    dense, small, validation = report.dense, report.compressed, report.validation
    yield {"figure": f"÷ {report.ratio:.1f}", "name": "file", "detail": f"{_size(dense.bytes)} → {_size(small.bytes)}"}
    before, after = validation.dense, validation.compressed
    if before.metric is not None and after.metric is not None:
        scale = validation.scale
        detail = f"{scale.text(before.metric)} → {scale.text(after.metric)}"
        detail += ", less is better" if scale.lower_is_better else ""
        yield {"figure": scale.change(before.metric, after.metric), "name": scale.title, "detail": detail}
    elif before.top1 is not None and after.top1 is not None:
        detail = f"{before.top1:.2%} → {after.top1:.2%}"
        points = f"{100.0 * (after.top1 - before.top1):+.2f}".replace("-", "\N{MINUS SIGN}")
        yield {"figure": points, "name": "points of top-1", "detail": detail}
    elif validation.agreement is not None:
        yield {"figure": f"{validation.agreement:.1%}", "name": "same top class", "detail": "as the dense model"}
    elif validation.outputs:
        worst = max(validation.outputs, key=lambda fidelity: fidelity.relative_error)
        yield {"figure": f"{worst.relative_error:.2g}", "name": "relative error", "detail": f"of {worst.output}"}
    if report.latency and report.latency.timings[0].other and report.latency.timings[0].speedup:
        timing = report.latency.timings[0]
        ratio, other = report.latency.timings[0].speedup, report.latency.timings[0].other
        detail = f"{timing.model.median:.3g} → {other.median:.3g} ms, 95 %: ÷ {ratio.low:.2f} to {ratio.high:.2f}"
        detail += ", no difference shown" if ratio.low <= 1.0 <= ratio.high else ""
        yield {"figure": f"÷ {ratio.value:.2f}", "name": "latency", "detail": detail}
    elif report.integers and (timed := report.integers.timed):
        yield {
            "figure": f"÷ {timed.speedup:.2f}",
            "name": "latency",
            "detail": f"{timed.dense:.3g} → {timed.model:.3g} ms",
        }
    if report.trim and report.trim.macs < report.trim.macs_dense:
        share = report.trim.macs / report.trim.macs_dense
        detail = f"{_size(report.trim.macs_dense, '')} → {_size(report.trim.macs, '')}"
        yield {"figure": f"÷ {1.0 / max(share, 1e-9):.2f}", "name": "multiply-adds", "detail": detail}
    detail = f"{dense.nonzero:,} → {small.nonzero:,} not zero"
    yield {"figure": f"÷ {dense.nonzero / max(small.nonzero, 1):.1f}", "name": "parameters", "detail": detail}


def draw_sensitivities(names: Sequence[str], losses: Sequence[Sequence[float]], sparsities: Sequence[float]) -> str:
    """What pruning each layer alone would cost, as a chart (SVG) that stands alone; see `charts.sensitivity_chart`."""
    from netsurgeon.pipeline.report import charts

    return charts.sensitivity_chart(names, losses, sparsities)


def draw_frontiers(frontiers: Sequence[Frontier], salt: str) -> list[Markup]:
    """Runs that are judged alike beside each other, as charts (SVG) of a page; see `charts.frontier_charts`."""
    from netsurgeon.pipeline.report import charts

    return list(map(Markup, charts.frontier_charts(frontiers, salt)))


def plot_frontiers(frontiers: Sequence[Frontier]) -> Figure:
    """The same as a figure of matplotlib; see `charts.plot_frontier`.

    Raises:
        InputError: the runs are not judged by the same measure.
    """
    from netsurgeon.pipeline.report import charts

    check_same_axis(frontiers)
    return charts.plot_frontier(frontiers)


def draw_bars(names: Sequence[str], values: Sequence[Sequence[float]], unit: str, salt: str) -> Markup:
    """Bars of layers, one a run, as a chart (SVG) of a page; see `charts.bars_chart`."""
    from netsurgeon.pipeline.report import charts

    return Markup(charts.bars_chart(names, values, unit, salt))


def _charts(report: ReportRecord) -> dict[str, Markup]:
    """Charts by name; matplotlib, which takes a second to load, is loaded only for a page."""
    from netsurgeon.pipeline.report import charts

    layers = report.layers
    charts_by_name = {
        "layers": charts.layer_chart(
            [layer.kept / layer.weights for layer in layers], [layer.error for layer in layers]
        )
    }
    frontier = report.frontier()
    if report.search or frontier.dense_milliseconds is not None:
        charts_by_name |= dict(zip(("bytes", "milliseconds"), charts.frontier_charts([frontier]), strict=False))
    outputs = [output for output in report.bound.outputs if output.bound][:MOST_BARS]
    if outputs:
        columns = (
            [output.output for output in outputs],
            [output.measured for output in outputs],
            [output.bound for output in outputs],
        )
        charts_by_name["bound"] = charts.bound_chart(*columns)
    if report.trim and report.trim.groups:
        groups = sorted(report.trim.groups, key=lambda group: -group.removed)[:MOST_BARS]
        left = [group.units - group.removed for group in groups]
        charts_by_name["units"] = charts.pair_chart(
            [group.node for group in groups], [group.units for group in groups], left, "units", "units"
        )
    operators = list(_operators(report).items())[:MOST_BARS]
    if operators:
        before, after = ([cells[at][0] for _, cells in operators] for at in (0, 1))
        names = [operator for operator, _ in operators]
        charts_by_name["operators"] = charts.pair_chart(names, before, after, "milliseconds a run", "operators")
    return {name: Markup(svg) for name, svg in charts_by_name.items()}


def _declined(report: ReportRecord) -> list[tuple[str, str, int, list[str]]]:
    """What was left alone: operator, reason, parameters and nodes, the most parameters first."""
    nodes = collections.defaultdict(list)
    sizes: collections.Counter[tuple[str, str]] = collections.Counter()
    for declined_node in report.declined:
        nodes[declined_node.operator, declined_node.reason].append(declined_node.node)
        sizes[declined_node.operator, declined_node.reason] += declined_node.parameters
    return [(*key, sizes[key], nodes[key]) for key in sorted(nodes, key=lambda key: -sizes[key])]


def _size(count: float, unit: str = "B") -> str:
    for prefix in ("", "k", "M", "G"):
        if count < 1000.0 or prefix == "G":
            break
        count /= 1000.0
    return f"{count:.3g} {prefix}{unit}"
