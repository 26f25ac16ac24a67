"""A parcel is its value inside a process, and one pickle where it leaves it."""

import pickle
import sys

import numpy as np
import pytest

pytest.importorskip("cloudpickle")

from netsurgeon.pipeline.execution.executors.parcel import Parcel


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
