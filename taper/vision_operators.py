"""The operators of torchvision's C++ library, as programs on tensors.

torchvision is Python but for a library of a few operators: suppressing overlapping boxes, pooling
of regions, deformable convolution. The library needs PyTorch; when torchvision asks for it
(`torch.ops.load_library`), the same names are declared here, so that detection models run. They
are made of differentiable functions, which is why nothing is said of gradients.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import taper
import taper.nn.functional as F
from taper import Tensor
from taper.core.custom_operators import namespace
from taper.library import Library

__all__ = ["declare", "deform_conv2d", "nms", "roi_align", "roi_pool"]

_REGIONS_AT_ONCE = 64  # what is interpolated for more of them at once leaves the caches


# -- boxes ----------------------------------------------------------------------------------------


def nms(dets: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Keeps the best of boxes that overlap: non-maximum suppression.

    A box goes if it shares more than `iou_threshold` of its union with a better one that stays.

    Shape: dets (N, 4) as x1, y1, x2, y2; scores (N,) → (K,), int64, best first
    Example:
        >>> import taper as torch
        >>> from taper.vision_operators import nms
        >>> boxes = torch.tensor([[0., 0., 2., 2.], [0., 0., 2., 1.9], [3., 3., 4., 4.]])
        >>> nms(boxes, torch.tensor([0.5, 0.9, 0.1]), 0.5)
        tensor([1, 2])
    """
    if dets.dim() != 2:
        raise RuntimeError(f"boxes should be a 2d tensor, got {dets.dim()}D")
    if dets.size(1) != 4:
        raise RuntimeError(f"boxes should have 4 elements in dimension 1, got {dets.size(1)}")
    if scores.dim() != 1:
        raise RuntimeError(f"scores should be a 1d tensor, got {scores.dim()}D")
    if dets.size(0) != scores.size(0):
        raise RuntimeError(
            "boxes and scores should have same number of elements in dimension 0, got "
            f"{dets.size(0)} and {scores.size(0)}"
        )
    with taper.no_grad():
        order = scores.argsort(descending=True, stable=True)
        x1, y1, x2, y2 = dets[order].unbind(1)
        areas = (x2 - x1) * (y2 - y1)
        stays = taper.ones(len(order), dtype=taper.bool)
        for i in range(len(order) - 1):
            if not stays[i]:
                continue
            later = slice(i + 1, None)
            width = (taper.minimum(x2[i], x2[later]) - taper.maximum(x1[i], x1[later])).clamp(0)
            height = (taper.minimum(y2[i], y2[later]) - taper.maximum(y1[i], y1[later])).clamp(0)
            shared = width * height
            stays[later] &= ~(shared / (areas[i] + areas[later] - shared) > iou_threshold)
        return order[stays]


# -- regions --------------------------------------------------------------------------------------


def roi_align(
    input: Tensor, rois: Tensor, spatial_scale: float, pooled_height: int, pooled_width: int,
    sampling_ratio: int, aligned: bool,
) -> Tensor:
    """Averages an image over the cells of regions, by bilinear interpolation.

    Args:   spatial_scale: from the regions' coordinates to the input's;  sampling_ratio: points in
        each direction of a cell; as many as pixels if not positive;  aligned: pixels are half a
        pixel from the corner
    Shape:  input (N, C, H, W), rois (K, 5) as image, x1, y1, x2, y2 → (K, C, ph, pw)
    Source: He et al., Mask R-CNN, 2017.
    Example:
        >>> import taper as torch
        >>> from taper.vision_operators import roi_align
        >>> image = torch.arange(16.).view(1, 1, 4, 4)
        >>> roi_align(image, torch.tensor([[0., 0., 0., 4., 4.]]), 1.0, 2, 2, 2, True)
        tensor([[[[ 2.5000,  4.5000],
                  [10.5000, 12.5000]]]])
    """
    _check_regions(input, rois)
    shape = (pooled_height, pooled_width)
    corner = 0.5 if aligned else 0.0
    coordinates = rois[:, 1:].detach() * spatial_scale - corner
    start, sizes = coordinates[:, :2].flip(1), (coordinates[:, 2:] - coordinates[:, :2]).flip(1)
    if not aligned:
        sizes = sizes.clamp(min=1.0)
    cells = sizes / taper.tensor(shape, dtype=sizes.dtype)
    points = taper.full_like(cells, sampling_ratio) if sampling_ratio > 0 else cells.ceil()
    points = points.clamp(min=0).to(taper.int64)
    images = rois[:, 0].to(taper.int64)
    result = input.new_zeros(len(rois), input.size(1), *shape)
    for down, across in {(d, a) for d, a in points.tolist() if d and a}:
        chosen = (points == taper.tensor([down, across])).all(1).nonzero().squeeze(1)
        for some in chosen.split(_REGIONS_AT_ONCE):
            ys = _points(start[some, 0], cells[some, 0], pooled_height, down)
            xs = _points(start[some, 1], cells[some, 1], pooled_width, across)
            found = _interpolated(input, images[some], ys, xs)
            found = found.reshape(len(some), pooled_height, down, pooled_width, across, -1)
            result = result.index_put((some,), found.mean((2, 4)).permute(0, 3, 1, 2))
    return result


