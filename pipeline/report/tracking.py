"""Log a compression to MLflow: what was asked for, what came out, and the report."""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.report.page import render
from netsurgeon.pipeline.report.report import Report
from netsurgeon.pipeline.runtime import first_line

EXPERIMENT = "netsurgeon"
LONGEST = 500
"""Characters of a parameter's value that every MLflow server takes."""
PACKAGES = ("mlflow-skinny", "sqlalchemy", "alembic")
"""What the extra `mlflow` installs."""
_DATABASES = ("sqlite", "postgresql", "mysql", "mssql")


class Tracker:
    """An MLflow tracking server, database or folder.

    Attributes:
        uri: where it is, such as "http://server:5000", "sqlite:///mlflow.db" or "runs/".
    """

    def __init__(self, uri: str):
        """Connect, before anything is computed.

        Raises:
            InputError: MLflow is not installed, or the server does not answer.
        """
        self.uri = uri
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # nobody is told what a user compresses
        os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")  # nor the user of each table of a new database
        scheme = urlsplit(uri).scheme.partition("+")[0]
        if scheme in ("", "file"):
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # MLflow 3 refuses folders that nobody insists on
        try:
            client = importlib.import_module("mlflow.tracking").MlflowClient
        except ImportError as error:
            raise InputError(f"MLflow is not installed: run `pip install {' '.join(PACKAGES)}`") from error
        if scheme in _DATABASES and importlib.util.find_spec("sqlalchemy") is None:
            raise InputError(f"MLflow takes no database without SQLAlchemy: run `pip install {' '.join(PACKAGES[1:])}`")
        try:
            self._client = client(tracking_uri=uri)
            experiment = self._client.get_experiment_by_name(EXPERIMENT)
            self._experiment = experiment.experiment_id if experiment else self._client.create_experiment(EXPERIMENT)
        except Exception as error:
            raise InputError(f"MLflow cannot be used at {uri}: {first_line(error)}") from error

    def log(self, report: Report) -> str:
        """Log one run; its id.

        Raises:
            InputError: the server does not take it.
        """
        try:
            run = str(self._client.create_run(self._experiment).info.run_id)
            for name, value in report.options.items():
                if value not in (None, [], {}, False):
                    self._client.log_param(run, name, str(value)[:LONGEST])
            for name, number in metrics(report):
                self._client.log_metric(run, name, float(number))
            self._client.log_text(run, report.to_json(), "report.json")
            self._client.log_text(run, render(report), "report.html")
            self._client.set_terminated(run)
        except Exception as error:
            raise InputError(
                f"MLflow at {self.uri} did not take the result, though the model is written: {first_line(error)}"
            ) from error
        return run


def metrics(report: Report) -> Iterator[tuple[str, float]]:
    """The figures of a report by name; what was not measured is left out."""
    validation = report.validation
    figures: dict[str, Any] = {
        "bytes": report.compressed.bytes,
        "ratio": report.ratio,
        "sparsity": report.sparsity,
        "agreement": validation.agreement,
        "top1": validation.compressed.top1,
        "top1_dense": validation.dense.top1,
        "metric": validation.compressed.metric,
        "metric_dense": validation.dense.metric,
        "seconds": sum(report.seconds.values()),
    }
    if report.search is not None:
        figures |= {"drop": report.search.measured.drop, "drop_low": report.search.measured.low}
        figures |= {"drop_high": report.search.measured.high, "proven": report.search.proven}
    if report.trim is not None:
        figures |= {"macs": report.trim.macs}
    if report.latency is not None and report.latency.timings[0].other and report.latency.timings[0].speedup:
        timing = report.latency.timings[0]
        figures |= {
            "milliseconds": timing.other and timing.other.median,
            "speedup": timing.speedup and timing.speedup.value,
        }
    yield from ((name, value) for name, value in figures.items() if value is not None)
