"""Axes through LSTM, GRU and RNN: a unit is the same row of every gate."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from netsurgeon.passes.axes.declare import NodeAxes, Removal, UndeclaredError, operator
from netsurgeon.passes.graph import Edit, SetAttribute

_GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


def _rewrite_hidden_size(removal: Removal) -> Iterator[Edit]:
    hidden = removal.axes(2)[2]
    if removal.changed(hidden):
        yield SetAttribute(removal.name, "hidden_size", removal.extent(hidden))


@operator("LSTM", "GRU", "RNN", rewrite=_rewrite_hidden_size)
def _recurrent(scope: NodeAxes) -> None:
    if scope.node.attributes.get_int("layout", 0):
        raise UndeclaredError("its batch comes first")
    if not scope.is_constant(1) or not scope.is_constant(2):
        raise UndeclaredError("its weights are computed while the model runs")
    gates = _GATES[scope.node.op_type]
    steps, batch, width = scope.axes(0)
    directions, rows, columns = scope.axes(1)
    _, recurrent_rows, hidden = scope.axes(2)
    scope.join(columns, width)
    scope.join(rows, np.tile(hidden, gates))
    scope.join(recurrent_rows, np.tile(hidden, gates))
    scope.contract(1, 2)
    scope.contract(2, 2)
    per_gate = {3: 2 * gates, 7: 3}
    for index, count in per_gate.items():
        if scope.has(index):
            scope.join(scope.axes(index)[1], np.tile(hidden, count))
    kept = [directions, scope.axes(2)[0]]
    for index in (3, 5, 6, 7):
        if scope.has(index):
            kept.append(scope.axes(index)[0])
    for index in (5, 6):
        if scope.has(index):
            scope.join(scope.axes(index)[1], batch)
            scope.join(scope.axes(index)[2], hidden)
    scope.freeze(kept, "")
    state = [scope.fixed(len(directions)), batch, hidden]
    scope.emit([steps, state[0], batch, hidden], state, state)
    amount = len(steps) * len(batch) * len(directions) * len(rows)
    scope.work(amount * len(width), rows, columns, samples=len(batch))
    scope.work(amount * len(hidden), rows, hidden, samples=len(batch))
