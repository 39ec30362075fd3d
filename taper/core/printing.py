"""How tensors print: `repr`, `format` and the options of `set_printoptions`.

The text equals PyTorch's, character for character. It is made in three steps: numbers become
texts of one width (`_cells`), texts become nested brackets (`_brackets`), and facts that the
numbers don't show, such as a dtype that isn't the default, become suffixes (`with_suffixes`).
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from taper.core.dtype import (
    bool_,
    complex64,
    complex128,
    float8_e8m0fnu,
    float64,
    get_default_dtype,
    int64,
)

__all__ = [
    "PRINT_OPTS", "PrinterOptions", "contents_str", "format_tensor", "get_printoptions",
    "parameter_str", "printoptions", "set_printoptions", "tensor_str", "uninitialized_str",
    "with_suffixes",
]


class PrinterOptions:
    """The options that `set_printoptions` sets; there is one record of them per process."""

    __slots__ = ("edgeitems", "linewidth", "precision", "sci_mode", "threshold")

    def __init__(
        self,
        precision: int = 4,
        threshold: float = 1000,
        edgeitems: int = 3,
        linewidth: float = 80,
        sci_mode: bool | None = None,
    ) -> None:
        self.precision = precision
        self.threshold = threshold
        self.edgeitems = edgeitems
        self.linewidth = linewidth
        self.sci_mode = sci_mode

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={value}" for name, value in self.as_dict().items())
        return f"PrinterOptions({fields})"

    def as_dict(self) -> dict[str, Any]:
        """Returns the options by name, in the order PyTorch lists them."""
        names = ("precision", "threshold", "edgeitems", "linewidth", "sci_mode")
        return {name: getattr(self, name) for name in names}


PRINT_OPTS = PrinterOptions()
_PROFILES = {  # precision, threshold, edgeitems, linewidth
    "default": (4, 1000, 3, 80),
    "short": (2, 1000, 2, 80),
    "full": (4, math.inf, 3, 80),
}


def set_printoptions(
    precision: int | None = None,
    threshold: float | None = None,
    edgeitems: int | None = None,
    linewidth: float | None = None,
    profile: str | None = None,
    sci_mode: bool | None = None,
) -> None:
    """Sets how tensors print; options left out keep their value, except `sci_mode`.

    Args:
        precision: digits after the point, default 4.
        threshold: tensors with more elements than this are summarised, default 1000.
        edgeitems: elements shown at each end of a summarised dim, default 3.
        linewidth: columns before a line is broken, default 80.
        profile: resets the four above first: ``"default"``, ``"short"`` or ``"full"``.
        sci_mode: scientific notation always or never; None, the default, lets values decide.

    Example:
        >>> import taper as torch
        >>> torch.set_printoptions(precision=2)
        >>> torch.tensor([1.12345])
        tensor([1.12])
        >>> torch.set_printoptions(profile="default")
    """
    options = PRINT_OPTS
    if profile in _PROFILES:
        chosen = _PROFILES[profile]
        options.precision, options.threshold, options.edgeitems, options.linewidth = chosen
    if precision is not None:
        options.precision = precision
    if threshold is not None:
        options.threshold = threshold
    if edgeitems is not None:
        options.edgeitems = edgeitems
    if linewidth is not None:
        options.linewidth = linewidth
    options.sci_mode = sci_mode


def get_printoptions() -> dict[str, Any]:
    """Returns the options now in force, as keyword arguments for `set_printoptions`."""
    return PRINT_OPTS.as_dict()


@contextmanager
def printoptions(**options: Any) -> Iterator[None]:
    """Sets options as `set_printoptions` does, for the length of a ``with`` block."""
    before = get_printoptions()
    set_printoptions(**options)
    try:
        yield
    finally:
        set_printoptions(**before)


# --- whole tensors --------------------------------------------------------------------------


def tensor_str(tensor: Any, *, tensor_contents: str | None = None) -> str:
    """The `repr` of a tensor; `tensor_contents` stands in for its numbers if given."""
    array = getattr(tensor, "_array", None)
    if hasattr(array, "level"):
        return _batched_str(array)
    kind = type(tensor)
    is_plain = _is_own_class(kind, ("Tensor", "Parameter"))
    prefix = "tensor(" if is_plain else f"{kind.__name__}("
    indent = len(prefix)
    layout = str(tensor.layout)
    is_sparse = layout != "torch.strided"
    if tensor_contents is None:
        contents = _sparse_contents(tensor, layout, indent) if is_sparse else contents_str(
            tensor, indent
        )
    else:
        contents = tensor_contents
    text = with_suffixes(
        prefix + contents,
        _suffixes(tensor, layout),
        indent,
        on_new_line=layout == "torch.sparse_coo",
    )
    return text if is_plain or not _is_parameter(tensor) else f"Parameter({text})"


def _batched_str(array: Any) -> str:
    """A tensor inside a vmap: the values of all samples."""
    from taper.core.tensor import wrap

    inner = textwrap.indent(tensor_str(wrap(array.inner)), "    ")
    return f"BatchedTensor(lvl={array.level.depth}, bdim=0, value=\n{inner}\n)"


def parameter_str(parameter: Any) -> str:
    """The `repr` of an ``nn.Parameter``."""
    return f"Parameter containing:\n{tensor_str(parameter)}"


def uninitialized_str(parameter: Any) -> str:
    """The `repr` of an ``UninitializedParameter`` or buffer, which has no shape yet."""
    return f"<{type(parameter).__name__}>"


def format_tensor(tensor: Any, spec: str) -> str:
    """What ``format(tensor, spec)`` returns: a 0-d tensor formats as its number.

    Raises: TypeError: if `spec` isn't empty and the tensor isn't a 0-d Tensor with data.
    """
    kind = type(tensor)
    is_number = not tensor.shape and tensor.device.type != "meta"
    if is_number and _is_own_class(kind, ("Tensor",)):
        array = tensor._array
        value = float(array) if tensor.dtype.is_floating_point else array.item()
        return format(value, spec)
    if spec:
        raise TypeError(f"unsupported format string passed to {kind.__name__}.__format__")
    return str(tensor)


def _is_own_class(kind: type, names: tuple[str, ...]) -> bool:
    # By name: this file is below the one that defines Tensor, and a user's own class called
    # Tensor lives in another module.
    return kind.__name__ in names and kind.__module__.partition(".")[0] in ("torch", "taper")


def _is_parameter(tensor: Any) -> bool:
    return getattr(tensor, "_is_param", False) or any(
        _is_own_class(base, ("Parameter",)) for base in type(tensor).__mro__
    )


# --- contents -------------------------------------------------------------------------------


def contents_str(tensor: Any, indent: int) -> str:
    """The brackets and numbers of a strided tensor."""
    if tensor.device.type == "meta":
        return "..."
    if 0 in tensor.shape:
        return "[]"
    return _array_str(tensor._array, indent)


_SPARSE_PARTS = {  # layout: (label, method) of each part
    "torch.sparse_coo": (("indices", "_indices"), ("values", "_values")),
    "torch.sparse_csr": (
        ("crow_indices", "crow_indices"), ("col_indices", "col_indices"), ("values", "values"),
    ),
    "torch.sparse_csc": (
        ("ccol_indices", "ccol_indices"), ("row_indices", "row_indices"), ("values", "values"),
    ),
}
_SPARSE_PARTS["torch.sparse_bsr"] = _SPARSE_PARTS["torch.sparse_csr"]
_SPARSE_PARTS["torch.sparse_bsc"] = _SPARSE_PARTS["torch.sparse_csc"]


def _sparse_contents(tensor: Any, layout: str, indent: int) -> str:
    """Indices and values of a sparse tensor, one part under the other."""
    texts = []
    for label, method in _SPARSE_PARTS[layout]:
        part = getattr(tensor, method)()
        opening = f"{label}=tensor("
        contents = contents_str(part, indent + len(opening))
        if tensor.device.type == "meta" or 0 in part.shape:
            contents += f", size={tuple(part.shape)}"
        texts.append(f"{opening}{contents})")
    return (",\n" + " " * indent).join(texts)


def _suffixes(tensor: Any, layout: str) -> list[str]:
    """What the contents don't say: device, size, dtype, layout, history."""
    shape = tuple(tensor.shape)
    is_sparse = layout != "torch.strided"
    is_meta = tensor.device.type == "meta"
    default = get_default_dtype()
    suffixes = []
    if tensor.device.type != "cpu":
        suffixes.append(f"device='{tensor.device}'")
    unsaid_dtypes: tuple[Any, ...] = (
        default, int64, bool_, complex128 if default is float64 else complex64,
    )
    if is_sparse:
        suffixes.append(f"size={shape}")
        if not is_meta:
            suffixes.append(f"nnz={tensor._nnz()}")
    elif is_meta or 0 in shape:
        if is_meta or len(shape) != 1:
            suffixes.append(f"size={shape}")
        unsaid_dtypes = (default,)  # no number is printed that could tell
    elif not PRINT_OPTS.edgeitems:
        suffixes.append(f"size={shape}")
    if tensor.dtype not in unsaid_dtypes:
        suffixes.append(f"dtype={tensor.dtype}")
    if is_sparse:
        suffixes.append(f"layout={layout}")
    try:
        grad_fn = tensor.grad_fn
        history = None if grad_fn is None else grad_fn.name().rpartition("::")[2]
    except RuntimeError:  # a view that may no longer be used
        history = "Invalid"
    if history is not None:
        suffixes.append(f"grad_fn=<{history}>")
    elif tensor.requires_grad:
        suffixes.append("requires_grad=True")
    tangents = getattr(tensor, "_tangents", None)
    if tangents:  # of the innermost level
        level = max(tangents, key=lambda level: level.number)
        suffixes.append(f"tangent={tangents[level]}")
    return suffixes