def _points(start: Tensor, cell: Tensor, cells: int, points: int) -> Tensor:
    """Where along one direction the regions are asked: (K, cells · points)."""
    steps = (taper.arange(cells * points, dtype=start.dtype) + 0.5) / points
    return start[:, None] + cell[:, None] * steps


def _interpolated(input: Tensor, images: Tensor, ys: Tensor, xs: Tensor) -> Tensor:
    """The images at a grid of points: (K, number of ys, number of xs, C)."""
    pixels = input.permute(0, 2, 3, 1)
    total: Tensor | None = None
    for y, by_y in _neighbours(ys, input.size(2)):
        for x, by_x in _neighbours(xs, input.size(3)):
            weight = by_y[:, :, None, None] * by_x[:, None, :, None]
            part = pixels[images[:, None, None], y[:, :, None], x[:, None, :]] * weight
            total = part if total is None else total + part
    assert total is not None
    return total


def _neighbours(at: Tensor, size: int) -> list[tuple[Tensor, Tensor]]:
    """Indices and weights of the pixels on both sides; what lies further out than one is zero."""
    inside = ((at >= -1) & (at <= size)).to(at.dtype)
    at = at.clamp(0, size - 1)
    low = at.floor()
    beyond = at - low
    before = low.to(taper.int64)
    after = (before + 1).clamp(max=size - 1)
    return [(before, (1 - beyond) * inside), (after, beyond * inside)]


def roi_pool(
    input: Tensor, rois: Tensor, spatial_scale: float, pooled_height: int, pooled_width: int
) -> tuple[Tensor, Tensor]:
    """Takes the largest element of each cell of regions, and its index in the image's plane.

    Shape:  input (N, C, H, W), rois (K, 5) as image, x1, y1, x2, y2 → twice (K, C, ph, pw)
    Source: Girshick, Fast R-CNN, 2015.
    Example:
        >>> import taper as torch
        >>> from taper.vision_operators import roi_pool
        >>> image = torch.arange(16.).view(1, 1, 4, 4)
        >>> roi_pool(image, torch.tensor([[0., 0., 0., 3., 3.]]), 1.0, 2, 2)[0]
        tensor([[[[ 5.,  7.],
                  [13., 15.]]]])
    """
    _check_regions(input, rois)
    height, width = input.shape[2:]
    results, places = [], []
    for image, x1, y1, x2, y2 in rois.detach().tolist():
        plane = input[int(image)]
        rows = _cells(y1 * spatial_scale, y2 * spatial_scale, pooled_height, height)
        columns = _cells(x1 * spatial_scale, x2 * spatial_scale, pooled_width, width)
        for top, bottom in rows:
            for left, right in columns:
                if bottom <= top or right <= left:
                    results.append(plane.new_zeros(plane.size(0)))
                    places.append(taper.full((plane.size(0),), -1, dtype=taper.int32))
                    continue
                cell = plane[:, top:bottom, left:right].flatten(1)
                largest, at = cell.max(1)
                row, column = at // (right - left) + top, at % (right - left) + left
                results.append(largest)
                places.append((row * width + column).to(taper.int32))
    shape = (len(rois), pooled_height, pooled_width, input.size(1))
    if not results:
        return input.new_zeros(0, input.size(1), *shape[1:3]), taper.zeros(
            0, input.size(1), *shape[1:3], dtype=taper.int32
        )
    return (taper.stack(results).view(shape).permute(0, 3, 1, 2).contiguous(),
            taper.stack(places).view(shape).permute(0, 3, 1, 2).contiguous())


