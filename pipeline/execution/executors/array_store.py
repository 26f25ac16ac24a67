"""Large arrays that travel as files named by their content, in a folder or an object store that all workers see."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import weakref
from pathlib import Path
from typing import Any, NamedTuple

import cloudpickle
import numpy as np
import numpy.typing as npt

from netsurgeon.pipeline.atomic_write import replace_atomically
from netsurgeon.pipeline.errors import InputError, UnseenStoreError

Array = npt.NDArray[Any]
STORED_BYTES = 1 << 20
"""Least size of an array that becomes a file; smaller ones travel with what needs them."""
_PLAIN = (np.ndarray, np.memmap)
"""Types of arrays that are their numbers and nothing else: a masked one, for example, has more."""
_PROBE = np.arange(8, dtype=np.uint8)


class StoredArray(NamedTuple):
    """Where an array lies, and what it is: all that travels of it.

    Attributes:
        store: the folder, or the address that fsspec opens.
        digest: SHA-256 of its bytes, the name of its file.
        dtype: type of its numbers.
        shape: as the array has it, also where its transpose is in the file.
        is_transposed: whether its bytes are those of its transpose.
    """

    store: str
    digest: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    is_transposed: bool


_read: dict[int, tuple[weakref.ref[Array], StoredArray]] = {}
"""By id, arrays of this process that came from a store, as long as they are used; they are handed on as that."""
_arrays: weakref.WeakValueDictionary[StoredArray, Array] = weakref.WeakValueDictionary()
_verified: set[tuple[str, str]] = set()
"""Stores and digests of what was read here, and was what it is named by."""
_sound: set[Path] = set()
"""Files of folders that were written here, or found to hold what they are named by."""


class ArrayStore:
    """Where the process that sends tasks puts large arrays, each once, whoever needs it."""

    def __init__(self, address: str):
        """Take a folder, which is made if it is not there, or an address such as "s3://bucket/folder".

        Raises:
            InputError: it cannot be written, or what fsspec needs for it is not installed.
        """
        self.address = address if "://" in address else str(Path(address).absolute())
        self.probe = self.keep(_PROBE)

    def keep(self, array: Array) -> StoredArray:
        """Put an array there, unless it is there already; in a folder a file with other bytes is written anew.

        Args:
            array: of any shape and memory order, without objects.

        Raises:
            InputError: it cannot be written.
        """
        is_transposed = array.flags.f_contiguous and not array.flags.c_contiguous
        flat = np.ascontiguousarray(array.T if is_transposed else array).reshape(-1).view(np.uint8)
        digest = hashlib.sha256(flat.data).hexdigest()
        try:
            _write(self.address, digest, flat)
        except Exception as error:
            raise InputError(f"{self.address} cannot hold what is sent to workers ({_reason(error)})") from error
        return StoredArray(self.address, digest, array.dtype, array.shape, is_transposed)


class Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    """Puts large arrays into a store, if there is one, and hands on those that came from one as what they are."""

    def __init__(self, *arguments: Any, store: ArrayStore | None, **options: Any):
        super().__init__(*arguments, **options)
        self._store = store

    def reducer_override(self, obj: Any) -> Any:
        """What is pickled in the place of an object."""
        if type(obj) in _PLAIN and obj.nbytes >= STORED_BYTES and not obj.dtype.hasobject:
            stored = origin(obj)
            if stored is None and self._store is not None:
                stored = self._store.keep(obj)
            if stored is not None:
                return read, tuple(stored)
        return super().reducer_override(obj)


def origin(array: Array) -> StoredArray | None:
    """Where an array came from; None = from no store."""
    entry = _read.get(id(array))
    return entry[1] if entry is not None and entry[0]() is array else None


def read(*fields: Any) -> Array:
    """An array that was put into a store, mapped from its file, or from a file without a name that it is fetched to.

    Raises:
        UnseenStoreError: it is not there, or cannot be read here.
        InputError: it is not what was put there, which no other process would find otherwise.
    """
    stored = StoredArray(*fields)
    array = _arrays.get(stored)
    if array is None:
        try:
            array = _opened(stored)
        except InputError:
            raise
        except Exception as error:
            raise UnseenStoreError(
                f"{os.uname().nodename} cannot read what was sent to it from {stored.store} ({_reason(error)}): give a "
                "folder that all workers see under the same path, or an object store"
            ) from error
        key = id(array)
        _arrays[stored], _read[key] = array, (weakref.ref(array, lambda _: _read.pop(key, None)), stored)
    return array


def _opened(stored: StoredArray) -> Array:
    flat = _mapped(stored.store, stored.digest)
    if (stored.store, stored.digest) not in _verified:
        if hashlib.sha256(flat.data).hexdigest() != stored.digest:
            raise InputError(
                f"{os.uname().nodename} reads something else from {stored.store}/{stored.digest} than what was sent: "
                "remove that file, and give the same command again"
            )
        _verified.add((stored.store, stored.digest))
    shape = stored.shape[::-1] if stored.is_transposed else stored.shape
    array = np.asarray(flat).view(stored.dtype).reshape(shape)
    return array.T if stored.is_transposed else array


def _mapped(address: str, digest: str) -> npt.NDArray[np.uint8]:
    if "://" not in address:
        return np.memmap(Path(address) / digest, np.uint8, "r")
    system, folder = _file_system(address)
    with tempfile.TemporaryFile(prefix="netsurgeon-") as file, system.open(f"{folder}/{digest}", "rb") as source:
        shutil.copyfileobj(source, file, STORED_BYTES)
        file.flush()
        return np.memmap(file, np.uint8, "r")


def _write(address: str, digest: str, flat: npt.NDArray[np.uint8]) -> None:
    """Write a file, unless it is there: in a folder with all its bytes, in an object store, which looks after them."""
    if "://" not in address:
        path = Path(address) / digest
        if not (path.is_file() and path.stat().st_size == flat.size and _is_sound(path)):
            path.parent.mkdir(parents=True, exist_ok=True)
            with replace_atomically(path) as file:
                file.write(flat.data)
            _sound.add(path)
        return
    system, folder = _file_system(address)
    path_there = f"{folder}/{digest}"
    if not (system.exists(path_there) and system.size(path_there) == flat.size):
        system.makedirs(folder, exist_ok=True)
        with system.open(path_there, "wb") as file:
            file.write(flat.data)


def _is_sound(path: Path) -> bool:
    """Whether a file holds what it is named by; each is read once in a process."""
    if path not in _sound and hashlib.sha256(np.memmap(path, np.uint8, "r").data).hexdigest() == path.name:
        _sound.add(path)
    return path in _sound


def _file_system(address: str) -> tuple[Any, str]:
    import fsspec

    system, folder = fsspec.url_to_fs(address)
    return system, str(folder).rstrip("/")


def _reason(error: Exception) -> str:
    text = error.strerror if isinstance(error, OSError) and error.strerror else f"{error}".partition("\n")[0]
    return text or type(error).__name__
