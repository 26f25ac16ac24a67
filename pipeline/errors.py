"""The exceptions that speak to the user: what was found, what was expected, what to do."""


class NetsurgeonError(Exception):
    """Base of all errors meant for the user; the message is one clear sentence."""

    exit_code = 2


class InputError(NetsurgeonError):
    """The model, the data or an option cannot be used (exit code 2)."""

    exit_code = 2


class CheckFailedError(NetsurgeonError):
    """A result did not pass verification and was not delivered (exit code 1)."""

    exit_code = 1


class RunError(CheckFailedError):
    """A model could be loaded but fails on an input."""
