"""The folder of one job: what came out, and a record of what it was made from."""

from __future__ import annotations

import contextlib
import glob
import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from netsurgeon.pipeline.data import NAMED_FUNCTION, read_text
from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.execution import file_digest, source_digest
from netsurgeon.pipeline.model_files import files_behind, versions, write_text
from netsurgeon.pipeline.options import Options

RECORD, REPORT, WORK = "job.json", "report.json", "work"


class JobFolder:
    """Where one job's model, report and record go.

    Attributes:
        path: the folder.
        model: the compressed model.
        report: of its compression, as JSON.
        work: what a run that was stopped goes on from; gone when the job is done.
    """

    def __init__(self, path: Path):
        self.path = path
        self.model = path / f"{path.name}.onnx"
        self.report, self.work = path / REPORT, path / WORK
        self._record = path / RECORD

    def take(self) -> None:
        """Make the folder; without a record, which is written before all else, nothing in it is a job's.

        Raises:
            InputError: something else lies in it.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        own = {self.model.name, f"{self.model.name}.data", REPORT, RECORD, WORK} if "job" in self._read() else set()
        foreign = sorted(entry.name for entry in self.path.iterdir() if entry.name not in own and entry.name[0] != ".")
        if foreign:
            raise InputError(f"the folder {self.path} holds something else ({foreign[0]}): give another --out")

    def holds(self, identity: Mapping[str, Any]) -> bool:
        """Whether the whole result of this very job is there, byte for byte."""
        record, digests = self._read(), self._digests()
        is_whole = {self.model.name, self.report.name} <= digests.keys()
        return is_whole and record.get("job") == identity and record.get("files") == digests

    def clear(self, identity: Mapping[str, Any]) -> None:
        """Remove what another job has left under this name; what this one has begun stays, to go on from."""
        of_killed_deliveries = f".{glob.escape(self.model.name[:40])}-????????"
        for unfinished in self.path.glob(of_killed_deliveries):
            shutil.rmtree(unfinished, ignore_errors=True)
        if self._read().get("job") == identity:
            return
        for file in (self.model, self.model.with_name(f"{self.model.name}.data"), self.report):
            file.unlink(missing_ok=True)
        if self.work.is_dir() and not self.work.is_symlink():
            shutil.rmtree(self.work)
        self._write(identity, {})

    def finish(self, identity: Mapping[str, Any]) -> None:
        """Record that the result is whole."""
        self._write(identity, self._digests())
        self.tidy()

    def tidy(self) -> None:
        """Remove what only a job that is not done needs."""
        shutil.rmtree(self.work, ignore_errors=True)

    def _digests(self) -> dict[str, str]:
        files = (self.model, self.model.with_name(f"{self.model.name}.data"), self.report)
        return {file.name: file_digest(file) for file in files if file.is_file()}

    def _read(self) -> dict[str, Any]:
        with contextlib.suppress(OSError, ValueError, RecursionError):
            record = json.loads(read_text(self._record))
            return record if isinstance(record, dict) else {}
        return {}

    def _write(self, identity: Mapping[str, Any], files: Mapping[str, str]) -> None:
        write_text(json.dumps({"job": identity, "files": files}, indent=1), self._record)


def identity_of(model: Path, sources: Mapping[str, Any], options: Options) -> dict[str, Any]:
    """What a job is told from others by: options, contents of what it reads, sources of functions, and versions.

    Args:
        model: to be compressed.
        sources: `data` and `test`, as they were given.
        options: all else.

    Raises:
        InputError: data is neither a path nor text.
    """
    for name, source in sources.items():
        if not isinstance(source, str | Path | None):
            raise InputError(f"{name} of a job is a {type(source).__name__}, expected a path or a text")
    read = {**sources, "metric": options.metric, "classes": options.classes, "timings": options.timings}
    functions = {name: entry for name, entry in read.items() if _is_function(entry)}
    others = [entry for name, entry in read.items() if name not in functions]
    files = files_behind((*others, *options.custom_ops), [model])
    listed = "".join(f"{file} {file_digest(file)}\n" for file in files)
    identity = {
        "options": options.described() | {"round_to": options.multiple},  # which the processor decides by default
        "sources": {name: str(source) for name, source in sources.items()},
        "files": hashlib.sha256(os.fsencode(listed)).hexdigest(),  # not listed: there may be a hundred thousand
        "functions": {name: source_digest(function) for name, function in functions.items()},
        "versions": versions(),
    }
    plain: dict[str, Any] = json.loads(json.dumps(identity, default=str))
    return plain


def _is_function(value: Any) -> bool:
    """Whether it is one of the user's, in memory or by its name."""
    return callable(value) or (isinstance(value, str) and NAMED_FUNCTION.fullmatch(value) is not None)
