"""Nodes, edits and traits of operators: what every other pass stands on."""

from netsurgeon.passes.graph.edits import Edit, GatherBefore, Override, SetAttribute, SetConstant
from netsurgeon.passes.graph.nodes import (
    FLOATS,
    bodies,
    is_constant,
    label,
    optional_input,
    present,
    set_initializer,
    tensor,
    unused_name,
)
from netsurgeon.passes.graph.operator_traits import DISCRETE, KNOWN_DOMAINS, MOVES_ENTRIES, RECURRENT, SIZED_BY, VIEWS

__all__ = [
    "DISCRETE",
    "FLOATS",
    "KNOWN_DOMAINS",
    "MOVES_ENTRIES",
    "RECURRENT",
    "SIZED_BY",
    "VIEWS",
    "Edit",
    "GatherBefore",
    "Override",
    "SetAttribute",
    "SetConstant",
    "bodies",
    "is_constant",
    "label",
    "optional_input",
    "present",
    "set_initializer",
    "tensor",
    "unused_name",
]
