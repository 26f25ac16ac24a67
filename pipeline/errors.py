"""The exceptions that speak to the user: what was found, what was expected, what to do."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

INTERRUPTED = "interrupted: no file was left half-written"
"""What a run that was stopped ends with."""


class NetsurgeonError(Exception):
    """Base of all errors meant for the user; the message is one clear sentence.

    Attributes:
        code: a name that stays, for programs; docs/messages.md lists all.
        exit_code: what the command line ends with.
    """

    code = "error"
    exit_code = 2


class InputError(NetsurgeonError):
    """The model, the data or an option cannot be used (exit code 2)."""

    code = "input-error"
    exit_code = 2


class OptionNameError(InputError, TypeError):
    """A function was called with an option that it does not have (exit code 2)."""

    code = "option-unknown"


class FolderInUseError(InputError):
    """Another run works in the folder that keeps finished work (exit code 2)."""

    code = "folder-in-use"


class UnseenStoreError(InputError):
    """A file of the store for workers is not to be read where it is needed (exit code 2)."""

    code = "store-unseen"


class CheckFailedError(NetsurgeonError):
    """A result did not pass verification and was not delivered (exit code 1)."""

    code = "check-failed"
    exit_code = 1


class RunError(CheckFailedError):
    """A model could be loaded but fails on an input (exit code 1)."""

    code = "run-failed"


class ClusterError(NetsurgeonError):
    """A cluster was lost, or its workers were, before a task was done (exit code 1)."""

    code = "cluster-lost"
    exit_code = 1


class NoWorkersError(ClusterError):
    """A cluster has had no workers for too long: start some (exit code 2)."""

    code = "no-workers"
    exit_code = 2


def in_words(error: BaseException) -> tuple[str, int]:
    """An error as one sentence on one line, and the exit code that goes with it."""
    if isinstance(error, NetsurgeonError):
        sentence, code = str(error), error.exit_code
    elif isinstance(error, OSError):
        sentence, code = f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}", 2
    else:
        sentence, code = f"unexpected {type(error).__name__}: {error} (a bug: NETSURGEON_DEBUG=1 shows where)", 1
    return " ".join(sentence.split()), code


@contextlib.contextmanager
def after_delivery(output: Path | None) -> Iterator[None]:
    """What goes wrong once the model is written says so, and never that nothing was delivered.

    Raises:
        InputError: whatever was raised, in words, with the model's path.
    """
    try:
        yield
    except InputError as error:
        at = "" if output is None or str(output) in str(error) else f"; the model is at {output}"
        raise InputError(f"{error}{at}") from error
    except Exception as error:
        if output is None:
            raise
        what = error.strerror if isinstance(error, OSError) and error.strerror else f"{type(error).__name__}: {error}"
        raise InputError(f"the model is at {output}, but what is told about it is not: {what}") from error
