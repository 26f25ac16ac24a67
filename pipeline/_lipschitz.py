"""How much of its operands' error an operator lets through: one rule an operator, keyed by operator type.

The errors are root mean squares over whole inputs, so for constants K that hold on whole tensors

    e(out) ≤ Σ_i K_i e(in_i)        (or its root of the sum of squares, where the operands' errors are orthogonal)

Every rule returns that sum for one node, or raises `NoConstantError`: a constant is proven or there is none. Constants
describe exact arithmetic; what floating point rounds away comes on top. An operand that is broadcast counts once a
copy: K contains √copies.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import scipy.sparse.linalg

Array = npt.NDArray[np.float64]
Extent = tuple[int, ...]
Rule = Callable[["Step"], float]

SHAPE_ONLY = ("Shape", "Size")
"""Operators whose result depends on nothing but their operand's shape: no error comes through."""
ERF_SLOPE = 2 / math.sqrt(math.pi)
MISH_SLOPE = 1.09
EXACT_SIZE = 256
"""Gram matrices up to this size are decomposed; of larger ones only the largest eigenvalue is sought."""
SILU_SLOPE = 1.1
SAME_PLACE = 1e-4
"""Resampled positions this close to a boundary between two sources may fall to either."""


class NoConstantError(Exception):
    """The operator has no constant for these operands; the text says why."""


class Extents:
    """The shapes of values: as inferred where that is enough, else as recorded while the model ran.

    Until `record` is called a question that inference cannot answer is noted in `wanted` and answered by no case.
    """

    def __init__(self, inferred: Mapping[str, Sequence[int | str | None] | None]):
        self._inferred = dict(inferred)
        self._seen: dict[str, list[Extent]] | None = None
        self.wanted: dict[str, ir.Value] = {}

    def record(self, seen: dict[str, list[Extent]]) -> None:
        """Take the shapes of the wanted values, one a batch, all in the order of the batches."""
        self._seen = seen

    def inferred(self, value: ir.Value) -> Sequence[int | str | None] | None:
        """One entry an axis (a name or None where it varies), or None where not even the rank is known."""
        return self._inferred.get(value.name or "")

    def cases(self, *values: ir.Value) -> list[tuple[Extent, ...]]:
        """The shapes of the values side by side, once where they are fixed, else one case a batch.

        Raises:
            NoConstantError: they were not recorded.
        """
        fixed = [self._fixed(value) for value in values]
        if self._seen is None:
            self.wanted.update({v.name or "": v for v, f in zip(values, fixed, strict=True) if f is None})
        known = [extent for extent in fixed if extent is not None]
        if len(known) == len(values):
            return [tuple(known)]
        if self._seen is None:
            return []
        recorded = [self._seen.get(v.name or "", []) for v, f in zip(values, fixed, strict=True) if f is None]
        length = min(len(column) for column in recorded)
        if not length:
            raise NoConstantError("the shapes of its operands are not known")
        columns = [
            [f] * length if f is not None else self._seen[v.name or ""] for v, f in zip(values, fixed, strict=True)
        ]
        return list(zip(*columns, strict=True))

    def ratio(self, top: ir.Value, bottom: ir.Value) -> float:
        """The largest number of elements of `top` an element of `bottom`."""
        upper, lower = _beside_batch(self.inferred(top)), _beside_batch(self.inferred(bottom))
        if upper is not None and lower is not None and upper[0] == lower[0]:
            return math.prod(upper[1]) / max(math.prod(lower[1]), 1)
        return max((math.prod(t) / max(math.prod(b), 1) for t, b in self.cases(top, bottom)), default=0.0)

    def _fixed(self, value: ir.Value) -> Extent | None:
        shape = self.inferred(value)
        if shape is None:
            return None
        numbers = tuple(extent for extent in shape if isinstance(extent, int))
        return numbers if len(numbers) == len(shape) else None


def _beside_batch(shape: Sequence[int | str | None] | None) -> tuple[str, Extent] | None:
    """The name of the first axis and the other axes; other names are not trusted, some exporters repeat one ("?")."""
    if not shape or not isinstance(shape[0], str) or not shape[0].isidentifier():
        return None
    rest = tuple(extent for extent in shape[1:] if isinstance(extent, int))
    return (shape[0], rest) if len(rest) + 1 == len(shape) else None


