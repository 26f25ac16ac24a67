"""A function of the user's, named "module:function" on the command line."""

import importlib
import importlib.machinery
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from netsurgeon.pipeline.errors import InputError

NAMED_FUNCTION = re.compile(r"([A-Za-z_][\w.]*):[A-Za-z_]\w*")


def import_function(name: str) -> Callable[..., Any]:
    """Import "module:function" with the current directory on the path.

    Raises:
        InputError: it cannot be imported, or is no function.
    """
    module_name, _, function_name = name.partition(":")
    if not function_name:
        raise InputError(f"{name} names no function: expected module:function")
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        importlib.invalidate_caches()
        function: Callable[..., Any] = getattr(importlib.import_module(module_name), function_name)
    except (Exception, SystemExit) as error:
        raise InputError(
            f"{name} cannot be imported ({type(error).__name__}: {error}): expected module:function, found from {here}"
        ) from error
    finally:
        with suppress(ValueError):
            sys.path.remove(here)
    if not callable(function):
        raise InputError(f"{name} is of type {type(function).__name__}: expected a function")
    return function


def module_files(name: str) -> Iterator[Path]:
    """The source of "module:function" and of all of its package, found without importing it; none for another text."""
    named = NAMED_FUNCTION.fullmatch(name)
    if named is None:
        return
    spec = importlib.machinery.PathFinder.find_spec(named[1].split(".")[0], [str(Path.cwd()), *sys.path])
    if spec is not None:
        for folder in spec.submodule_search_locations or ():
            yield from Path(folder).rglob("*.py")
        if spec.origin is not None and Path(spec.origin).exists():
            yield Path(spec.origin)
