"""What ONNX Runtime runs of a model on integers, and how right its kernels are."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping

import numpy as np
import onnx_ir as ir

from netsurgeon.passes.quantization import find_integer_weights
from netsurgeon.pipeline.runtime import Feed, Runtime

TURNED = "_T"
LEAST_DIFFERENCE = 1e-3
"""Error, relative to the outputs' size, that integers may have on kernels in any case."""
MORE_ON_KERNELS = 1.5
"""So many times the error that integers have in float arithmetic they may have on kernels. Kernels round elsewhere, and
a deep network makes of one integer step as much as of any other: an error of its own, as large as that of the integers
but independent of it, which makes √2 times the error of both. Sums that saturate make several times as much."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class KernelErrors:
    """How right integer kernels are, as shares of the outputs' size, of the output where it is most.

    Attributes:
        difference: of the outputs on kernels from those of the same model in float arithmetic.
        on_kernels: error on kernels, from the float model.
        allowed: how large it may be.
    """

    difference: float
    on_kernels: float
    allowed: float

    @property
    def are_right(self) -> bool:
        """Whether kernels give what the integers mean; not where an output is no number."""
        return self.on_kernels <= self.allowed

    @property
    def reason(self) -> str:
        """Why the model cannot run on the kernels."""
        return f"integer kernels of this machine make an error of {self.on_kernels:.2g}, allowed {self.allowed:.2g}"


def integer_kernels(model: ir.Model, runtime: Runtime) -> dict[str, str]:
    """The operator that takes each layer's integers, by layer name; DequantizeLinear where floats are made of them.

    Layers whose integers are not in the optimised graph any more are left out.
    """
    graph = runtime.optimised_graph(model)
    readers: dict[str, str] = {}
    for node in graph.node:
        readers.update(dict.fromkeys(node.input, node.op_type))
    weights = find_integer_weights(model.graph).items()
    # a weight that ONNX Runtime turns to fuse it has another name then
    names = {layer: (weight.name, f"{weight.name}{TURNED}") for layer, weight in weights}
    return {layer: readers[name] for layer, both in names.items() for name in both if name in readers}


def unfused(model: ir.Model, layers: Collection[str], runtime: Runtime) -> Mapping[str, str]:
    """Layers that are not run on integers though the model would have it so, and the reason for the report."""
    kernels = integer_kernels(model, runtime)
    return {
        name: "ONNX Runtime makes floats of its integers while the model runs"
        for name in layers
        if kernels.get(name, "DequantizeLinear") == "DequantizeLinear"
    }


def errors_of_integers(floats: ir.Model, integers: ir.Model, feed: Feed, runtime: Runtime) -> KernelErrors:
    """What integer kernels make of a model, beside what it says in float arithmetic.

    They round sums where float arithmetic does not, so that a number now and then becomes the integer next to it. That
    must not make the error much larger than the integers themselves do; it would where sums saturate.
    """
    in_floats = dataclasses.replace(runtime, integer_kernels=False).session(integers).run(feed)
    return kernel_errors(in_floats, runtime.session(integers).run(feed), runtime.session(floats).run(feed))


def kernel_errors(
    in_floats: Mapping[str, np.ndarray],
    on_kernels: Mapping[str, np.ndarray],
    dense: Mapping[str, np.ndarray],
    least: float = LEAST_DIFFERENCE,
) -> KernelErrors:
    """Compare the outputs of a model with integers on kernels and in float arithmetic, and those of the float model.

    Args:
        in_floats: outputs of the model with integers in float arithmetic.
        on_kernels: its outputs on the kernels that run.
        dense: outputs of the float model.
        least: error that is allowed on kernels in any case.
    """
    names = [name for name, value in in_floats.items() if np.asarray(value).dtype.kind == "f"]

    def furthest(outputs: Mapping[str, np.ndarray], others: Mapping[str, np.ndarray]) -> float:
        # of numpy, whose largest of NaN and a number is NaN
        return float(np.max([_distance(outputs[name], others[name], in_floats[name]) for name in names], initial=0.0))

    return KernelErrors(
        difference=furthest(on_kernels, in_floats),
        on_kernels=furthest(on_kernels, dense),
        allowed=MORE_ON_KERNELS * max(furthest(in_floats, dense), least),
    )


def _distance(one: np.ndarray, other: np.ndarray, scale: np.ndarray) -> float:
    """Root mean square difference, as a share of the size of `scale`; infinite where shapes differ.

    What is infinite in both, as masked logits are, or NaN in both is no difference, and has no size.
    """
    if one.shape != other.shape or not one.size:
        return 0.0 if one.shape == other.shape else np.inf
    finite = np.asarray(scale, np.float64)[np.isfinite(scale)]
    size = float(np.sqrt(np.mean(np.square(finite)))) if finite.size else 0.0
    with np.errstate(invalid="ignore"):  # infinity less infinity, which is not taken
        is_same = (one == other) | (np.isnan(one) & np.isnan(other))
        gaps = np.where(is_same, 0.0, one.astype(np.float64) - other)
    return float(np.sqrt(np.mean(np.square(gaps)))) / max(size, float(np.finfo(np.float32).tiny))
