"""What a model costs to run: time, whole and per operator, load time and memory, alone or in turn with another one."""

from __future__ import annotations

import dataclasses
import math
import platform
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import psutil

from netsurgeon.pipeline.data import DataSource, PictureOptions, open_samples
from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.messages import Message
from netsurgeon.pipeline.model_files import ModelLike, bytes_on_disk, check_loads, input_specs, read_model, versions
from netsurgeon.pipeline.notation import counted
from netsurgeon.pipeline.options import checks_names
from netsurgeon.pipeline.profiling.kernel_times import NodeTime, left_to_the_cpu, node_times
from netsurgeon.pipeline.profiling.memory import footprint
from netsurgeon.pipeline.profiling.timing import (
    SHORTEST,
    Ratio,
    Seconds,
    Spread,
    alternate,
    busy_seconds,
    milliseconds,
    paired_ratio,
    run_clock,
    speedup,
    spread,
    warm_up,
)
from netsurgeon.pipeline.profiling.timing_inputs import Fed, timing_feeds
from netsurgeon.pipeline.progress import Progress, ProgressLike, Ticks, following, no_ticks, ticking
from netsurgeon.pipeline.result import Overview, Result
from netsurgeon.pipeline.runtime import EXTERNAL_BYTES, Runtime, Session, full_name

