"""The evidence, as data, JSON and a page; records lie where they are measured."""

from netsurgeon.pipeline.report.assemble import CompressionRecord, StoredModel, assemble_report
from netsurgeon.pipeline.report.format import comparison_rows, inputs_measured
from netsurgeon.pipeline.report.page import (
    check_report_path,
    draw_bars,
    draw_frontiers,
    draw_sensitivities,
    is_page,
    page_template,
    plot_frontiers,
    render,
)
from netsurgeon.pipeline.report.record import LayerFacts
from netsurgeon.pipeline.report.report import Report
from netsurgeon.pipeline.report.reproduction import changed_options, invocation
from netsurgeon.pipeline.report.schema import report_schema
from netsurgeon.pipeline.report.sentences.cluster import cluster_summary
from netsurgeon.pipeline.report.sentences.goals import goal_summary
from netsurgeon.pipeline.report.sentences.integers import (
    BOUND_OF_PRUNING,
    compared_speed,
    integer_summary,
    stay_summary,
)
from netsurgeon.pipeline.report.sentences.promise import COMPARED_INPUTS, promise_summary
from netsurgeon.pipeline.report.spots import Frontier, find_frontier, scores, times
from netsurgeon.pipeline.report.tracking import Tracker
from netsurgeon.pipeline.report.user_warnings import few_inputs, not_finite, unmeasured

__all__ = [
    "BOUND_OF_PRUNING",
    "COMPARED_INPUTS",
    "CompressionRecord",
    "Frontier",
    "LayerFacts",
    "Report",
    "StoredModel",
    "Tracker",
    "assemble_report",
    "changed_options",
    "check_report_path",
    "cluster_summary",
    "compared_speed",
    "comparison_rows",
    "draw_bars",
    "draw_frontiers",
    "draw_sensitivities",
    "few_inputs",
    "find_frontier",
    "goal_summary",
    "inputs_measured",
    "integer_summary",
    "invocation",
    "is_page",
    "not_finite",
    "page_template",
    "plot_frontiers",
    "promise_summary",
    "render",
    "report_schema",
    "scores",
    "stay_summary",
    "times",
    "unmeasured",
]
