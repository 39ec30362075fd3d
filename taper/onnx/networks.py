"""Kernels of networks in ONNX's operators: its own where it has them, else their definitions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from taper.compilation.passes import dtype_of, shape_of
from taper.compiler.graph import GraphNode
from taper.export.sizes import Repeated
from taper.onnx.writer import Writer, translation, unsupported

__all__: list[str] = []


# -- windows ---------------------------------------------------------------------------------------


@translation("kernel.convolution.convolve")
def _convolved(writer: Writer, node: GraphNode) -> str:
    x, weight, stride, padding, dilation, groups, bias = (*node.args, None)[:7]
    return str(writer.add(
        "Conv", *_given(writer, x, weight, bias), strides=list(stride),
        pads=[*padding, *padding], dilations=list(dilation), group=groups,
        kernel_shape=list(shape_of(weight)[2:]),
    ))


@translation("kernel.convolution.input_gradient")
def _transposed_convolution(writer: Writer, node: GraphNode) -> str:
    x, weight, size, stride, padding, dilation, groups, bias = (*node.args, None)[:8]
    kernel = shape_of(weight)[2:]
    extra = [n - ((m - 1) * s - 2 * p + d * (k - 1) + 1) for n, m, s, p, d, k in zip(
        size, shape_of(x)[2:], stride, padding, dilation, kernel, strict=True)]
    return str(writer.add(
        "ConvTranspose", *_given(writer, x, weight, bias), strides=list(stride),
        pads=[*padding, *padding], dilations=list(dilation), group=groups,
        kernel_shape=list(kernel), output_padding=extra,
    ))


def _given(writer: Writer, *operands: Any) -> list[str]:
    return [writer.operand(x) for x in operands if x is not None]


def _pooled(writer: Writer, node: GraphNode, op: str, **attributes: Any) -> str:
    x, windows, out, *_ = node.args
    lead = len(shape_of(x)) - len(out)
    shape, size = shape_of(x)[:lead], shape_of(x)[lead:]
    ends = [max((m - 1) * s + d * (k - 1) + 1 - p - n, 0)
            for n, m, k, s, p, d in zip(size, out, *windows[:4], strict=True)]
    name = writer.operand(x)
    if lead != 2:
        name = writer.reshape(name, (1, math.prod(shape), *size))
    if op == "AveragePool" and max(windows[3]) > 1:
        raise unsupported(node, "with a dilation")
    result = str(writer.add(
        op, name, kernel_shape=list(windows[0]), strides=list(windows[1]),
        pads=[*windows[2], *ends], dilations=list(windows[3]) if op == "MaxPool" else None,
        **attributes,
    ))
    return result if lead == 2 else writer.reshape(result, (*shape, *out))


@translation("kernel.pooling.max_pool")
def _max_pooled(writer: Writer, node: GraphNode) -> str:
    return _pooled(writer, node, "MaxPool")


@translation("kernel.pooling.max_pool_with_indices")
def _max_pooled_with_places(writer: Writer, node: GraphNode) -> list[str | None]:
    """ONNX counts places over the whole batch, so only the values are given."""
    return [_pooled(writer, node, "MaxPool"), None]


@translation("kernel.pooling.mean_pool")
def _mean_pooled(writer: Writer, node: GraphNode) -> str:
    """ONNX's means over whole windows, as sums over the divisor."""
    _, windows, _, divisor = node.args
    mean = _pooled(writer, node, "AveragePool", count_include_pad=1)
    count = math.prod(windows[0])
    if isinstance(divisor, (int, float)) and divisor == count:
        return mean
    dtype = node.results[0][1]
    total = writer.add("Mul", mean, writer.constant(count, dtype))
    return str(writer.add("Div", total, writer.operand(divisor, dtype)))


@translation("kernel.pooling.adaptive_mean")
def _adaptive_mean(writer: Writer, node: GraphNode) -> str:
    return _adaptive(writer, node, "AveragePool")


@translation("kernel.pooling.adaptive_max")
def _adaptive_max(writer: Writer, node: GraphNode) -> list[str | None]:
    return [_adaptive(writer, node, "MaxPool"), None]


