"""Layers, normalisations, pooling and reductions as differentiable functions of PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from netsurgeon.models.onnx_module.registry import Attributes, Inputs, Operator, given, operator, some, together


def _padded(x: Any, attributes: Attributes, kernel: Sequence[int], value: float = 0.0) -> tuple[Any, list[int]]:
    """The input padded where PyTorch cannot do it by itself, and the padding left to PyTorch, one number an axis."""
    axes = len(kernel)
    strides, dilations = attributes.get("strides", [1] * axes), attributes.get("dilations", [1] * axes)
    pads = list(attributes.get("pads", [0] * 2 * axes))
    mode = attributes.get("auto_pad", "NOTSET")
    if mode.startswith("SAME"):
        sizes = zip(x.shape[2:], kernel, strides, dilations, strict=True)
        padding = [max((-(-n // s) - 1) * s + (k - 1) * d + 1 - n, 0) for n, k, s, d in sizes]
        small, large = [amount // 2 for amount in padding], [-(-amount // 2) for amount in padding]
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
    a, b, *rest = together(inputs)
    product = (a.T if attributes.get("transA") else a) @ (b.T if attributes.get("transB") else b)
    product = attributes.get("alpha", 1.0) * product
    return product if not rest or rest[0] is None else product + attributes.get("beta", 1.0) * rest[0]


@operator("MatMul")
def _mat_mul(inputs: Inputs, attributes: Attributes) -> Any:
    del attributes
    a, b = together(inputs)
    return a @ b


@operator("BatchNormalization")
def _batch_norm(inputs: Inputs, attributes: Attributes) -> Any:
    """With the statistics of the file, which stay as they are."""
    x, scale, shift, mean, variance = (value for value in inputs if value is not None)
    return functional.batch_norm(x, mean, variance, scale, shift, eps=attributes.get("epsilon", 1e-5))


@operator("InstanceNormalization")
def _instance_norm(inputs: Inputs, attributes: Attributes) -> Any:
    x, scale, shift = (value for value in inputs if value is not None)
    return functional.instance_norm(x, weight=scale, bias=shift, eps=attributes.get("epsilon", 1e-5))


@operator("LayerNormalization")
def _layer_norm(inputs: Inputs, attributes: Attributes) -> Any:
    x, scale, *rest = inputs
    assert x is not None
    axis = attributes.get("axis", -1) % x.ndim
    shape = x.shape[axis:]
    shift = rest[0] if rest else None
    scaled = functional.layer_norm(x, shape, None, None, attributes.get("epsilon", 1e-5)) * some(scale)
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


@operator("GlobalAveragePool")
def _global_average_pool(inputs: Inputs, attributes: Attributes) -> Any:
    del attributes
    x = some(inputs[0])
    return x.mean(tuple(range(2, x.ndim)), keepdim=True)


@operator("GlobalMaxPool")
def _global_max_pool(inputs: Inputs, attributes: Attributes) -> Any:
    del attributes
    x = some(inputs[0])
    return x.amax(tuple(range(2, x.ndim)), keepdim=True)


def _softmax(function: Callable[..., Tensor]) -> Operator:
    def apply(inputs: Inputs, attributes: Attributes) -> Any:
        x, version = some(inputs[0]), attributes["opset"]
        axis = attributes.get("axis", -1 if version >= 13 else 1)
        if version >= 13 or axis % x.ndim == x.ndim - 1:
            return function(x, axis)
        return function(x.flatten(axis), -1).reshape(x.shape)  # over all axes from this one on

    return apply


operator("Softmax")(_softmax(torch.softmax))
operator("LogSoftmax")(_softmax(torch.log_softmax))


def _reduction(function: Callable[..., Tensor]) -> Operator:
    def apply(inputs: Inputs, attributes: Attributes) -> Any:
        x, axes = some(inputs[0]), given(inputs, attributes, 1, "axes")
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


@operator("ArgMax")
def _arg_max(inputs: Inputs, attributes: Attributes) -> Any:
    if attributes.get("select_last_index"):
        raise NotImplementedError("ArgMax of the last of equal numbers")
    return some(inputs[0]).argmax(attributes.get("axis", 0), keepdim=bool(attributes.get("keepdims", 1)))
