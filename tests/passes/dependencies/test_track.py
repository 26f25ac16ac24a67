"""The walk over a graph: what no declaration follows is frozen, with its operator and a reason."""

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper
from trimming_networks import Family, Net, X, check_refusal


def refuse_output(net: Net) -> Any:
    return net.conv(X, 4, 8)


def refuse_unknown(net: Net) -> Any:
    return net.conv(net.op("GroupNormalization", net.conv(X, 4, 8), net.weight(2), net.weight(2), num_groups=2), 8, 3)


def refuse_size(net: Net) -> Any:
    hidden = net.conv(X, 4, 8)
    size = net.op("Cast", net.op("Gather", net.op("Shape", hidden), net.const(1)), to=onnx.TensorProto.FLOAT)
    return net.conv(net.op("Div", hidden, net.op("Sqrt", size)), 8, 3)


def refuse_size_output(net: Net) -> Any:
    hidden = net.conv(X, 4, 8)
    return net.conv(hidden, 8, 3), net.op("Shape", hidden)


def refuse_captured(net: Net) -> Any:
    hidden = net.conv(X, 4, 8)
    body = [
        helper.make_graph(
            [helper.make_node(kind, [hidden], [f"inner_{kind}"])], kind, [], [onnx.ValueInfoProto(name=f"inner_{kind}")]
        )
        for kind in ("Relu", "Exp")
    ]
    condition = net.const(True, np.bool_)
    branch = net.op("If", condition, then_branch=body[0], else_branch=body[1])
    return net.conv(branch, 8, 3)


@pytest.mark.parametrize(
    ("build", "operator", "reason"),
    [
        (refuse_output, "output", "output of the model"),
        (refuse_unknown, "GroupNormalization", "does not declare"),
        (refuse_size, "Sqrt", "computes with the size"),
        (refuse_size_output, "output", "output of the model"),
        (refuse_captured, "If", "has a body"),
    ],
)
def test_what_is_not_followed_is_frozen(build: Family, operator: str, reason: str) -> None:
    check_refusal(build, operator, reason)