def _adaptive(writer: Writer, node: GraphNode, op: str) -> str:
    x, out = node.args
    size = shape_of(x)[-len(out):]
    if any([n % m for n, m in zip(size, out, strict=True)]) or len(shape_of(x)) != len(out) + 2:
        raise unsupported(node, "for sizes that the number of windows doesn't divide")
    kernel = [n // m for n, m in zip(size, out, strict=True)]
    return str(writer.add(op, writer.operand(x), kernel_shape=kernel, strides=kernel))


@translation("kernel.resampling.resample")
def _resampled(writer: Writer, node: GraphNode) -> str:
    """Each axis as a weighted sum of picked elements."""
    x, plans = node.args
    dtype = node.results[0][1]
    name = writer.operand(x)
    ndim = len(shape_of(x))
    for axis, plan in zip(range(ndim - len(plans), ndim), plans, strict=True):
        if plan is None:
            continue
        index, weights = plan
        parts = [writer.add("Gather", name, writer.constant(i), axis=axis) for i in index]
        if weights is not None:
            shape = [-1] + [1] * (ndim - 1 - axis)
            parts = [writer.add("Mul", p, writer.constant(w.reshape(shape), dtype))
                     for p, w in zip(parts, weights, strict=True)]
        name = parts[0]
        for part in parts[1:]:
            name = writer.add("Add", name, part)
    return name


# -- normalization ---------------------------------------------------------------------------------


def _spread(
    writer: Writer, node: GraphNode, axes: list[int], about_mean: bool = True
) -> tuple[str, str, str, str]:
    """Mean, what differs from it, variance, and 1 / sqrt(variance + eps)."""
    x, eps = node.args[0], node.args[-1]
    dtype = node.results[0][1]
    name = writer.operand(x, dtype)
    mean = writer.reduce("ReduceMean", name, axes, True) if about_mean else ""
    centered = writer.add("Sub", name, mean) if about_mean else name
    variance = writer.reduce("ReduceMean", writer.add("Mul", centered, centered), axes, True)
    root = writer.add("Sqrt", writer.add("Add", variance, writer.constant(eps, dtype)))
    return mean, centered, variance, writer.add("Reciprocal", root)


@translation("kernel.normalization.normalize_rows")
def _rows(writer: Writer, node: GraphNode) -> list[str]:
    mean, centered, _, inverse = _spread(writer, node, [1])
    return [writer.add("Mul", centered, inverse), mean, inverse]


@translation("kernel.normalization.normalize_rows_by_rms")
def _rows_by_rms(writer: Writer, node: GraphNode) -> list[str]:
    _, x, _, inverse = _spread(writer, node, [1], about_mean=False)
    return [writer.add("Mul", x, inverse), inverse]


@translation("kernel.normalization.normalize_channels")
def _channels(writer: Writer, node: GraphNode) -> list[str]:
    _, weight, bias, _ = node.args
    mean, centered, variance, inverse = _spread(writer, node, [0, 2])
    result = writer.add("Mul", centered, inverse)
    if weight is not None:
        result = writer.add("Mul", result, _per_channel(writer, weight))
    if bias is not None:
        result = writer.add("Add", result, _per_channel(writer, bias))
    flat = [writer.add("Reshape", v, writer.ints([-1])) for v in (mean, variance, inverse)]
    return [result, *flat]


@translation("kernel.normalization.scale_channels")
def _scaled_channels(writer: Writer, node: GraphNode) -> str:
    x, mean, inverse, weight, bias = node.args
    scale = writer.operand(inverse)
    if weight is not None:
        scale = writer.add("Mul", scale, writer.operand(weight))
    shift = writer.add("Neg", writer.add("Mul", writer.operand(mean), scale))
    if bias is not None:
        shift = writer.add("Add", shift, writer.operand(bias))
    wide, dtype = dtype_of(inverse), node.results[0][1]
    scaled = writer.add("Mul", writer.operand(x, wide), writer.unsqueeze(scale, 1))
    result = writer.add("Add", scaled, writer.unsqueeze(shift, 1))
    return writer.cast(result, wide, dtype)


def _per_channel(writer: Writer, value: Any) -> str:
    return writer.unsqueeze(writer.operand(value), 1)


# -- attention and recurrent layers ----------------------------------------------------------------


@translation("kernel.attention.attention")
def _attention(writer: Writer, node: GraphNode) -> list[str]:
    query, key, value, mask, causal, scale = node.args
    dtype = node.results[0][1]
    add = writer.add
    keys = add("Transpose", writer.operand(key), perm=[0, 2, 1])
    scores = add("MatMul", writer.operand(query), keys)
    scores = add("Mul", scores, writer.constant(scale, dtype))
    lowest = writer.constant(-math.inf, dtype)
    if mask is not None:
        scores = add("Add", scores, writer.operand(mask, dtype))
    if causal:
        rows, columns = (
            add("Range", writer.constant(0, np.int64), writer.operand(shape_of(x)[1], np.int64),
                writer.constant(1, np.int64)) for x in (query, key))
        later = add("Greater", columns, writer.unsqueeze(rows, 1))
        scores = add("Where", later, lowest, scores)
    # A query that may see no key gets zeros.
    most = writer.reduce("ReduceMax", scores, [2], True)
    zero = writer.constant(0, dtype)
    most = add("Where", add("Equal", most, lowest), zero, most)
    powers = add("Exp", add("Sub", scores, most))
    total = writer.reduce("ReduceSum", powers, [2], True)
    total = add("Where", add("Equal", total, zero), writer.constant(1, dtype), total)
    result = add("MatMul", add("Div", powers, total), writer.operand(value))
    return [result, add("Add", add("Log", total), most)]


def _sequences(writer: Writer, node: GraphNode, states: int) -> tuple[Any, ...]:
    """The data of a layer as (time, batch, features), its initial states, and its settings."""
    data, *given = node.args
    w_ih, w_hh, b_ih, b_hh, sizes, reverse = given[states:states + 6]
    if isinstance(sizes, Repeated):
        length, batch = sizes.count, sizes.value
    else:
        length, batch = len(sizes), sizes[0]
        if any([n != batch for n in sizes]):
            raise unsupported(node, "for sequences of several lengths")
    x = writer.reshape(writer.operand(data), (length, batch, shape_of(data)[1]))
    initial = [writer.unsqueeze(writer.operand(s), 0) for s in given[:states]]
    direction = "reverse" if reverse else "forward"
    return x, initial, (w_ih, w_hh, b_ih, b_hh), direction


def _weights(writer: Writer, weights: Any, order: tuple[int, ...]) -> list[str]:
    """W, R and B of ONNX's layer, whose gates stand in another order."""
    w_ih, w_hh, *biases = weights
    dtype = dtype_of(w_hh)
    rows = shape_of(w_hh)[0]
    width = rows // len(order)

    def reordered(value: Any) -> str:
        name = writer.operand(value) if value is not None else writer.constant(
            np.zeros(rows, dtype))
        if order != tuple(range(len(order))):
            gates = [writer.slice(name, g * width, (g + 1) * width, 0) for g in order]
            name = writer.add("Concat", *gates, axis=0)
        return name

    both = writer.add("Concat", *map(reordered, biases), axis=0)
    return [writer.unsqueeze(n, 0) for n in (reordered(w_ih), reordered(w_hh), both)]


def _layer(writer: Writer, node: GraphNode, op: str, states: int, order: tuple[int, ...],
           **attributes: Any) -> list[Any]:
    x, initial, weights, direction = _sequences(writer, node, states)
    width = shape_of(weights[1])[1]
    names = writer.add(op, x, *_weights(writer, weights, order), "", *initial, outputs=1 + states,
                       hidden_size=width, direction=direction, **attributes)
    results = [writer.reshape(name, shape)
               for name, (shape, _) in zip(names, node.results, strict=False)]
    return [*results, *[None] * (len(node.results) - len(results))]


@translation("kernel.recurrent.lstm")
def _lstm(writer: Writer, node: GraphNode) -> list[Any]:
    return _layer(writer, node, "LSTM", 2, (0, 3, 1, 2))  # i, f, g, o as i, o, f, c


@translation("kernel.recurrent.gru")
def _gru(writer: Writer, node: GraphNode) -> list[Any]:
    return _layer(writer, node, "GRU", 1, (1, 0, 2), linear_before_reset=1)  # r, z, n as z, r, h


@translation("kernel.recurrent.rnn")
def _rnn(writer: Writer, node: GraphNode) -> list[Any]:
    return _layer(writer, node, "RNN", 1, (0,), activations=["Relu" if node.args[8] else "Tanh"])