def with_suffixes(text: str, suffixes: list[str], indent: int, on_new_line: bool) -> str:
    """Appends suffixes, each on the last line if it fits there, and the closing bracket."""
    pieces = [text]
    # One more than the line has: PyTorch counts this way, and it decides where lines break.
    used = len(text) - text.rfind("\n") + 1
    for suffix in suffixes:
        if on_new_line or used + len(suffix) + 2 > PRINT_OPTS.linewidth:
            pieces.append(f",\n{' ' * indent}{suffix}")
            used = indent + len(suffix)
            on_new_line = False
        else:
            pieces.append(f", {suffix}")
            used += len(suffix) + 2
    return "".join(pieces) + ")"


# --- arrays ---------------------------------------------------------------------------------


def _array_str(array: np.ndarray, indent: int) -> str:
    """The numbers of a non-empty array in nested brackets, summarised if there are many."""
    shape = array.shape
    edge = PRINT_OPTS.edgeitems
    is_summarised = array.size > PRINT_OPTS.threshold
    if is_summarised and shape and not edge:
        return "[...]"
    has_gap = [is_summarised and size > 2 * edge for size in shape]
    if any(has_gap):
        kept = [
            (*range(edge), *range(size - edge, size)) if gap else range(size)
            for size, gap in zip(shape, has_gap, strict=True)
        ]
        array = array[np.ix_(*kept)]
    cells, width = _cells(array)
    return _brackets(cells, width, array.shape, has_gap, indent)


