"""What the benchmark of quantization counts in a graph, and what it says of goals."""

from pathlib import Path
from typing import Any

import _environments
import _kernels
import _peers
import _quantize_runs
import _quantize_tables
import numpy as np
import onnx
import onnx.parser
import pytest
from _quantize_cases import CASES, FOR_BATCHES, Must, shortfalls
from onnx import numpy_helper

from netsurgeon.pipeline.data import InputSpec, open_samples
from netsurgeon.pipeline.runtime import Runtime

HEADER = '<ir_version: 8, opset_import: ["" : 17]> quantized'
ROW: dict[str, Any] = {
    "model": "resnet20_cifar10",
    "run": "int8",
    "seed": 0,
    "status": "ok",
    "top1_dense": 81.03,
    "top1": 81.0,
    "agreement": 98.7,
    "error": 0.001,
    "test_samples": 10000,
    "bytes_dense": 400,
    "bytes": 100,
    "ratio": 4.0,
    "intended": 2,
    "kernels": {"QLinearConv": 2, "QuantizeLinear": 1},
    "latency": [{"batch": batch, "ratio": 0.45, "interval": [0.44, 0.46]} for batch in (1, 32)],
    "notes": [],
    "machine": "a machine",
    "versions": {"onnxruntime": "1.0"},
    "seconds": 1.0,
    "peak_bytes": 1 << 20,
}


def two_convolutions(*, relu_inside: bool) -> onnx.ModelProto:
    """Two convolutions between Q and DQ; with `relu_inside` in a range that a Relu at the end of the first fits."""
    zero = 0 if relu_inside else 128
    text = f"""{HEADER} (float[N,8,6,6] x) => (float[N,8,6,6] y)
        <float scale = {{0.05}}, float half = {{0.025}}, uint8 zero = {{128}}, uint8 low = {{{zero}}},
         float weight_scale = {{0.01}}, int8 weight_zero = {{0}}>
        {{
            qx = QuantizeLinear (x, scale, zero)
            dx = DequantizeLinear (qx, scale, zero)
            w1 = DequantizeLinear (weight, weight_scale, weight_zero)
            c1 = Conv <pads = [1, 1, 1, 1]> (dx, w1)
            r1 = Relu (c1)
            q1 = QuantizeLinear (r1, half, low)
            d1 = DequantizeLinear (q1, half, low)
            w2 = DequantizeLinear (weight, weight_scale, weight_zero)
            c2 = Conv <pads = [1, 1, 1, 1]> (d1, w2)
            q2 = QuantizeLinear (c2, scale, zero)
            y = DequantizeLinear (q2, scale, zero)
        }}"""
    model = onnx.parser.parse_model(text)
    weight = np.random.default_rng(0).integers(-127, 128, (8, 8, 3, 3)).astype(np.int8)
    model.graph.initializer.append(numpy_helper.from_array(weight, "weight"))
    return model


def test_layers_that_fuse_are_counted_as_integers_and_as_meant(tmp_path: Path) -> None:
    path = tmp_path / "fused.onnx"
    onnx.save(two_convolutions(relu_inside=True), path)
    counts = _kernels.kernels(path)
    assert _kernels.intended_layers(path) == 2
    assert (_kernels.integer_layers(counts), _kernels.float_layers(counts)) == (2, 0)
    assert _kernels.conversions(counts) == 2


def test_a_relu_outside_the_range_is_seen_as_a_layer_that_was_meant_to_run_in_integers_and_does_not(
    tmp_path: Path,
) -> None:
    path = tmp_path / "unfused.onnx"
    onnx.save(two_convolutions(relu_inside=False), path)
    counts = _kernels.kernels(path)
    assert _kernels.intended_layers(path) == 2
    assert (_kernels.integer_layers(counts), _kernels.float_layers(counts)) == (1, 1)


def test_a_layer_with_float_data_is_not_meant_to_run_in_integers_and_one_in_a_body_is_found(tmp_path: Path) -> None:
    body = "yes = Identity (x) out = MatMulInteger (a, b)"
    text = f"""{HEADER} (float[2,4,5] x, bool choose, uint8[2,4] a, int8[4,3] b) => (float[2,3,5] y, int32[2,3] z)
        <int8[3,4,1] weight = {{1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3}}, float scale = {{0.1}}, int8 zero = {{0}}>
        {{
            w = DequantizeLinear (weight, scale, zero)
            y = Conv (x, w)
            z = If (choose) <then_branch = then () => (int32[2,3] out) {{ {body} }},
                             else_branch = otherwise () => (int32[2,3] out) {{ {body} }}>
        }}"""
    path = tmp_path / "partly.onnx"
    onnx.save(onnx.parser.parse_model(text), path)
    assert _kernels.intended_layers(path) == 2, "those of the two bodies"
    counts = _kernels.kernels(path)
    assert (_kernels.integer_layers(counts), _kernels.float_layers(counts)) == (2, 1)


