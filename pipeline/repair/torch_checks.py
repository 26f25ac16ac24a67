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

PACKAGES = ("torch", "safetensors", "scikit-learn")
"""What the extra `torch` adds to what is installed anyway."""


def require_torch(purpose: str = "training") -> None:
    """Check that PyTorch is there, with what training stands on.

    Args:
        purpose: what needs it, for the sentence.

    Raises:
        InputError: it is not.
    """
    for name in ("torch", "safetensors"):
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise InputError(
                f"{purpose} needs {name}, which is not installed: run `pip install {' '.join(PACKAGES)}`"
            ) from error


def with_repair_chosen(options: Options) -> tuple[Options, tuple[Message, ...]]:
    """Options that say whether models are repaired, and notes where they are not and the user may think so.

    A search would and PyTorch is missing, or options are given that only a repair uses.

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
    elif not notes:
        notes = tuple(_unused(name) for name in ("augment", "device") if getattr(options, name) != "auto")
    return dataclasses.replace(options, repair=bool(options.repair)), notes


def _unused(name: str) -> Message:
    """Note that an option of a repair says nothing without one."""
    return Message(
        f"--{name} was not used: it is about --repair, which was not asked for", "option-unused", option=name
    )


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
