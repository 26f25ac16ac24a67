"""A function of the user's, named "module:function" on the command line."""

import importlib
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from netsurgeon.pipeline.errors import InputError


def import_function(name: str) -> Callable[..., Any]:
    """Import "module:function" with the current directory on the path.

    Raises:
        InputError: it cannot be imported, or is no function.
    """
    module_name, _, function_name = name.partition(":")
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        importlib.invalidate_caches()
        function: Callable[..., Any] = getattr(importlib.import_module(module_name), function_name)
    except Exception as error:
        raise InputError(
            f"{name} cannot be imported ({type(error).__name__}: {error}): expected module:function, found from {here}"
        ) from error
    finally:
        with suppress(ValueError):
            sys.path.remove(here)
    if not callable(function):
        raise InputError(f"{name} is of type {type(function).__name__}: expected a function")
    return function
