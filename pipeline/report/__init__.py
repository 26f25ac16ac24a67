"""The evidence, as data, JSON and a page; records lie where they are measured."""

from netsurgeon.pipeline.report.charts import sensitivity_picture
from netsurgeon.pipeline.report.facts import layer_facts
from netsurgeon.pipeline.report.format import milliseconds, speedup
from netsurgeon.pipeline.report.goal_sentences import goal_summary, unproven_goal_warning
from netsurgeon.pipeline.report.page import is_page, render
from netsurgeon.pipeline.report.report import Report, as_json, report_schema
from netsurgeon.pipeline.report.tracking import Tracker
from netsurgeon.pipeline.report.user_warnings import alike, emptied, grown, unmeasured

__all__ = [
    "Report",
    "Tracker",
    "alike",
    "as_json",
    "emptied",
    "goal_summary",
    "grown",
    "is_page",
    "layer_facts",
    "milliseconds",
    "render",
    "report_schema",
    "sensitivity_picture",
    "speedup",
    "unmeasured",
    "unproven_goal_warning",
]
