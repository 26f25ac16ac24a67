"""Errors end in one sentence and an exit code, and signals stop a run without leaving a lock taken."""

import errno
import functools
import itertools
import signal
import threading
import time
from types import SimpleNamespace
from typing import Any, cast

import click
import pytest

from netsurgeon.pipeline.command_line import exits
from netsurgeon.pipeline.command_line.exits import explain
from netsurgeon.pipeline.errors import CheckFailedError, InputError


@pytest.mark.parametrize(
    ("error", "code", "sentence"),
    [
        (InputError("no such layer:\n give another"), 2, "no such layer: give another"),
        (InputError("layer \x1b[2J"), 2, r"layer \x1b[2J"),
        (CheckFailedError("the outputs differ"), 1, "the outputs differ"),
        (click.UsageError("Missing option '--data'."), 2, "Missing option '--data'"),
        (OSError(errno.ENOSPC, "No space left on device", "out.onnx"), 2, "No space left on device: out.onnx"),
        (RuntimeError("odd"), 1, "unexpected RuntimeError: odd (a bug: NETSURGEON_DEBUG=1 shows where)"),
        (KeyboardInterrupt(), 130, "interrupted: no file was left half-written"),
        (click.Abort(), 130, "interrupted: no file was left half-written"),
    ],
)
def test_an_error_is_one_sentence(
    error: BaseException,
    code: int,
    sentence: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("NETSURGEON_DEBUG", raising=False)
    assert explain(error) == code
    assert capsys.readouterr().err == f"error: {sentence}\n"


def test_whatever_a_library_makes_of_a_signal_the_signal_is_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exits, "_received", [signal.SIGTERM])
    assert explain(TypeError("expected str")) == 143
    assert capsys.readouterr().err == "error: interrupted: no file was left half-written\n"


def test_a_bug_is_raised_to_whoever_looks_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NETSURGEON_DEBUG", "1")
    with pytest.raises(RuntimeError, match="odd"):
        explain(RuntimeError("odd"))


def test_a_signal_that_is_ignored_stays_ignored() -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        exits.stop_at_signals()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
        assert signal.getsignal(signal.SIGTERM) is exits._stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_a_signal_amid_the_interpreters_lock_code_leaves_no_lock_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that waits for such a lock would keep the process from ever ending."""
    monkeypatch.setattr(exits, "_retries", itertools.count())
    monkeypatch.setattr(exits, "_received", [])
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)}
    released: list[bool] = []
    interrupting = SimpleNamespace(
        acquire=lambda: True,
        release=lambda: None,
        __enter__=functools.partial(signal.raise_signal, signal.SIGINT),
        __exit__=lambda *_: released.append(True),
    )

    def use_lock() -> None:
        with threading.Condition(cast(Any, interrupting)):
            pass
        time.sleep(10)

    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have it ignored
    try:
        exits.stop_at_signals()
        with pytest.raises(KeyboardInterrupt):
            use_lock()
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    assert released == [True]


def test_a_temporary_folder_comes_and_goes_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped amid its removal, or before anyone knows its name, it would stay."""
    planned: list[float] = []
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr(signal, "setitimer", lambda _, seconds: planned.append(seconds))
    removing = SimpleNamespace(f_globals={"__name__": "shutil"}, f_back=None, f_lineno=1)
    inner = SimpleNamespace(f_globals={"__name__": "posixpath"}, f_back=removing, f_lineno=1)
    exits._unwind(signal.SIGINT, cast(Any, inner))
    assert planned == [exits.RETRY_SECONDS]
