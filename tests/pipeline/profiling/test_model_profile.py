"""Profiles of real models in ONNX Runtime: what was measured, on what inputs, and what is refused. Nothing is timed."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import onnx_ir as ir
import psutil
import pytest
from timed_models import HEAD, graph

from netsurgeon.pipeline.errors import CheckFailedError, InputError
from netsurgeon.pipeline.profiling.model_profile import (
    SITTINGS,
    _disturbed,
    by_operator,
    profile,
    time_models,
)
from netsurgeon.pipeline.result import as_json
from netsurgeon.pipeline.runtime.session import Runtime

DIGITS = Path(__file__).parent.parent.parent.parent / "models" / "digits"


def test_profile_of_two_models_in_turn() -> None:
    found = profile(
        DIGITS / "digits.onnx", DIGITS / "digits.onnx", batches=(1, 3), rounds=5, per_operator=True, threads=1
    )
    assert [each.batch for each in found.timings] == [1, 3]
    for each in found.timings:
        assert each.fed == "random numbers"
        assert each.rounds == SITTINGS
        assert each.other is not None
        assert each.speedup is not None
        assert each.speedup.low <= each.speedup.value <= each.speedup.high
        assert 0.0 < each.model.low <= each.model.median <= each.model.high
    assert found.other is not None
    assert found.model.bytes == (DIGITS / "digits.onnx").stat().st_size
    assert found.model.on_the_cpu == ()
    assert {node.provider for node in found.model.nodes} == {"CPUExecutionProvider"}
    both = by_operator([found.model, found.other])
    assert all(count == other for (_, count), (_, other) in both.values())
    total = sum(node.milliseconds for node in found.model.nodes)
    assert sum(cells[0][0] for cells in both.values()) == pytest.approx(total)
    assert json.loads(as_json(found))["timings"] == [dataclasses.asdict(each) for each in found.timings]


def test_models_in_memory_with_sizes_for_open_axes() -> None:
    model = graph("y = Relu(x)", "float[N,C,H] x", "float[N,C,H] y")
    found = profile(model, shapes={"x": (2, 3, 5)}, rounds=5)
    assert (found.model.name, found.other, found.timings[0].batch) == ("", None, 2)
    assert found.timings[0].speedup is None


def test_sizes_that_shapes_are_inferred_from_stay_in_the_file_of_a_model_in_memory() -> None:
    """ONNX Runtime refuses a Split whose sizes lie in a second file."""
    sizes, parts = ", ".join(["1"] * 40), ", ".join(f"part{at}" for at in range(40))
    model = ir.from_onnx_text(
        f"{HEAD} graph (float[N,40] x) => (float[N,40] y) <int64[40] sizes = {{{sizes}}}> "
        f"{{ {parts} = Split<axis = 1>(x, sizes) y = Concat<axis = 1>({parts}) }}"
    )
    assert profile(model, shapes={"x": (2, 40)}, rounds=3).timings[0].batch == 2


def test_a_model_that_cannot_run_on_its_inputs() -> None:
    bad = graph("s = Constant<value_ints = [7, 7]>() y = Reshape(x, s)", outputs="float[7,7] y")
    with pytest.raises(CheckFailedError, match="cannot run on this input"):
        profile(bad, rounds=5)


def test_models_with_other_inputs_are_not_compared() -> None:
    with pytest.raises(InputError, match=r"differ in their inputs, x: float32 and z: float32"):
        profile(graph("y = Relu(x)"), graph("y = Relu(z)", "float[N,4] z"), rounds=5)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"batches": (0,)}, "batch is 0, expected sizes of 1 or more"),
        ({"rounds": 2}, "runs is 2, expected 3 or more"),
        ({"rounds": 10**18}, "runs is 1000000000000000000, expected at most 1,000,000"),
        ({"threads": 0}, "threads is 0, expected 1 or more"),
        ({"threads": 1 << 31}, "threads is 2147483648, expected at most 1024"),
        ({"optimisation": "most"}, "optimisation is 'most', expected one of off, basic, extended, all"),
    ],
)
def test_numbers_out_of_range(options: dict[str, object], problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        profile(graph("y = Relu(x)"), **options)  # type: ignore[arg-type]


def test_loads_and_runs_of_every_sitting() -> None:
    models = [graph("y = Relu(x)"), graph("y = Abs(x)")]
    feeds = [{"x": np.ones((size, 4), np.float32)} for size in (1, 2)]
    loads, seconds = time_models(models, feeds, (Runtime(),) * len(models), rounds=2 * SITTINGS)
    assert loads.shape == (SITTINGS, 2)
    assert [each.shape for each in seconds] == [(SITTINGS, 2, 2)] * 2


def test_nothing_is_left_in_the_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    profile(graph("y = Relu(x)"), rounds=5, per_operator=True)
    assert not list(tmp_path.iterdir())


def test_a_disturbed_measurement_says_so() -> None:
    cores = psutil.cpu_count() or 1
    assert _disturbed(0.05 * cores, 1.0) == ()
    (note,) = _disturbed(0.5 * cores, 1.0)
    assert "other programs took 50% of the processors" in note
