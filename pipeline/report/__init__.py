"""The evidence, as data, JSON and a page; records lie where they are measured."""

from netsurgeon.pipeline.report.assemble import CompressionRecord, StoredModel, assemble_report
from netsurgeon.pipeline.report.format import inputs_measured, milliseconds, speedup
from netsurgeon.pipeline.report.goal_sentences import goal_summary
from netsurgeon.pipeline.report.integer_sentences import (
    BOUND_OF_PRUNING,
    compared_speed,
    integer_summary,
    stay_summary,
)
from netsurgeon.pipeline.report.page import draw_sensitivities, is_page, render
from netsurgeon.pipeline.report.promise_sentences import COMPARED_INPUTS, promise_summary
from netsurgeon.pipeline.report.report import SCHEMA, Report, as_json
from netsurgeon.pipeline.report.schema import report_schema
from netsurgeon.pipeline.report.tracking import Tracker
from netsurgeon.pipeline.report.user_warnings import few_inputs

__all__ = [
    "BOUND_OF_PRUNING",
    "COMPARED_INPUTS",
    "SCHEMA",
    "CompressionRecord",
    "Report",
    "StoredModel",
    "Tracker",
    "as_json",
    "assemble_report",
    "compared_speed",
    "draw_sensitivities",
    "few_inputs",
    "goal_summary",
    "inputs_measured",
    "integer_summary",
    "is_page",
    "milliseconds",
    "promise_summary",
    "render",
    "report_schema",
    "speedup",
    "stay_summary",
]
