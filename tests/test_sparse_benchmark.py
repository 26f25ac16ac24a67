"""What the benchmark of sparse layers says of outputs that differ, and of rows."""

import importlib
import sys
from types import SimpleNamespace
from typing import Any

import _sparse_tables
import _sparse_zoo
import numpy as np
import onnx.parser
import pytest

QUANTIZED = """<ir_version: 8, opset_import: ["" : 17]> quantized (float[N,4] x) => (float[N,4] y, float[N,4] floats)
    <float scale = {0.5}, uint8 zero = {128}> {
        bytes = QuantizeLinear (x, scale, zero)
        y = DequantizeLinear (bytes, scale, zero)
        floats = Relu (y)
    }"""
GRAPH: dict[str, Any] = {
    "part": "zoo",
    "case": "a graph",
    "zeros": None,
    "status": "ok",
    "taken": 1,
    "layers": 2,
    "left": {"it gains too little": 1},
    "equal": True,
    "steps": 0.0,
    "difference": 0.0,
    "int8": 2.0,
    "sparse": 1.0,
    "ratio": 2.0,
    "interval": [1.9, 2.1],
    "processor": "a processor",
}
LAYER: dict[str, Any] = {
    "part": "layer",
    "case": "a layer",
    "zeros": 0.8,
    "status": "ok",
    "equal": True,
    "float32": 4.0,
    "int8": 2.0,
    "sparse": 1.0,
    "slots": 50_000_000,
    "allowed": 200.0,
    "processor": "a processor",
}


class Answer:
    """A function of a library."""

    def __init__(self, answer: bytes | int | None) -> None:
        self.answer = answer

    def __call__(self, *_: object) -> bytes | int | None:
        return self.answer


def difference(before: dict[str, np.ndarray], after: dict[str, np.ndarray]) -> dict[str, Any]:
    return _sparse_zoo.largest_difference([before], [after], {"y": 0.5})


def test_an_integer_is_worth_the_scale_of_the_dequantizer_that_makes_an_output() -> None:
    assert _sparse_zoo.output_steps(onnx.parser.parse_model(QUANTIZED)) == {"y": 0.5}


def test_equal_outputs_are_no_step_apart() -> None:
    same = {"y": np.array([1.0, np.nan], np.float32), "floats": np.ones(2, np.float32), "classes": np.array([1])}
    assert difference(same, same) == {"equal": True, "steps": 0.0, "difference": 0.0}


def test_integers_are_told_in_steps() -> None:
    before, after = {"y": np.array([4.0, 1.0], np.float32)}, {"y": np.array([4.0, 2.0], np.float32)}
    assert difference(before, after) == {"equal": False, "steps": 2.0, "difference": 0.0}


def test_floats_that_differ_are_told_beside_the_largest() -> None:
    before = {"y": np.ones(1, np.float32), "floats": np.array([8.0, 1.0], np.float32)}
    after = {"y": np.ones(1, np.float32), "floats": np.array([8.0, 3.0], np.float32)}
    assert difference(before, after) == {"equal": False, "steps": 0.0, "difference": pytest.approx(0.25)}


def test_integers_that_differ_beside_floats_are_told_and_so_are_bytes_and_truth_values() -> None:
    one, none = np.ones(1, np.float32), np.zeros(1, np.float32)
    before: dict[str, Any] = {"y": one, "floats": one, "bytes": np.array([1], np.uint8)}
    after: dict[str, Any] = {"y": none, "floats": none, "bytes": np.array([2], np.uint8)}
    assert difference(before, after) == {"equal": False, "steps": 2.0, "difference": pytest.approx(1.0)}
    truths = {"truth": np.array([True])}, {"truth": np.array([False])}
    assert difference(*truths) == {"equal": False, "steps": 0.0, "difference": pytest.approx(1.0)}