def _cells(first: float, last: float, cells: int, size: int) -> list[tuple[int, int]]:
    """Begin and end of the cells of a region along one direction, in pixels of the image."""
    begin, end = _rounded(first), _rounded(last)
    step = max(end - begin + 1, 1) / cells
    return [
        (min(max(int(i * step // 1) + begin, 0), size),
         min(max(-int(-(i + 1) * step // 1) + begin, 0), size))
        for i in range(cells)
    ]


def _rounded(value: float) -> int:
    """To the nearest integer, halves away from zero, as C rounds."""
    return int(abs(value) + 0.5) * (1 if value >= 0 else -1)


def _check_regions(input: Tensor, rois: Tensor) -> None:
    if rois.dim() != 2 or rois.size(1) != 5:
        raise RuntimeError("rois must have shape as Tensor[K, 5]")
    if input.dtype != rois.dtype:
        raise RuntimeError(
            "Expected tensor for argument #1 'input' to have the same type as tensor for argument "
            f"#2 'rois'; but type {input.type()} does not equal {rois.type()}"
        )


# -- deformable convolution -----------------------------------------------------------------------


def deform_conv2d(
    input: Tensor, weight: Tensor, offset: Tensor, mask: Tensor, bias: Tensor, stride_h: int,
    stride_w: int, pad_h: int, pad_w: int, dilation_h: int, dilation_w: int, groups: int,
    offset_groups: int, use_mask: bool,
) -> Tensor:
    """Convolves with kernels whose points are moved by offsets, one pair for each of them.

    Shape:  input (N, C, H, W), weight (O, C / groups, kh, kw), offset (N, 2 · G · kh · kw, h, w) as
        pairs of y and x, mask (N, G · kh · kw, h, w) → (N, O, h, w); G is `offset_groups`
    Source: Dai et al., Deformable Convolutional Networks, 2017; Zhu et al., 2019 (the mask).
    """
    count, channels, height, width = input.shape
    outputs, _, kernel_h, kernel_w = weight.shape
    out_h, out_w = offset.shape[2:]
    taps = kernel_h * kernel_w
    if offset.size(1) != 2 * offset_groups * taps:
        raise RuntimeError(
            f"offset.shape[1] is not valid: got: {offset.size(1)} expected: "
            f"{2 * offset_groups * taps}"
        )
    moved = offset.view(count, offset_groups, taps, 2, out_h, out_w)
    row, column = taper.meshgrid(
        taper.arange(kernel_h) * dilation_h, taper.arange(kernel_w) * dilation_w, indexing="ij"
    )
    ys = moved[:, :, :, 0] + (
        row.reshape(-1, 1, 1) + taper.arange(out_h)[:, None] * stride_h - pad_h
    )
    xs = moved[:, :, :, 1] + (
        column.reshape(-1, 1, 1) + taper.arange(out_w)[None, :] * stride_w - pad_w
    )
    # Interpolation between pixels, zero outside: the sampler's own coordinates run from -1 to 1.
    grid = taper.stack([(2 * xs + 1) / width - 1, (2 * ys + 1) / height - 1], -1)
    shape = (count * offset_groups, taps * out_h, out_w)
    sampled = F.grid_sample(
        input.reshape(count * offset_groups, channels // offset_groups, height, width),
        grid.reshape(*shape, 2), align_corners=False,
    )
    patches = sampled.view(count, offset_groups, channels // offset_groups, taps, out_h, out_w)
    if use_mask:
        patches = patches * mask.view(count, offset_groups, 1, taps, out_h, out_w)
    patches = patches.reshape(count, groups, channels // groups * taps, out_h * out_w)
    kernels = weight.reshape(groups, outputs // groups, -1)
    result = (kernels @ patches).reshape(count, outputs, out_h, out_w)
    return result + bias.view(-1, 1, 1)


# -- the namespace --------------------------------------------------------------------------------

_REGION = "Tensor input, Tensor rois, float spatial_scale, int pooled_height, int pooled_width"
_GRADIENT = "int batch_size, int channels, int height, int width"
_CELLS = "Tensor rois, float spatial_scale, int pooled_height, int pooled_width"
_DEFORMED = (
    "Tensor input, Tensor weight, Tensor offset, Tensor mask, Tensor bias, int stride_h, "
    "int stride_w, int pad_h, int pad_w, int dilation_h, int dilation_w, int groups, "
    "int offset_groups, bool use_mask"
)
_MADE: dict[str, Callable[..., Any]] = {
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor": nms,
    f"roi_align({_REGION}, int sampling_ratio, bool aligned) -> Tensor": roi_align,
    f"roi_pool({_REGION}) -> (Tensor, Tensor)": roi_pool,
    f"deform_conv2d({_DEFORMED}) -> Tensor": deform_conv2d,
    "_cuda_version() -> int": lambda: -1,
}
# torchvision names these when it is imported; they raise NotImplementedError when they are called.
_LEFT_OUT = (
    f"ps_roi_align({_REGION}, int sampling_ratio) -> (Tensor, Tensor)",
    f"ps_roi_pool({_REGION}) -> (Tensor, Tensor)",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    f"qroi_align({_REGION}, int sampling_ratio, bool aligned) -> Tensor",
    f"_roi_align_backward(Tensor grad, {_CELLS}, {_GRADIENT}, int sampling_ratio, bool aligned) "
    "-> Tensor",
    f"_roi_pool_backward(Tensor grad, Tensor rois, Tensor argmax, float spatial_scale, "
    f"int pooled_height, int pooled_width, {_GRADIENT}) -> Tensor",
    f"_ps_roi_align_backward(Tensor grad, Tensor rois, Tensor channel_mapping, "
    f"float spatial_scale, int pooled_height, int pooled_width, int sampling_ratio, {_GRADIENT}) "
    "-> Tensor",
    f"_ps_roi_pool_backward(Tensor grad, Tensor rois, Tensor channel_mapping, "
    f"float spatial_scale, int pooled_height, int pooled_width, {_GRADIENT}) -> Tensor",
    f"_deform_conv2d_backward(Tensor grad, {_DEFORMED}) "
    "-> (Tensor, Tensor, Tensor, Tensor, Tensor)",
)


def declare() -> None:
    """Declares ``torch.ops.torchvision``, once."""
    if namespace("torchvision").operators:
        return
    library = Library("torchvision", "DEF")
    for schema, function in _MADE.items():
        library.impl(library.define(schema), function, "CompositeImplicitAutograd")
    for schema in _LEFT_OUT:
        library.define(schema)
