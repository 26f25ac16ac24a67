"""Published one-shot methods on a language model: ``python _language_peers.py task.json result.json``.

SparseGPT (Frantar and Alistarh 2023, arXiv 2301.00774, algorithm 1), with the authors' block of 128 columns and damping
of 1 %, layer after layer on the inputs that the pruned layers before leave; and rounding to the nearest of 16 levels,
one scale for 32 weights. Both take the layers that netsurgeon takes: a head that is tied to the table of embeddings
stays.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import onnx
from _runs import Facts, Task, write_facts
from numpy.typing import NDArray
from onnx import numpy_helper

from netsurgeon.pipeline.runtime import Runtime

Array = NDArray[np.float64]
BLOCK_COLUMNS, DAMPING = 128, 0.01
GRID_BLOCK, LEVELS = 32, 16
BATCH = 32


def main(task_path: str, result_path: str) -> None:
    """Run a method and write its facts."""
    write_facts({"sparsegpt": prune, "nearest": round_weights}, task_path, result_path)


def prune(task: Task) -> Facts:
    """Prune each layer to the share of the task, in the graph's order."""
    model = onnx.load(task["model"])
    ids = np.load(Path(task["models"]) / task["data"])["input_ids"]
    started = time.process_time()
    hessians: dict[str, Array] = {}
    for node, stored in layers_of(model):
        if node.input[0] not in hessians:  # query, key and value read the same
            hessians = {node.input[0]: hessian_of(model, node.input[0], ids)}
        weight = numpy_helper.to_array(stored).astype(np.float64).T
        _replace(stored, sparsegpt(weight, hessians[node.input[0]], task["sparsity"]).T)
    onnx.save(model, task["output"])
    return {"cpu_seconds": round(time.process_time() - started, 1)}


def round_weights(task: Task) -> Facts:
    """Round each layer; the file keeps floats, which have few values."""
    model = onnx.load(task["model"])
    started = time.process_time()
    for _, stored in layers_of(model):
        _replace(stored, nearest(numpy_helper.to_array(stored).astype(np.float64).T).T)
    onnx.save(model, task["output"])
    return {"cpu_seconds": round(time.process_time() - started, 1)}


def layers_of(model: onnx.ModelProto) -> list[tuple[onnx.NodeProto, onnx.TensorProto]]:
    """Products with a matrix of their own, and that matrix (columns, rows), in the graph's order."""
    weights = {tensor.name: tensor for tensor in model.graph.initializer if len(tensor.dims) == 2}
    readers = [name for node in model.graph.node for name in node.input]
    products = (node for node in model.graph.node if node.op_type == "MatMul" and node.input[1] in weights)
    return [(node, weights[node.input[1]]) for node in products if readers.count(node.input[1]) == 1]


def hessian_of(model: onnx.ModelProto, name: str, ids: NDArray[np.int64]) -> Array:
    """Mean of x xᵀ over all positions, (columns, columns), of a value in the model as it is now."""
    observed = onnx.ModelProto()
    observed.CopyFrom(model)
    observed.graph.output.append(onnx.ValueInfoProto(name=name))
    session = Runtime().session(observed)
    total, count = np.zeros(()), 0
    for start in range(0, len(ids), BATCH):
        value = session.run({"input_ids": ids[start : start + BATCH]}, [name])[name]
        rows = value.reshape(-1, value.shape[-1]).astype(np.float64)
        total, count = total + rows.T @ rows, count + len(rows)
    return np.asarray(total / count)


def sparsegpt(weight: Array, hessian: Array, share: float) -> Array:
    """Zeros in so large a share of the weights (rows, columns), others made to take over what those did.

    From the left column by column, with U the upper Cholesky factor of H⁻¹: e = (w − ŵ) / U_jj is taken off the columns
    to the right times row j of U. In each block of columns go the weights with the least w² / U_jj².
    """
    weight, hessian, columns = weight.copy(), hessian.copy(), len(hessian)
    dead = np.flatnonzero(np.diag(hessian) == 0.0)
    hessian[dead, dead], weight[:, dead] = 1.0, 0.0
    hessian[np.diag_indices(columns)] += DAMPING * np.diag(hessian).mean()
    upper = np.linalg.cholesky(np.linalg.inv(hessian)).T
    for start in range(0, columns, BLOCK_COLUMNS):
        block = np.s_[start : min(start + BLOCK_COLUMNS, columns)]
        part, factor = weight[:, block], upper[block, block]
        score = (part / np.diag(factor)) ** 2
        goes = score <= np.sort(score, axis=None)[round(share * score.size) - 1] if share > 0.0 else score < 0.0
        errors = np.zeros_like(part)
        for j in range(part.shape[1]):
            errors[:, j] = np.where(goes[:, j], part[:, j], 0.0) / factor[j, j]
            part[:, j:] -= np.outer(errors[:, j], factor[j, j:])
        part[goes] = 0.0
        weight[:, block.stop :] -= errors @ upper[block, block.stop :]
    return weight


def nearest(weight: Array) -> Array:
    """Weights (rows, columns) on 16 levels around 0, with a scale for each 32 of a row in turn."""
    rows, columns = weight.shape
    blocks = np.pad(weight, ((0, 0), (0, -columns % GRID_BLOCK))).reshape(rows, -1, GRID_BLOCK)
    scale = np.abs(blocks).max(axis=-1, keepdims=True) / (LEVELS // 2 - 1)
    scale[scale == 0.0] = 1.0
    rounded = np.clip(np.round(blocks / scale), -(LEVELS // 2), LEVELS // 2 - 1) * scale
    return np.asarray(rounded.reshape(rows, -1)[:, :columns])


def _replace(stored: onnx.TensorProto, weight: Array) -> None:
    stored.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(weight, np.float32), stored.name))


if __name__ == "__main__":
    main(*sys.argv[1:])