def test_a_graph_misses_by_time_or_by_outputs() -> None:
    assert _sparse_tables.graph_miss(GRAPH) == ""
    assert _sparse_tables.graph_miss({**GRAPH, "ratio": 0.98, "interval": [0.9, 1.1]}) == ""
    slower = _sparse_tables.graph_miss({**GRAPH, "ratio": 0.8, "interval": [0.7, 0.9]})
    assert slower == "1.25 times the time without it"
    assert _sparse_tables.graph_miss({**GRAPH, "ratio": 0.8, "interval": [0.7, 1.0]}) == ""
    assert _sparse_tables.graph_miss({**GRAPH, "equal": False, "steps": 1.0}) == ""
    assert "2.0 steps" in _sparse_tables.graph_miss({**GRAPH, "equal": False, "steps": 2.0})
    assert "0.2 of an output's scale" in _sparse_tables.graph_miss({**GRAPH, "equal": False, "difference": 0.2})
    assert _sparse_tables.graph_miss({**GRAPH, "equal": False, "difference": np.nan})
    assert _sparse_tables.graph_miss({"status": "declined", "error": "nothing to quantize"}) == ""
    assert _sparse_tables.graph_miss({"status": "refused", "error": "why"}) == "why"


def test_a_layer_is_shown_beside_what_the_instructions_allow() -> None:
    text = _sparse_tables.page({"a layer, 80%": LAYER}, 1)
    (line,) = (line for line in text.splitlines() if line.startswith("| a layer"))
    assert line.endswith("| 50 | 200 | 25% |")
    assert "## Zoo" not in text


def test_the_page_says_what_a_graph_leaves_and_why_one_cannot_run() -> None:
    refused = {**GRAPH, "case": "another", "status": "refused", "error": "it has\n no | weights"}
    text = _sparse_tables.page({"zoo/a graph": GRAPH, "zoo/another": refused}, 1)
    assert "| a graph | ok | 1 of 2 | 2.000 | 1.000 | 2.00, 1.90 to 2.10 | equal | 1: it gains too little |" in text
    assert "it has no \\| weights" in text
    assert "1 of 2 keep to that" in text


def test_a_graph_that_only_seems_slower_is_to_be_measured_again() -> None:
    text = _sparse_tables.page({"zoo/a graph": {**GRAPH, "ratio": 0.8, "interval": [0.7, 1.0]}}, 1)
    assert "| measure again; 1: it gains too little |" in text
    assert "0 of 1 keep to that (undecided: 1; besides" in " ".join(text.split())


def test_graphs_without_a_layer_or_an_answer_are_no_good_ones() -> None:
    rows = {"zoo/a": GRAPH, "zoo/b": {**GRAPH, "taken": 0}, "zoo/c": {**GRAPH, "status": "declined", "error": "none"}}
    words = " ".join(_sparse_tables.page(rows, 1).split())
    assert "2 of 2 keep to that (undecided: 0; besides, graphs of which nothing can be quantized: 1)" in words
    assert "takes layers in 1 graphs; in 1 of them outputs are equal" in words


@pytest.mark.parametrize(
    ("library", "words"),
    [
        (SimpleNamespace(), "build the wheel anew"),
        (SimpleNamespace(netsurgeon_sparse_isa=Answer(None)), "netsurgeon-sparse: why"),
        (SimpleNamespace(netsurgeon_sparse_isa=Answer(b"avx2")), "netsurgeon-sparse: why"),
    ],
)
def test_a_library_that_cannot_multiply_is_told(
    library: SimpleNamespace, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "netsurgeon_sparse", SimpleNamespace(library_path=lambda: "a library"))
    monkeypatch.setitem(sys.modules, "_sparse_roof", None)  # what is imported for this test is forgotten again
    del sys.modules["_sparse_roof"]
    roof: Any = importlib.import_module("_sparse_roof")
    if vars(library):
        library.netsurgeon_sparse_repeat, library.netsurgeon_sparse_error = Answer(-1), Answer(b"why")
    monkeypatch.setattr(roof.ctypes, "CDLL", lambda _: library)
    with pytest.raises(RuntimeError, match=words):
        roof.Roof().run(None, {})
