"""A compressed model and the one it came from, wherever both were measured."""

from __future__ import annotations

import collections
import dataclasses
import itertools
import os
from collections.abc import Sequence
from pathlib import Path

from netsurgeon.pipeline.messages import Message
from netsurgeon.pipeline.model_files import ModelFacts
from netsurgeon.pipeline.profiling import Profile, Timed
from netsurgeon.pipeline.report import Frontier, Report, find_frontier, scores, times
from netsurgeon.pipeline.verification import DropEstimate, Validation, bounded_drop


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """A model beside its dense one.

    Attributes:
        name: what it goes by among others.
        dense: the model that came in.
        model: what was made of it.
        validation: both on the same inputs.
        latency: both timed in turn; None where they were not.
        warnings: what the user should know.
        report: of the compression that made it; None where only the two models were there.
    """

    name: str
    dense: ModelFacts
    model: ModelFacts
    validation: Validation
    latency: Profile | None
    warnings: tuple[Message, ...]
    report: Report | None = None

    @property
    def ratio(self) -> float:
        """How many times smaller the file is."""
        return self.dense.bytes / self.model.bytes

    @property
    def scores(self) -> tuple[float, float]:
        """How good both models are; NaN where it is not known."""
        return scores(self.validation)

    @property
    def drop(self) -> DropEstimate | None:
        """What was lost, and what that says of all inputs; None where that is not known."""
        search = self.report.search if self.report else None
        return search.measured if search else bounded_drop(self.validation)

    @property
    def times(self) -> tuple[float | None, float | None]:
        """Milliseconds of the dense model, and how many times faster this one is."""
        return times(self.latency, self._timed)

    @property
    def frontier(self) -> Frontier:
        """The run as spots on a chart."""
        if self.report is not None:
            return self.report.frontier(self.name)
        return find_frontier(
            self.name,
            dense=self.dense,
            compressed=self.model,
            validation=self.validation,
            latency=self.latency,
        )

    @property
    def _timed(self) -> Timed | None:
        report = self.report
        if report is None:
            return None
        by_integers = report.integers.timed if report.integers else None
        return by_integers or (report.search.timed if report.search else None)


def run_of(report: Report, name: str) -> Run:
    """A compression as a run."""
    return Run(
        name=name,
        dense=report.dense,
        model=report.compressed,
        validation=report.validation,
        latency=report.latency,
        warnings=report.warnings,
        report=report,
    )


def name_apart(names: Sequence[str]) -> list[str]:
    """The same names, those that are there more than once with a number behind them."""
    counts, seen = collections.Counter(names), collections.Counter[str]()
    apart = []
    for name in names:
        seen[name] += 1
        apart.append(f"{name} ({seen[name]})" if counts[name] > 1 else name)
    return apart


def name_by_files(paths: Sequence[Path]) -> list[str]:
    """Names of files without their ending; of those that share one, the parts of their paths that differ.

    a/report.json and b/report.json are a and b, and report.json beside a/report.json is report beside a/report.
    """
    alike: dict[str, list[Path]] = {}
    for path in paths:
        alike.setdefault(path.stem, []).append(path)
    names = {path: name for group in alike.values() for path, name in zip(group, _differing_parts(group), strict=True)}
    return name_apart([names[path] for path in paths])


def _common(parts: Sequence[Sequence[str]]) -> int:
    """How many parts at the start are the same in all paths."""
    at_each_place = zip(*parts, strict=False)
    return sum(1 for _ in itertools.takewhile(lambda names: len(set(names)) == 1, at_each_place))


def _differing_parts(paths: Sequence[Path]) -> list[str]:
    """What is left of each path of files of one name without the folders that all begin and end with."""
    # links stay as the user named them
    parts = [Path(os.path.abspath(path)).with_suffix("").parts for path in paths]  # noqa: PTH100
    first, last = _common(parts), _common([names[::-1] for names in parts])
    if first == len(parts[0]) == last:  # one file, perhaps given twice
        return [path.stem for path in paths]
    first = min(first, min(map(len, parts)) - 1)  # a folder may be called as a file in the same place
    ends = [len(names) - last for names in parts]
    is_short = all(end > first for end in ends)
    return ["/".join(names[first : end if is_short else None]) for names, end in zip(parts, ends, strict=True)]
