"""What `profile` prints: times with their spread, costs, operators and the slowest nodes, of one model or two."""

import dataclasses

import pytest
from printed_text import cells, printed

from netsurgeon.pipeline.messages import Message
from netsurgeon.pipeline.profiling.kernel_times import NodeTime
from netsurgeon.pipeline.profiling.model_profile import Cost, Profile, Timing
from netsurgeon.pipeline.profiling.timing import Ratio, Spread
from netsurgeon.pipeline.terminal.console_latency import LISTED, print_profile

CPU = "CPUExecutionProvider"


def cost(name: str, nodes: tuple[NodeTime, ...] = (), memory: int = 3 << 20, on_the_cpu: tuple[str, ...] = ()) -> Cost:
    return Cost(name, 1_234_567, Spread(5.0, 4.0, 6.0), memory, 1 << 20, on_the_cpu, nodes)


def profile_of(model: Cost, other: Cost | None = None, threads: int | None = None) -> Profile:
    times, ratio = (Spread(2.1, 2.0, 2.2), Ratio(2.0, 1.9, 2.1)) if other else (None, None)
    timings = (
        Timing(batch=1, fed="random numbers", rounds=9, model=Spread(4.2, 4.1, 4.7), other=times, speedup=ratio),
        Timing(batch=None, fed="[data].npz", rounds=9, model=Spread(8.0, 7.5, 8.5), other=times, speedup=ratio),
    )
    return Profile(
        versions={},
        machine="a quiet machine [x86], 2 cores",
        provider=CPU,
        threads=threads,
        optimisation="all",
        model=model,
        other=other,
        timings=timings,
        notes=(),
    )


def test_one_model_is_told_alone() -> None:
    text = printed(print_profile, profile_of(cost("small.onnx")))
    assert text.startswith(f"a quiet machine [x86], 2 cores; {CPU}, one thread a core, graph optimisation all\n")
    assert cells(text, "1")[1:] == ["4.2 (4.1 to 4.7)", "9", "random numbers"]
    assert cells(text, "as given")[1:] == ["8 (7.5 to 8.5)", "9", "[data].npz"]
    assert cells(text, "bytes on disk")[1:] == ["1,234,567"]
    assert cells(text, "ms to load")[1:] == ["5 (4 to 6)"]
    assert cells(text, "memory to load and run, MiB")[1:] == ["3.0"]
    for absent in ("faster", "by operator", "slowest", "fell back"):
        assert absent not in text


def test_two_models_stand_side_by_side() -> None:
    text = printed(print_profile, profile_of(cost("dense.onnx"), cost("small.onnx", memory=5 << 19), threads=2))
    assert ", 2 threads, " in text
    assert cells(text, "batch")[1:] == ["dense.onnx", "small.onnx", "faster (95 % interval)", "rounds", "fed"]
    assert cells(text, "1")[1:4] == ["4.2 (4.1 to 4.7)", "2.1 (2 to 2.2)", "÷ 2 (1.9 to 2.1)"]
    assert cells(text, "memory to load and run, MiB")[1:] == ["3.0", "2.5"]


@pytest.mark.parametrize(("name", "shown"), [("", "model"), ("[bold]net.onnx", "[bold]net.onnx")])
def test_a_model_from_memory_is_called_model(name: str, shown: str) -> None:
    node = NodeTime("first", "Gemm", CPU, 1.0)
    text = printed(print_profile, profile_of(cost(name, (node,))))
    assert cells(text, "batch")[1] == shown
    assert f"slowest nodes of {shown}" in text


def test_operators_are_summed_and_the_slowest_nodes_come_first() -> None:
    dense = (NodeTime("[/a]", "Conv", CPU, 1.0), NodeTime("b", "Gemm", CPU, 6.0), NodeTime("c", "Conv", CPU, 3.0))
    small = (NodeTime("b", "Gemm", CPU, 2.0), NodeTime("d", "Relu", CPU, 0.0))
    text = printed(print_profile, profile_of(cost("dense.onnx", dense), cost("small.onnx", small)))
    assert cells(text, "Gemm")[1:] == ["6.000 (1)", "2.000 (1)"]
    assert cells(text, "Conv")[1:] == ["4.000 (2)"]
    assert cells(text, "[/a]")[1:] == ["Conv", "1.000", "10.0%"]
    rows = text[text.index("slowest nodes of dense.onnx") : text.index("slowest nodes of small.onnx")]
    assert [rows.index(f"  {name} ") for name in ("b", "c", "[/a]")] == sorted(
        rows.index(f"  {name} ") for name in ("b", "c", "[/a]")
    )


def test_only_the_slowest_nodes_are_listed() -> None:
    nodes = tuple(NodeTime(f"node {index}", "Conv", CPU, float(index)) for index in range(LISTED + 5))
    text = printed(print_profile, profile_of(cost("net.onnx", nodes)))
    assert text.count("  node ") == LISTED + 1  # one of them is the head of the table
    assert f"  node {LISTED + 4} " in text
    assert "  node 4 " not in text


def test_nodes_without_time_have_no_share() -> None:
    text = printed(print_profile, profile_of(cost("net.onnx", (NodeTime("still", "Identity", CPU, 0.0),))))
    assert cells(text, "still")[1:] == ["Identity", "0.000", "0.0%"]


def test_fallbacks_and_notes_are_told() -> None:
    note = Message("other programs took [50 %] of the processors", "machine-busy")
    profile = profile_of(cost("dense.onnx", on_the_cpu=("top",)), cost("small.onnx", on_the_cpu=("[0]", "[1]")))
    text = printed(print_profile, dataclasses.replace(profile, notes=(note,)))
    assert "1 node fell back to the CPU: top\n" in text
    assert "2 nodes fell back to the CPU: [0], [1]\n" in text
    assert text.endswith(f"note: {note}\n")
