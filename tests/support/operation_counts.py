"""How much is done, counted instead of timed: the same on every machine."""

import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import onnx_ir as ir
import pytest


def operations(call: Callable[[], object]) -> int:
    """Bytecode instructions that netsurgeon's own functions execute in a call."""
    count = 0

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal count
        if not frame.f_globals.get("__name__", "").startswith("netsurgeon."):
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        count += event == "opcode"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
    return count


def count_calls(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> list[int]:
    """A list of one number: how often a function or method is called from now on."""
    count, function = [0], getattr(owner, name)

    def counted(*positional: Any, **named: Any) -> Any:
        count[0] += 1
        return function(*positional, **named)

    monkeypatch.setattr(owner, name, counted)
    return count


def count_visits(monkeypatch: pytest.MonkeyPatch, graph: ir.Graph) -> list[int]:
    """A list of one number: how many nodes are seen from now on by those who go through a graph."""
    count, iterate = [0], ir.Graph.__iter__

    def counted(self: ir.Graph) -> Iterator[ir.Node]:
        for node in iterate(self):
            count[0] += self is graph
            yield node

    monkeypatch.setattr(ir.Graph, "__iter__", counted)
    return count
