"""The exceptions that speak to the user: what was found, what was expected, what to do."""

from __future__ import annotations


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


class CheckFailedError(NetsurgeonError):
    """A result did not pass verification and was not delivered (exit code 1)."""

    code = "check-failed"
    exit_code = 1


class RunError(CheckFailedError):
    """A model could be loaded but fails on an input (exit code 1)."""

    code = "run-failed"
