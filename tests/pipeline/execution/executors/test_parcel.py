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


def test_arrays_travel_within_the_pickle_and_arrive_aligned() -> None:
    buffers: list[pickle.PickleBuffer] = []
    value = {"x": np.arange(1000.0), "name": "a"}
    data = pickle.dumps(Parcel(value), protocol=5, buffer_callback=buffers.append)
    assert buffers == []
    arrived = pickle.loads(data).value
    assert arrived["x"].flags.aligned
    assert np.array_equal(arrived["x"], np.arange(1000.0))


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
    with pytest.raises(InputError, match=r"cannot read what was sent to it \(ModuleNotFoundError: No module named"):
        _ = arrived.value
    monkeypatch.setitem(sys.modules, module.__name__, module)
    assert pickle.loads(pickle.dumps(arrived)).value() == 1
