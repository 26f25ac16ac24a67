"""Refuse to train where PyTorch is missing, and turn its errors into sentences."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator

from netsurgeon.pipeline.errors import InputError


def require_torch(purpose: str = "training") -> None:
    """Check that PyTorch is there.

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


@contextlib.contextmanager
def value_errors_as_input_errors() -> Iterator[None]:
    """What `models` refuses, in the user's words."""
    try:
        yield
    except ValueError as error:
        raise InputError(str(error)) from error