SITTINGS = 5
"""How often the models are loaded anew: where threads and memory come to lie differs from one time to the next."""
BUDGET = 10.0
"""Seconds that the rounds of one batch size take where their number is not given."""
ROUNDS = (3, 21)
"""Fewest and most rounds of a sitting where their number is not given."""
MOST_ROUNDS = 1_000_000
"""Most measurements that can be asked for: their times are kept."""
DISTURBED = 0.1
"""Share of the processors from which on other programs are said to have disturbed the measurement."""
TRACE_SECONDS, TRACE_RUNS = 5.0, (5, 50)
"""How long the nodes of a model are timed, and in how many runs."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Timing:
    """One batch size.

    Attributes:
        batch: samples in a run; None where the inputs have no common batch axis.
        fed: what the model was fed, in words.
        rounds: how often each model was timed.
        model: milliseconds a run.
        other: the same of the other model; None where there is none.
        speedup: time of the model over time of the other, in the same rounds.
    """

    batch: int | None
    fed: str
    rounds: int
    model: Spread
    other: Spread | None
    speedup: Ratio | None

    def cells(self) -> tuple[str, ...]:
        """Its row of a table; columns of the other model only where there is one."""
        beside = (milliseconds(self.other), speedup(self.speedup)) if self.other and self.speedup else ()
        return (str(self.batch or "as given"), milliseconds(self.model), *beside, str(self.rounds))


@dataclasses.dataclass(frozen=True)
class Cost:
    """What a model takes besides time.

    Attributes:
        name: of its file; empty where it came from memory.
        bytes: on disk.
        load: milliseconds to load it.
        memory: bytes of resident memory that a process of its own needs to load it and run it once, beyond `idle`.
        idle: bytes that process takes before; memory of a GPU is not counted.
        on_the_cpu: nodes that the CPU ran though another provider was asked for.
        nodes: time of each node; empty where that was not asked for.
    """

    name: str
    bytes: int
    load: Spread
    memory: int
    idle: int
    on_the_cpu: tuple[str, ...]
    nodes: tuple[NodeTime, ...]


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class Profile(Result):
    """What `profile` measured.

    Attributes:
        versions: of netsurgeon and the libraries it stands on.
        machine: processor and number of cores.
        provider: ONNX Runtime's name of the execution provider.
        threads: of one operator on the CPU; None = ONNX Runtime's choice, one a core.
        optimisation: level of graph optimisation.
        model: what the model costs.
        other: what the one it was timed against costs.
        timings: one a batch size.
        notes: batch sizes that were left out and why, and what disturbed the measurement.
    """

    versions: dict[str, str]
    machine: str
    provider: str
    threads: int | None
    optimisation: str
    model: Cost
    other: Cost | None
    timings: tuple[Timing, ...]
    notes: tuple[Message, ...]

    def overview(self) -> Overview:
        """How long a run takes, whole and beside the other model."""
        names, first = [cost.name or "model" for cost in (self.model, self.other) if cost], self.timings[0]
        headline = f"{names[0]}: {milliseconds(first.model)} ms a run"
        if first.other and first.speedup:
            headline += f", {names[1]} {milliseconds(first.other)} ms: {speedup(first.speedup)}"
        threads = "one thread a core" if self.threads is None else counted(self.threads, "thread")
        compared = ("faster (95 % interval)",) if self.other else ()
        return Overview(
            headline=headline,
            sentences=(
                f"{self.machine}; {self.provider}, {threads}, graph optimisation {self.optimisation}; milliseconds are "
                "medians (first to last decile)",
                *(f"note: {note}" for note in self.notes),
            ),
            titles=("batch", *(f"{name}, ms" for name in names), *compared, "rounds"),
            rows=tuple(timing.cells() for timing in self.timings),
        )


@checks_names
def profile(
    model: ModelLike,
    against: ModelLike | None = None,
    *,
    data: DataSource | None = None,
    batches: Sequence[int] | None = None,
    shapes: Mapping[str, Sequence[int]] | None = None,
    rounds: int | None = None,
    per_operator: bool = False,
    provider: str = "cpu",
    threads: int | None = None,
    optimisation: str = "all",
    pictures: PictureOptions | None = None,
    classes: Path | None = None,
    custom_ops: tuple[str, ...] = (),
    seed: int = 0,
    progress: ProgressLike = None,
) -> Profile:
    """Time a model in ONNX Runtime, in turn with another one where that is given.

    Copies of inputs and outputs to and from the provider's memory are counted, as in `InferenceSession.run`.

    Args:
        model: path of an ONNX file, a ModelProto or an `onnx_ir.Model`.
        against: another one with the same inputs, such as the compressed model.
        data: what it is fed; None = made up, where the time cannot depend on the values.
        batches: numbers of samples a run; None = the model's own, or 1.
        shapes: shapes of made-up inputs by name, for axes that the model leaves open.
        rounds: measurements in all, at most `MOST_ROUNDS`, rounded up to a multiple of `SITTINGS`; None = as many as
            fit into 10 seconds, 15 to 105.
        per_operator: time every node as well.
        provider: execution provider, such as "cpu" or "cuda".
        threads: of one operator on the CPU; None = one a core.
        optimisation: level of graph optimisation: "off", "basic", "extended" or "all".
        pictures: how pictures become inputs.
        classes: file with one class name a line, for pictures in class folders.
        custom_ops: shared libraries with the user's operators.
        seed: of made-up inputs.
        progress: True = shown as suits the terminal or notebook; or called with stage, steps done and steps in all.

    Raises:
        InputError: a model, the data or an option cannot be used, or the provider is not active.
        CheckFailedError: a model cannot run on what it is fed.
    """
    _check_numbers(batches, rounds)
    runtime = Runtime(custom_ops, provider, threads, optimisation, deployed=True)
    read = partial(open_samples, pictures=pictures, classes=classes)
    with following(progress) as run, tempfile.TemporaryDirectory(prefix="netsurgeon-") as folder:
        run("opening", 0, 1)
        opened = _open_both(model, against, Path(folder), runtime)
        feeds, notes = timing_feeds(opened[0].model, data, batches, shapes=shapes or {}, seed=seed, read=read)
        measured = _measure(opened, feeds, runtime, rounds, per_operator=per_operator, progress=run)
    return dataclasses.replace(measured, notes=(*notes, *measured.notes))


def _measure(
    opened: Sequence[_Opened],
    feeds: Sequence[Fed],
    runtime: Runtime,
    rounds: int | None,
    *,
    per_operator: bool,
    progress: Progress,
) -> Profile:
    """Time the models in turn on each feed, measure what else each costs, and note what disturbed it."""
    started, busy = time.perf_counter(), busy_seconds()
    paths, ticks = [model.path for model in opened], partial(progress, "timing")
    loads, seconds = time_models(paths, [fed.feed for fed in feeds], (runtime,) * len(paths), rounds, ticks)
    disturbed = _disturbed(busy_seconds() - busy, time.perf_counter() - started)
    timings = tuple(_timing(fed, feed_seconds) for fed, feed_seconds in zip(feeds, seconds, strict=True))
    costs = [
        _cost(model, loads[:, at], seconds[0][..., at], fed=feeds[0], runtime=runtime, per_operator=per_operator)
        for at, model in ticking(enumerate(opened), partial(progress, "measuring memory and operators"), len(opened))
    ]
    return Profile(
        versions=versions(),
        machine=machine(),
        provider=full_name(runtime.provider),
        threads=runtime.threads,
        optimisation=runtime.optimisation,
        model=costs[0],
        other=costs[1] if len(costs) > 1 else None,
        timings=timings,
        notes=disturbed,
    )


def _disturbed(busy: float, elapsed: float) -> tuple[Message, ...]:
    """A note where other programs took processor time while the models were timed."""
    if (share := busy / (elapsed * (psutil.cpu_count() or 1))) < DISTURBED:
        return ()
    text = f"other programs took {share:.0%} of the processors meanwhile: times may be a little longer for it"
    return (Message(text, "machine-busy", share=share),)


def by_operator(costs: Sequence[Cost]) -> dict[str, tuple[tuple[float, int], ...]]:
    """Milliseconds and number of nodes of each operator in each of the models, the slowest operator first."""
    milliseconds_of: dict[str, list[list[float]]] = {}
    for at, cost in enumerate(costs):
        for node in cost.nodes:
            cell = milliseconds_of.setdefault(node.operator, [[0.0, 0] for _ in costs])[at]
            cell[0] += node.milliseconds
            cell[1] += 1
    ranked = sorted(milliseconds_of.items(), key=lambda item: -max(time for time, _ in item[1]))
    return {operator: tuple((time, int(count)) for time, count in cells) for operator, cells in ranked}


def machine() -> str:
    """The processor's name and the number of its cores."""
    name = platform.processor() or platform.machine()
    cpus = Path("/proc/cpuinfo")
    if cpus.exists():
        lines = (line.partition(":") for line in cpus.read_text("utf-8").splitlines())
        name = next((text.strip() for key, _, text in lines if "model name" in key), name)
    cores = psutil.cpu_count(logical=False) or psutil.cpu_count() or 1
    return f"{name}, {counted(cores, 'core')}"


