"""What a command reads, as it was given, and that nothing is ever written over it."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from netsurgeon.pipeline.data import SUFFIXES, check_path, files_in, module_files
from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.model_files.external_data import external_files

_READ_IN_FOLDERS = (*SUFFIXES, ".npz", ".npy", ".zip", "-ubyte", "-ubyte.gz")
"""How the names of files end that are read where a folder is given as data."""
_SYSTEM_FOLDERS = ("/dev", "/proc", "/sys")
_MOST_LINKS = 40


def path_of(data: object) -> Path | None:
    """The file or folder that data names, None for what is no path."""
    return Path(data) if isinstance(data, str | os.PathLike) and Path(data).exists() else None


def model_files(path: Path) -> tuple[Path, ...]:
    """A model's file, then those of its external data.

    Raises:
        InputError: one of them lies outside the model's folder, is missing or too short.
    """
    return path, *external_files(onnx.load(path, load_external_data=False, format="protobuf"), path)


def check_outputs(
    outputs: Sequence[Path | None], *read: object, models: Sequence[object] = (), work: object = None
) -> None:
    """Refuse to write over what a command reads, or two results into one file.

    Args:
        outputs: where results go; a model of more than 2 GB has its weights in a second file, its name with ".data".
        read: data and other files, as given: paths, "module:function", or what is neither and left out.
        models: the same for models, which may have external data.
        work: the folder that keeps what is done, which holds nothing else.

    Raises:
        InputError: an output is an input or no regular file, its folder cannot be written to, it lies in the work
            folder, or two are the same.
    """
    written_paths = [output for output in outputs if output is not None]
    for output in written_paths:
        check_path(output, "the output")
        _check_regular(output)
        _check_outside(output, work)
        for written in (output, _weights_beside(output)):
            if written.exists() and any(written.samefile(file) for file in files_behind((*read, *models), models)):
                also = "" if written is output else f", or {written.name} beside it, where its weights may go,"
                raise InputError(
                    f"the output {output}{also} is an input: inputs are never written to, give another path"
                )
        _check_writable(output)
    for one, other in itertools.permutations(written_paths, 2):
        if one.resolve() in (other.resolve(), _weights_beside(other).resolve()):
            raise InputError(f"two results would both go to {one}: give two paths")


def _weights_beside(output: Path) -> Path:
    return output.with_name(f"{output.name}.data")


def files_behind(read: Sequence[object], models: Sequence[object]) -> Iterator[Path]:
    """Every file that is there behind what was given."""
    for read_path in read:
        path = path_of(read_path)
        if path is None:
            yield from module_files(read_path) if isinstance(read_path, str) else ()
        elif path.is_dir():
            names = (name for name in files_in(path) if name.lower().endswith(_READ_IN_FOLDERS))
            yield from (path / name for name in names if (path / name).exists())
        else:
            yield path
    for path in (path for path in map(path_of, models) if path is not None and path.is_file()):
        with contextlib.suppress(DecodeError, OSError, InputError):  # who opens the model tells what is wrong with it
            yield from model_files(path)


def _check_regular(output: Path) -> None:
    if not output.name or output.is_dir():
        raise InputError(f"the output {output} is a folder: give the path of a file")
    if (output.exists() and not output.is_file()) or _leads_to_the_system(output):
        raise InputError(f"the output {output} is a device or a pipe: give the path of a file")


def _leads_to_the_system(path: Path) -> bool:
    """Whether a path, or a link on its way, is one of the system's own, such as /dev/stdout.

    Such a link can lead to a plain file, where standard output does; a rename would take the link away.
    """
    for _ in range(_MOST_LINKS):
        folder = path.parent.resolve()
        if any(folder.is_relative_to(top) for top in _SYSTEM_FOLDERS) and not folder.is_relative_to("/dev/shm"):
            return True
        if not path.is_symlink():
            return False
        path = folder / path.readlink()
    return True


def _check_outside(output: Path, work: object) -> None:
    if not isinstance(work, str | os.PathLike):
        return
    folder, goal = Path(work).resolve(), output.parent.resolve() / output.name
    if goal.is_relative_to(folder) or folder.is_relative_to(goal):
        raise InputError(
            f"the output {output} and the work folder {work} lie in each other: the work folder holds nothing but "
            "what a run keeps, give another path"
        )


def _check_writable(output: Path) -> None:
    folder = output.parent.resolve()
    while not folder.exists():
        folder = folder.parent
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise InputError(f"{folder} cannot be written to: give an output path in a folder of yours")
