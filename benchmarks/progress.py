"""How good the forecast of a run is: what it says at shares of the run against what the run has taken.

    OMP_NUM_THREADS=1 python benchmarks/progress.py net.onnx --data inputs.npz --test held.npz max_drop=1% threads=1

Options of `compress` are given as `name=value`. `--log times.csv` keeps all estimates; `--stages` compares what was
predicted of each stage with what it has taken, which the rates in `pipeline/run/expected_work.py` were fitted by.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from netsurgeon.pipeline.compress import compress
from netsurgeon.pipeline.progress import RunProgress, Status, Step

SHARES = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9)


class Recorder(RunProgress):
    """Progress that keeps everything: what was expected, and where the run stood whenever something was done."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.statuses: list[Status] = []
        self.steps: tuple[Step, ...] = ()
        super().__init__(self.statuses.append, clock)

    def expect(self, steps: Sequence[Step]) -> None:
        """Keep what is expected."""
        self.steps = tuple(steps)
        super().expect(steps)
        self.statuses.append(self.status())


def main() -> None:
    """Compress, and print how good the forecasts were."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--data", required=True)
    parser.add_argument("--test")
    parser.add_argument("--log", type=Path, help="CSV file for all estimates.")
    parser.add_argument("--cpu", action="store_true", help="Count processor time: for a machine that is busy.")
    parser.add_argument("--stages", action="store_true", help="Compare stages, too.")
    parser.add_argument("options", nargs="*", metavar="NAME=VALUE")
    arguments = parser.parse_intermixed_args()
    recorder = Recorder(time.process_time if arguments.cpu else time.monotonic)
    options = dict(option.split("=", 1) for option in arguments.options)
    compress(
        arguments.model,
        arguments.data,
        test=arguments.test,
        progress=recorder,
        **{name: _value(text) for name, text in options.items()},
    )
    recorder.statuses.append(recorder.status())
    print_forecasts(recorder.statuses)
    if arguments.stages:
        print_stages(recorder)
    if arguments.log:
        write_log(recorder.statuses, arguments.log)


def _value(text: str) -> Any:
    try:
        return int(text)
    except ValueError:
        return {"true": True, "false": False}.get(text, text)


def print_forecasts(statuses: Sequence[Status]) -> None:
    """What the forecast said of the whole run at some shares of it, and the longest time without a sign."""
    total = statuses[-1].elapsed
    print(f"the run took {total:.0f} s")
    for share in SHARES:
        status = next(status for status in statuses if status.elapsed >= share * total)
        if status.left is None:
            print(f"{share:4.0%}: no estimate yet ({status.stage})")
            continue
        truth = total - status.elapsed
        whole = (status.elapsed + status.left) / total
        print(
            f"{share:4.0%}: {status.left:6.0f} s left, in truth {truth:6.0f} s "
            f"({status.left / max(truth, 1e-9):.2f} times); the whole run {whole:.2f} times the truth "
            f"[{status.place}: {status.stage}]"
        )
    gap, stage = max((after.elapsed - before.elapsed, before.stage) for before, after in itertools.pairwise(statuses))
    print(f"longest time without a sign: {gap:.1f} s ({stage})")


def print_stages(recorder: Recorder) -> None:
    """By stage: visits, seconds a visit as predicted and as measured, and the longest silence."""
    seconds: dict[str, float] = {}
    visits: dict[str, int] = {}
    gaps: dict[str, float] = {}
    before = None
    for status in recorder.statuses:
        if before is not None:
            taken = status.elapsed - before.elapsed
            seconds[before.stage] = seconds.get(before.stage, 0.0) + taken
            gaps[before.stage] = max(gaps.get(before.stage, 0.0), taken)
        if before is None or before.stage != status.stage:
            visits[status.stage] = visits.get(status.stage, 0) + 1
        before = status
    expected = {work.stage: work for step in recorder.steps for work in step.works}
    print(f"{'stage':32} {'visits':>6} {'predicted':>10} {'measured':>10} {'silent':>7}")
    for stage, count in visits.items():
        predicted = f"{expected[stage].seconds:10.2f}" if stage in expected else " " * 10
        measured = seconds.get(stage, 0.0) / count
        print(f"{stage:32} {count:6} {predicted} {measured:10.2f} {gaps.get(stage, 0.0):7.1f}")


def write_log(statuses: Sequence[Status], path: Path) -> None:
    """All estimates: elapsed seconds, seconds left, stage and place."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("elapsed", "left", "stage", "done", "count", "place"))
        for status in statuses:
            left = "" if status.left is None else f"{status.left:.2f}"
            writer.writerow((f"{status.elapsed:.2f}", left, status.stage, status.done, status.count, status.place))


if __name__ == "__main__":
    main()
