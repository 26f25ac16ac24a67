"""Attention in one operator: the trimmed model is the masked one, and the units are those of its parts."""

from functools import partial
from typing import Any

import numpy as np
import pytest
from trimming_networks import Case, Family, Net, X, add_case, analysed, check_case, check_refusal

MICROSOFT = "com.microsoft"
CASES: dict[str, Case] = {}
case = partial(add_case, CASES)


def _tokens(net: Net) -> str:
    """Four tokens of 36 numbers."""
    return str(net.op("Reshape", X, net.const([0, 4, 36])))


def _projected(net: Net, *widths: int) -> list[str]:
    tokens = _tokens(net)
    return [net.dense(tokens, 36, width) for width in widths]


def _apart(net: Net, projected: str, heads: int, width: int) -> str:
    shaped = net.op("Reshape", projected, net.const([0, 0, heads, width]))
    return str(net.op("Transpose", shaped, perm=[0, 2, 1, 3]))


def _end(net: Net, mixed: str, width: int) -> str:
    return net.dense(mixed, width, 5)


# ------------------------------------------------------------------------------------------------ standard operators
@case(4, 3, opset=23)
def four_axes(net: Net) -> Any:
    """Of queries and keys 4 numbers a head, of values 3: a unit of each is the same number of every head."""
    query, key, value = (_apart(net, p, 2, w) for p, w in zip(_projected(net, 8, 8, 6), (4, 4, 3), strict=True))
    mixed = net.op("Transpose", net.op("Attention", query, key, value), perm=[0, 2, 1, 3])
    return _end(net, net.op("Reshape", mixed, net.const([0, 0, 6])), 6)


@case(4, 4, opset=23)
def three_axes(net: Net) -> Any:
    attended = net.op("Attention", *_projected(net, 12, 12, 12), q_num_heads=3, kv_num_heads=3)
    return _end(net, attended, 12)


@case(4, 3, opset=24)
def causal_and_masked(net: Net) -> Any:
    mask = net.weight(1, 3, 4, 4)
    attended = net.op("Attention", *_projected(net, 12, 12, 9), mask, q_num_heads=3, kv_num_heads=3, is_causal=1)
    return _end(net, attended, 9)


@case(5, opset=23)
def whole_heads(net: Net) -> Any:
    attended = net.op("Attention", *_projected(net, 10, 10, 10), q_num_heads=5, kv_num_heads=5)
    return _end(net, attended, 10)


@case(4, 4, opset=23)
def grouped_queries(net: Net) -> Any:
    attended = net.op("Attention", *_projected(net, 16, 8, 8), q_num_heads=4, kv_num_heads=2)
    return _end(net, attended, 16)


@case(4, opset=23)
def groups_of_queries(net: Net) -> Any:
    attended = net.op("Attention", *_projected(net, 16, 8, 8), q_num_heads=8, kv_num_heads=4)
    return _end(net, attended, 16)


@case(8, 4, opset=23)
def rotated(net: Net) -> Any:
    """Halves of a head turn together: queries and keys have 8 pairs of numbers."""
    return _rotated_attention(net, (16, 16, 4), _tables(net, 4, 8), heads=1)


@case(4, opset=23)
def rotated_heads(net: Net) -> Any:
    """Heads that the rotation sets apart are those of the attention behind it."""
    return _rotated_attention(net, (8, 8, 8), _tables(net, 4, 1), heads=4)


@case(3, 2, 3, opset=23)
def rotated_in_part_and_interleaved(net: Net) -> Any:
    """Of 8 numbers a head the first 6 turn, two that lie beside each other together."""
    tables = [net.weight(5, 3), net.weight(5, 3), net.const([[0, 2, 1, 3], [3, 1, 0, 2]])]
    return _rotated_attention(net, (16, 16, 6), tables, heads=2, rotary_embedding_dim=6, interleaved=1)


def _rotated_attention(
    net: Net, widths: tuple[int, int, int], tables: list[str], *, heads: int, **rotation: int
) -> str:
    """Queries and keys are turned by tables, then mix the values."""
    query, key, value = _projected(net, *widths)
    turned = [net.op("RotaryEmbedding", side, *tables, num_heads=heads, **rotation) for side in (query, key)]
    return _end(net, net.op("Attention", *turned, value, q_num_heads=heads, kv_num_heads=heads), widths[-1])


def _tables(net: Net, length: int, half: int) -> list[str]:
    """Of cosines and sines, the same for all texts."""
    angles = net.rng.standard_normal((1, length, half)).repeat(2, axis=0)
    return [net.const(function(angles), np.float32) for function in (np.cos, np.sin)]


# ------------------------------------------------------------------------------------------------ ONNX Runtime's
@case(4, 3)
def multi_head(net: Net) -> Any:
    attended = net.op("MultiHeadAttention", *_projected(net, 12, 12, 9), domain=MICROSOFT, num_heads=3)
    return _end(net, attended, 9)


@case(4, 4)
def multi_head_with_mask_and_bias(net: Net) -> Any:
    padding = net.const([[1, 1, 1, 0], [1, 1, 1, 1]], np.int32)
    inputs = [*_projected(net, 12, 12, 12), "", padding, net.weight(1, 3, 4, 4)]
    return _end(net, net.op("MultiHeadAttention", *inputs, domain=MICROSOFT, num_heads=3, unidirectional=1), 12)


