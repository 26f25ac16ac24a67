"""What gives a result again: the command line, or the call from Python where objects of Python went in."""

from __future__ import annotations

import dataclasses
import itertools
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_type_hints

from netsurgeon.pipeline.data import PictureOptions
from netsurgeon.pipeline.options import Options
from netsurgeon.pipeline.report.record import ReportRecord

FLAGS = {"layers": "--layer"}
"""Of options whose flag is not their name."""
WITH_COMMAS = ("mean", "std")
"""Options whose flag takes all entries at once; that of others is given once for each."""


def invocation(report: ReportRecord) -> str:
    """The command line, or the call from Python, that gives this result again, with the files' names.

    It is made from the options that the user gave and that are not the default, whichever they are; a test holds that
    each option of `Options` comes back as it was.
    """
    return _call(report) if report.from_python else _command(report)


def changed_options(report: ReportRecord) -> dict[str, Any]:
    """Options that are not the default; a report that was read back has lists where tuples were."""
    return _changed(report.options, Options().described())


def _changed(options: Mapping[str, Any], default: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in _listed(options).items() if value != _listed(default).get(name)}


def _listed(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in options.items()}


def _picture_options(pictures: Any) -> dict[str, Any]:
    """How pictures become inputs, where that is not the default."""
    is_given = isinstance(pictures, Mapping)
    return _changed(pictures, dataclasses.asdict(PictureOptions())) if is_given else {}


def _command(report: ReportRecord) -> str:
    words = ["netsurgeon", "compress", report.dense.name or "MODEL", "--data", report.calibration.source]
    words += ["--test", report.test.source] if report.test else []
    words += ["-o", report.compressed.name or "OUTPUT"]
    changed = changed_options(report)
    pictures = _picture_options(changed.pop("pictures", None))
    for name, value in {**changed, **pictures}.items():
        words += _flag(name, value)
    return " ".join(map(shlex.quote, words))


def _flag(name: str, value: Any) -> list[str]:
    """An option that is not the default, as it is written on the command line."""
    flag = FLAGS.get(name, f"--{name.replace('_', '-')}")
    if isinstance(value, bool):
        return [flag if value else flag.replace("--", "--no-", 1)]
    if isinstance(value, Mapping):
        return [word for key, entry in value.items() for word in (flag, f"{key}={entry}")]
    if isinstance(value, list) and name in WITH_COMMAS:
        return [flag, ",".join(map(str, value))]
    if isinstance(value, list):
        return [word for entry in value for word in (flag, str(entry))]
    return [flag, str(value)]


def _call(report: ReportRecord) -> str:
    """A program of the call, with its imports and a comment on what only the user's program has."""
    kinds = {
        "data": report.calibration.source,
        "test": report.test.source if report.test else None,
        "metric": report.options.get("metric"),
    }
    names = ", ".join(f"{name} ({kinds[name]})" if kinds.get(name) else name for name in report.from_python)
    names = " ".join(names.split())  # on one line, whoever wrote the report: what follows is no comment
    imports = ["import pathlib"] if any(map(_is_path, changed_options(report))) else []
    call = f"netsurgeon.compress({', '.join(_arguments(report))})"
    return "\n".join([*imports, "import netsurgeon", f"# objects of your program: {names}", call])


def _arguments(report: ReportRecord) -> Iterator[str]:
    """Those of the call, written in Python; what was an object goes by the argument's name."""
    objects = report.from_python
    yield "model" if "model" in objects else repr(report.dense.name)
    yield "data" if "data" in objects else repr(report.calibration.source)
    if report.test:
        yield "test=test" if "test" in objects else f"test={report.test.source!r}"
    if report.compressed.name:
        yield f"output={report.compressed.name!r}"
    for name, value in changed_options(report).items():
        if name == "metric" and name in objects:
            yield "metric=metric"
        elif name == "pictures":
            entries = itertools.starmap(_keyword, _picture_options(value).items())
            yield f"pictures=netsurgeon.PictureOptions({', '.join(entries)})"
        else:
            yield f"{name}=pathlib.Path({value!r})" if _is_path(name) else _keyword(name, value)
    if "steps" in objects:
        yield "steps=steps, step_options=step_options"


def _is_path(option: str) -> bool:
    return bool(get_type_hints(Options).get(option) == Path | None)


def _keyword(name: str, value: Any) -> str:
    """A keyword argument in Python; a name of a report from elsewhere may be none, and stays a text."""
    written = repr(tuple(value) if isinstance(value, list) else value)
    return f"{name}={written}" if name.isidentifier() else f"**{{{name!r}: {written}}}"
