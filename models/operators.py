"""ONNX operators as differentiable functions of PyTorch, by name; versions 9 and newer of the default domain.

A function takes the node's inputs (None for one left out) and attributes and gives its output, or a tuple of them.
Constants that moved from attributes to inputs from one version to the next are looked for in both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

Attributes = Mapping[str, Any]
Inputs = Sequence[Tensor | None]
Operator = Callable[[Inputs, Attributes], Any]

OPERATORS: dict[str, Operator] = {}


def operator(*names: str) -> Callable[[Operator], Operator]:
    """Register a function for these operators; a name can be given once only."""

    def register(function: Operator) -> Operator:
        for name in names:
            if name in OPERATORS:
                raise KeyError(f"{name} is registered twice")
            OPERATORS[name] = function
        return function

    return register


def _unary(name: str, function: Callable[[Any], Tensor]) -> None:
    operator(name)(lambda inputs, attributes: function(inputs[0]))


for _name, _function in {
    "Abs": torch.abs,
    "Ceil": torch.ceil,
    "Cos": torch.cos,
    "Dropout": lambda x: x,
    "Erf": torch.erf,
    "Exp": torch.exp,
    "Floor": torch.floor,
    "GlobalAveragePool": lambda x: x.mean(tuple(range(2, x.ndim)), keepdim=True),
    "GlobalMaxPool": lambda x: x.amax(tuple(range(2, x.ndim)), keepdim=True),
    "HardSwish": functional.hardswish,
    "Identity": lambda x: x,
    "Log": torch.log,
    "Mish": functional.mish,
    "Neg": torch.neg,
    "Not": torch.logical_not,
    "Reciprocal": torch.reciprocal,
    "Relu": torch.relu,
    "Shape": lambda x: torch.tensor(x.shape, dtype=torch.int64),
    "Sigmoid": torch.sigmoid,
    "Sin": torch.sin,
    "Softplus": functional.softplus,
    "Sqrt": torch.sqrt,
    "Tanh": torch.tanh,
}.items():
    _unary(_name, _function)


def _binary(name: str, function: Callable[[Any, Any], Tensor]) -> None:
    def fold(inputs: Inputs, attributes: Attributes) -> Any:
        del attributes
        result: Any = inputs[0]
        for other in inputs[1:]:
            result = function(result, other)
        return result

    operator(name)(fold)


_FOLDED: dict[str, Callable[[Any, Any], Tensor]] = {
    "Add": torch.add,
    "And": torch.logical_and,
    "Div": lambda a, b: torch.div(a, b, rounding_mode=None if a.is_floating_point() else "trunc"),
    "Equal": torch.eq,
    "Greater": torch.gt,
    "Less": torch.lt,
    "MatMul": torch.matmul,
    "Max": torch.maximum,
    "Min": torch.minimum,
    "Mul": torch.mul,
    "Pow": torch.pow,
    "PRelu": lambda x, slope: torch.where(x >= 0, x, slope * x),
    "Sub": torch.sub,
    "Sum": torch.add,
}
for _name, _two in _FOLDED.items():
    _binary(_name, _two)


def _given(inputs: Inputs, attributes: Attributes, place: int, name: str) -> Any:
    """A constant as Python numbers, from an input or an attribute; None where neither is there."""
    value = inputs[place] if len(inputs) > place else None
    return attributes.get(name) if value is None else value.tolist()


def _number(inputs: Inputs, attributes: Attributes, place: int, name: str) -> Any:
    """The same for one number, which some exporters write as an array of one."""
    value = _given(inputs, attributes, place, name)
    return value[0] if isinstance(value, list) else value


def _padded(x: Any, attributes: Attributes, kernel: Sequence[int], value: float = 0.0) -> tuple[Any, list[int]]:
    """The input padded where PyTorch cannot do it by itself, and the padding left to PyTorch, one number an axis."""
    axes = len(kernel)
    strides, dilations = attributes.get("strides", [1] * axes), attributes.get("dilations", [1] * axes)
    pads = list(attributes.get("pads", [0] * 2 * axes))
    mode = attributes.get("auto_pad", "NOTSET")
    if mode.startswith("SAME"):
        sizes = zip(x.shape[2:], kernel, strides, dilations, strict=True)
        wanted = [max((-(-n // s) - 1) * s + (k - 1) * d + 1 - n, 0) for n, k, s, d in sizes]
        small, large = [each // 2 for each in wanted], [-(-each // 2) for each in wanted]
        pads = small + large if mode == "SAME_UPPER" else large + small
    if mode == "VALID":
        pads = [0] * 2 * axes
    if pads[:axes] == pads[axes:] and value == 0.0:
        return x, pads[:axes]
    flat = [side for axis in reversed(range(axes)) for side in (pads[axis], pads[axes + axis])]
    return functional.pad(x, flat, value=value), [0] * axes


@operator("Conv")
def _conv(inputs: Inputs, attributes: Attributes) -> Any:
    x, weight, *rest = inputs
    assert weight is not None
    axes = weight.ndim - 2
    x, padding = _padded(x, attributes, weight.shape[2:])
    convolve: Any = (functional.conv1d, functional.conv2d, functional.conv3d)[axes - 1]
    options = {"stride": attributes.get("strides", 1), "dilation": attributes.get("dilations", 1)}
    return convolve(x, weight, rest[0] if rest else None, padding=padding, groups=attributes.get("group", 1), **options)


@operator("ConvTranspose")
def _conv_transpose(inputs: Inputs, attributes: Attributes) -> Any:
    x, weight, *rest = inputs
    assert weight is not None
    axes = weight.ndim - 2
    pads = attributes.get("pads", [0] * 2 * axes)
    if attributes.get("auto_pad", "NOTSET") != "NOTSET" or "output_shape" in attributes or pads[:axes] != pads[axes:]:
        raise NotImplementedError("ConvTranspose with auto_pad, output_shape or uneven pads")
    convolve: Any = (functional.conv_transpose1d, functional.conv_transpose2d, functional.conv_transpose3d)[axes - 1]
    return convolve(
        x,
        weight,
        rest[0] if rest else None,
        stride=attributes.get("strides", 1),
        padding=pads[:axes],
        output_padding=attributes.get("output_padding", 0),
        groups=attributes.get("group", 1),
        dilation=attributes.get("dilations", 1),
    )


@operator("Gemm")
def _gemm(inputs: Inputs, attributes: Attributes) -> Any:
    a, b, *rest = inputs
    assert a is not None
    assert b is not None
    product = (a.T if attributes.get("transA") else a) @ (b.T if attributes.get("transB") else b)
    product = attributes.get("alpha", 1.0) * product
    return product if not rest or rest[0] is None else product + attributes.get("beta", 1.0) * rest[0]


@operator("BatchNormalization")
def _batch_norm(inputs: Inputs, attributes: Attributes) -> Any:
    """With the statistics of the file, which stay as they are."""
    x, scale, shift, mean, variance = (each for each in inputs if each is not None)
    return functional.batch_norm(x, mean, variance, scale, shift, eps=attributes.get("epsilon", 1e-5))


@operator("InstanceNormalization")
def _instance_norm(inputs: Inputs, attributes: Attributes) -> Any:
    x, scale, shift = (each for each in inputs if each is not None)
    return functional.instance_norm(x, weight=scale, bias=shift, eps=attributes.get("epsilon", 1e-5))


@operator("LayerNormalization")
def _layer_norm(inputs: Inputs, attributes: Attributes) -> Any:
    x, scale, *rest = inputs
    assert x is not None
    axis = attributes.get("axis", -1) % x.ndim
    shape = x.shape[axis:]
    shift = rest[0] if rest else None
    scaled = functional.layer_norm(x, shape, None, None, attributes.get("epsilon", 1e-5)) * _some(scale)
    return scaled if shift is None else scaled + shift


@operator("LRN")
def _lrn(inputs: Inputs, attributes: Attributes) -> Any:
    (x,) = inputs
    assert x is not None
    constants = (attributes.get("alpha", 1e-4), attributes.get("beta", 0.75), attributes.get("bias", 1.0))
    return functional.local_response_norm(x, attributes["size"], *constants)


@operator("MaxPool")
def _max_pool(inputs: Inputs, attributes: Attributes) -> Any:
    kernel = attributes["kernel_shape"]
    x, padding = _padded(inputs[0], attributes, kernel)
    if x is not inputs[0]:
        x, padding = _padded(inputs[0], attributes, kernel, float("-inf"))
    pool: Any = (functional.max_pool1d, functional.max_pool2d, functional.max_pool3d)[len(kernel) - 1]
    stride = attributes.get("strides", [1] * len(kernel))
    dilation, ceil = attributes.get("dilations", 1), bool(attributes.get("ceil_mode", 0))
    return pool(x, kernel, stride, padding=padding, dilation=dilation, ceil_mode=ceil)


@operator("AveragePool")
def _average_pool(inputs: Inputs, attributes: Attributes) -> Any:
    kernel, counted = attributes["kernel_shape"], bool(attributes.get("count_include_pad", 0))
    if any(dilation != 1 for dilation in attributes.get("dilations", [])):
        raise NotImplementedError("AveragePool with dilations")
    x, padding = _padded(inputs[0], attributes, kernel)
    if x is not inputs[0] and not counted:
        raise NotImplementedError("AveragePool with uneven pads that do not count")
    pool: Any = (functional.avg_pool1d, functional.avg_pool2d, functional.avg_pool3d)[len(kernel) - 1]
    stride, ceil = attributes.get("strides", [1] * len(kernel)), bool(attributes.get("ceil_mode", 0))
    return pool(x, kernel, stride, padding=padding, ceil_mode=ceil, count_include_pad=counted)


@operator("Clip")
def _clip(inputs: Inputs, attributes: Attributes) -> Any:
    low, high = _number(inputs, attributes, 1, "min"), _number(inputs, attributes, 2, "max")
    return inputs[0] if low is None and high is None else torch.clamp(_some(inputs[0]), low, high)


def _some(x: Tensor | None) -> Tensor:
    assert x is not None
    return x


@operator("Elu")
def _elu(inputs: Inputs, attributes: Attributes) -> Any:
    return functional.elu(_some(inputs[0]), attributes.get("alpha", 1.0))


@operator("LeakyRelu")
def _leaky_relu(inputs: Inputs, attributes: Attributes) -> Any:
    return functional.leaky_relu(_some(inputs[0]), attributes.get("alpha", 0.01))


@operator("HardSigmoid")
def _hard_sigmoid(inputs: Inputs, attributes: Attributes) -> Any:
    return torch.clamp(attributes.get("alpha", 0.2) * _some(inputs[0]) + attributes.get("beta", 0.5), 0.0, 1.0)


@operator("Gelu")
def _gelu(inputs: Inputs, attributes: Attributes) -> Any:
    return functional.gelu(_some(inputs[0]), approximate=attributes.get("approximate", "none"))


def _softmax(function: Callable[..., Tensor]) -> Operator:
    def apply(inputs: Inputs, attributes: Attributes) -> Any:
        x, version = _some(inputs[0]), attributes["opset"]
        axis = attributes.get("axis", -1 if version >= 13 else 1)
        if version >= 13 or axis % x.ndim == x.ndim - 1:
            return function(x, axis)
        return function(x.flatten(axis), -1).reshape(x.shape)  # over all axes from this one on

    return apply


operator("Softmax")(_softmax(torch.softmax))
operator("LogSoftmax")(_softmax(torch.log_softmax))


def _reduction(function: Callable[..., Tensor]) -> Operator:
    def apply(inputs: Inputs, attributes: Attributes) -> Any:
        x, axes = _some(inputs[0]), _given(inputs, attributes, 1, "axes")
        if not axes:
            if attributes.get("noop_with_empty_axes"):
                return x
            axes = list(range(x.ndim))
        return function(x, tuple(axes), keepdim=bool(attributes.get("keepdims", 1)))

    return apply


_REDUCTIONS: dict[str, Callable[..., Tensor]] = {
    "ReduceL2": lambda x, axes, keepdim: torch.linalg.vector_norm(x, dim=axes, keepdim=keepdim),
    "ReduceMax": torch.amax,
    "ReduceMean": torch.mean,
    "ReduceMin": torch.amin,
    "ReduceSum": torch.sum,
}
for _name, _reduce in _REDUCTIONS.items():
    operator(_name)(_reduction(_reduce))


@operator("Reshape")
def _reshape(inputs: Inputs, attributes: Attributes) -> Any:
    x, shape = _some(inputs[0]), _given(inputs, attributes, 1, "shape")
    if not attributes.get("allowzero"):
        shape = [x.shape[axis] if side == 0 else side for axis, side in enumerate(shape)]
    return x.reshape(shape)


@operator("Flatten")
def _flatten(inputs: Inputs, attributes: Attributes) -> Any:
    x, axis = _some(inputs[0]), attributes.get("axis", 1)
    if axis == 0:
        return x.reshape(1, -1)
    return x.reshape(int(torch.tensor(x.shape[:axis]).prod()), -1)


@operator("Transpose")
def _transpose(inputs: Inputs, attributes: Attributes) -> Any:
    x = _some(inputs[0])
    return x.permute(attributes.get("perm", list(reversed(range(x.ndim)))))


@operator("Squeeze")
def _squeeze(inputs: Inputs, attributes: Attributes) -> Any:
    axes = _given(inputs, attributes, 1, "axes")
    return _some(inputs[0]).squeeze() if axes is None else _some(inputs[0]).squeeze(tuple(axes))


@operator("Unsqueeze")
def _unsqueeze(inputs: Inputs, attributes: Attributes) -> Any:
    x, axes = _some(inputs[0]), _given(inputs, attributes, 1, "axes")
    for axis in sorted(axis % (x.ndim + len(axes)) for axis in axes):
        x = x.unsqueeze(axis)
    return x


@operator("Concat")
def _concat(inputs: Inputs, attributes: Attributes) -> Any:
    return torch.cat([_some(each) for each in inputs], attributes["axis"])


@operator("Split")
def _split(inputs: Inputs, attributes: Attributes) -> Any:
    x, axis, sizes = _some(inputs[0]), attributes.get("axis", 0), _given(inputs, attributes, 1, "split")
    if sizes is None:
        sizes = -(-x.shape[axis] // attributes["outputs"])
    return torch.split(x, sizes, axis)


@operator("Slice")
def _slice(inputs: Inputs, attributes: Attributes) -> Any:
    x = _some(inputs[0])
    starts, ends = (_given(inputs, attributes, place, name) for place, name in ((1, "starts"), (2, "ends")))
    axes = _given(inputs, attributes, 3, "axes") or list(range(len(starts)))
    steps = _given(inputs, attributes, 4, "steps") or [1] * len(starts)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        places = range(x.shape[axis])[slice(start, end if step > 0 or end >= -x.shape[axis] else None, step)]
        x = x.index_select(axis, torch.tensor(places, dtype=torch.int64, device=x.device))
    return x


@operator("Gather")
def _gather(inputs: Inputs, attributes: Attributes) -> Any:
    x, indices, axis = _some(inputs[0]), _some(inputs[1]), attributes.get("axis", 0)
    axis %= x.ndim
    places = indices.to(x.device).long() % x.shape[axis]
    chosen = x.index_select(axis, places.flatten())
    return chosen.reshape((*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]))


@operator("Pad")
def _pad(inputs: Inputs, attributes: Attributes) -> Any:
    x, pads = _some(inputs[0]), _given(inputs, attributes, 1, "pads")
    axes = _given(inputs, attributes, 3, "axes") or list(range(x.ndim))
    sides = {axis % x.ndim: (pads[at], pads[len(axes) + at]) for at, axis in enumerate(axes)}
    mode = {"constant": "constant", "reflect": "reflect", "edge": "replicate"}[attributes.get("mode", "constant")]
    if mode != "constant":
        first = next((axis for axis in range(x.ndim) if any(sides.get(axis, (0, 0)))), x.ndim)
        flat = [side for axis in reversed(range(max(first, 2), x.ndim)) for side in sides.get(axis, (0, 0))]
        return functional.pad(x, flat, mode=mode)
    value = _number(inputs, attributes, 2, "value")
    flat = [side for axis in reversed(range(x.ndim)) for side in sides.get(axis, (0, 0))]
    return functional.pad(x, flat, value=0.0 if value is None else value)


@operator("Expand")
def _expand(inputs: Inputs, attributes: Attributes) -> Any:
    del attributes
    x, shape = _some(inputs[0]), _some(inputs[1]).tolist()
    return x.expand(torch.broadcast_shapes(x.shape, tuple(shape)))


@operator("Where")
def _where(inputs: Inputs, attributes: Attributes) -> Any:
    del attributes
    condition, one, other = (_some(each) for each in inputs)
    return torch.where(condition, one, other)


@operator("DepthToSpace")
def _depth_to_space(inputs: Inputs, attributes: Attributes) -> Any:
    x, size = _some(inputs[0]), attributes["blocksize"]
    batch, channels, height, width = x.shape
    if attributes.get("mode", "DCR") == "CRD":
        return functional.pixel_shuffle(x, size)
    x = x.reshape(batch, size, size, channels // size**2, height, width).permute(0, 3, 4, 1, 5, 2)
    return x.reshape(batch, channels // size**2, height * size, width * size)


@operator("Constant")
def _constant(inputs: Inputs, attributes: Attributes) -> Any:
    del inputs
    return attributes["value"]


@operator("ConstantOfShape")
def _constant_of_shape(inputs: Inputs, attributes: Attributes) -> Any:
    value = attributes.get("value", torch.zeros(1))
    return torch.full(_some(inputs[0]).tolist(), value.item(), dtype=value.dtype)


@operator("Cast")
def _cast(inputs: Inputs, attributes: Attributes) -> Any:
    return _some(inputs[0]).to(attributes["to"])