@case(4)
def groups(net: Net) -> Any:
    """The widths of heads stay: the kernel takes few."""
    last, total = net.const([3, 3], np.int32), net.const(4, np.int32)
    inputs = [*_projected(net, 64, 32, 32), "", "", last, total]
    names = net.op("GroupQueryAttention", *inputs, outputs=3, domain=MICROSOFT, num_heads=8, kv_num_heads=4)
    return _end(net, names[0], 64)


@case(3)
def groups_rotated(net: Net) -> Any:
    last, total = net.const([3, 3], np.int32), net.const(4, np.int32)
    inputs = [*_projected(net, 48, 48, 48), "", "", last, total, net.weight(9, 8), net.weight(9, 8)]
    keywords = {"num_heads": 3, "kv_num_heads": 3, "do_rotary": 1}
    return _end(net, net.op("GroupQueryAttention", *inputs, outputs=3, domain=MICROSOFT, **keywords)[0], 48)


@case(4)
def rotated_by_position(net: Net) -> Any:
    query, key, value = _projected(net, 32, 32, 12)
    positions, tables = net.const(np.arange(8).reshape(2, 4) % 5), [net.weight(5, 4) for _ in range(2)]
    query, key = (
        net.op("RotaryEmbedding", each, positions, *tables, domain=MICROSOFT, num_heads=4) for each in (query, key)
    )
    return _end(net, net.op("MultiHeadAttention", query, key, value, domain=MICROSOFT, num_heads=4), 12)


@pytest.mark.parametrize("name", CASES)
def test_a_trimmed_model_is_the_masked_one(name: str, trim: Any) -> None:
    check_case(CASES[name], trim)


def _apart_as_operators(net: Net) -> Any:
    """What `three_axes` computes, operator by operator."""
    query, key, value = (_apart(net, each, 3, 4) for each in _projected(net, 12, 12, 12))
    scores = net.op("MatMul", query, net.op("Transpose", key, perm=[0, 1, 3, 2]))
    weights = net.op("Softmax", net.op("Mul", scores, net.const(0.5, np.float32)), axis=-1)
    mixed = net.op("Transpose", net.op("MatMul", weights, value), perm=[0, 2, 1, 3])
    return _end(net, net.op("Reshape", mixed, net.const([0, 0, 12])), 12)


def test_units_and_work_are_those_of_the_parts() -> None:
    found = []
    for build in (three_axes, _apart_as_operators):
        net = Net(2, 4, 6, 6, opset=23)
        _, dependencies = analysed(net, build(net))
        macs = sum(work.amount for work in dependencies.tracks.work)
        found.append((macs, [(unit.group, unit.parameters, unit.macs) for unit in dependencies.units]))
    assert found[0] == found[1]
    assert len(found[0][1]) == 8


def test_a_removed_width_leaves_the_scale(trim: Any) -> None:
    net = Net(2, 4, 6, 6, opset=23)
    trimming = trim(net.build(three_axes(net)), net.feed)
    attention = next(node for node in trimming.trimmed.graph if node.op_type == "Attention")
    assert attention.attributes["scale"].as_float() == 0.5
    assert attention.attributes["q_num_heads"].as_int() == 3


def test_heads_that_go_are_not_counted(trim: Any) -> None:
    net = Net(2, 4, 6, 6, opset=23)
    trimming = trim(net.build(groups_of_queries(net)), net.feed)
    attention = next(node for node in trimming.trimmed.graph if node.op_type == "Attention")
    assert {name: attention.attributes[name].as_int() for name in ("q_num_heads", "kv_num_heads")} == {
        "q_num_heads": 4,
        "kv_num_heads": 2,
    }


def test_keys_and_values_of_before_keep_heads_and_widths() -> None:
    """They are inputs of the model, and the new ones are outputs: of grouped queries as many as keys can go."""
    net = Net(2, 4, 6, 6, opset=23)
    query, key, value = _projected(net, 16, 8, 8)
    before = [net.const(net.rng.standard_normal((2, 2, 3, 4)), np.float32) for _ in range(2)]
    attended, *present = net.op("Attention", query, key, value, "", *before, outputs=3, q_num_heads=4, kv_num_heads=2)
    _, dependencies = analysed(net, _end(net, attended, 16), *present)
    (group,) = dependencies.groups
    assert len(group.units) == 2
    assert {len(part.indices) for unit in dependencies.units for part in unit.parts} == {8}


# ------------------------------------------------------------------------------------------------ refusals
def refuse_bias(net: Net) -> Any:
    """Which normal form takes out, unless it is computed."""
    bias = net.op("ReduceMean", net.op("Reshape", X, net.const([-1, 36])), net.const([0]), keepdims=0)
    return net.op("MultiHeadAttention", *_projected(net, 12, 12, 12), bias, domain=MICROSOFT, num_heads=3)


@pytest.mark.parametrize(
    ("build", "operator", "reason"),
    [(refuse_bias, "MultiHeadAttention", "it adds its bias itself")],
)
def test_what_is_not_followed_is_frozen(build: Family, operator: str, reason: str) -> None:
    check_refusal(build, operator, reason)
