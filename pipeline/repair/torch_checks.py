"""Refuse to train where PyTorch is missing, and turn its errors into sentences."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import re
from collections.abc import Iterator

from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.messages import Message
from netsurgeon.pipeline.options import Options


def require_torch(purpose: str = "training") -> None:
    """Check that PyTorch is there, with what training stands on.

    Args:
        purpose: what needs it, for the sentence.

    Raises:
        InputError: it is not.
    """
    for name in ("torch", "safetensors", "matplotlib"):
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise InputError(
                f"{purpose} needs {name}, which is not installed: run `pip install torch safetensors scikit-learn`"
            ) from error


def with_repair_chosen(options: Options) -> tuple[Options, tuple[Message, ...]]:
    """Options that say whether models are repaired, and a note where a search would and PyTorch is missing.

    Raises:
        InputError: the user asks for repair, and PyTorch or the device is missing.
    """
    notes: tuple[Message, ...] = ()
    if options.may_choose_repair:
        options = dataclasses.replace(options, repair=True)
        try:
            require_torch("repair")
        except InputError as error:
            options = dataclasses.replace(options, repair=False)
            notes = (Message(f"the search goes without repair: {error}", "not-repaired", reason=str(error)),)
    if options.repair:
        require_torch("repair")
        check_device(options.device)
    return dataclasses.replace(options, repair=bool(options.repair)), notes


def check_device(name: str) -> None:
    """Check that PyTorch can run on a device.

    Raises:
        InputError: it cannot.
    """
    from netsurgeon.models.training import find_device

    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", name):
        raise InputError(f"device is {name!r}, expected auto, cpu, cuda or cuda:0")
    with value_errors_as_input_errors():
        find_device(name)


@contextlib.contextmanager
def value_errors_as_input_errors() -> Iterator[None]:
    """What `models` refuses, in the user's words."""
    try:
        yield
    except ValueError as error:
        raise InputError(str(error)) from error
