"""Attack the command line with mutated models, arrays, recipes, options and work folders.

    python benchmarks/fuzz.py --minutes 2                        # what `make fuzz` runs
    python benchmarks/fuzz.py --cases 5000 --shared ../shared    # models of the zoo, too
    python benchmarks/fuzz.py --seed 0 --case 1234               # one case again, with its command line and all it says
    python benchmarks/fuzz.py --state build/fuzz.json            # goes on where it was stopped, by Ctrl-C or SIGTERM
    python benchmarks/fuzz.py --keep build/fuzz                  # the inputs of cases that fail stay there
    python benchmarks/fuzz.py --atheris 60                       # seconds of models chosen by what they reach

A case is made from its seed and number alone and runs in a child process with limits of time and memory. It must end
in a delivered model, which ONNX Runtime loads and whose outputs are finite if the dense one's always are, in a refusal,
or in a check that failed, the last two in one sentence. Everything else is a bug, and the exit code is then 1.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from _fuzz_cases import MUTATORS, make_case, serve
from _fuzz_guided import guide, guided
from _fuzz_process import Child, scratch_folder, serving_command
from _fuzz_verdicts import BAD, CLASSES, Verdict
from _tables import table, write

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "fuzz.md"
CASES = 2000
TELL = 500
"""Cases after which a line says how far it is."""
SECONDS = 60.0
"""Of the processor, for one case."""
MOST_BYTES = 3 << 30
"""Resident, of a process that serves cases."""
PURPOSE = (
    "This page shows how runs on mutated models, data, recipes and options ended; a finding would be any end but a "
    "model or one sentence."
)


class Attack:
    """Cases shared out among children.

    Attributes:
        counts: cases by mutator and class.
        failures: numbers of those that must not be.
        next: number of the first case that has not run.
    """

    def __init__(self, arguments: argparse.Namespace):
        self.arguments = arguments
        self.counts: Counter[tuple[str, str]] = Counter()
        self.failures: list[int] = []
        self.next: int = arguments.start
        self._is_stopped = threading.Event()
        self._lock = threading.Lock()
        self._go_on()
        self._numbers = self._limited()

    def _limited(self) -> Iterator[int]:
        """Numbers of cases, until there are enough or time is up."""
        minutes, cases = self.arguments.minutes, self.arguments.cases
        end = time.monotonic() + 60 * minutes if minutes else None
        most = cases or (CASES if minutes is None else None)
        for number in itertools.count(self.next):
            is_late = end is not None and time.monotonic() > end
            if is_late or self._is_stopped.is_set() or (most is not None and number >= self.arguments.start + most):
                return
            self.next = number + 1
            yield number

    def stop(self, *_: object) -> None:
        """Begin no further case."""
        self._is_stopped.set()

    def _go_on(self) -> None:
        """Take up what an earlier run has counted."""
        path = self.arguments.state
        if path is None or not path.exists():
            return
        state = json.loads(path.read_text("utf-8"))
        if state["seed"] != self.arguments.seed or state["start"] != self.arguments.start:
            raise SystemExit(
                f"{path} is about seed {state['seed']} from case {state['start']}: give these, or another file"
            )
        self.next, self.failures = state["next"], state["failures"]
        self.counts.update({(mutator, kind): count for mutator, kind, count in state["counts"]})

    def keep(self) -> None:
        """Write down what has been counted, for a run that goes on."""
        if self.arguments.state is not None:
            counts = [(*key, count) for key, count in self.counts.items()]
            numbers = {"seed": self.arguments.seed, "start": self.arguments.start, "next": self.next}
            write(self.arguments.state, json.dumps({**numbers, "failures": self.failures, "counts": counts}) + "\n")

    def run(self) -> None:
        """Run all cases."""
        workers = [threading.Thread(target=self._work) for _ in range(self.arguments.jobs)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()

    def _next(self) -> int | None:
        with self._lock:
            return next(self._numbers, None)

    def _work(self) -> None:
        with scratch_folder() as name:
            root, shared = Path(name), self.arguments.shared
            command = serving_command(sys.executable, HERE / "fuzz.py", root, shared, MOST_BYTES)
            child = Child(command, SECONDS, MOST_BYTES)
            try:
                while (number := self._next()) is not None:
                    verdict = child.ask(f"{self.arguments.seed}\t{number}\t{self.arguments.only or ''}")
                    self._note(number, verdict, root / "case")
            finally:
                child.stop()

    def _note(self, number: int, verdict: Verdict, folder: Path) -> None:
        mutator = self.arguments.only or list(MUTATORS)[number % len(MUTATORS)]
        with self._lock:
            self.counts[mutator, verdict.kind] += 1
            if self.counts.total() % TELL == 0:
                print(f"{self.counts.total()} cases, {len(self.failures)} findings", flush=True)
            if verdict.kind not in BAD:
                return
            self.failures.append(number)
            print(f"case {number} ({mutator}): {verdict.kind}: {verdict.words[:1500]}", flush=True)
            if self.arguments.keep is not None:
                goal = self.arguments.keep / f"{self.arguments.seed}-{number}"
                with contextlib.suppress(OSError):  # of pipes, which are part of some cases
                    shutil.copytree(folder, goal, symlinks=True, dirs_exist_ok=True)

    def summary(self) -> str:
        """How many cases there were, and the numbers of those that must not be."""
        numbers = sorted(self.failures)
        findings = f"findings in {len(numbers)}, numbers {', '.join(map(str, numbers))}" if numbers else "no finding"
        cases = f"{self.counts.total()} cases in a row with seed {self.arguments.seed} from case {self.arguments.start}"
        return f"{cases}: {findings}"

    def page(self) -> str:
        """Counts as a table."""
        lines = [
            [mutator, *(str(self.counts[mutator, kind]) for kind in CLASSES)]
            for mutator in MUTATORS
            if any(self.counts[mutator, kind] for kind in CLASSES)
        ]
        lines.append(["all", *(str(sum(self.counts[mutator, kind] for mutator in MUTATORS)) for kind in CLASSES)])
        return table(("mutator", *CLASSES), lines)


def once(arguments: argparse.Namespace) -> int:
    """Run one case again, and show all there is to know about it."""
    kept = arguments.keep or Path(tempfile.mkdtemp(prefix="fuzz-"))
    folder = kept / f"{arguments.seed}-{arguments.case}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    case = make_case(arguments.seed, arguments.case, folder, arguments.shared, arguments.only)
    print(f"cd {folder}; netsurgeon {' '.join(map(repr, case.arguments))}")
    with scratch_folder() as name:
        command = serving_command(sys.executable, HERE / "fuzz.py", Path(name), arguments.shared, MOST_BYTES)
        child = Child(command, SECONDS, MOST_BYTES)
        verdict = child.ask(f"{arguments.seed}\t{arguments.case}\t{arguments.only or ''}")
        child.stop()
    print(f"{verdict.kind}: {verdict.words}")
    return int(verdict.kind in BAD)


def main() -> int:
    """Exit code of the attack."""
    if sys.argv[1:2] == ["--serve"]:
        root, shared, most_bytes = sys.argv[2:]
        serve(Path(root), Path(shared) if shared else None, int(most_bytes))
        return 0
    if sys.argv[1:2] == ["--guide"]:
        guide(Path(sys.argv[2]), sys.argv[3:])
        return 0
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cases", type=int, help=f"how many; {CASES} where --minutes does not say how long")
    parser.add_argument("--start", type=int, default=0, help="number of the first case")
    parser.add_argument("--minutes", type=float, help="so long at most")
    parser.add_argument("--case", type=int, help="only this one, with all it says")
    parser.add_argument("--only", choices=list(MUTATORS), help="cases of one mutator, numbered on their own")
    parser.add_argument("--jobs", type=int, default=2, help="children at a time")
    parser.add_argument("--keep", type=Path, help="folder for the inputs of cases that fail")
    parser.add_argument("--state", type=Path, help="file of counts: a run that was stopped goes on")
    parser.add_argument("--shared", type=Path, help="use its models, too; the same numbers then mean other cases")
    parser.add_argument("--atheris", type=int, metavar="SECONDS", help="only models that atheris makes")
    parser.add_argument("--write", action="store_true", help="write results/fuzz.md")
    arguments = parser.parse_args()
    arguments.shared = None if arguments.shared is None else arguments.shared.resolve()
    if arguments.atheris is not None:
        return guided(arguments.atheris, arguments.seed, HERE / "fuzz.py")
    if arguments.case is not None:
        return once(arguments)
    attack = Attack(arguments)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, attack.stop)
    attack.run()
    attack.keep()
    page = attack.page()
    print(f"\n{page}\n{attack.summary()}")
    if arguments.write:
        with_shared = "" if arguments.shared is None else ", models of the shared folder among them"
        what = f"{attack.summary()}. By what was mutated{with_shared}, and how they ended:"
        write(RESULTS, f"# The standing attack\n\n{PURPOSE}\n\n{what}\n\n{page}\n")
    return int(bool(attack.failures))


if __name__ == "__main__":
    sys.exit(main())
