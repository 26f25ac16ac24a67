"""A folder that keeps what a run has worked out, so that the same command goes on after it was killed.

Every entry is written beside its place, synchronised and renamed: it is whole or not there, whatever stops the run.
The folder belongs to one model, one set of data, options and library versions; any other run is refused.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import logging
import os
import zipfile
import zlib
from collections.abc import Iterator, Mapping, MutableMapping
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from netsurgeon.passes.pruning import Outcome, Solution
from netsurgeon.pipeline.atomic_write import is_part, replace_atomically
from netsurgeon.pipeline.errors import InputError

logger = logging.getLogger(__name__)

FORMAT = 5


_IDENTITY, _LOCK = "work.json", "lock"


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
        if folder is None:
            return
        with _os_errors_as_input_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            self._take(folder)
        try:
            self._check(folder, json.loads(json.dumps(identity)))
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

    def _take(self, folder: Path) -> None:
        foreign = (entry for entry in folder.iterdir() if entry.name != _LOCK and not is_part(entry.name, _IDENTITY))
        if not (folder / _IDENTITY).exists() and any(foreign):
            raise InputError(f"the work folder {folder} holds something else: give a new or empty folder")
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        self._lock = os.fdopen(os.open(folder / _LOCK, flags, 0o666), "rb")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self.close()
            raise InputError(f"the work folder {folder} is in use by another run: wait, or give another") from error
        for file in folder.rglob(".*.part"):  # what a run that was killed was writing
            if is_part(file.name) and file.is_file() and not file.is_symlink():
                file.unlink()

    def _check(self, folder: Path, identity: dict[str, Any]) -> None:
        path = folder / _IDENTITY
        if not path.exists():
            self._write(_IDENTITY, json.dumps({"format": FORMAT, **identity}, indent=1).encode())
            return
        try:
            kept = json.loads(path.read_text("utf-8"))
            different = [key for key in ("format", *identity) if {"format": FORMAT, **identity}[key] != kept[key]]
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path} is not what netsurgeon writes: give a new or empty work folder") from error
        if different:
            raise InputError(
                f"the work folder {folder} is that of another run, whose {_listed(different, identity, kept)}: give "
                "the same command again, or a new folder"
            )

    def facts(self, name: str) -> Any:
        """A JSON value that was kept; None where there is none."""
        data = self._read(f"{name}.json")
        with contextlib.suppress(ValueError):
            return None if data is None else json.loads(data)
        return None

    def keep_facts(self, name: str, value: Any) -> None:
        """Keep a JSON value."""
        self._write(f"{name}.json", json.dumps(value).encode())

    def arrays(self, name: str) -> dict[str, npt.NDArray[Any]] | None:
        """Arrays that were kept; None where there are none, or a disk has lost a part of them."""
        path = None if self.folder is None else self.folder / f"{name}.npz"
        if path is None or not path.exists():
            return None
        try:
            with path.open("rb") as handle, np.load(handle, allow_pickle=False) as archive:
                return {key: archive[key] for key in archive.files}
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
            return None

    def keep_arrays(self, name: str, arrays: Arrays) -> None:
        """Keep arrays."""
        if self.folder is None:
            return
        with _os_errors_as_input_errors(self.folder):
            goal = self.folder / f"{name}.npz"
            goal.parent.mkdir(parents=True, exist_ok=True)
            with replace_atomically(goal) as handle:
                np.savez_compressed(handle, **arrays)  # type: ignore[arg-type]

    def solutions(self, name: str) -> Solutions:
        """Solved layers of one operation."""
        return Solutions(self, f"{name}-layers")

    def _read(self, name: str) -> bytes | None:
        if self.folder is None or not (self.folder / name).exists():
            return None
        return (self.folder / name).read_bytes()

    def _write(self, name: str, data: bytes) -> None:
        if self.folder is not None:
            with _os_errors_as_input_errors(self.folder), replace_atomically(self.folder / name) as handle:
                handle.write(data)


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
        damping, samples, varied, seconds = arrays["outcome"].tolist()
        outcome = Outcome(damping=damping, samples=int(samples), varied=bool(varied), seconds=seconds)
        logger.debug("layer %s: solution taken from the run folder", layer)
        return Solution(arrays["weight"], arrays.get("shift"), outcome)

    def __setitem__(self, layer: str, solution: Solution) -> None:
        """Keep one."""
        if self._work.folder is None:
            return
        outcome = solution.outcome
        arrays = {
            "weight": solution.weight,
            "outcome": np.array([outcome.damping, outcome.samples, outcome.varied, outcome.seconds]),
        }
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


@contextlib.contextmanager
def _os_errors_as_input_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(
            f"the work folder {folder} cannot be written: {error.strerror or error}; what is there already is kept, "
            "and the same command goes on from it"
        ) from error


def _listed(different: list[str], identity: Mapping[str, Any], recorded: Mapping[str, Any]) -> str:
    """What differs, in words: options one by one."""
    words = []
    for key in different:
        if isinstance(identity.get(key), dict) and isinstance(recorded[key], dict):
            names = [n for n in {**identity[key], **recorded[key]} if identity[key].get(n) != recorded[key].get(n)]
            words.append(f"{key} differ ({', '.join(names[:4])})")
        else:
            words.append(f"{key} is another")
    return " and ".join(words)