@dataclasses.dataclass(frozen=True)
class _Opened:
    model: ir.Model
    path: Path
    name: str


def _open_both(model: ModelLike, against: ModelLike | None, folder: Path, runtime: Runtime) -> list[_Opened]:
    """The model, and the other one where there is one; what came from memory is written to `folder`.

    Raises:
        InputError: one cannot be used, or they differ in their inputs.
    """
    models = (model,) if against is None else (model, against)
    opened = [_open(entry, folder / f"{at}.onnx", runtime) for at, entry in enumerate(models)]
    _check_same_inputs([entry.model for entry in opened])
    return opened


def _open(model: ModelLike, spare: Path, runtime: Runtime) -> _Opened:
    """A model, in a file: its own, or `spare`."""
    original, path, _ = read_model(model)
    check_loads(original, path, runtime)
    if path is None:
        ir.save(original, spare, external_data=f"{spare.name}.data", size_threshold_bytes=EXTERNAL_BYTES)
    return _Opened(original, path or spare, path.name if path else "")


def time_models(
    models: Sequence[ir.Model | Path],
    feeds: Sequence[Mapping[str, Any]],
    runtimes: Sequence[Runtime],
    rounds: int | None = None,
    ticks: Ticks = no_ticks,
) -> tuple[Seconds, list[Seconds]]:
    """Load the models anew for every sitting, and time them in turn on each feed.

    Args:
        models: what is timed.
        feeds: inputs that all of them take.
        runtimes: how the session of each is made; `deployed`, to be timed as they will run.
        rounds: measurements in all; None = as many as fit into `BUDGET`.
        ticks: called before every sitting and never within one, which it would disturb.

    Returns:
        Seconds a load (sittings, models), and of each feed the seconds a run (sittings, rounds, models).

    Raises:
        CheckFailedError: a model cannot be loaded, or cannot run on a feed.
    """
    loads, sittings = np.empty((SITTINGS, len(models))), list[list[Seconds]]()
    for number in ticking(range(SITTINGS), ticks, SITTINGS):
        counts = [len(seconds) for seconds in sittings[0]] if sittings else [None] * len(feeds)
        order = range(len(models))[:: 1 if number % 2 == 0 else -1]
        loads[number], seconds = _sitting(models, order, feeds, counts=counts, runtimes=runtimes, rounds=rounds)
        sittings.append(seconds)
    return loads, [np.stack(rounds_of_feed) for rounds_of_feed in zip(*sittings, strict=True)]


