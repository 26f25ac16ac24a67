"""Arrays by input name in .npz and .npy files, or in a folder of these, as a source."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np

from netsurgeon.pipeline.data.arrays.ragged import RaggedFiles, holds_lengths
from netsurgeon.pipeline.data.arrays.rows import OpenedRows, open_rows, read_headers
from netsurgeon.pipeline.data.images import SUFFIXES
from netsurgeon.pipeline.data.input_spec import InputSpec
from netsurgeon.pipeline.data.limits import MOST_LABELS, check_bytes
from netsurgeon.pipeline.data.matching import (
    LABELS,
    Array,
    Feed,
    Shard,
    examine,
    join_labels,
    labels_beside,
    only_input,
    with_batch_axis,
)
from netsurgeon.pipeline.data.objects import Adapter, open_feeds
from netsurgeon.pipeline.data.opened import SAME_EACH_TIME, OpenedData, Piece
from netsurgeon.pipeline.errors import InputError


def array_files(path: Path) -> list[Path]:
    """The .npz and .npy files a path stands for, without the labels of a folder; none where it may hold pictures.

    Raises:
        InputError: the file is of another kind, or a folder holds arrays and pictures.
    """
    if not path.is_dir():
        if path.suffix.lower() not in (".npz", ".npy", ".zip"):
            raise InputError(
                f"{path} is of a kind that is not read: expected .npz, .npy, a .zip of pictures, or a folder of .npz "
                f"or .npy files or of pictures"
            )
        return [] if path.suffix.lower() == ".zip" else [path]
    files_found = [file for file in sorted(path.iterdir()) if not file.name.startswith(".") and file.is_file()]
    arrays = [file for file in files_found if file.suffix.lower() in (".npz", ".npy") and file.name != f"{LABELS}.npy"]
    if arrays and any(file.suffix.lower() in SUFFIXES for file in files_found):
        raise InputError(f"{path} holds both pictures and array files: keep one kind in a folder")
    return arrays


def open_files(path: Path, files: Sequence[Path], specs: Sequence[InputSpec]) -> OpenedData:
    """Open the `array_files` of a path by their shapes and types; labels may lie in them or in the folder.

    Args:
        path: as the user names it: a file or a folder.
        files: the .npz and .npy files it stands for.
        specs: the model's inputs.

    Raises:
        InputError: a file cannot be read, or its arrays do not fit the inputs.
    """
    has_labels = all(spec.name != LABELS for spec in specs)
    shards = []
    headers_of = [_headers(file, specs) for file in files]
    if any(holds_lengths(headers, specs) for headers in headers_of):
        samples = RaggedFiles(files, headers_of, specs, _reading, _labels_beside(path))
        beside = samples.pair_labels()
        return open_feeds(lambda: samples, specs, str(path), limit=None, adapter=Adapter(specs), beside=beside)
    for file, headers in zip(files, headers_of, strict=True):
        if has_labels and LABELS in headers:
            headers[LABELS] = _labels(file, headers[LABELS])
        shards.append(examine(headers, specs, str(file)))
    parts = [part for part, _, _ in shards]
    labels = join_labels([shard_labels for _, _, shard_labels in shards], [part.rows for part in parts], str(path))
    beside = _labels_beside(path)
    if beside is not None:
        if labels is not None:
            raise InputError(f"{path} has labels both in {LABELS}.npy and in its files: keep one of the two")
        labels = labels_beside(beside, sum(part.rows for part in parts), str(path / f"{LABELS}.npy"))
    for part, arrays, _ in shards:
        for name, array in arrays.items():
            size = array.nbytes if name in part.constants else array[:1].nbytes
            check_bytes(size, f"one sample of {name!r} in {part.origin}", "give smaller ones")
    is_packed = any(file.suffix.lower() == ".npz" for file in files)
    return OpenedData(parts, partial(_read_files, parts, files, specs), labels, is_packed=is_packed)


def _labels_beside(path: Path) -> Array | None:
    """The labels that lie in a folder beside its files."""
    beside = path / f"{LABELS}.npy"
    if not beside.is_file():
        return None
    with _reading(beside):
        read_headers(beside)
        loaded: Array = np.load(beside, mmap_mode="r", allow_pickle=False)
        return loaded


def _read_files(
    parts: Sequence[Shard], files: Sequence[Path], specs: Sequence[InputSpec], pieces: Iterable[Piece]
) -> Iterator[Feed]:
    """The rows that are asked for, and no others, with one file open at a time."""
    opened: OpenedRows | None = None
    opened_number = -1
    names = {"": only_input(specs, str(files[0]))} if len(specs) == 1 else {}
    lacking: set[str] = set()
    try:
        for number, rows in pieces:
            part, file = parts[number], files[number]
            if opened is None or number != opened_number:
                if opened is not None:
                    opened.close()
                opened, lacking = _opened_again(part, file, specs)
                opened_number = number
            # an array with one axis less is one sample: it is taken whole, and gets its axis now
            whole = set(part.constants).union(lacking)
            with _reading(file):
                feed = opened.take(rows, whole if file.suffix.lower() == ".npz" or not whole else {""})
            arrays = {names.get(name, name): array for name, array in feed.items()}
            yield {spec.name: with_batch_axis(arrays[spec.name], spec) for spec in specs}
    finally:
        if opened is not None:
            opened.close()


def _opened_again(part: Shard, file: Path, specs: Sequence[InputSpec]) -> tuple[OpenedRows, set[str]]:
    """The file, and the inputs whose arrays have no axis for samples."""
    headers = _headers(file, specs)
    now, _, _ = examine({spec.name: headers[spec.name] for spec in specs if spec.name in headers}, specs, part.origin)
    if now != part:
        raise InputError(f"{part.origin} holds other shapes than when it was opened: {SAME_EACH_TIME}")
    with _reading(file):
        rows = open_rows(file, [spec.name for spec in specs])
    return rows, {name for name, shape in part.row_shapes if headers[name].shape == shape}


def _headers(file: Path, specs: Sequence[InputSpec]) -> Feed:
    """Stand-ins for the arrays of a file; that of an .npy is named after the model's only input."""
    with _reading(file):
        headers = read_headers(file)
    return {only_input(specs, str(file)): headers[""]} if "" in headers else headers


def _labels(file: Path, header: Array) -> Array:
    """The labels in an .npz, once their header shows that they can be some."""
    if header.size > MOST_LABELS:
        raise InputError(
            f"the labels of {file} are {header.size:,} numbers, at most {MOST_LABELS:,} are read: give one a "
            "sample, of one-hot rows labels.argmax(axis=1)"
        )
    with _reading(file), np.load(file, allow_pickle=False) as arrays:
        labels: Array = arrays[LABELS]
        return labels


@contextmanager
def _reading(file: Path) -> Iterator[None]:
    """Turn whatever a broken file raises into one clear error."""
    try:
        yield
    except InputError:
        raise
    except PermissionError as error:
        raise InputError(f"{file} cannot be read ({error.strerror}): allow it, or give other data") from error
    except Exception as error:
        raise InputError(
            f"{file} cannot be read ({error}): it may be damaged; write plain numbers with numpy.save or savez, Python "
            f"objects (pickles) are not read"
        ) from error
