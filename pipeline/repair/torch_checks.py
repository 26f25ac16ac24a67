"""Refuse to train where PyTorch is missing, and turn its errors into sentences."""

from __future__ import annotations

import contextlib
import importlib
import re
from collections.abc import Iterator

from netsurgeon.pipeline.errors import InputError


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
