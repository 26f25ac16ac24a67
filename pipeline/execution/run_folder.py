"""A folder that keeps what a run has worked out, so that the same command goes on after it was killed.

Every record is written beside its place, synchronised and renamed: it is whole or not there, whatever stops the run.
Each carries a checksum, of the run that it belongs to, its name and its content, which is compared when it is read:
what a disk or a hand has changed counts as lost and is made again, with a note. The folder belongs to one model, one
set of data, options, sources of the user's and library versions; any other run is refused.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import logging
import os
import stat
import time
from collections.abc import Iterator, Mapping, MutableMapping
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from netsurgeon.passes.pruning import Outcome, Solution
from netsurgeon.pipeline.atomic_write import is_part, replace_atomically
from netsurgeon.pipeline.errors import FolderInUseError, InputError
from netsurgeon.pipeline.messages import Message

logger = logging.getLogger(__name__)

FORMAT = 12


_IDENTITY, _LOCK = "work", "lock"
SENT_FOLDER = "sent"
"""Where weights of a large model lie on their way to workers."""
_POLLING_SECONDS = 0.5
_MOST_JSON_BYTES = 1 << 28
_CHECKSUM_BYTES = hashlib.sha256().digest_size


Arrays = Mapping[str, npt.NDArray[Any]]


class RunFolder:
    """What a run has kept so far; without a folder nothing is kept.

    Use as a context manager: the folder is this process's own until it is left.
    """

    def __init__(self, folder: Path | None, identity: Mapping[str, Any]):
        """Take a folder: a new or empty one, or that of the same run.

        Raises:
            InputError: it is another run's, holds something else, is in use, or cannot be written.
        """
        self.folder = folder
        self._lock: IO[bytes] | None = None
        self._damaged: dict[str, None] = {}
        plain = json.loads(json.dumps({"format": FORMAT, **identity}))
        self._key = hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).digest()
        if folder is None:
            return
        with _os_errors_as_input_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            is_ours = self._take(folder)
        try:
            self._check(folder, plain, is_ours)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> RunFolder:
        """Enter."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Let the folder go."""
        self.close()

    def close(self) -> None:
        """Let the folder go; the system does the same when a process dies."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    @property
    def notes(self) -> tuple[Message, ...]:
        """What the user should know: which records were damaged."""
        names = list(self._damaged)
        if not names:
            return ()
        listed = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
        text = f"records of the work folder were damaged and were made again: {listed}"
        return (Message(text, "records-damaged", records=names),)

    def _take(self, folder: Path) -> bool:
        """Lock the folder; whether a run has used it before."""
        identity = f"{_IDENTITY}.json"
        foreign = (entry for entry in folder.iterdir() if entry.name != _LOCK and not is_part(entry.name, identity))
        if not (folder / identity).exists() and any(foreign):
            raise InputError(f"the work folder {folder} holds something else: give a new or empty folder")
        is_ours = (folder / _LOCK).exists()
        self._lock = _locked(folder)
        for file in folder.rglob(".*.part"):  # what a run that was killed was writing
            if is_part(file.name) and file.is_file() and not file.is_symlink():
                file.unlink()
        return is_ours

    def _check(self, folder: Path, identity: dict[str, Any], is_ours: bool) -> None:
        """Compare the folder's identity; where it is damaged, no record but this very run's passes its check."""
        path = folder / f"{_IDENTITY}.json"
        if not os.path.lexists(path):
            self._write_identity(identity)
            return
        kept = _identity(path)
        if kept is None and is_ours and all(_may_be_ours(entry, folder) for entry in folder.rglob("*")):
            self._damaged[_IDENTITY] = None
            self._write_identity(identity)
            return
        if kept is None:
            raise InputError(f"{path} is not what netsurgeon writes: give a new or empty work folder")
        different = [key for key in identity if key not in kept or identity[key] != kept[key]]
        if different:
            raise InputError(
                f"the work folder {folder} is that of another run, whose {_listed(different, identity, kept)}: give "
                "the same command again, or a new folder"
            )

    def _write_identity(self, identity: dict[str, Any]) -> None:
        self._write(f"{_IDENTITY}.json", _with_checksum(json.dumps(identity, indent=1).encode(), b""))

    def facts(self, name: str) -> Any:
        """A JSON value that was kept; None where there is none, or it is not what was kept."""
        path = self._path(f"{name}.json")
        if path is None:
            return None
        payload = _payload(path, self._prefix(name))
        if payload is None:
            self._damaged[name] = None
            return None
        return json.loads(payload)

    def keep_facts(self, name: str, value: Any) -> None:
        """Keep a JSON value."""
        self._write(f"{name}.json", _with_checksum(json.dumps(value).encode(), self._prefix(name)))

    def arrays(self, name: str) -> dict[str, npt.NDArray[Any]] | None:
        """Arrays that were kept; None where there are none, or they are not what was kept."""
        path = self._path(f"{name}.npz")
        if path is None:
            return None
        try:
            with _opened(path) as handle:
                size = handle.seek(0, os.SEEK_END) - _CHECKSUM_BYTES
                checksum = _stream_checksum(handle, size, self._prefix(name))
                if handle.read() == checksum:
                    handle.seek(0)
                    with np.load(handle, allow_pickle=False) as archive:
                        return {key: archive[key] for key in archive.files}
        except (OSError, ValueError):
            logger.info("record %s cannot be read: it is made again", name)
        self._damaged[name] = None
        return None

    def keep_arrays(self, name: str, arrays: Arrays) -> None:
        """Keep arrays."""
        if self.folder is None:
            return
        with _os_errors_as_input_errors(self.folder):
            goal = self.folder / f"{name}.npz"
            goal.parent.mkdir(parents=True, exist_ok=True)
            with replace_atomically(goal) as handle:
                np.savez(handle, **arrays)  # type: ignore[arg-type]
                size = handle.seek(0, os.SEEK_END)
                handle.write(_stream_checksum(handle, size, self._prefix(name)))

    def solutions(self, name: str) -> Solutions:
        """Solved layers of one operation."""
        return Solutions(self, f"{name}-layers")

    def _prefix(self, name: str) -> bytes:
        """What a checksum covers beside the content: the run, and the record's place in it."""
        return self._key + name.encode()

    def _path(self, name: str) -> Path | None:
        path = None if self.folder is None else self.folder / name
        return None if path is None or not os.path.lexists(path) else path

    def _write(self, name: str, data: bytes) -> None:
        if self.folder is not None:
            with _os_errors_as_input_errors(self.folder), replace_atomically(self.folder / name) as handle:
                handle.write(data)


