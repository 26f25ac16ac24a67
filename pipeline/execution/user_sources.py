"""What code of the user's a result rests on: the sources of functions and classes, and of what they import."""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.machinery
import inspect
import sys
import sysconfig
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from netsurgeon.pipeline.data import module_files

_DEEPEST = 8
"""How far values that a function holds are looked into."""
_EMPTY_CELL = types.CellType()


def source_digest(function: str | Callable[..., Any]) -> str:
    """A sha256 (hex) of a function's sources: its module or package, and all modules beside it that these import.

    Libraries that are installed are left out, but for the one that the function itself belongs to. What an object in
    memory holds (the code of a function without a file, its defaults, closure and bound arguments) counts as well.

    Args:
        function: "module:function", a function, or a class.
    """
    whole = hashlib.sha256()
    if not isinstance(function, str):
        whole.update(repr(_held(function, 0)).encode("utf-8", "backslashreplace"))
    for name, digest in sorted((file.name, file_digest(file)) for file in _with_imports(_files(function))):
        whole.update(f"{name} {digest}\n".encode("utf-8", "backslashreplace"))
    return whole.hexdigest()


def file_digest(file: Path) -> str:
    """The sha256 (hex) of a file."""
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _files(function: str | Callable[..., Any]) -> Iterator[Path]:
    if isinstance(function, str):
        yield from module_files(function)
        return
    inner = function
    while isinstance(inner, functools.partial):
        inner = inner.func
    inner = inspect.unwrap(inner)
    code = inner if inspect.isroutine(inner) or inspect.isclass(inner) else type(inner)
    try:
        file = Path(inspect.getsourcefile(code) or "")
    except TypeError:  # built in, or of a module without a file
        return
    if file.is_file():
        yield file


def _with_imports(files: Iterable[Path]) -> set[Path]:
    """The files, and those of modules that they import, and so on."""
    reached: set[Path] = set()
    own_files = functools.cache(lambda name, beside: list(_own_files(name, beside)))
    waiting = [file.resolve() for file in files]
    while waiting:
        file = waiting.pop()
        if file not in reached and file.is_file():
            reached.add(file)
            names = set() if file.suffix != ".py" or _is_installed(file) else set(_imported(file))
            waiting += [imported.resolve() for name, beside in names for imported in own_files(name, beside)]
    return reached


def _imported(file: Path) -> Iterator[tuple[str, Path]]:
    """First parts of the names of modules that a file imports, and the folder where each is looked for first."""
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # whoever imports it tells what is wrong with it
        return
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module] if node.module else [alias.name for alias in node.names]
        level = node.level if isinstance(node, ast.ImportFrom) else 0
        yield from ((name.split(".")[0], file.parents[max(level - 1, 0)]) for name in names)


def _own_files(name: str, beside: Path) -> Iterator[Path]:
    """Files of a module or package by its name, where it is neither Python's, nor installed, nor netsurgeon."""
    if name in sys.stdlib_module_names or name == "netsurgeon":
        return
    spec = importlib.machinery.PathFinder.find_spec(name, [str(beside), str(Path.cwd()), *sys.path])
    if spec is None:
        return
    if spec.origin is not None and not _is_installed(Path(spec.origin)):
        yield Path(spec.origin)
    for folder in spec.submodule_search_locations or ():
        if not _is_installed(Path(folder)):
            yield from Path(folder).rglob("*.py")


def _is_installed(file: Path) -> bool:
    return any(file.resolve().is_relative_to(folder) for folder in _installed_folders())


@functools.cache
def _installed_folders() -> list[Path]:
    folders = (sysconfig.get_path(name) for name in ("purelib", "platlib", "stdlib"))
    return [Path(folder).resolve() for folder in folders if folder]


def _held(value: Any, depth: int) -> Any:
    """What an object holds, as plain values whose text is the same in every process."""
    if value is None or isinstance(value, bool | int | float | complex | str | bytes):
        return value
    if depth >= _DEEPEST:
        return type(value).__qualname__
    inner = functools.partial(_held, depth=depth + 1)
    if isinstance(value, Mapping):
        return [(inner(key), inner(entry)) for key, entry in value.items()]
    if isinstance(value, list | tuple):
        return [inner(entry) for entry in value]
    if isinstance(value, set | frozenset):
        return sorted(repr(inner(entry)) for entry in value)
    if isinstance(value, np.ndarray | np.generic):
        return _of_array(np.asarray(value))
    if isinstance(value, type | types.ModuleType | types.BuiltinFunctionType):
        return value.__name__
    return type(value).__qualname__, [inner(part) for part in _parts(value)]


def _of_array(values: np.ndarray) -> tuple[Any, ...]:
    content = b"" if values.dtype.hasobject else values.tobytes()
    return str(values.dtype), values.shape, hashlib.sha256(content).hexdigest()


def _parts(value: Any) -> tuple[Any, ...]:
    """What a function, or another object, is made of."""
    if isinstance(value, functools.partial):
        return value.func, value.args, value.keywords
    if isinstance(value, types.MethodType):
        return value.__func__, value.__self__
    if isinstance(value, types.FunctionType):
        cells = [cell.cell_contents for cell in value.__closure__ or () if cell != _EMPTY_CELL]
        return value.__qualname__, value.__code__, value.__defaults__, value.__kwdefaults__, cells
    if isinstance(value, types.CodeType):
        return value.co_code, value.co_names, value.co_consts
    return (getattr(value, "__dict__", None),)
