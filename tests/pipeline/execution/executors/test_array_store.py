"""Large arrays travel through a store: as references, each once, and none that is not what was put there."""

import gc
import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("cloudpickle")

from netsurgeon.pipeline.errors import InputError, UnseenStoreError
from netsurgeon.pipeline.execution.executors import array_store
from netsurgeon.pipeline.execution.executors.array_store import (
    ArrayStore,
    Pickler,
    StoredArray,
    read,
)
from netsurgeon.pipeline.execution.executors.parcel import Parcel


def pickled(value: Any, store: ArrayStore | None) -> bytes:
    file = io.BytesIO()
    Pickler(file, store=store).dump(value)
    return file.getvalue()


def test_large_arrays_become_files_and_arrive_as_they_were(tmp_path: Path) -> None:
    store = ArrayStore(str(tmp_path / "store"))
    value = {"c": np.random.default_rng(0).random((300, 500)), "small": np.arange(3)}
    value |= {"f": value["c"].T, "again": value["c"].copy()}
    data = pickled(value, store)
    assert len(data) < 2000
    assert len(list((tmp_path / "store").iterdir())) == 2, "one for the probe, and one for what is there three times"
    arrived = pickle.loads(data)
    for name, array in value.items():
        assert np.array_equal(arrived[name], array)
        assert arrived[name].flags.f_contiguous == array.flags.f_contiguous
    assert not arrived["c"].flags.writeable, "it is mapped"


def test_who_hands_a_stored_array_on_sends_no_copy_and_has_none_in_memory(tmp_path: Path) -> None:
    array = np.random.default_rng(0).random(1 << 18)
    arrived = pickle.loads(pickled(array, ArrayStore(str(tmp_path))))
    assert len(pickled(arrived, None)) < 1000
    assert Parcel({"x": arrived}).__sizeof__() < 1000
    assert len(pickled(arrived[1:], None)) > array.nbytes - 100, "a part of it is no file"
    del arrived
    gc.collect()
    assert len(pickled(array, None)) > array.nbytes


def test_an_array_that_is_more_than_its_numbers_arrives_with_all_of_it(tmp_path: Path) -> None:
    masked = np.ma.masked_less(np.arange(float(1 << 18)), 17.0)
    arrived = pickle.loads(pickled(masked, ArrayStore(str(tmp_path))))
    assert arrived.sum() == masked.sum()
    assert arrived.mask.tolist() == masked.mask.tolist()


def test_an_address_is_opened_by_fsspec(tmp_path: Path) -> None:
    array = np.random.default_rng(0).random(1 << 18)
    data = pickled(array, ArrayStore(f"file://{tmp_path}/bucket"))
    assert len(list((tmp_path / "bucket").iterdir())) == 2
    assert np.array_equal(pickle.loads(data), array)


class Unseen:
    """Arrives as an array of a store."""

    def __init__(self, stored: StoredArray):
        self.stored = stored

    def __reduce__(self) -> tuple[Any, ...]:
        return read, tuple(self.stored)


def test_what_was_changed_or_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    stored = ArrayStore(str(tmp_path)).keep(np.ones(1 << 18))
    (tmp_path / stored.digest).write_bytes(bytes(1 << 21))
    path = f"{tmp_path}/{stored.digest}"
    with pytest.raises(
        InputError, match=f"reads something else from {path} than what was sent: remove that file"
    ) as told:
        _ = pickle.loads(pickle.dumps(Parcel([Unseen(stored)]))).value
    assert not isinstance(told.value, UnseenStoreError), "it is no fault of the process that reads it"
    (tmp_path / stored.digest).unlink()
    with pytest.raises(UnseenStoreError, match="give a folder that all workers see under the same path, or an object"):
        _ = pickle.loads(pickle.dumps(Parcel([Unseen(stored)]))).value


def test_a_file_that_has_changed_since_another_run_is_written_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    array = np.random.default_rng(0).random(1 << 10)
    path = tmp_path / ArrayStore(str(tmp_path)).keep(array).digest
    changed = bytearray(array.tobytes())
    changed[17] ^= 1
    path.write_bytes(changed)
    monkeypatch.setattr(array_store, "_sound", set())  # another process
    stored = ArrayStore(str(tmp_path)).keep(array)
    assert np.array_equal(read(*stored), array)
    written = path.stat().st_mtime_ns
    ArrayStore(str(tmp_path)).keep(array)
    assert path.stat().st_mtime_ns == written, "what is sound stays"


@pytest.mark.parametrize("address", ["{}/file/inside", "nothing-knows-this://bucket"])
def test_a_store_that_cannot_be_used_is_refused(address: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot hold what is sent to workers"):
        ArrayStore(address.format(tmp_path))