def wait_until_free(folder: Path, seconds: float) -> None:
    """Wait while another run has a folder, as one that was given up may go on for a while.

    Raises:
        InputError: it is still in use after so many seconds, or cannot be written.
    """
    until = time.monotonic() + seconds
    while (folder / _LOCK).exists():
        try:
            with _os_errors_as_input_errors(folder), _locked(folder):
                return
        except FolderInUseError:
            if time.monotonic() >= until:
                raise
        time.sleep(min(_POLLING_SECONDS, seconds))


def _locked(folder: Path) -> IO[bytes]:
    """The lock of a folder, taken until it is closed."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    lock = os.fdopen(os.open(folder / _LOCK, flags, 0o666), "rb")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.close()
        raise FolderInUseError(f"the work folder {folder} is in use by another run: wait, or give another") from error
    return lock


class Solutions(MutableMapping[str, Solution]):
    """Solved layers by name, each in a file of its own; in memory alone where nothing is kept."""

    def __init__(self, work: RunFolder, name: str):
        self._work, self._name = work, name
        self._held: dict[str, Solution] = {}

    def __getitem__(self, layer: str) -> Solution:
        """Fetch one.

        Raises:
            KeyError: it is not there.
        """
        if layer in self._held:
            return self._held[layer]
        arrays = self._work.arrays(self._place(layer))
        if arrays is None:
            raise KeyError(layer)
        damping, samples, varied, seconds, measured, slots = arrays["outcome"].tolist()
        outcome = Outcome(
            damping=damping,
            samples=int(samples),
            varied=bool(varied),
            seconds=seconds,
            measured=bool(measured),
            slots=None if slots < 0 else int(slots),
        )
        logger.debug("layer %s: solution taken from the run folder", layer)
        return Solution(_filled(arrays), arrays.get("shift"), outcome)

    def __setitem__(self, layer: str, solution: Solution) -> None:
        """Keep one."""
        if self._work.folder is None:
            return
        outcome = solution.outcome
        facts = (outcome.damping, outcome.samples, outcome.varied, outcome.seconds, outcome.measured)
        slots = -1 if outcome.slots is None else outcome.slots
        arrays = {**_without_zeros(solution.weight), "outcome": np.array([*facts, slots])}
        arrays |= {} if solution.shift is None else {"shift": solution.shift}
        self._work.keep_arrays(self._place(layer), arrays)

    def __delitem__(self, layer: str) -> None:
        """Solutions are never forgotten."""
        raise TypeError("solved layers are kept")

    def __iter__(self) -> Iterator[str]:
        """Names cannot be listed: files are called by their hashes."""
        raise TypeError("solved layers are asked for by name")

    def __len__(self) -> int:
        """Solutions cannot be counted."""
        raise TypeError("solved layers are asked for by name")

    def __contains__(self, layer: object) -> bool:
        """Whether it is there, whole."""
        try:
            self[str(layer)]
        except KeyError:
            return False
        return True

    def _place(self, layer: str) -> str:
        return f"{self._name}/{hashlib.sha256(layer.encode()).hexdigest()[:16]}"


def _without_zeros(weight: npt.NDArray[np.floating]) -> dict[str, npt.NDArray[Any]]:
    """A weight as what it holds but zeros, and a bit for each number that says whether it is there; -0.0 is no zero."""
    filled = (weight != 0.0) | np.signbit(weight)
    return {"shape": np.array(weight.shape), "filled": np.packbits(filled), "values": weight[filled]}


def _filled(arrays: Arrays) -> npt.NDArray[np.floating]:
    """The inverse of `_without_zeros`."""
    weight = np.zeros(tuple(arrays["shape"].tolist()), arrays["values"].dtype)
    weight[np.unpackbits(arrays["filled"], count=weight.size).astype(bool).reshape(weight.shape)] = arrays["values"]
    return weight


@contextlib.contextmanager
def _os_errors_as_input_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(
            f"the work folder {folder} cannot be written: {error.strerror or error}; what is there already is kept, "
            "and the same command goes on from it"
        ) from error


def _opened(path: Path) -> IO[bytes]:
    """Open a record, which is a plain file and no link."""
    handle = os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
    if not stat.S_ISREG(os.fstat(handle.fileno()).st_mode):
        handle.close()
        raise OSError(f"{path} is not a file")
    return handle


def _stream_checksum(handle: IO[bytes], size: int, prefix: bytes) -> bytes:
    """The checksum of the first `size` bytes, behind which the handle then stands."""
    if size < 0:
        raise ValueError("shorter than a checksum")
    whole = hashlib.sha256(prefix)
    handle.seek(0)
    while size > 0 and (block := handle.read(min(size, 1 << 20))):
        whole.update(block)
        size -= len(block)
    return whole.digest()


def _with_checksum(payload: bytes, prefix: bytes) -> bytes:
    """A JSON value as a record: an object of its checksum and itself."""
    return _head(payload, prefix) + payload + b"}"


def _head(payload: bytes, prefix: bytes) -> bytes:
    return b'{"checksum": "%s", "value": ' % hashlib.sha256(prefix + payload).hexdigest().encode()


def _payload(path: Path, prefix: bytes) -> bytes | None:
    """The value in a record, as JSON; None where a byte of it is not what was written."""
    try:
        with _opened(path) as handle:
            data = handle.read(_MOST_JSON_BYTES + 1)
    except OSError:
        return None
    start = len(_head(b"", b""))
    payload = data[start:-1]
    return payload if data == _with_checksum(payload, prefix) else None


def _identity(path: Path) -> dict[str, Any] | None:
    """What a folder says about its run, None where it is damaged or something else; older formats had no checksum."""
    payload = _payload(path, b"")
    if payload is not None:
        value = json.loads(payload)
        return value if isinstance(value, dict) else None
    try:
        with _opened(path) as handle:
            older = json.loads(handle.read(_MOST_JSON_BYTES))
    except (OSError, ValueError, RecursionError):
        return None
    return older if isinstance(older, dict) and older.get("format") in range(1, FORMAT) else None


def _may_be_ours(path: Path, folder: Path) -> bool:
    """Whether a run in a folder could have written what is in it, by its name."""
    own = path.name == _LOCK or path.suffix in (".json", ".npz") or path.name.endswith("-layers")
    own = own or path.relative_to(folder).parts[:-1] == (SENT_FOLDER,) or path == folder / SENT_FOLDER
    return own and not path.is_symlink()


def _listed(different: list[str], identity: Mapping[str, Any], recorded: Mapping[str, Any]) -> str:
    """What differs, in words: options one by one."""
    words = []
    for key in different:
        if isinstance(identity.get(key), dict) and isinstance(recorded.get(key), dict):
            names = [n for n in {**identity[key], **recorded[key]} if identity[key].get(n) != recorded[key].get(n)]
            words.append(f"{key} differ ({', '.join(names[:4])})")
        else:
            words.append(f"{key} is another")
    return " and ".join(words)