def constant_of(value: ir.Value | None) -> npt.NDArray[np.generic] | None:
    """The array behind an initializer or a Constant node; no feed of a session overrides it."""
    if value is None:
        return None
    tensor = ir.convenience.get_const_tensor(value)
    return None if tensor is None or tensor.dtype == ir.DataType.STRING else tensor.numpy()


@dataclasses.dataclass(frozen=True)
class Step:
    """A node and the errors of its operands.

    Attributes:
        node: the node, with the compressed model's constants.
        errors: one entry an input, 0 where it is missing or equal in both models.
        extents: the shapes of its operands.
        norms: operator norms by output name, each computed once.
    """

    node: ir.Node
    errors: tuple[float, ...]
    extents: Extents
    norms: dict[str, float] = dataclasses.field(default_factory=dict, repr=False)

    @property
    def output(self) -> ir.Value:
        """The first output."""
        return self.node.outputs[0]

    @property
    def opset(self) -> int:
        """Version of the standard operators."""
        graph = self.node.graph
        return self.node.version or (graph.opset_imports.get("", 1) if graph is not None else 1)

    def operand(self, index: int) -> ir.Value:
        """Input `index`, which must be there."""
        value = self.node.inputs[index] if index < len(self.node.inputs) else None
        if value is None:
            raise NoConstantError(f"its input {index} is missing")
        return value

    def wrong(self) -> list[int]:
        """The inputs that carry an error."""
        return [index for index, error in enumerate(self.errors) if error]

    def only(self, index: int = 0) -> float:
        """The error of input `index`, the only one that may carry one."""
        others = [other for other in self.wrong() if other != index]
        if others:
            raise NoConstantError(f"its input {others[0]} depends on compressed layers")
        return self.errors[index]

    def spread(self, index: int) -> float:
        """The error of input `index` after it is broadcast to the output's shape."""
        error = self.errors[index]
        return error * math.sqrt(self.extents.ratio(self.output, self.operand(index))) if error else 0.0

    def constant(self, index: int) -> Array | None:
        """Input `index` as float64, if it is a constant."""
        array = constant_of(self.node.inputs[index]) if index < len(self.node.inputs) else None
        return None if array is None else array.astype(np.float64)

    def needed(self, index: int) -> Array:
        """Input `index`, which must be a constant."""
        array = self.constant(index)
        if array is None:
            raise NoConstantError(f"its input {index} is computed while the model runs")
        return array

    def norm(self, compute: Callable[[], float]) -> float:
        """The node's operator norm, computed once."""
        key = self.output.name or ""
        if key not in self.norms:
            self.norms[key] = compute()
        return self.norms[key]

    def integer(self, name: str, default: int) -> int:
        """An integer attribute."""
        attribute = self.node.attributes.get(name)
        return default if attribute is None else attribute.as_int()

    def integers(self, name: str, default: Extent) -> Extent:
        """An attribute of several integers."""
        attribute = self.node.attributes.get(name)
        return default if attribute is None else tuple(attribute.as_ints())

    def number(self, name: str, default: float) -> float:
        """A floating-point attribute."""
        attribute = self.node.attributes.get(name)
        return default if attribute is None else attribute.as_float()

    def text(self, name: str, default: str) -> str:
        """A text attribute."""
        attribute = self.node.attributes.get(name)
        return default if attribute is None else attribute.as_string()


_RULES: dict[str, Rule] = {}


def error_after(step: Step) -> float:
    """Bound on the error of the node's first output (of every output, for Split).

    Raises:
        NoConstantError: the operator has no constant for these operands.
    """
    known = step.node.domain in ("", "ai.onnx")
    rule = _RULES.get(step.node.op_type) if known else None
    if rule is None:
        raise NoConstantError("no Lipschitz constant is known for it")
    return rule(step)


def _rule(*operators: str) -> Callable[[Rule], Rule]:
    def register(function: Rule) -> Rule:
        for operator in operators:
            if operator in _RULES:
                raise ValueError(f"{operator} has two rules")
            _RULES[operator] = function
        return function

    return register


