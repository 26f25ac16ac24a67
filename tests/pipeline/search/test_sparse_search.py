"""The target `cpu-sparse` with a goal: zeros go where they save time, and only where the whole model becomes faster.

Nothing is measured here: every layer takes a millisecond on floats, a half on integers, and on sparse kernels what its
zeros leave of that.
"""

import dataclasses
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import onnx_ir as ir
import pytest
from plain_models import DENSE, DIGITS, TEST

from netsurgeon.passes.layers import find_layers
from netsurgeon.passes.quantization import find_integer_weights
from netsurgeon.pipeline.compress import Compression, compress
from netsurgeon.pipeline.compression import AppliedPlan
from netsurgeon.pipeline.errors import CheckFailedError, InputError
from netsurgeon.pipeline.messages import Message
from netsurgeon.pipeline.options import Goals
from netsurgeon.pipeline.options import options as checked_options
from netsurgeon.pipeline.profiling import NodeTime, Timed, timing_table
from netsurgeon.pipeline.quantization import structure_name
from netsurgeon.pipeline.runtime import Runtime, is_of_package
from netsurgeon.pipeline.search import goal_search, sparse_search
from netsurgeon.pipeline.search.candidate_search import SearchResult

FIRST = 0.05
"""Of the time of a layer on integers that a sparse kernel takes without any weight."""


def density(model: ir.Model) -> dict[str, float]:
    """Share of weights that are not 0 by layer on integers."""
    return {name: weight.nonzero / weight.codes.size for name, weight in find_integer_weights(model.graph).items()}


def milliseconds(model: ir.Model, runtime: Runtime) -> dict[str, float]:
    integers = density(model)
    floats = dict.fromkeys((layer.name for layer in find_layers(model.graph)[0]), 1.0)
    factor = {name: FIRST + share for name, share in integers.items()} if is_of_package(runtime.provider) else {}
    return floats | {name: 0.5 * factor.get(name, 1.0) for name in integers}


def node_times(model: ir.Model, feed: object, runtime: Runtime, runs: int = 1) -> tuple[NodeTime, ...]:
    del feed, runs
    name = "NetsurgeonSparse" if is_of_package(runtime.provider) else "CPUExecutionProvider"
    times = milliseconds(model, runtime)
    return tuple(NodeTime(layer, "Conv", name, times[layer]) for layer in density(model) or times)


