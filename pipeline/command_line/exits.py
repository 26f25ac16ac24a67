"""How a command ends: stopped by a signal, or by an error, in one sentence and an exit code."""

from __future__ import annotations

import itertools
import os
import signal
import traceback
from types import FrameType

import click

from netsurgeon.pipeline.errors import INTERRUPTED, NetsurgeonError, in_words
from netsurgeon.pipeline.messages import printable

LOCKING_MODULES = ("threading", "queue", "concurrent.futures.thread", "concurrent.futures._base")
"""Modules in whose Python code a lock is taken in one instruction and released in another."""
CLEARING_MODULES = ("tempfile", "shutil")
"""Modules that make a folder before anyone can remove it, and remove it after nobody else would."""
RETRY_SECONDS, MOST_RETRIES = 0.02, 100
"""How soon a stop that came amid such code is tried again, and how often: whoever is there longer only waits."""
_retries = itertools.count()
_received: list[int] = []
"""Signals that asked this process to stop."""


def stop_at_signals() -> None:
    """Let SIGINT and SIGTERM unwind the run, unless whoever started the process has them ignored."""
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _stop)


def _stop(number: int, frame: FrameType | None) -> None:
    """Unwind the run, so that nothing spilled or half-written stays; note why: libraries may raise something else."""
    _received.append(number)
    _unwind(number, frame)


def _unwind(number: int, frame: FrameType | None) -> None:
    """Raise KeyboardInterrupt, but not amid the interpreter's lock code, nor while a temporary folder comes or goes.

    An exception between taking and releasing a lock leaves it taken: the worker threads that the unwinding waits for
    would wait for that lock, and the process would hang for ever.
    """
    del number
    amid_lock_code = frame is not None and frame.f_globals.get("__name__") in LOCKING_MODULES
    amid_clearing = any(outer.f_globals.get("__name__") in CLEARING_MODULES for outer, _ in traceback.walk_stack(frame))
    if (amid_lock_code or amid_clearing) and hasattr(signal, "setitimer") and next(_retries) < MOST_RETRIES:
        signal.signal(signal.SIGALRM, _unwind)
        signal.setitimer(signal.ITIMER_REAL, RETRY_SECONDS)
        return
    raise KeyboardInterrupt


def explain(error: BaseException) -> int:
    """Say in one sentence on standard error what ended the run; the exit code.

    Raises:
        BaseException: the error itself, where it is a bug and NETSURGEON_DEBUG is set.
    """
    if _received or isinstance(error, KeyboardInterrupt | click.Abort):
        return _fail(INTERRUPTED, 128 + (_received or [signal.SIGINT])[0])
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        error.show()
        return error.exit_code
    if isinstance(error, click.UsageError):
        help_at = f" (see {error.ctx.command_path} --help)" if error.ctx else ""
        return _fail(error.format_message().rstrip(".") + help_at, error.exit_code)
    if os.environ.get("NETSURGEON_DEBUG") and not isinstance(error, NetsurgeonError | OSError):
        raise error
    return _fail(*in_words(error))


def _fail(message: str, code: int) -> int:
    click.echo(f"error: {printable(' '.join(message.split()))}", err=True)
    return code
