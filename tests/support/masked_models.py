"""Small encoders of tokens with a mask: attention, a mean over the positions that are there, and their states."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

WIDTH, TOKENS, HEADS = 8, 20, 2


def encoder(
    *,
    name: str = "attention_mask",
    length: int | str = "sequence",
    batch: int | str = "batch",
    is_heedless: bool = False,
    tokens: int = TOKENS,
    width: int = WIDTH,
) -> ir.Model:
    """states (batch, sequence, 8) and embedding (batch, 8) of ids and a mask, both (batch, sequence).

    Args:
        name: of the mask; where it speaks of padding, it is 1 at positions that are not there.
        length: extent of the sequence, or what it is called.
        batch: the same of the batch.
        is_heedless: the embedding is the mean over all positions, whatever the mask says.
        tokens: rows of the table.
        width: in place of 8.
    """
    rng = np.random.default_rng(0)
    inner = 2 * width
    shapes = {
        "table": (tokens, width),
        **dict.fromkeys("qkvo", (width, width)),
        "up": (width, inner),
        "down": (inner, width),
    }
    arrays: dict[str, NDArray[Any]] = {
        key: (rng.standard_normal(shape) / np.sqrt(shape[0] if key != "table" else 1.0)).astype(np.float32)
        for key, shape in shapes.items()
    }
    arrays |= {
        "heads": np.array([0, 0, HEADS, width // HEADS]),
        "joined": np.array([0, 0, width]),
        "one": np.array(1.0, np.float32),
        "large": np.array(-1e4, np.float32),
        "inner": np.array([1, 2]),
        "last": np.array([-1]),
        "along": np.array([1]),
    }
    kept = [helper.make_node("Cast", [name], ["given"], to=TensorProto.FLOAT)]
    if "padding" in name:
        kept.append(helper.make_node("Sub", ["one", "given"], ["kept"]))
    else:
        kept.append(helper.make_node("Identity", ["given"], ["kept"]))
    nodes = [
        *kept,
        helper.make_node("Gather", ["table", "ids"], ["x"]),
        *(helper.make_node("MatMul", ["x", side], [f"{side}_flat"], f"to_{side}") for side in "qkv"),
        *(helper.make_node("Reshape", [f"{side}_flat", "heads"], [f"{side}_split"]) for side in "qkv"),
        *(helper.make_node("Transpose", [f"{s}_split"], [f"{s}_heads"], perm=[0, 2, 1, 3]) for s in "qv"),
        helper.make_node("Transpose", ["k_split"], ["k_heads"], perm=[0, 2, 3, 1]),
        helper.make_node("MatMul", ["q_heads", "k_heads"], ["scores"]),
        helper.make_node("Unsqueeze", ["kept", "inner"], ["kept_wide"]),
        helper.make_node("Sub", ["one", "kept_wide"], ["left_out"]),
        helper.make_node("Mul", ["left_out", "large"], ["penalty"]),
        helper.make_node("Add", ["scores", "penalty"], ["masked"]),
        helper.make_node("Softmax", ["masked"], ["weights"], axis=-1),
        helper.make_node("MatMul", ["weights", "v_heads"], ["mixed"]),
        helper.make_node("Transpose", ["mixed"], ["mixed_back"], perm=[0, 2, 1, 3]),
        helper.make_node("Reshape", ["mixed_back", "joined"], ["mixed_flat"]),
        helper.make_node("MatMul", ["mixed_flat", "o"], ["attended"], "out"),
        helper.make_node("Add", ["x", "attended"], ["h"]),
        helper.make_node("MatMul", ["h", "up"], ["wide"], "up"),
        helper.make_node("Relu", ["wide"], ["active"]),
        helper.make_node("MatMul", ["active", "down"], ["states"], "down"),
        helper.make_node("Unsqueeze", ["kept", "last"], ["kept_column"]),
        helper.make_node("Mul", ["states", "kept_column"], ["there"]),
        helper.make_node("ReduceSum", ["there", "along"], ["total"], keepdims=0),
        helper.make_node("ReduceSum", ["kept_column", "along"], ["count"], keepdims=0),
        helper.make_node("Div", ["total", "count"], ["embedding"]),
    ]
    if is_heedless:
        nodes[-1] = helper.make_node("ReduceMean", ["states"], ["embedding"], axes=[1], keepdims=0)
    graph = helper.make_graph(
        nodes,
        "encoder",
        [helper.make_tensor_value_info(key, TensorProto.INT64, [batch, length]) for key in ("ids", name)],
        [
            helper.make_tensor_value_info("states", TensorProto.FLOAT, [batch, length, width]),
            helper.make_tensor_value_info("embedding", TensorProto.FLOAT, [batch, width]),
        ],
        [numpy_helper.from_array(array, key) for key, array in arrays.items()],
    )
    return ir.from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))


def sentences(count: int = 100, longest: int = 12) -> list[NDArray[np.int64]]:
    """Tokens of varying length."""
    rng = np.random.default_rng(1)
    return [rng.integers(1, TOKENS, rng.integers(2, longest + 1)) for _ in range(count)]


def padded(
    rows: list[NDArray[np.int64]], length: int = 16, name: str = "attention_mask", *, before: bool = False
) -> dict[str, NDArray[Any]]:
    """The same with 0 behind each (or before), and a mask that is 0 there; 1 where it speaks of padding."""
    ids, mask = np.zeros((2, len(rows), length), np.int64)
    for row, tokens in enumerate(rows):
        place = slice(length - len(tokens), None) if before else slice(0, len(tokens))
        ids[row, place], mask[row, place] = tokens, 1
    return {"ids": ids, name: 1 - mask if "padding" in name else mask}


def unpadded(rows: list[NDArray[np.int64]], name: str = "attention_mask") -> dict[str, list[NDArray[Any]]]:
    """The same without padding."""
    kept = 0 if "padding" in name else 1
    return {"ids": list(rows), name: [np.full(len(tokens), kept) for tokens in rows]}
