"""Nodes, edits and traits of operators: what every other pass stands on."""

from netsurgeon.passes.graph.edits import Edit, GatherBefore, Override, SetAttribute, SetConstant
from netsurgeon.passes.graph.fused_operators import ACTIVATIONS, constants_read, why_fused
from netsurgeon.passes.graph.helper_process import HelperDiedError, HelperError, HelperProcess
from netsurgeon.passes.graph.native import (
    NativeCrashError,
    NativeError,
    compute_constants,
    convert_version,
    infer_shapes,
)
from netsurgeon.passes.graph.native_helper import serve
from netsurgeon.passes.graph.nodes import (
    FEWEST_SHARED,
    FLOATS,
    bodies,
    graph_of,
    is_constant,
    is_generated,
    label,
    names_read_once,
    optional_input,
    present,
    set_initializer,
    tensor,
    unused_name,
)
from netsurgeon.passes.graph.operator_traits import (
    KNOWN_DOMAINS,
    MICROSOFT,
    TRAITS,
    OperatorTraits,
    canonical_domain,
    find_traits,
    operator_key,
    traits_of,
)

__all__ = [
    "ACTIVATIONS",
    "FEWEST_SHARED",
    "FLOATS",
    "KNOWN_DOMAINS",
    "MICROSOFT",
    "TRAITS",
    "Edit",
    "GatherBefore",
    "HelperDiedError",
    "HelperError",
    "HelperProcess",
    "NativeCrashError",
    "NativeError",
    "OperatorTraits",
    "Override",
    "SetAttribute",
    "SetConstant",
    "bodies",
    "canonical_domain",
    "compute_constants",
    "constants_read",
    "convert_version",
    "find_traits",
    "graph_of",
    "infer_shapes",
    "is_constant",
    "is_generated",
    "label",
    "names_read_once",
    "operator_key",
    "optional_input",
    "present",
    "serve",
    "set_initializer",
    "tensor",
    "traits_of",
    "unused_name",
    "why_fused",
]
