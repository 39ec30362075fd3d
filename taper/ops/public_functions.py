"""An operator's functions under each of its names, which are told apart as PyTorch's are.

`torch.relu`, `torch.nn.functional.relu` and `torch.Tensor.relu` are three functions with the same
body: who is told of a call, a subclass or a tracer, learns which one it was.
"""

from __future__ import annotations

from types import CodeType, FunctionType
from typing import Any

from taper.core.tensor import Tensor

__all__ = [
    "function_of", "known_as", "method_behind", "named", "register", "same_function",
    "written_in_python",
]

_functions: dict[int, Any] = {}  # by the identity of their code, which may be equal to another's

# Where PyTorch keeps the functions that are written in C++ though they stand in nn.functional.
_COMPILED = {
    "torch": """
        adaptive_avg_pool1d avg_pool1d bilinear channel_shuffle conv1d conv2d conv3d conv_tbc
        conv_transpose1d conv_transpose2d conv_transpose3d cosine_similarity hardshrink
        native_channel_shuffle pairwise_distance pdist pixel_shuffle pixel_unshuffle prelu
        """.split(),
    "torch._C._nn": """
        avg_pool2d avg_pool3d elu_ gelu hardtanh_ leaky_relu_ linear logsigmoid one_hot
        scaled_dot_product_attention softplus softshrink
        """.split(),
}
_COMPILED_IN = {name: module for module, names in _COMPILED.items() for name in names}
# Which of torch's functions, and of Tensor's methods, are written in Python.
_FUNCTIONS = frozenset("""
    atleast_1d atleast_2d atleast_3d block_diag broadcast_shapes broadcast_tensors cartesian_prod
    cdist chain_matmul einsum lu meshgrid norm split stft tensordot unique unique_consecutive
    unravel_index
    """.split())
_METHODS = frozenset("istft lu norm split stft unflatten unique unique_consecutive".split())
_MADE_OF_METHODS = ("nn.functional.sigmoid", "nn.functional.tanh")
_IN_PYTHON = ("torch.nn.functional", "torch.functional", "torch._tensor")


# The methods that Python's operators are told as; all others have one of their own name.
_METHOD_BEHIND = {
    **{name: name for name in """__and__ __eq__ __floordiv__ __invert__ __lshift__ __or__
        __rfloordiv__ __rlshift__ __rmod__ __rpow__ __rrshift__ __rshift__ __rsub__ __xor__
        """.split()},
    "__mod__": "remainder", "__truediv__": "div", "__rtruediv__": "__rdiv__", "__radd__": "add",
    "__rmul__": "mul", "__rand__": "bitwise_and", "__ror__": "bitwise_or",
    "__rxor__": "bitwise_xor", "__pos__": "positive",
}


def method_behind(name: str) -> Any:
    """The method of tensors of a name; for Python's operators, ``__add__``, the one they call."""
    plain = name[2:-2] if name.startswith("__") else name
    return getattr(Tensor, _METHOD_BEHIND.get(name, plain), None)


def function_of(code: CodeType) -> Any:
    """The public function whose code this is; None if it is none's."""
    return _functions.get(id(code))


def written_in_python(function: Any) -> bool:
    """Whether PyTorch has the function in Python: it tells optional arguments by name then."""
    return function.__module__ in _IN_PYTHON


def named(function: Any, path: str) -> Any:
    """Gives a function the names that PyTorch's has, and returns it."""
    room, _, name = path.rpartition(".")
    module = "torch"
    if room == "nn.functional":
        module = _COMPILED_IN.get(name, "torch" if name.endswith("_") else "torch.nn.functional")
        name = "log_sigmoid" if name == "logsigmoid" else name
    elif room in ("fft", "linalg", "special"):
        module, name = f"torch._C._{room}", f"{room}_{name}"
    elif room == "Tensor":
        module = "torch._tensor" if name in _METHODS else "torch"
    elif not room and name in _FUNCTIONS:
        module = "torch.functional"
    function.__module__ = module
    function.__name__ = name
    function.__qualname__ = f"Tensor.{name}" if room == "Tensor" else name
    return function


def register(function: Any, path: str) -> Any:
    """Names a function, and lets `function_of` find it."""
    named(function, path)
    if path not in _MADE_OF_METHODS and not function.__name__.startswith("__"):
        _functions[id(function.__code__)] = function
    return function


def same_function(path: str) -> str:
    """The other name of a function that PyTorch only imports into nn.functional, or the same."""
    room, _, name = path.rpartition(".")
    return name if room == "nn.functional" and _COMPILED_IN.get(name) == "torch" else path


def known_as(function: Any, path: str) -> Any:
    """The function under another name: with the same body and variables, but not identical."""
    name = path.rpartition(".")[2]
    copy = FunctionType(
        function.__code__.replace(co_name=name), function.__globals__, name,
        function.__defaults__, function.__closure__,
    )
    copy.__kwdefaults__ = function.__kwdefaults__
    copy.__annotations__ = function.__annotations__
    copy.__doc__ = function.__doc__
    copy.__dict__.update(function.__dict__)
    return register(copy, path)