@pytest.mark.parametrize(
    ("figures", "missed"),
    [
        ({"top1": 80.9, "error": 0.0012, "latency": 0.5}, set()),
        ({"top1": 80.89, "error": 0.0012, "latency": 0.5}, {"top1"}),
        ({"top1": 99.0, "error": 0.0013, "latency": 0.51}, {"error", "latency"}),
        ({"top1": 99.0, "error": 0.0}, {"latency"}),
    ],
)
def test_a_figure_at_its_goal_is_enough_and_one_that_was_not_measured_is_not(
    figures: dict[str, float | None], missed: set[str]
) -> None:
    assert set(shortfalls(figures, Must(top1=80.9, error=0.0012, latency=0.5))) == missed


def test_every_case_has_a_row_of_its_own_and_portable_files_may_be_a_little_worse() -> None:
    assert len({case.name for case in CASES}) == len(CASES)
    exact, portable = (
        next(case.must for case in CASES if case.name == f"resnet20_cifar10/{what}")
        for what in ("int8", "int8, portable")
    )
    assert portable.agreement == pytest.approx(98.1)
    assert portable.error == pytest.approx(0.0018)
    assert (portable.latency, portable.ratio, portable.top1) == (exact.latency, exact.ratio, exact.top1)


def test_rows_are_kept_and_shown_beside_their_goals_and_refusals_with_their_reason(tmp_path: Path) -> None:
    refused = {"model": "resnet20_cifar10", "run": "w4a8", "seed": 0, "status": "refused", "error": "no option | here"}
    _quantize_tables.keep_row(tmp_path, ROW | {"top1": 80.0})
    _quantize_tables.keep_row(tmp_path, ROW)
    _quantize_tables.keep_row(tmp_path, refused)
    text = (tmp_path / "quantize.md").read_text("utf-8")
    assert "| int8 | 81.00 (≥ 80.9 ok) | 98.70 (≥ 98.6 ok) |" in text
    assert "80.00" not in text, "the older row of the same run is replaced"
    assert "refused: no option \\| here |" in text
    rows = _quantize_tables.read_rows(tmp_path)
    int8, w4a8 = (next(case for case in CASES if case.name == f"resnet20_cifar10/{what}") for what in ("int8", "w4a8"))
    assert _quantize_tables.misses(rows, int8) == []
    assert _quantize_tables.misses(rows, w4a8) == ["no option | here"]
    _quantize_tables.keep_row(tmp_path, ROW | {"agreement": 90.0})
    assert _quantize_tables.misses(_quantize_tables.read_rows(tmp_path), int8) == ["agreement 90, must be ≥ 98.6"]


@pytest.mark.parametrize(
    ("peer", "verdict"),
    [
        ({}, "Of 1 models of other quantizers none is more exact than int8, and none surely faster."),
        ({"error": 0.0009}, "Of 1 models of other quantizers: nncf has less logit error."),
        (
            {"latency": [{"batch": 1, "ratio": 0.1, "interval": [0.1, 0.2]}]},
            "other quantizers: nncf is faster at batch 1.",
        ),
    ],
)
def test_it_is_said_whether_another_quantizer_is_better(peer: dict[str, Any], verdict: str) -> None:
    sentence = _quantize_tables.peer_sentence([ROW, ROW | {"run": "peer nncf"} | peer], ROW["model"])
    assert sentence.endswith(verdict)
    assert _quantize_tables.peer_sentence([ROW], ROW["model"]) == ""


def times_in(ratio: float) -> list[dict[str, Any]]:
    return [timing | {"ratio": ratio, "interval": [ratio, ratio + 0.01]} for timing in ROW["latency"]]


def test_what_was_made_for_batches_stands_for_ours_there_and_not_for_single_samples() -> None:
    peer = ROW | {"run": "peer nncf", "error": 1.0, "latency": times_in(0.3)}
    for_batches = ROW | {"run": FOR_BATCHES, "latency": times_in(0.2)}
    sentence = _quantize_tables.peer_sentence([ROW, for_batches, peer], ROW["model"])
    assert sentence.endswith(": nncf is faster at batch 1.")


