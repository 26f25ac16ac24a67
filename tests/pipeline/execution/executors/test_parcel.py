"""A parcel is its value inside a process, and one pickle where it leaves it."""

import pickle
import sys
import threading
import types
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("cloudpickle")

from netsurgeon.pipeline.errors import InputError
from netsurgeon.pipeline.execution.executors.parcel import Parcel, check_sendable
from netsurgeon.pipeline.jobs import Job


def test_arrays_travel_beside_the_pickle_and_arrive_aligned_and_writable() -> None:
    buffers: list[pickle.PickleBuffer] = []
    value = {"x": np.arange(1000.0), "name": "a"}
    data = pickle.dumps(Parcel(value), protocol=5, buffer_callback=buffers.append)
    assert len(data) < 1000
    odd = [np.frombuffer(b"-" + bytes(buffer), np.uint8)[1:] for buffer in buffers]  # as Dask may give them
    arrived = pickle.loads(data, buffers=odd).value
    assert arrived["x"].flags.aligned
    assert arrived["x"].flags.writeable
    assert np.array_equal(arrived["x"], np.arange(1000.0))


@pytest.mark.parametrize("protocol", [4, 5])
def test_who_only_hands_a_parcel_on_does_not_read_it(protocol: int) -> None:
    value = {"x": np.arange(6.0).reshape(2, 3).T, "empty": np.zeros(0)}
    first = pickle.loads(pickle.dumps(Parcel(value), protocol=protocol))
    assert sys.getsizeof(first) > 48
    again = pickle.loads(pickle.dumps(first, protocol=protocol))
    assert again.value["x"].tolist() == [[0.0, 3.0], [1.0, 4.0], [2.0, 5.0]]
    assert again.value["x"].flags.f_contiguous
    assert again.value is again.value


def test_what_one_parcel_shares_is_shared_on_arrival() -> None:
    shared = np.ones(3)
    one, other = pickle.loads(pickle.dumps(Parcel((shared, shared)))).value
    assert one is other


def test_its_size_is_that_of_its_arrays() -> None:
    class Holder:
        def __init__(self) -> None:
            self.arrays = [{"x": np.zeros(1000)}, np.zeros(500, np.float32), b"1234", range(10**9), 5]

    assert 10_000 <= sys.getsizeof(Parcel(Holder())) < 10_500


def test_what_cannot_be_sent_is_named() -> None:
    check_sendable("job", Job(name="small", out=Path(), arguments={"seed": 1}))
    job = Job(name="small", out=Path(), arguments={"seed": 1, "metric": threading.Lock()})
    with pytest.raises(InputError, match=r"metric is a lock that cannot be sent to a worker \(cannot pickle"):
        check_sendable("job", job)


def test_what_cannot_be_read_is_told_when_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("my_absent_module")
    exec("def metric(): return 1", module.__dict__)
    module.__dict__["metric"].__module__ = module.__name__
    monkeypatch.setitem(sys.modules, module.__name__, module)
    data = pickle.dumps(Parcel(module.__dict__["metric"]))
    monkeypatch.delitem(sys.modules, module.__name__)
    arrived = pickle.loads(data)
    arrived = pickle.loads(pickle.dumps(arrived))
    with pytest.raises(InputError, match=r"cannot read what was sent to it \(ModuleNotFoundError: No module named"):
        _ = arrived.value
    monkeypatch.setitem(sys.modules, module.__name__, module)
    assert pickle.loads(pickle.dumps(arrived)).value() == 1
