"""The times that steer a search, each measured once: reported, and replayed so that a search ends the same way."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from netsurgeon.pipeline.data import read_text
from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.messages import Message
from netsurgeon.pipeline.notation import counted
from netsurgeon.pipeline.profiling.kernel_times import node_times, times_in_package
from netsurgeon.pipeline.profiling.model_profile import machine, time_models
from netsurgeon.pipeline.profiling.timing import Seconds, paired_ratio
from netsurgeon.pipeline.progress import Ticks, no_ticks, part_of
from netsurgeon.pipeline.runtime import Feed, Runtime, is_of_package

ROUNDS = 35
MOST_TIMES = 3
"""How often two models are timed at most, until it is known which is faster. Models of which it was not (MobileNet and
a small vision transformer, all on integers) were 0.97 to 1.00 times as fast: more would not tell either."""


@dataclasses.dataclass(frozen=True)
class Timed:
    """A model timed in turn with the dense one.

    Attributes:
        dense: milliseconds of a run of the dense model, median.
        model: milliseconds of a run of this one, median.
        speedup: how many times faster it was.
        low: lower end of its 95 % interval.
        high: upper end of its 95 % interval.
    """

    dense: float
    model: float
    speedup: float
    low: float
    high: float

    @classmethod
    def of(cls, seconds: Seconds) -> Timed:
        """From seconds (sittings, rounds, models) of the dense model and the other one."""
        dense, model = (1000.0 * float(np.median(seconds[..., at])) for at in (0, 1))
        ratio = paired_ratio(seconds[..., 0], seconds[..., 1])
        return cls(dense, model, ratio.value, ratio.low, ratio.high)

    @property
    def faster(self) -> str:
        """As `1.84 times as fast (1.8 to 1.88)`, with the interval."""
        return f"{self.speedup:.2f} times as fast ({self.low:.2f} to {self.high:.2f})"

    @property
    def is_undecided(self) -> bool:
        """Whether either may be the faster one."""
        return not (self.low > 1.0 or self.high < 1.0)  # nor does NaN decide


@dataclasses.dataclass
class TimingTable:
    """Times by name.

    Attributes:
        machine: what they were measured on; several, with a semicolon in between, where a run has added to a table.
        nodes: milliseconds of the dense model's nodes.
        models: of structures, by their name.
        nodes_of: milliseconds of the nodes of other models, by the model's name.
        threads: of ONNX Runtime, where they were measured first; None = as many as it takes.
        batch: rows of the input, where they were measured first; None = not known, nor are the threads then.
    """

    machine: str = ""
    nodes: dict[str, float] = dataclasses.field(default_factory=dict)
    models: dict[str, Timed] = dataclasses.field(default_factory=dict)
    nodes_of: dict[str, dict[str, float]] = dataclasses.field(default_factory=dict)
    threads: int | None = None
    batch: int | None = None

    @property
    def origin(self) -> str:
        """What its times were measured on and with, as far as that is known."""
        threads = "" if self.threads is None else f", {counted(self.threads, 'thread')}"
        return f"{self.machine}{threads}" + ("" if self.batch is None else f", batch {self.batch}")

    @classmethod
    def first_of(cls, path: Path | None, kept: Mapping[str, Any] | None) -> TimingTable:
        """The user's own, from a file, and what a work folder has kept of times that the file does not hold.

        Raises:
            InputError: the file holds no such table.
        """
        table = cls() if path is None else cls.read(path)
        if kept is not None:
            table.complete(cls.of(kept))
        return table

    @classmethod
    def read(cls, path: Path) -> TimingTable:
        """From a report of `compress` as JSON, or from the table that a work folder holds.

        Raises:
            InputError: it holds no such table.
        """
        try:
            document = json.loads(read_text(path))
            # reports of earlier versions hold it in a section
            section = document if "timings" in document else document.get("search") or document.get("integers")
            return cls.of(section["timings"] if section else document)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
            raise InputError(
                f"{path} holds no timing table ({type(error).__name__}): give the JSON report of a run with --quantize "
                "or a goal"
            ) from error

    @classmethod
    def of(cls, values: Any) -> TimingTable:
        """From JSON values.

        Raises:
            KeyError: a field is missing.
            TypeError: a field has another type.
        """
        models = {
            # tables of earlier versions hold no interval
            str(name): Timed(**{"low": times["speedup"], "high": times["speedup"], **times})
            for name, times in values["models"].items()
            if name != "delivered"  # that earlier versions kept: the next run may deliver another model
        }
        nodes, *others = (
            {str(name): float(milliseconds) for name, milliseconds in times.items()}
            for times in (values["nodes"], *values.get("nodes_of", {}).values())
        )
        nodes_of = dict(zip(values.get("nodes_of", {}), others, strict=True))
        threads, batch = (None if values.get(name) is None else int(values[name]) for name in ("threads", "batch"))
        return cls(str(values["machine"]), nodes, models, nodes_of, threads=threads, batch=batch)

    def complete(self, other: TimingTable) -> None:
        """Take from another table what this one lacks."""
        self.name_machine(other)
        self.nodes = {**other.nodes, **self.nodes}
        self.models = {**other.models, **self.models}
        self.nodes_of = {**other.nodes_of, **self.nodes_of}

    def name_machine(self, other: TimingTable) -> None:
        """Name what another table was measured on, too, for its times will be here."""
        if not self.machine:
            self.machine, self.threads, self.batch = other.machine, other.threads, other.batch
        elif other.machine not in ("", *self.machine.split("; ")):
            self.machine += f"; {other.machine}"


class StructureTimer:
    """Times structures against the dense model, each once."""

    def __init__(
        self, table: TimingTable, dense: ir.Model, feed: Feed, runtime: Runtime, keep: Callable[[TimingTable], None]
    ):
        self.table, self._dense, self._feed, self._runtime, self._keep = table, dense, feed, runtime, keep

    def against(self, model: ir.Model) -> StructureTimer:
        """One that times against another model, on the same input and into the same table."""
        return StructureTimer(self.table, model, self._feed, self._runtime, self._keep)

    def without_package(self) -> StructureTimer:
        """One that times on the CPU provider, where a package brings the provider; else this one."""
        if not self.has_package:
            return self
        runtime = self._runtime.without_package()
        return StructureTimer(self.table, self._dense, self._feed, runtime, self._keep)

    @property
    def has_package(self) -> bool:
        """Whether a package brings the provider that models are timed in."""
        return is_of_package(self._runtime.provider)

    @property
    def place(self) -> str:
        """What the times are of: "this machine", or what is known of another one, or of other threads or inputs."""
        return self.table.origin if self._is_of_others else "this machine"

    def notes(self) -> Iterator[Message]:
        """That the times which decide are not those of this machine, with these threads and this batch."""
        if self._is_of_others:
            times, here = self.table.origin, self._here.origin
            text = (
                f"the times that decide are of {times}, and this is {here}: without --timings, in a new work folder, "
                "they are measured anew"
            )
            yield Message(text, "timed-elsewhere", times=times, here=here)

    @property
    def _here(self) -> TimingTable:
        batch = next((len(array) for array in self._feed.values() if np.ndim(array)), None)
        return TimingTable(machine(), threads=self._runtime.threads, batch=batch)

    @property
    def _is_of_others(self) -> bool:
        table, here = self.table, self._here
        is_other_run = table.batch is not None and (table.threads, table.batch) != (here.threads, here.batch)
        return bool(table.machine) and (table.machine != here.machine or is_other_run)

    def nodes(self) -> dict[str, float]:
        """Milliseconds of the dense model's nodes."""
        if not self.table.nodes:
            times = node_times(self._dense, self._feed, self._runtime.without_package())
            self.table.nodes = {node.name: node.milliseconds for node in times}
            self._kept()
        return self.table.nodes

    def nodes_of(self, name: str, model: Callable[[], ir.Model]) -> dict[str, float]:
        """Milliseconds of the nodes of another model, as ONNX Runtime names them, unless the table has them."""
        if name not in self.table.nodes_of:
            times = node_times(model(), self._feed, self._runtime.without_package())
            self.table.nodes_of[name] = {node.name: node.milliseconds for node in times}
            self._kept()
        return self.table.nodes_of[name]

    def layers_in_package(self, name: str, model: Callable[[], ir.Model]) -> dict[str, float]:
        """Milliseconds of the layers of another model that a package's provider can run, unless the table has them."""
        if name not in self.table.nodes_of:
            runtime = dataclasses.replace(self._runtime, provider_options=(("claim", "all"),))
            times = times_in_package(node_times(model(), self._feed, runtime), runtime.provider)
            self.table.nodes_of[name] = times
            self._kept()
        return self.table.nodes_of[name]

    def taken_by_package(self, model: ir.Model) -> dict[str, float]:
        """Milliseconds of the layers of a model that a package's provider does run; measured each time it is asked."""
        return times_in_package(node_times(model, self._feed, self._runtime), self._runtime.provider)

    def time(self, name: str, model: Callable[[], ir.Model], ticks: Ticks = no_ticks, *, least: float = 0.0) -> Timed:
        """Time a model, unless the table has it.

        `model` is made only where it is needed. One that seems less than `least` times as fast is not timed again.
        """
        if name not in self.table.models:
            self.table.models[name] = self.time_anew(model(), ticks, least=least)
            self._kept()
        return self.table.models[name]

    def time_anew(self, model: ir.Model, ticks: Ticks = no_ticks, *, least: float = 0.0) -> Timed:
        """Time a model, again while it is undecided which is faster, and keep nothing; a sitting is a tick.

        The dense model runs without a provider that a package brings.
        """
        sittings = list[Seconds]()
        for number in range(MOST_TIMES):
            again = part_of(ticks, number, MOST_TIMES)
            runtimes = (self._runtime.without_package(), self._runtime)
            _, (seconds,) = time_models([self._dense, model], [self._feed], runtimes, ROUNDS, again)
            sittings.append(seconds)
            timed = Timed.of(np.concatenate(sittings))
            if not timed.is_undecided or timed.speedup < least:
                break
        return timed

    def _kept(self) -> None:
        self.table.name_machine(self._here)
        self._keep(self.table)
