"""Operators with a weight: the spectral norm of its matrix, times the root of how often an input meets it."""

from __future__ import annotations

import math

import numpy as np
import scipy.sparse.linalg

from netsurgeon.pipeline.error_bound.lipschitz.pool import windows
from netsurgeon.pipeline.error_bound.lipschitz.step import Array, NoConstantError, Rule, Step

EXACT_SIZE = 256
"""Gram matrices up to this size are decomposed; of larger ones only the largest eigenvalue is sought."""


def spectral_norm(stack: Array) -> float:
    """The largest singular value in a stack of matrices (..., rows, columns), or at most 1e-6 of it more.

    Raises:
        NoConstantError: there is none, because numbers are NaN or infinite, or their squares are.
    """
    if not stack.size:
        return 0.0
    turned = np.swapaxes(stack, -1, -2)
    with np.errstate(over="ignore", invalid="ignore"):
        grams = stack @ turned if stack.shape[-2] <= stack.shape[-1] else turned @ stack
    if not np.isfinite(grams).all():
        raise NoConstantError("its weight has numbers that are NaN, infinite or too large")
    if grams.shape[-1] <= EXACT_SIZE:
        return math.sqrt(max(float(np.linalg.eigvalsh(grams)[..., -1].max()), 0.0))
    return math.sqrt(max(_top_eigenvalue(gram) for gram in grams.reshape(-1, *grams.shape[-2:])))


def _top_eigenvalue(gram: Array) -> float:
    """Lanczos from below, proven from above: t I − G has a Cholesky factor, so no eigenvalue exceeds t.

    Finding every eigenvalue takes many times as long.
    """
    start = np.random.default_rng(0).standard_normal(len(gram))
    try:
        largest_eigenvalue = float(
            scipy.sparse.linalg.eigsh(gram, k=1, which="LA", v0=start, return_eigenvectors=False)[0]
        )
        top = largest_eigenvalue * (1 + 1e-6)
        np.linalg.cholesky(top * np.eye(len(gram)) - gram)
    except (scipy.sparse.linalg.ArpackError, np.linalg.LinAlgError):
        return max(float(np.linalg.eigvalsh(gram)[-1]), 0.0)
    return top


def _conv(step: Step) -> float:
    """√Π⌈k/s⌉ · ‖Ŵ as n × (c·k) matrix‖₂: the matrix acts on patches, and patches repeat each input so often."""
    weight = step.needed(1)
    stack = weight.reshape(step.integer("group", 1), -1, math.prod(weight.shape[1:]))
    copies = math.prod(windows(step, weight.shape[2:], step.output))
    return math.sqrt(copies) * step.norm(lambda: spectral_norm(stack)) * step.error_of_single_input()


def _conv_transpose(step: Step) -> float:
    """The adjoint of the convolution with the same weight: its norm is the same."""
    weight = step.needed(1)
    stack = weight.reshape(step.integer("group", 1), -1, math.prod(weight.shape[1:]))
    copies = math.prod(windows(step, weight.shape[2:], step.operand(0)))
    return math.sqrt(copies) * step.norm(lambda: spectral_norm(stack)) * step.error_of_single_input()


def _gemm(step: Step) -> float:
    wrong = [index for index in step.perturbed_inputs() if index < 2]
    if len(wrong) == 2:
        raise NoConstantError("it is a product of two activations")
    carried = abs(step.number("beta", 1.0)) * step.broadcast_error(2) if len(step.errors) > 2 else 0.0
    if wrong:
        weight = step.needed(1 - wrong[0])
        carried += abs(step.number("alpha", 1.0)) * step.norm(lambda: spectral_norm(weight)) * step.errors[wrong[0]]
    return carried


def _matmul(step: Step) -> float:
    wrong = step.perturbed_inputs()
    if len(wrong) == 2:
        raise NoConstantError("it is a product of two activations")
    weight = step.needed(1 - wrong[0])
    if weight.ndim < 2:
        return spectral_norm(weight[np.newaxis]) * step.errors[wrong[0]]
    result = step.norm(lambda: spectral_norm(weight)) * step.errors[wrong[0]]
    if math.prod(weight.shape[:-2]) == 1:
        return result
    rows, columns = weight.shape[-2:] if wrong[0] else weight.shape[:-3:-1]
    return result * math.sqrt(step.extents.ratio(step.output, step.operand(wrong[0])) * columns / max(rows, 1))


RULES: dict[str, Rule] = {"Conv": _conv, "ConvTranspose": _conv_transpose, "Gemm": _gemm, "MatMul": _matmul}