def _sitting(
    models: Sequence[ir.Model | Path],
    order: Sequence[int],
    feeds: Sequence[Mapping[str, Any]],
    counts: Sequence[int | None],
    runtimes: Sequence[Runtime],
    rounds: int | None,
) -> tuple[list[float], list[Seconds]]:
    """Load the models in this order and time them: seconds a load, and of each feed the seconds (rounds, models)."""
    sessions, loads = dict[int, Session](), [0.0] * len(models)
    for at in order:
        started = time.perf_counter()
        sessions[at] = runtimes[at].session(models[at])
        loads[at] = time.perf_counter() - started
    timed = []
    for feed, count in zip(feeds, counts, strict=True):
        calls, clock = [partial(sessions[at].run, feed) for at in range(len(models))], run_clock(runtimes[0])
        timed.append(alternate(calls, count or _rounds(calls, rounds), clock))
    return loads, timed


def _rounds(calls: Sequence[Callable[[], object]], requested: int | None) -> int:
    """Rounds of a sitting."""
    if requested is not None:
        return math.ceil(requested / SITTINGS)
    once = sum(max(warm_up(call), SHORTEST) for call in calls)
    return int(np.clip(BUDGET / SITTINGS / once, *ROUNDS))


def _timing(fed: Fed, seconds: Seconds) -> Timing:
    rounds = seconds.shape[0] * seconds.shape[1]
    model, *others = (seconds[..., at] for at in range(seconds.shape[2]))
    other, speedup = (spread(others[0]), paired_ratio(model, others[0])) if others else (None, None)
    return Timing(batch=fed.batch, fed=fed.source, rounds=rounds, model=spread(model), other=other, speedup=speedup)


def _cost(opened: _Opened, loads: Seconds, seconds: Seconds, fed: Fed, runtime: Runtime, per_operator: bool) -> Cost:
    runs = int(np.clip(TRACE_SECONDS / np.median(seconds), *TRACE_RUNS))
    memory = footprint(opened.path, fed.feed, runtime)
    return Cost(
        name=opened.name,
        bytes=bytes_on_disk(opened.path),
        load=spread(loads),
        memory=memory.peak - memory.before,
        idle=memory.before,
        on_the_cpu=left_to_the_cpu(opened.path, fed.feed, runtime),
        nodes=node_times(opened.path, fed.feed, runtime, runs) if per_operator else (),
    )


def _check_numbers(batches: Sequence[int] | None, rounds: int | None) -> None:
    if batches is not None and (not batches or min(batches) < 1):
        raise InputError(f"batch is {', '.join(map(str, batches)) or 'empty'}, expected sizes of 1 or more")
    if rounds is not None and rounds < 3:
        raise InputError(f"runs is {rounds}, expected 3 or more: a median of fewer says nothing")
    if rounds is not None and rounds > MOST_ROUNDS:
        raise InputError(f"runs is {rounds}, expected at most {MOST_ROUNDS:,}")


def _check_same_inputs(models: Sequence[ir.Model]) -> None:
    first, *others = ({spec.name: spec.dtype for spec in input_specs(model)} for model in models)
    for other in others:
        if other != first:
            listed = (", ".join(f"{name}: {dtype}" for name, dtype in side.items()) for side in (first, other))
            raise InputError(
                f"the models differ in their inputs, {' and '.join(listed)}: "
                "time a model against a compressed copy of it"
            )