@pytest.fixture(autouse=True)
def times(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Give the times; the whole model is so many times slower on sparse kernels than its layers say."""

    def slower(factor: float) -> None:
        def time_models(models: Sequence[ir.Model], feeds: object, runtimes: Sequence[Runtime], *_: object) -> Any:
            each = [
                sum(milliseconds(model, runtime).values()) * (factor if is_of_package(runtime.provider) else 1.0)
                for model, runtime in zip(models, runtimes, strict=True)
            ]
            return None, [np.tile(1e-3 * np.array(each), (2, 3, 1))]

        monkeypatch.setattr(timing_table, "time_models", time_models)

    monkeypatch.setattr(timing_table, "node_times", node_times)
    monkeypatch.setattr(checked_options, "can_run", lambda _: True)
    monkeypatch.setattr(checked_options, "measure_rates", lambda _: None)
    slower(1.0)
    return slower


def searched(**options: Any) -> Compression:
    given: Any = {"method": "obs", "damping": 0.01, "effort": "fast", "max_drop": "2%", "pack": False, **options}
    return compress(DENSE, DIGITS / "calibration.npz", test=TEST, **given)


def weights(model: ir.Model) -> dict[str, bytes]:
    return {name: value.const_value.tobytes() for name, value in model.graph.initializers.items() if value.const_value}


def test_zeros_are_paid_for_by_the_time_that_they_save() -> None:
    report = searched(target="cpu-sparse").report
    assert report.search is not None
    assert report.integers is not None
    (note,) = (note for note in report.notes if note.code == "sparse-kernels")
    assert note.data["low"] > 1.0
    (chosen,) = (point for point in report.search.points if point.chosen)
    assert chosen.form == "int8"
    assert chosen.kept is not None
    assert chosen.kept < 1.0
    taken = [layer for layer in report.integers.layers if layer.sparse_ms is not None]
    assert taken
    assert {layer.kernel for layer in taken} == {"NetsurgeonSparse"}
    assert report.timings is not None
    assert any(name.endswith("int8 k:64 at 0.3") for name in report.timings.nodes_of), "to be replayed"


def test_the_model_for_dense_kernels_is_delivered_where_sparse_ones_are_no_faster(
    times: Callable[[float], None],
) -> None:
    times(100.0)
    on_dense, on_sparse = (searched(target=target) for target in ("cpu", "cpu-sparse"))
    (note,) = (note for note in on_sparse.report.notes if note.code == "no-sparse-kernels")
    assert "with 85% of the weights 0 the model would be" in str(note)
    assert weights(on_sparse.model) == weights(on_dense.model)


def timed(speedup: float) -> Timed:
    return Timed(speedup, 1.0, speedup, speedup - 0.02, speedup + 0.02)


@dataclasses.dataclass
class Searched:
    """A search whose parts say at once what they end with: how many times as fast each thing is."""

    zeros_save: bool = True
    with_few: float = 2.0
    within_goals: bool = True
    beside_integers: float = 1.5
    beside_floats: float = 3.0
    is_hasty: bool = False
    level: int = 1
    without_units: float = 2.0
    done: list[str] = dataclasses.field(default_factory=list)

    def __call__(self, monkeypatch: pytest.MonkeyPatch) -> SearchResult | Message:
        monkeypatch.setattr(sparse_search, "search", self.search)
        monkeypatch.setattr(sparse_search, "faster_within", self.faster_within)
        points: list[Any] = []
        clock: Any = SimpleNamespace(time=self.time)
        clock.against = lambda _: clock
        context = SimpleNamespace(dense=ir.load(DENSE), clock=clock, progress=lambda *_: None, points=points)
        context.options = SimpleNamespace(is_hasty=self.is_hasty, pattern=None)
        evaluator: Any = SimpleNamespace(context=context, points=points, form="int8", stand_in=lambda *_: None)
        evaluator.integers, evaluator.can_try_units = SimpleNamespace(zeros_save=self.zeros_save), True
        return sparse_search.search_on_sparse_kernels(evaluator, evaluator, Goals(max_drop=0.01), repairs=False)

    def time(self, name: str, *_: object) -> Timed:
        assert name.startswith(structure_name(ir.load(DENSE))), "as other keys of times of integers"
        kind = "with_few" if " at 0.15 " in name else "beside_integers" if "beside int8" in name else "beside_floats"
        self.done.append(kind)
        return timed(getattr(self, kind))

    def search(self, evaluator: Any, *_: object, **__: object) -> SearchResult:
        self.done.append("search")
        evaluator.points.append("zeros")
        if not self.within_goals:
            raise CheckFailedError("the goal cannot be met")
        unseen = ("selection", "plan", "pruned", "units", "integers", "masked", "model")
        applied = AppliedPlan(**dict.fromkeys(unseen, cast(Any, None)))
        return SearchResult(
            candidate=cast(Any, SimpleNamespace(kept=0.25)),
            applied=applied,
            form="int8",
            proven=True,
            points=cast(Any, ("zeros, chosen",)),
            timed=None,
        )

    def faster_within(self, dense: Any, _: float) -> Any:
        self.done.append("units")
        dense.points.append("units")
        return SimpleNamespace(level=self.level, timed=timed(self.without_units))


@pytest.mark.parametrize(
    ("searched", "reason", "last"),
    [
        (Searched(zeros_save=False), "no layer of this model runs faster on them", None),
        (Searched(with_few=1.02), "with 85% of the weights 0 the model would be 1.02 times as fast", "with_few"),
        (Searched(within_goals=False), "the goal cannot be met", "search"),
        (Searched(beside_integers=1.02), "the model found for them is 1.02 times as fast", "beside_integers"),
        (Searched(without_units=4.0), "units that go make dense kernels 4.00 times as fast", "beside_floats"),
    ],
)
def test_it_is_said_why_a_model_is_not_for_sparse_kernels_and_nothing_is_done_beyond_that(
    searched: Searched, reason: str, last: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    note = searched(monkeypatch)
    assert isinstance(note, Message)
    assert f"it is not faster beyond doubt: {reason}" in str(note)
    assert (searched.done[-1] if searched.done else None) == last


@pytest.mark.parametrize(
    ("searched", "points"),
    [
        (Searched(), ("zeros, chosen", "units")),
        (Searched(level=0, without_units=4.0), ("zeros, chosen", "units")),
        (Searched(is_hasty=True, without_units=4.0), ("zeros, chosen",)),
    ],
)
def test_zeros_win_over_units_that_are_no_faster_or_do_not_go(
    searched: Searched, points: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    result = searched(monkeypatch)
    assert isinstance(result, SearchResult)
    assert list[Any](result.points) == list(points), "all that was tried"
    assert [note.code for note in result.applied.notes] == ["sparse-kernels"]


def test_integers_that_the_user_has_chosen_are_those_of_dense_kernels_too(monkeypatch: pytest.MonkeyPatch) -> None:
    forms = list[str]()

    def stop(_: object, dense: Any, *__: object, **___: object) -> None:
        forms.append(dense.form)
        raise CheckFailedError("seen")

    monkeypatch.setattr(goal_search, "search_on_sparse_kernels", stop)
    for quantize in (None, "int8"):
        with pytest.raises(CheckFailedError, match="seen"):
            searched(target="cpu-sparse", quantize=quantize)
    assert forms == ["w4a8", "int8"]


def test_times_of_one_run_are_replayed_by_another(
    times: Callable[[float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = searched(target="cpu-sparse")
    table = first.report.timings
    assert table is not None
    times(100.0)
    monkeypatch.setattr(timing_table.TimingTable, "first_of", lambda *_: table)
    again = searched(target="cpu-sparse")
    assert weights(again.model) == weights(first.model)


def test_a_goal_needs_the_kernels_and_a_share_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checked_options, "can_run", lambda _: False)
    with pytest.raises(InputError, match=r"they cannot run here: install its wheel \(docs/sparse.md\)"):
        searched(target="cpu-sparse")
    report = searched(target="cpu-sparse", max_drop=None, sparsity=0.5, quantize="int8").report
    assert any(layer.slots for layer in report.layers)
