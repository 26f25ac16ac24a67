"""A folder or a zip of pictures as a source: found in a fixed order, decoded one batch at a time.

Class folders give labels. A zip is read in place: nothing is ever extracted.
"""

import lzma
import os
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path, PurePosixPath

import numpy as np

from netsurgeon.pipeline.data.images.decoding import check_fits, decode
from netsurgeon.pipeline.data.images.options import PictureOptions
from netsurgeon.pipeline.data.input_spec import InputSpec
from netsurgeon.pipeline.data.limits import check_samples, open_regular, read_text
from netsurgeon.pipeline.data.matching import Feed, Labels, examine, only_input, stand_in
from netsurgeon.pipeline.data.opened import OpenedData, Piece
from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.messages import Message
from netsurgeon.pipeline.notation import counted

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".webp")
_MAX_BYTES = 1 << 28  # a file that holds more is no picture anybody calibrates with
_MAX_DEPTH = 8  # links between folders may run in circles


def open_pictures(root: Path, classes: Path | None, specs: Sequence[InputSpec], options: PictureOptions) -> OpenedData:
    """Open the pictures of a folder or a zip, sorted by name, with the labels their class folders give.

    A label is the index of the folder among the sorted class folders, or, with `classes`, the line of that file
    (its first word) that names the folder. Hidden files are skipped. One folder around all class folders is looked
    through.

    Args:
        root: the folder, or a zip.
        classes: a file with a class folder a line; None = the sorted class folders.
        specs: the model's inputs, of which there must be one.
        options: how pictures become that input.

    Raises:
        InputError: there are no pictures, they do not fit the input, or a class folder is not among the classes.
    """
    names, left_out = _find(root)
    check_samples(len(names), str(root))
    labels, class_names, unlabelled = _label(root, names, classes)
    name = only_input(specs, str(root))
    shape, table = specs[0].shape, options.table(specs[0].dtype)

    def read(pieces: Iterable[Piece]) -> Iterator[Feed]:
        with _open_zip(root) as archive:
            for _, rows in pieces:
                contents = [(names[row], _content(root, archive, names[row])) for row in rows]
                batch = decode(contents, table, options)
                if shape is not None:
                    check_fits(batch.shape[1:], shape if len(shape) == 3 else shape[1:], name, options)
                yield {name: batch}

    (first,) = read([(0, np.zeros(1, np.intp))])
    all_alike = stand_in((len(names), *first[name].shape[1:]), first[name].dtype)
    part, _, _ = examine({name: all_alike}, specs, str(root))
    return OpenedData([part], read, labels, class_names, left_out + unlabelled, is_decoded=True)


def _find(root: Path) -> tuple[list[str], tuple[Message, ...]]:
    """The pictures, and a warning if other files lie beside them."""
    with _open_zip(root) as archive:
        listed = {entry.filename for entry in archive.infolist() if not entry.is_dir()} if archive else files_in(root)
    files = [name for name in listed if not _is_hidden(name)]
    names = sorted(name for name in files if name.lower().endswith(SUFFIXES))
    if not names:
        raise InputError(
            f"{root} holds no data: expected pictures ({', '.join(SUFFIXES)}) or, in a folder, .npz or .npy files"
        )
    if others := len(files) - len(names):
        text = f"left out of {root} because they are not pictures: {others} of {counted(len(files), 'file')}"
        return names, (Message(text, "files-left-out", left_out=others, files=len(files)),)
    return names, ()


def files_in(root: Path) -> set[str]:
    """All files of a folder and of those in it, relative to it."""
    folders: set[str] = set()
    for folder, inner, files in os.walk(root, followlinks=True):
        here = Path(folder).relative_to(root)
        if len(here.parts) >= _MAX_DEPTH:
            inner.clear()
        folders.update((here / name).as_posix() for name in files)
    return folders


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in PurePosixPath(name).parts)


def _content(root: Path, archive: zipfile.ZipFile | None, name: str) -> bytes:
    try:
        with archive.open(name) if archive else open_regular(root / name) as file:
            content = file.read(_MAX_BYTES + 1)
        if len(content) > _MAX_BYTES:
            raise OSError(f"more than {_MAX_BYTES >> 20} MiB")
        return content
    except (OSError, ValueError, RuntimeError, KeyError, zipfile.BadZipFile, zlib.error, lzma.LZMAError) as error:
        raise InputError(f"picture {name} of {root} cannot be read ({error}): repair or remove it") from error


def _open_zip(root: Path) -> AbstractContextManager[zipfile.ZipFile | None]:
    if root.is_dir():
        return nullcontext()
    try:
        return zipfile.ZipFile(root)
    except (OSError, zipfile.BadZipFile) as error:
        raise InputError(f"{root} cannot be read as a zip ({error}): expected a zip of pictures") from error


def _label(
    root: Path, names: Sequence[str], classes: Path | None
) -> tuple[Labels | None, tuple[str, ...] | None, tuple[Message, ...]]:
    """The labels and the names of the classes, if there are any, and a warning if one folder is no class."""
    folders = _class_folders(root, names)
    if not folders and classes:
        raise InputError(f"the class list {classes} needs pictures in class folders, but those of {root} lie flat")
    if not folders:
        return None, None, ()
    if len(set(folders)) == 1 and not classes:
        text = f"all pictures of {root} lie in one folder, {folders[0]}: taken as unlabelled"
        return None, None, (Message(text, "images-unlabelled", folder=str(folders[0])),)
    class_names = _read_classes(classes) if classes else tuple(sorted(set(folders)))
    if unknown := sorted(set(folders).difference(class_names)):
        raise InputError(
            f"the class folder {unknown[0]} is not among the {counted(len(class_names), 'class', 'classes')} of "
            f"{classes}: add it or remove it"
        )
    label = {name: number for number, name in enumerate(class_names)}
    return np.array([label[folder] for folder in folders], np.int64), class_names, ()


def _class_folders(root: Path, names: Sequence[str]) -> list[str]:
    """The class folder of each picture, none if they lie flat."""
    parts = [name.split("/") for name in names]
    while min(map(len, parts)) > 2 and len({path[0] for path in parts}) == 1:
        parts = [path[1:] for path in parts]
    depths = {len(path) for path in parts}
    if depths not in ({1}, {2}):
        raise InputError(
            f"the pictures of {root} lie at different depths: expected all in the folder itself, or all in class "
            f"folders"
        )
    return [path[0] for path in parts] if depths == {2} else []


def _read_classes(path: Path) -> tuple[str, ...]:
    try:
        lines = read_text(Path(path)).strip().splitlines()
    except (OSError, ValueError) as error:
        raise InputError(f"the class list {path} cannot be read ({error}): expected one class a line") from error
    names = tuple((line.split() or [""])[0] for line in lines)
    if len(set(names)) != len(names) or "" in names or not names:
        raise InputError(f"the class list {path} has empty or repeated lines: expected one class a line")
    return names
