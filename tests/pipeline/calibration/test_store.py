"""Live values come back as they were, from memory and from the disk, and leave nothing behind."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from netsurgeon.pipeline.calibration import store as store_module
from netsurgeon.pipeline.calibration.store import Memory, Store
from netsurgeon.pipeline.runtime import available_bytes


def normal(*shape: int, seed: int = 0) -> NDArray[Any]:
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(np.float32)


@pytest.fixture(autouse=True)
def spill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where values are spilled."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


VALUES: dict[str, Any] = {
    "floats": normal(3, 4),
    "half": normal(3).astype(np.float16),
    "integers": np.arange(4),
    "booleans": np.array([True, False]),
    "nothing": np.zeros((0, 3), np.float32),
    "number": np.array(2.5),
    "strings": np.array(["a", "bc"], dtype=object),
    "sequence": [normal(2), normal(3)],
    "missing": None,
}


def test_the_store_gives_back_what_it_got(spill: Path, open_files: Any) -> None:
    store = Store()
    for name, value in VALUES.items():
        store.put(name, 0, value)
        store.put(name, 1, value)
    assert open_files(spill)
    assert list(spill.iterdir()) == [], "what has no name cannot be left behind, whatever ends the process"
    for name, value in VALUES.items():
        found = store.get(name, 1)
        if isinstance(value, np.ndarray):
            assert found.dtype == value.dtype
            np.testing.assert_array_equal(found, value)
        else:
            assert found is value
    before = open_files(spill)
    store.drop(VALUES, 2)
    for name in VALUES:
        assert name not in store
        with pytest.raises(KeyError):
            store.get(name, 0)
    store.drop(VALUES, 2)
    store.put("another", 0, normal(2))
    np.testing.assert_array_equal(store.get("another", 0), normal(2))
    assert open_files(spill) == before, "files are used again"
    store.close()
    assert open_files(spill) == []


def test_what_fits_stays_in_memory_and_the_rest_is_spilled(spill: Path, open_files: Any) -> None:
    memory = Memory(100)
    one, other = Store(memory), Store(memory)
    one.put("x", 0, normal(20))
    assert open_files(spill) == []
    assert not one.reads(["x"])
    other.put("y", 0, normal(20, seed=1))
    other.put("y", 1, normal(5, seed=2))
    assert len(open_files(spill)) == 1, "what the other walk has put is in the way of the first value"
    assert other.reads(["y"])
    for store, name, batch, value in ((one, "x", 0, normal(20)), (other, "y", 0, normal(20, seed=1))):
        np.testing.assert_array_equal(store.get(name, batch), value)
        assert store.shape(name, batch) == (20,)
    np.testing.assert_array_equal(other.get("y", 1), normal(5, seed=2))
    one.drop(["x"], 1)
    assert memory.take(80)
    memory.give_back(80)
    other.drop(["y"], 2)
    assert memory.take(100)
    one.close()
    other.close()


def test_what_is_closed_gives_its_memory_back() -> None:
    memory = Memory(100)
    store = Store(memory)
    store.put("x", 0, normal(20))
    store.put("x", 1, [normal(3)])
    store.close()
    assert memory.take(100)


def test_a_part_of_a_larger_array_does_not_keep_it_alive_and_nothing_kept_can_be_changed() -> None:
    store, whole = Store(Memory(1 << 20)), normal(1000, 4)
    store.put("part", 0, whole[:2])
    store.put("whole", 0, whole)
    part = store.get("part", 0)
    assert not np.shares_memory(part, whole)
    assert np.shares_memory(store.get("whole", 0), whole)
    with pytest.raises(ValueError, match="read-only"):
        store.get("whole", 0)[0] = 0.0
    whole[0] = 1.0  # it stays the caller's


def test_a_machine_spares_a_part_of_what_it_has_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "available_bytes", lambda: 1000)
    assert not Memory.of_machine().take(251)
    assert Memory.of_machine().take(250)
    monkeypatch.setattr(store_module, "available_bytes", lambda: 1 << 50)
    assert not Memory.of_machine().take((2 << 30) + 1)
    assert available_bytes() > 0


def test_room_that_a_large_value_took_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "MOST_KEPT", 1000)
    store, value = Store(), np.arange(3000, dtype=np.float32)
    store.put("large", 0, value)
    file = store._spilled["large"]._file
    assert os.fstat(file.fileno()).st_size == value.nbytes
    store.drop(["large"], 1)
    assert os.fstat(file.fileno()).st_size == 1000
    store.put("next", 0, value[:7])
    assert store._spilled["next"]._file is file, "the file itself is used again"
    np.testing.assert_array_equal(store.get("next", 0), value[:7])
    store.close()


def test_room_for_later_values_is_little_in_all_files_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "MOST_KEPT", 5000)
    store, value = Store(), np.arange(1000, dtype=np.float32)
    for round_ in range(3):
        names = [f"{round_}.{at}" for at in range(4)]
        for name in names:
            store.put(name, 0, value)
        store.put(f"stays{round_}", 0, value[:1])
        files = [store._spilled[name]._file for name in store._spilled]
        store.drop(names, 1)
        assert sum(os.fstat(file.fileno()).st_size for file in files) <= 5000 + 4 * (round_ + 1)
    assert store.get("stays0", 0) == value[0]
    store.close()