def test_the_smallest_model_is_no_larger_than_the_fastest() -> None:
    (case,) = [case for case in CASES if case.model == ROW["model"] and case.run == "size"]
    fastest, smallest = ROW | {"run": "--max-drop 1%", "ratio": 9.0}, ROW | {"run": case.what, "ratio": 8.0}
    rows = {"fastest": fastest, "smallest": smallest}
    assert _quantize_tables.misses(rows, case) == ["ratio 8, the fastest model has 9"]
    assert _quantize_tables.misses(rows | {"smallest": smallest | {"ratio": 9.0}}, case) == []


def test_a_batch_that_the_model_rules_out_is_not_held_against_it(tmp_path: Path) -> None:
    skipped = {"latency": ROW["latency"][:1], "notes": ["batch 32 skipped: the model's batch is fixed to 1"]}
    _quantize_tables.keep_row(tmp_path, ROW | skipped)
    case = next(case for case in CASES if case.name == "resnet20_cifar10/int8")
    assert _quantize_tables.misses(_quantize_tables.read_rows(tmp_path), case) == []
    _quantize_tables.keep_row(tmp_path, ROW | {"latency": []})
    missed = _quantize_tables.misses(_quantize_tables.read_rows(tmp_path), case)
    assert missed == ["latency was not measured", "latency32 was not measured"]


SLOWER = "1.20 times the time of dense"


@pytest.mark.parametrize(
    ("change", "miss"),
    [
        ({}, ""),
        ({"latency": [{"batch": 1, "ratio": 1.02, "interval": [0.9, 1.6]}]}, ""),
        ({"latency": [{"batch": 1, "ratio": 1.2, "interval": [0.9, 1.6]}]}, f"{SLOWER}, undecided: measure again"),
        ({"latency": [{"batch": 1, "ratio": 1.2, "interval": [1.1, 1.3]}]}, SLOWER),
        ({"intended": 1}, ""),
        ({"intended": 3}, "2 layers run in integers, 3 are meant to"),
        ({"status": "declined", "error": "no layer that can be pruned"}, ""),
        ({"status": "BROKEN", "error": "exit code 1"}, "exit code 1"),
    ],
)
def test_a_graph_of_the_zoo_must_run_as_meant_and_no_slower_than_dense(change: dict[str, Any], miss: str) -> None:
    rows = {"row": ROW | {"model": "zoo/yunet"} | change}
    assert _quantize_tables.zoo_misses(rows, ["yunet"]) == ([f"yunet: {miss}"] if miss else [])


def test_the_variance_that_errors_are_measured_against_is_that_of_all_samples_and_classes() -> None:
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]> g (float[N,2] x) => (float[N,2] y) {y = Neg (x)}'
    )
    inputs = np.array([[1.0, 2.0], [3.0, 6.0], [5.0, 1.0]], np.float32)
    samples = open_samples({"x": inputs}, (InputSpec("x", np.dtype(np.float32), (None, 2)),), batch_size=2)
    factor = _quantize_runs.energy_over_variance(Runtime().session(model), samples)
    assert factor == {"y": pytest.approx(np.square(inputs).mean() / inputs.var())}


def test_a_package_that_does_not_install_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_environments, "ENVIRONMENTS", tmp_path / "a file" / "peers")
    (tmp_path / "a file").write_text("no folder")
    facts = _peers.quantize_with(_peers.PEERS[0], tmp_path / "dense.onnx", tmp_path / "in.npz", tmp_path / "out.onnx")
    assert facts["status"] == "absent"
    assert "does not install here" in facts["error"]


def test_a_peer_that_writes_into_the_model_it_is_given_changes_a_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def overwrite(task: dict[str, Any], *_: object) -> dict[str, Any]:
        Path(task["model"]).write_bytes(b"with inferred shapes")
        return {"status": "ok"}

    monkeypatch.setattr(_peers, "install", lambda *_: None)
    monkeypatch.setattr(_peers, "run_task", overwrite)
    dense = tmp_path / "shared" / "dense.onnx"
    dense.parent.mkdir()
    dense.write_bytes(b"dense")
    _peers.quantize_with(_peers.PEERS[0], dense, tmp_path / "in.npz", tmp_path / "out.onnx")
    assert dense.read_bytes() == b"dense"


def test_peers_run_in_the_onnx_runtime_that_this_repository_is_tested_with() -> None:
    assert _environments.pinned("onnxruntime").startswith("onnxruntime==")
    assert _environments.pinned("no-such-package") == "no-such-package"