def _brackets(
    cells: list[str], width: int, shape: tuple[int, ...], has_gap: list[bool], indent: int
) -> str:
    """Nests cells, given in row-major order, in one pair of brackets per dim.

    Works from the last dim to the first: joins every `shape[dim]` texts to one.
    """
    last = len(shape) - 1
    texts = cells
    for dim in range(last, -1, -1):
        size = shape[dim]
        middle = size // 2
        padding = " " * (indent + dim + 1)
        groups = [texts[start : start + size] for start in range(0, len(texts), size)]
        if has_gap[dim]:
            for group in groups:
                group.insert(middle, " ..." if dim == last else "...")
        if dim < last:
            separator = "," + "\n" * (last - dim) + padding
            texts = [f"[{separator.join(group)}]" for group in groups]
        else:
            per_line = max(1, math.floor((PRINT_OPTS.linewidth - indent - dim) / (width + 2)))
            texts = [f"[{_joined_lines(group, per_line, padding)}]" for group in groups]
    return texts[0]


def _joined_lines(cells: list[str], per_line: int, padding: str) -> str:
    if len(cells) <= per_line:
        return ", ".join(cells)
    starts = range(0, len(cells), per_line)
    return (",\n" + padding).join(", ".join(cells[i : i + per_line]) for i in starts)


