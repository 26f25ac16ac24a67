"""Short names, and no attribute that says what holds anyway: a file of integers is small beside its own words."""

from __future__ import annotations

import dataclasses
import itertools
import string
from collections.abc import Collection, Iterator

import onnx
import onnx_ir as ir

SPATIAL_OPERATORS = ("Conv", "ConvTranspose", "MaxPool", "AveragePool", "LpPool")
SPATIAL_DEFAULTS = {"dilations": 1, "strides": 1, "pads": 0}
"""Of attributes with a number for each axis, whose default stands in no schema."""
QUANTIZERS = ("QuantizeLinear", "DequantizeLinear")


@dataclasses.dataclass(frozen=True)
class WriteLean(ir.passes.InPlacePass):
    """Give values between nodes short names, QuantizeLinear and DequantizeLinear none, and drop attributes' defaults.

    Each name of a value is in the file two to four times, and once a model runs on integers, what a name stood for in
    the float model is made by a DequantizeLinear of integers, also a weight, and most values are new. Names of the
    graph's inputs and outputs stay, and of other nodes, by which layers are told.

    Attributes:
        kept: names of nodes that stay in any case.
        renames: whether names change at all.
    """

    kept: Collection[str] = dataclasses.field(default=(), repr=False)
    renames: bool = True

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Rename and drop in place."""
        opset = model.graph.opset_imports.get("", 0)
        for node in model.graph.all_nodes():
            if not node.domain:
                _drop_defaults(node, opset)
                if self.renames and node.op_type in QUANTIZERS and node.name not in self.kept:
                    node.name = ""
        if self.renames:
            self._rename(model.graph)
        return ir.passes.PassResult(model, modified=True)

    def _rename(self, graph: ir.Graph) -> None:
        """The more often a value is used, the shorter its name."""
        computed = [value for node in graph.all_nodes() for value in node.outputs if value.name]
        values = [*graph.initializers.values(), *computed]
        bodies = [part for body in graph.subgraphs() for part in (*body.inputs, *body.initializers.values())]
        taken = {value.name for value in (*graph.inputs, *bodies, *values)}
        fresh = (name for name in _short_names() if name not in taken)
        for value in sorted(values, key=lambda value: -len(value.uses())):
            if not (value.is_graph_input() or value.is_graph_output()):
                if value.const_value is not None:
                    value.const_value = _own(value.const_value)
                value.name = next(fresh)


def _own(constant: ir.TensorProtocol) -> ir.TensorProtocol:
    """The same numbers in a tensor that may be named: the model that came in, which the user holds, has the other."""
    if constant.dtype == ir.DataType.STRING:
        return ir.StringTensor(constant.numpy(), shape=ir.Shape(constant.shape.numpy()))
    return ir.Tensor(constant.numpy(), dtype=constant.dtype, shape=ir.Shape(constant.shape.numpy()))


def _short_names() -> Iterator[str]:
    """All names of a letter and letters or digits behind it, the shortest first."""
    for length in itertools.count():
        for letters in itertools.product(
            string.ascii_letters, *itertools.repeat(string.ascii_letters + string.digits, length)
        ):
            yield "".join(letters)


def _drop_defaults(node: ir.Node, opset: int) -> None:
    """Drop attributes whose value the operator has without them."""
    try:
        schema = onnx.defs.get_schema(node.op_type, opset)
    except onnx.defs.SchemaError:
        return
    for name, attribute in list(node.attributes.items()):
        declared = schema.attributes.get(name)
        if declared is not None and (
            _is_default(attribute, declared.default_value)
            or _is_even(node, attribute)
            or _is_shape_of_weight(node, attribute)
        ):
            del node.attributes[name]


def _is_default(attribute: ir.Attr, default: onnx.AttributeProto) -> bool:
    is_simple = attribute.type in (ir.AttributeType.INT, ir.AttributeType.FLOAT, ir.AttributeType.STRING)
    if not is_simple or attribute.is_ref() or default.type != attribute.type.value:
        return False
    stated = onnx.helper.get_attribute_value(default)
    return bool(attribute.value == (stated.decode() if isinstance(stated, bytes) else stated))


def _is_even(node: ir.Node, attribute: ir.Attr) -> bool:
    """Whether a window's attribute has its default along each axis."""
    if node.op_type not in SPATIAL_OPERATORS or attribute.name not in SPATIAL_DEFAULTS or attribute.is_ref():
        return False
    return all(number == SPATIAL_DEFAULTS[attribute.name] for number in attribute.as_ints())


def _is_shape_of_weight(node: ir.Node, attribute: ir.Attr) -> bool:
    """Whether a convolution's attribute says how large its kernel is: in a valid model that is its weight's shape."""
    return node.op_type in ("Conv", "ConvTranspose") and attribute.name == "kernel_shape"
