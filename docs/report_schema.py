"""Write the JSON schema of the report anew, made from its dataclasses: ``python docs/report_schema.py``."""

from __future__ import annotations

import json
from pathlib import Path

from netsurgeon.pipeline.report import report_schema
from netsurgeon.pipeline.result import SCHEMA

FILE = Path(__file__).parent.parent / "pipeline" / "report" / "schemas" / f"report-{SCHEMA}.json"


def schema_text() -> str:
    """The file, whole."""
    return json.dumps(report_schema(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    FILE.write_text(schema_text(), "utf-8")