# --- numbers --------------------------------------------------------------------------------


def _cells(array: np.ndarray) -> tuple[list[str], int]:
    """Texts of the elements in row-major order, right-aligned, and the width of one.

    The width decides how many fit a line; single texts can exceed it (see `_float_texts`).
    """
    flat = array.reshape(-1)
    kind = flat.dtype.kind
    if kind in "biu":
        texts = [str(value) for value in flat.tolist()]
        width = max(map(len, texts))
    elif kind == "c":
        real, real_width = _float_texts(flat.real)
        imaginary, imaginary_width = _float_texts(flat.imag)
        width = real_width + imaginary_width + 1
        texts = [
            f"{a.rjust(real_width)}{b}j" if b[0] == "-" else f"{a.rjust(real_width)}+{b}j"
            for a, b in zip(real, imaginary, strict=True)
        ]
        return texts, width
    else:  # kind "f", and "V" for the floats of ml_dtypes
        texts, width = _float_texts(flat)
    return [text.rjust(width) for text in texts], width


def _float_texts(values: np.ndarray) -> tuple[list[str], int]:
    """Texts of floats, not yet aligned, and their width.

    All share one notation: whole numbers (``1.``), fixed or scientific. Zeros, infinities and
    NaN have no say in it, nor in the width: where nothing else is left it is 1.
    """
    has_zero = values.dtype != float8_e8m0fnu.numpy_dtype
    values = values.astype(np.float64)
    # float8_e8m0fnu has no zero: PyTorch takes its smallest value for one, and NaN as finite.
    counts = (values != 0) & np.isfinite(values) if has_zero else values != 2.0**-127
    counting = values[counts]
    numbers = values.tolist()
    if not counting.size:
        return _whole_texts(numbers), 1
    magnitudes = np.abs(counting)
    smallest, largest = float(magnitudes.min()), float(magnitudes.max())
    is_whole = bool((np.trunc(counting) == counting).all())
    is_scientific = PRINT_OPTS.sci_mode
    if is_scientific is None:
        is_scientific = (
            largest / smallest > 1000.0 or largest > 1e8 or (not is_whole and smallest < 1e-4)
        )
    if is_scientific:
        spec = f".{PRINT_OPTS.precision}e"
        texts = [format(number, spec) for number in numbers]
    elif is_whole:
        texts = _whole_texts(numbers)
    else:
        spec = f".{PRINT_OPTS.precision}f"
        texts = [format(number, spec) for number in numbers]
    if counting.size == values.size:
        return texts, max(map(len, texts))
    return texts, max(len(texts[i]) for i in np.flatnonzero(counts).tolist())


def _whole_texts(numbers: list[float]) -> list[str]:
    return [
        f"{number:.0f}." if math.isfinite(number) else f"{number:.0f}" for number in numbers
    ]