def _slope(operator: str, slope: Callable[[Step], float]) -> None:
    """Register an operator on one operand, elementwise or not, with the constant `slope`."""
    _rule(operator)(lambda step: slope(step) * step.only())


# ---------------------------------------------------------------- one operand, a constant of its own
_STEEPEST = {
    1.0: ("Relu", "Clip", "Tanh", "Softmax", "Abs", "Neg", "Sin", "Cos", "Atan", "Asinh", "Softplus", "Softsign"),
    SILU_SLOPE: ("Swish",),
    MISH_SLOPE: ("Mish",),
    1.13: ("Gelu",),
    1.5: ("HardSwish",),
    0.25: ("Sigmoid",),
    ERF_SLOPE: ("Erf",),
}
_MOVES = (
    *("Identity", "Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "DepthToSpace", "SpaceToDepth"),
    *("Slice", "Split", "Compress", "ReverseSequence", "Trilu"),
)
"""Operators that put every element in at most one place."""
_SHRINKS = ("GlobalMaxPool", "ReduceMax", "ReduceMin", "ReduceL2", "ReduceLogSumExp", "TopK")
"""Each result changes by at most the norm of the change of the elements it was taken from (for TopK, of all)."""

for _constant, _operators in _STEEPEST.items():
    for _operator in _operators:
        _slope(_operator, lambda step, constant=_constant: constant)  # type: ignore[misc]
for _operator in (*_MOVES, *_SHRINKS):
    _slope(_operator, lambda step: 1.0)
_slope("LeakyRelu", lambda step: max(1.0, abs(step.number("alpha", 0.01))))
_slope("Elu", lambda step: max(1.0, abs(step.number("alpha", 1.0))))
_slope("Celu", lambda step: 1.0)
_slope("HardSigmoid", lambda step: abs(step.number("alpha", 0.2)))
_slope("PRelu", lambda step: max(1.0, _largest(step.needed(1))))
_slope("GlobalAveragePool", lambda step: math.sqrt(step.extents.ratio(step.output, step.operand(0))))
_slope("ReduceMean", lambda step: math.sqrt(step.extents.ratio(step.output, step.operand(0))))
_slope("ReduceSum", lambda step: math.sqrt(step.extents.ratio(step.operand(0), step.output)))
_slope("ReduceL1", lambda step: math.sqrt(step.extents.ratio(step.operand(0), step.output)))
_slope("Expand", lambda step: math.sqrt(step.extents.ratio(step.output, step.operand(0))))
_slope("Tile", lambda step: math.sqrt(step.extents.ratio(step.output, step.operand(0))))


def _largest(array: Array) -> float:
    return float(np.abs(array).max(initial=0.0))


@_rule("Selu")
def _selu(step: Step) -> float:
    alpha, gamma = step.number("alpha", 1.6732632), step.number("gamma", 1.0507010)
    return abs(gamma) * max(1.0, abs(alpha)) * step.only()


@_rule("LogSoftmax")
def _log_softmax(step: Step) -> float:
    """The Jacobian is I − 1pᵀ, an oblique projection of norm √n ‖p‖ at most."""
    merged = step.opset < 13
    axis = step.integer("axis", 1 if merged else -1)
    shapes = [shape for (shape,) in step.extents.cases(step.operand(0))]
    sizes = (math.prod(shape[axis:]) if merged else shape[axis] for shape in shapes)
    return math.sqrt(max(sizes, default=0)) * step.only()


@_rule("Cast", "CastLike")
def _cast(step: Step) -> float:
    target = ir.DataType(step.integer("to", int(ir.DataType.FLOAT)))
    kind = step.output.dtype if step.node.op_type == "CastLike" else target
    if kind is None or not kind.is_floating_point() or kind.bitwidth < 16:
        raise NoConstantError("its result is discrete")
    return step.only()


@_rule("Dropout")
def _dropout(step: Step) -> float:
    training = step.constant(2)
    if len(step.node.inputs) > 2 and step.node.inputs[2] is not None and (training is None or bool(training)):
        raise NoConstantError("it drops at random")
    return step.only()


@_rule("BatchNormalization")
def _batch_normalization(step: Step) -> float:
    if step.integer("training_mode", 0):
        raise NoConstantError("it normalises by the batch's own statistics")
    scale, variance = step.needed(1), step.needed(4)
    return _largest(scale / np.sqrt(variance + step.number("epsilon", 1e-5))) * step.only()


# ---------------------------------------------------------------- several operands
@_rule("Add", "Sub", "Sum")
def _sum(step: Step) -> float:
    return sum(step.spread(index) for index in range(len(step.errors)))


@_rule("Mean")
def _mean(step: Step) -> float:
    return _sum(step) / len(step.errors)


@_rule("Max", "Min")
def _extreme(step: Step) -> float:
    """|max(a, b) − max(ã, b̃)|² ≤ |a − ã|² + |b − b̃|²."""
    return math.hypot(*(step.spread(index) for index in range(len(step.errors))))


@_rule("Concat")
def _concat(step: Step) -> float:
    return math.hypot(*step.errors)


@_rule("Where", "ScatterND", "ScatterElements", "Scatter")
def _select(step: Step) -> float:
    """Every result is taken from one of two operands, chosen by what is equal in both models."""
    chooser = 0 if step.node.op_type == "Where" else 1
    if step.errors[chooser]:
        raise NoConstantError("what it selects depends on compressed layers")
    if step.text("reduction", "none") != "none":
        raise NoConstantError("it combines updates")
    if chooser:
        return math.hypot(step.errors[0], step.errors[2])
    return math.hypot(step.spread(1), step.spread(2))


@_rule("Mul")
def _multiply(step: Step) -> float:
    wrong = step.wrong()
    if len(wrong) == 2:
        return _gated(step)
    factor = step.constant(1 - wrong[0])
    if factor is None:
        raise NoConstantError("its factor is computed while the model runs")
    return _largest(factor) * step.spread(wrong[0])


@_rule("Div")
def _divide(step: Step) -> float:
    if 1 in step.wrong():
        raise NoConstantError("its divisor depends on compressed layers")
    divisor = step.needed(1)
    if not divisor.all():
        raise NoConstantError("it divides by 0")
    return _largest(1 / divisor) * step.spread(0)


def _gated(step: Step) -> float:
    """Error of x · gate(x), where that is a known activation of x; any other product of activations has no constant."""
    for data, gate in ((0, 1), (1, 0)):
        slope = _gate_slope(step.operand(data), step.operand(gate).producer())
        # A gate whose own constants were compressed carries more error than x through its slope: not this pattern.
        if slope is not None and step.errors[gate] <= step.errors[data]:
            return slope * step.errors[data]
    raise NoConstantError("it is a product of two activations")


def _gate_slope(data: ir.Value, gate: ir.Node | None) -> float | None:
    if gate is None:
        return None
    inner = gate.inputs[0].producer() if gate.inputs[0] is not None else None
    if gate.op_type == "Sigmoid" and gate.inputs[0] is data:
        return SILU_SLOPE
    if gate.op_type == "Tanh" and inner is not None and inner.op_type == "Softplus" and inner.inputs[0] is data:
        return MISH_SLOPE
    if gate.op_type == "HardSigmoid" and gate.inputs[0] is data:
        view = Step(gate, (), Extents({}))
        offset = view.number("beta", 0.5)
        return max(1.0, abs(offset), abs(2.0 - offset))
    if gate.op_type == "Clip" and inner is not None and inner.op_type == "Add":
        return _shifted_clip_slope(data, inner, Step(gate, (), Extents({})))
    return None


def _shifted_clip_slope(data: ir.Value, shift: ir.Node, clip: Step) -> float | None:
    """Slope of x · clip(x + c, low, high): low, then 2x + c, then high."""
    others = [value for value in shift.inputs if value is not data]
    offset = constant_of(others[0]) if len(others) == 1 else None
    low, high = clip.constant(1), clip.constant(2)
    if clip.opset < 11:
        low, high = np.array(clip.number("min", -math.inf)), np.array(clip.number("max", math.inf))
    if offset is None or offset.size != 1 or low is None or high is None:
        return None
    middle, bottom, top = float(offset.item()), float(low), float(high)
    slope = max(abs(bottom), abs(top), abs(2 * bottom - middle), abs(2 * top - middle))
    return slope if math.isfinite(slope) else None


# ---------------------------------------------------------------- weights
def spectral_norm(stack: Array) -> float:
    """The largest singular value in a stack of matrices (..., rows, columns), or at most 1e-6 of it more."""
    if not stack.size:
        return 0.0
    turned = np.swapaxes(stack, -1, -2)
    grams = stack @ turned if stack.shape[-2] <= stack.shape[-1] else turned @ stack
    if grams.shape[-1] <= EXACT_SIZE:
        return math.sqrt(max(float(np.linalg.eigvalsh(grams)[..., -1].max()), 0.0))
    return math.sqrt(max(_top_eigenvalue(gram) for gram in grams.reshape(-1, *grams.shape[-2:])))


def _top_eigenvalue(gram: Array) -> float:
    """Lanczos from below, proven from above: t I − G has a Cholesky factor, so no eigenvalue exceeds t.

    Finding every eigenvalue takes many times as long.
    """
    start = np.random.default_rng(0).standard_normal(len(gram))
    try:
        found = float(scipy.sparse.linalg.eigsh(gram, k=1, which="LA", v0=start, return_eigenvectors=False)[0])
        top = found * (1 + 1e-6)
        np.linalg.cholesky(top * np.eye(len(gram)) - gram)
    except (scipy.sparse.linalg.ArpackError, np.linalg.LinAlgError):
        return max(float(np.linalg.eigvalsh(gram)[-1]), 0.0)
    return top


def windows(step: Step, kernel: Extent, grid: ir.Value) -> list[int]:
    """The most windows one input lies in, an axis each: ⌈k / s⌉, and no more than the grid has positions.

    With dilation d the offsets 0, d, 2d … share a residue modulo the stride s more often: s becomes s / gcd(s, d).
    """
    rank = len(kernel)
    strides, dilations = step.integers("strides", (1,) * rank), step.integers("dilations", (1,) * rank)
    most = [-(-k // (s // math.gcd(s, d))) for k, s, d in zip(kernel, strides, dilations, strict=True)]
    shape = step.extents.inferred(grid)
    if shape is None or len(shape) != rank + 2:
        return most
    return [min(m, extent) if isinstance(extent, int) else m for m, extent in zip(most, shape[2:], strict=True)]


@_rule("Conv")
def _conv(step: Step) -> float:
    """√Π⌈k/s⌉ · ‖Ŵ as n × (c·k) matrix‖₂: the matrix acts on patches, and patches repeat each input so often."""
    weight = step.needed(1)
    stack = weight.reshape(step.integer("group", 1), -1, math.prod(weight.shape[1:]))
    copies = math.prod(windows(step, weight.shape[2:], step.output))
    return math.sqrt(copies) * step.norm(lambda: spectral_norm(stack)) * step.only()


@_rule("ConvTranspose")
def _conv_transpose(step: Step) -> float:
    """The adjoint of the convolution with the same weight: its norm is the same."""
    weight = step.needed(1)
    stack = weight.reshape(step.integer("group", 1), -1, math.prod(weight.shape[1:]))
    copies = math.prod(windows(step, weight.shape[2:], step.operand(0)))
    return math.sqrt(copies) * step.norm(lambda: spectral_norm(stack)) * step.only()


@_rule("Gemm")
def _gemm(step: Step) -> float:
    wrong = [index for index in step.wrong() if index < 2]
    if len(wrong) == 2:
        raise NoConstantError("it is a product of two activations")
    carried = abs(step.number("beta", 1.0)) * step.spread(2) if len(step.errors) > 2 else 0.0
    if wrong:
        weight = step.needed(1 - wrong[0])
        carried += abs(step.number("alpha", 1.0)) * step.norm(lambda: spectral_norm(weight)) * step.errors[wrong[0]]
    return carried


@_rule("MatMul")
def _matmul(step: Step) -> float:
    wrong = step.wrong()
    if len(wrong) == 2:
        raise NoConstantError("it is a product of two activations")
    weight = step.needed(1 - wrong[0])
    if weight.ndim < 2:
        return float(np.linalg.norm(weight)) * step.errors[wrong[0]]
    result = step.norm(lambda: spectral_norm(weight)) * step.errors[wrong[0]]
    if math.prod(weight.shape[:-2]) == 1:
        return result
    rows, columns = weight.shape[-2:] if wrong[0] else weight.shape[:-3:-1]
    return result * math.sqrt(step.extents.ratio(step.output, step.operand(wrong[0])) * columns / max(rows, 1))


# ---------------------------------------------------------------- windows and copies
@_rule("MaxPool")
def _max_pool(step: Step) -> float:
    return math.sqrt(math.prod(windows(step, step.integers("kernel_shape", ()), step.output))) * step.only()


@_rule("AveragePool")
def _average_pool(step: Step) -> float:
    """Its rows sum to at most 1, so its norm is at most the root of its largest column sum."""
    kernel = step.integers("kernel_shape", ())
    pads = step.integers("pads", (0,) * (2 * len(kernel)))
    plain = step.text("auto_pad", "NOTSET") in ("NOTSET", "VALID") and not step.integer("ceil_mode", 0)
    if plain and (not any(pads) or step.integer("count_include_pad", 0)):
        sums = [m / k for m, k in zip(windows(step, kernel, step.output), kernel, strict=True)]
        return math.sqrt(math.prod(sums)) * step.only()
    cases = step.extents.cases(step.operand(0), step.output)
    largest = (math.prod(_average_sums(step, kernel, inner, outer)) for inner, outer in cases)
    return math.sqrt(max(largest, default=0.0)) * step.only()


def _average_sums(step: Step, kernel: Extent, inner: Extent, outer: Extent) -> list[float]:
    """Largest column sum an axis where windows at the border divide by the inputs they really hold (never fewer)."""
    rank = len(kernel)
    strides, dilations = step.integers("strides", (1,) * rank), step.integers("dilations", (1,) * rank)
    pads, auto = step.integers("pads", (0,) * (2 * rank)), step.text("auto_pad", "NOTSET")
    result = []
    for axis, (size, grid) in enumerate(zip(inner[2:], outer[2:], strict=True)):
        k, s, d = kernel[axis], strides[axis], dilations[axis]
        first = pads[axis]
        if auto.startswith("SAME"):
            total = max((grid - 1) * s + (k - 1) * d + 1 - size, 0)
            first = total // 2 if auto == "SAME_UPPER" else total - total // 2
        places = np.arange(grid)[:, None] * s - first + np.arange(k)[None, :] * d
        held = (places >= 0) & (places < size)
        shares = np.broadcast_to(1 / np.maximum(held.sum(axis=1, keepdims=True), 1), held.shape)
        result.append(float(np.bincount(places[held], weights=shares[held], minlength=1).max()))
    return result


@_rule("Pad")
def _pad(step: Step) -> float:
    mode = step.text("mode", "constant")
    error = step.only()
    if mode == "constant":
        return error
    attribute = step.integers("pads", step.integers("paddings", ()))
    pads = np.array(attribute) if attribute else step.needed(1)
    before, after = np.maximum(pads.reshape(2, -1), 0)
    if mode == "reflect":
        copies = 1.0 + (before > 0) + (after > 0)
    elif mode == "edge":
        copies = 1.0 + before + after
    else:
        raise NoConstantError(f"padding mode {mode!r} has none")
    return math.sqrt(float(np.prod(copies))) * error


@_rule("Gather")
def _gather(step: Step) -> float:
    error = step.only()
    indices = step.constant(1)
    if indices is None:
        sizes = (math.prod(shape) for (shape,) in step.extents.cases(step.operand(1)))
        return math.sqrt(max(sizes, default=0)) * error
    shape, axis = step.extents.inferred(step.operand(0)), step.integer("axis", 0)
    extent = shape[axis] if shape is not None else None
    if isinstance(extent, int):
        return math.sqrt(_most_frequent(indices % extent)) * error
    # From the front and from the back: without the extent they may meet.
    return math.sqrt(_most_frequent(indices[indices >= 0]) + _most_frequent(indices[indices < 0])) * error


def _most_frequent(values: Array) -> int:
    return int(np.unique(values, return_counts=True)[1].max(initial=0))


# ---------------------------------------------------------------- resampling
@_rule("Resize", "Upsample")
def _resize(step: Step) -> float:
    mode = step.text("mode", "nearest")
    if mode not in ("nearest", "linear", "bilinear") or step.integer("antialias", 0):
        raise NoConstantError(f"its mode {mode!r} has none")
    if step.text("keep_aspect_ratio_policy", "stretch") != "stretch":
        raise NoConstantError("its keep_aspect_ratio_policy is not analysed")
    error, worst = step.only(), 0.0
    for inner, outer in step.extents.cases(step.operand(0), step.output):
        scales = _scales(step, inner, outer)
        axes = zip(inner, outer, scales, strict=True)
        worst = max(worst, math.prod(_column_sum(step, *axis) for axis in axes))
    return math.sqrt(worst) * error


def _scales(step: Step, inner: Extent, outer: Extent) -> list[float]:
    ratios = [o / max(i, 1) for i, o in zip(inner, outer, strict=True)]
    attribute = step.node.attributes.get("scales")
    place = 2 if step.node.op_type == "Resize" and step.opset >= 11 else 1
    value = step.node.inputs[place] if place < len(step.node.inputs) else None
    if attribute is not None:
        given = [float(scale) for scale in attribute.as_floats()]
    elif value is None:
        return ratios
    else:
        given = [float(scale) for scale in step.needed(place).ravel()]
    if not given:
        return ratios
    for axis, scale in zip(step.integers("axes", tuple(range(len(ratios)))), given, strict=True):
        ratios[axis] = scale
    return ratios


def _column_sum(step: Step, inner: int, outer: int, scale: float) -> float:
    """Most copies of one input along an axis, or for linear interpolation its largest total weight."""
    if inner == outer and scale == 1.0:
        return 1.0
    places = _sources(step, inner, outer, scale)
    if step.text("mode", "nearest") == "nearest":
        return _most_copies(step, places, inner, scale)
    places = np.clip(places, 0, inner - 1)
    low = np.floor(places).astype(np.int64)
    high, share = np.minimum(low + 1, inner - 1), places - low
    sums = np.bincount(low, 1 - share, minlength=inner) + np.bincount(high, share, minlength=inner)
    return max(float(sums.max(initial=0.0)), 0.0)


def _sources(step: Step, inner: int, outer: int, scale: float) -> Array:
    """Where in the input each output of an axis is taken from."""
    modern = step.node.op_type == "Resize" and step.opset >= 11
    transform = step.text("coordinate_transformation_mode", "half_pixel") if modern else "asymmetric"
    index = np.arange(outer, dtype=np.float64)
    if transform == "asymmetric":
        return index / scale
    if transform == "align_corners":
        return index * ((inner - 1) / (outer - 1)) if outer > 1 else index * 0
    if transform == "half_pixel" or (transform == "pytorch_half_pixel" and outer > 1):
        return (index + 0.5) / scale - 0.5
    if transform == "pytorch_half_pixel":
        return index * 0
    raise NoConstantError(f"its coordinates {transform!r} are not analysed")


def _most_copies(step: Step, places: Array, inner: int, scale: float) -> float:
    modern = step.node.op_type == "Resize" and step.opset >= 11
    rounding = step.text("nearest_mode", "round_prefer_floor") if modern else "ceil" if scale < 1 else "floor"
    shift, take = {
        "floor": (0.0, np.floor),
        "ceil": (0.0, np.ceil),
        "round_prefer_floor": (-0.5, np.ceil),
        "round_prefer_ceil": (0.5, np.floor),
    }[rounding]
    # Whole scales divide exactly; other quotients may round to either side of a boundary.
    slack = 0.0 if scale.is_integer() else SAME_PLACE
    ends = [np.clip(take(places + shift + side), 0, inner - 1) for side in (-slack, slack)]
    low, high = (end.astype(np.int64) for end in ends)
    counts = np.bincount(low, minlength=inner) + np.bincount(high[high != low], minlength=inner)
    return float(counts.max(initial=0))
