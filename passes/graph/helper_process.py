"""A process of its own for native code that may end it: ours goes on, and the next call starts another one."""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import struct
import subprocess
import sys
import threading
from pathlib import Path

SECONDS = 300.0
"""A call that takes longer is given up."""


class HelperError(Exception):
    """The call failed; the text is one sentence's worth of reason."""


class HelperDiedError(HelperError):
    """The process died, or took too long; the text is its signal or exit code.

    Attributes:
        is_crash: whether its own code has ended it, by a signal that others do not send.
    """

    def __init__(self, code: int):
        super().__init__(f"exit code {code}" if code >= 0 else signal.Signals(-code).name)
        self.is_crash = code < 0 and -code not in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)


class HelperProcess:
    """One process that serves all calls, one at a time, started at the first one.

    Args:
        script: what it runs: `serve` of `native_helper`.
    """

    def __init__(self, script: Path):
        self._script = script
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0
        atexit.register(self.stop)

    def call(self, request: bytes, seconds: float = SECONDS) -> bytes:
        """What the script answers.

        Raises:
            HelperError: it fails.
            HelperDiedError: it dies, or takes more than so many seconds.
        """
        with self._lock:
            process = self._running()
            timer = threading.Timer(seconds, process.kill)
            timer.daemon = True
            timer.start()
            try:
                status, answer = _exchange(process, struct.pack("<Q", len(request)) + request)
            except (OSError, struct.error) as error:
                raise HelperDiedError(self.stop()) from error
            finally:
                timer.cancel()
        if status:
            raise HelperError(answer.decode("utf-8", "replace"))
        return answer

    def _running(self) -> subprocess.Popen[bytes]:
        if self._owner != os.getpid():  # after a fork it belongs to the other process
            self._process = None
        if self._process is None or self._process.poll() is not None:
            self.stop()
            environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
            try:
                self._process = subprocess.Popen(
                    [sys.executable, "-P", str(self._script)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    env=environment,
                )
            except OSError as error:
                raise HelperError(f"no process can be started for it ({error.strerror or error})") from error
            self._owner = os.getpid()
        return self._process

    def stop(self) -> int:
        """End the process; its exit code."""
        process, self._process = self._process, None
        if process is None or self._owner != os.getpid():
            return 0
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        try:
            return process.wait(5.0)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()


def _exchange(process: subprocess.Popen[bytes], request: bytes) -> tuple[int, bytes]:
    if process.stdin is None or process.stdout is None:
        raise OSError("the helper has no pipes")
    process.stdin.write(request)
    process.stdin.flush()
    status, size = struct.unpack("<BQ", process.stdout.read(9))
    answer = process.stdout.read(size)
    if len(answer) < size:
        raise OSError("the helper's answer is cut off")
    return status, answer
