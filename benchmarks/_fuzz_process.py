"""Children that serve many cases each, watched from outside: one that dies, hangs or grows is replaced."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import psutil
from _fuzz_verdicts import Verdict

SERVES = 300
"""Cases after which a child is replaced, so that what leaks is not counted against a later case."""
LOOK_SECONDS = 0.25
"""Between looks at memory and time: each of them reads what the system knows of every process."""
WALL = 8.0
"""Times the limit of processor seconds that may pass on the clock: other programs use the machine, too."""


class Child:
    """A process that answers cases, one at a time."""

    def __init__(self, command: Sequence[str], seconds: float, most_bytes: int):
        self._command, self._seconds, self._most_bytes = command, seconds, most_bytes
        self._process: subprocess.Popen[str] | None = None
        self._served = 0

    def ask(self, line: str) -> Verdict:
        """What becomes of a case."""
        process = self._running()
        self._served += 1
        assert process.stdin is not None
        assert process.stdout is not None
        before = self._processor_seconds(process.pid)
        start = time.monotonic()
        try:
            process.stdin.write(line + "\n")
            process.stdin.flush()
        except BrokenPipeError:
            return self._died()
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while not selector.select(LOOK_SECONDS):
                if self._resident_bytes(process.pid) > self._most_bytes:
                    self.stop()
                    return Verdict("memory", f"more than {self._most_bytes >> 20} MiB resident")
                used = self._processor_seconds(process.pid) - before
                if used > self._seconds or time.monotonic() - start > WALL * self._seconds:
                    self.stop()
                    return Verdict("hung", f"no end after {used:.0f} s of the processor")
        answer = process.stdout.readline()
        if not answer.endswith("\n"):
            return self._died()
        kind, _, words = answer.rstrip("\n").partition("\t")
        if kind == "memory" or self._served >= SERVES:
            self.stop()
        return Verdict(kind, words)

    def _running(self) -> subprocess.Popen[str]:
        if self._process is None or self._process.poll() is not None:
            threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={**os.environ, **threads},
                encoding="utf-8",
                errors="replace",
                start_new_session=True,
            )
            self._served = 0
        return self._process

    def _died(self) -> Verdict:
        assert self._process is not None
        code = self._process.wait()
        self.stop()
        return Verdict("died", signal.Signals(-code).name if code < 0 else f"exit code {code}")

    def stop(self) -> None:
        """End the process and those it has started."""
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()

    @staticmethod
    def _family(number: int) -> list[psutil.Process]:
        try:
            process = psutil.Process(number)
            return [process, *process.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    @classmethod
    def _resident_bytes(cls, number: int) -> int:
        total = 0
        for process in cls._family(number):
            try:
                total = max(total, process.memory_info().rss)
            except psutil.NoSuchProcess:
                continue
        return total

    @classmethod
    def _processor_seconds(cls, number: int) -> float:
        total = 0.0
        for process in cls._family(number):
            try:
                times = process.cpu_times()
            except psutil.NoSuchProcess:
                continue
            total += times.user + times.system
        return total


def scratch_folder() -> tempfile.TemporaryDirectory[str]:
    """Where the files of cases lie; its removal survives what an attack leaves there."""
    return tempfile.TemporaryDirectory(prefix="fuzz-", ignore_cleanup_errors=True)


def serving_command(python: str, script: Path, root: Path, shared: Path | None, most_bytes: int) -> list[str]:
    """The command line of a child."""
    return [python, str(script), "--serve", str(root), str(shared or ""), str(most_bytes)]
