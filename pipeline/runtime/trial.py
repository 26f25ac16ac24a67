"""Models that may end the process that runs them are first loaded and run in another one.

ONNX Runtime's kernels check some of their assumptions by `gsl`, which ends the process where it could raise: those of
LSTM and GRU on an empty batch, that of GRU on an empty sequence as well (1.31). Such a batch may stand in the file, or
come from what the graph cuts out of its inputs, so that only a run shows it.
"""

from __future__ import annotations

import dataclasses
import logging
import pickle
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir

from netsurgeon.passes.graph import HelperDiedError, HelperError, HelperProcess

logger = logging.getLogger(__name__)

CRASHING = ("LSTM", "GRU", "DynamicQuantizeLSTM")
"""Operators whose kernels end the process on some inputs."""
CHUNK = 1 << 20
"""Bytes that are read at a time where a file is searched for their names."""
_HELPER = HelperProcess(Path(__file__).with_name("trial_helper.py"))
_verdicts: dict[tuple[Any, ...], str | None] = {}
"""What has become of operators with settings and shapes: candidates of a search are not tried one by one."""


@dataclasses.dataclass(frozen=True)
class Trial:
    """Loads and runs a model in the other process.

    Attributes:
        source: the model, as bytes or a file.
        operators: of all its nodes.
        settings: fields of the `Runtime` that makes its sessions, and arguments of `session`.
    """

    source: bytes | Path = dataclasses.field(repr=False)
    operators: tuple[str, ...]
    settings: Mapping[str, Any]

    def crash(self, feed: Mapping[str, Any] | None = None) -> str | None:
        """The signal that ends a process which runs the model on a feed, or only loads it; None where none does.

        An error is no crash, and comes again in this process. Nor is it tried again with other values of the same
        shapes: no value of a weight or an input is known to crash a kernel, but through a shape.
        """
        shapes = feed and tuple((name, getattr(array, "shape", None)) for name, array in sorted(feed.items()))
        key = (self.operators, *self.settings.values(), shapes)
        if key not in _verdicts:
            _verdicts[key] = self._verdict(feed)
        return _verdicts[key]

    def _verdict(self, feed: Mapping[str, Any] | None) -> str | None:
        try:
            _HELPER.call(pickle.dumps((self.source, dict(self.settings), feed)))
        except HelperError as error:
            logger.debug("tried in a process of its own: %s", error)
            return str(error) if isinstance(error, HelperDiedError) and error.is_crash else None
        return None


def operators_that_crash(model: ir.Model | onnx.ModelProto | Path) -> tuple[str, ...]:
    """The operators of all nodes of a model, where one of CRASHING is among them; else none."""
    if isinstance(model, Path):
        if not _names_one(model):
            return ()
        try:
            model = onnx.load(model, load_external_data=False)
        except Exception:  # ONNX Runtime will say what is wrong
            return ()
    operators = tuple(_of_ir(model) if isinstance(model, ir.Model) else _of_proto(model))
    return operators if any(name in operators for name in CRASHING) else ()


def _names_one(path: Path) -> bool:
    """Whether one of CRASHING stands anywhere in a file, of which little is held."""
    words = [name.encode() for name in CRASHING]
    try:
        with path.open("rb") as stream:
            end = b""
            while chunk := stream.read(CHUNK):
                if any(word in end + chunk for word in words):
                    return True
                end = chunk[-max(map(len, words)) :]
    except OSError:  # ONNX Runtime will say what is wrong
        return False
    return False


def _of_ir(model: ir.Model) -> Iterator[str]:
    graphs: tuple[ir.Graph | ir.Function, ...] = (model.graph, *model.functions.values())
    for graph in graphs:
        yield from (node.op_type for node in ir.traversal.RecursiveGraphIterator(graph))


def _of_proto(model: onnx.ModelProto) -> Iterator[str]:
    waiting: list[Iterable[onnx.NodeProto]] = [model.graph.node, *(function.node for function in model.functions)]
    while waiting:
        for node in waiting.pop():
            yield node.op_type
            for attribute in node.attribute:
                waiting += [graph.node for graph in (attribute.g, *attribute.graphs)]
