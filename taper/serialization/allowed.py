"""What a file may name, call and ask for where `load` trusts nobody.

Three tables: names → objects, callables → how they are called with arguments that anyone may have
written, and the user's own (`add_safe_globals`). And the `Allowance`, because a small file can ask
for a lot: to copy one list ten thousand times, or to hash a tuple that holds another 2^60 times.
"""

from __future__ import annotations

import pickle
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable
from typing import Any

import taper
from taper import Tensor
from taper.core.dtype import ALL_DTYPES
from taper.serialization import rebuild
from taper.serialization.names import StorageKind, find_torch_object, torch_module
from taper.serialization.options import options

__all__ = ["Allowance", "call", "find_allowed", "is_users", "shown"]

_DEEPEST_KEY = 32
_LARGEST_CROWD = 1000  # keys of equal hash in one container
_PLAIN_KEYS = frozenset([str, bytes, bool, float, type(None)])
_HASHES_END = 2**61 - 1  # ints below it are their own hashes


class Allowance:
    """How many elements a file may have copied, hashed or checked besides those it holds itself.

    Args:
        size: that of the file in bytes. What `save` writes holds each element once, in a byte or
            more, and so never spends more than this.
    """

    def __init__(self, size: int) -> None:
        self._left = size + 100_000
        self._crowds: dict[tuple[int, int], int] = {}

    def spend(self, count: int) -> None:
        """Raises UnpicklingError if so many elements more are too many."""
        self._left -= count
        if self._left < 0:
            raise pickle.UnpicklingError("this file asks for more memory or work than is in it")

    def check_keys(self, keys: Iterable[Any], container: Any) -> None:
        """Raises UnpicklingError if keys can't be put into a container in a reasonable time."""
        for key in keys:
            kind = type(key)
            if kind in _PLAIN_KEYS or (kind is int and -_HASHES_END < key < _HASHES_END):
                continue
            if isinstance(key, (tuple, frozenset)):
                self._check_nested(key)
            place = id(container), hash(key)
            self._crowds[place] = crowd = self._crowds.get(place, 0) + 1
            if crowd > _LARGEST_CROWD:
                raise pickle.UnpicklingError("too many keys in this file have the same hash")

    def _check_nested(self, key: tuple[Any, ...] | frozenset[Any]) -> None:
        """Hashing visits what is in a tuple as often as it is in there, by recursion."""
        waiting: list[tuple[Any, int]] = [(key, 0)]
        while waiting:
            items, depth = waiting.pop()
            self.spend(len(items) + 1)
            if depth > _DEEPEST_KEY:
                raise pickle.UnpicklingError("a key in this file is nested too deeply")
            waiting.extend((item, depth + 1) for item in items
                           if isinstance(item, (tuple, frozenset)))


def shown(value: Any) -> str:
    """What a message says of a value from a file; `repr` of one may take forever."""
    if isinstance(value, type) or callable(value):
        return repr(value)
    if isinstance(value, (str, int, float)):
        return repr(value)[:80]
    return f"a value of {type(value)}"


# -- names ------------------------------------------------------------------------------


def _bytes_of_text(text: str, encoding: str = "latin1") -> bytes:
    """How protocol 2 writes bytes: as text to be encoded."""
    if encoding not in ("latin1", "latin-1") or not isinstance(text, str):
        raise pickle.UnpicklingError(f"bytes in this file are encoded as {shown(encoding)}")
    return text.encode("latin1")


def _allowed_names() -> dict[tuple[str, str], Any]:
    """(module, name) → object, for all that any file may name."""
    allowed: dict[tuple[str, str], Any] = {
        ("collections", "OrderedDict"): OrderedDict, ("collections", "Counter"): Counter,
        ("builtins", "set"): set, ("builtins", "complex"): complex,
        ("builtins", "bytearray"): bytearray, ("_codecs", "encode"): _bytes_of_text,
    }
    for module, names in rebuild.NAMES.items():
        for name, function in names.items():
            allowed[module, name] = function
    for dtype in ALL_DTYPES:
        allowed["torch", dtype.name] = dtype
    for module, name in (
        ("torch", "Size"), ("torch", "device"), ("torch", "Tensor"),
        ("torch.nn.parameter", "Parameter"), ("torch.storage", "UntypedStorage"),
    ):
        allowed[module, name] = find_torch_object(module, name)
    return allowed


_allowed: dict[tuple[str, str], Any] = {}


def find_allowed(module: str, name: str) -> Any:
    """The object that a file may name, or None."""
    if not _allowed:
        _allowed.update(_allowed_names())
    found = _allowed.get((module, name))
    if found is not None:
        return found
    if module in ("torch", "torch.cuda") and name.endswith("Storage"):
        try:
            kind = find_torch_object(module, name)
        except (ImportError, AttributeError):
            return None
        return kind if isinstance(kind, StorageKind) else None
    for item in options.safe_globals:
        if isinstance(item, tuple):
            if item[1] == f"{module}.{name}":
                return item[0]
        elif name == item.__qualname__:
            own = item.__module__
            if module in (own, torch_module(own)):
                return item
    return None


def is_users(value: Any) -> bool:
    """Whether the user has allowed a class or function."""
    return any(
        value is (item[0] if isinstance(item, tuple) else item) for item in options.safe_globals
    )


# -- calls ------------------------------------------------------------------------------


def call(function: Any, arguments: Any, allowance: Allowance) -> Any:
    """The result of calling something that a file named.

    Raises: UnpicklingError: if it may not be called, or not with these arguments.
    """
    checked = _CALLS.get(id(function))
    if isinstance(arguments, tuple):
        if checked is not None:
            return checked(allowance, *arguments)
        if is_users(function):
            return function(*arguments)
    raise pickle.UnpicklingError(
        f"Trying to call reduce for unrecognized function {shown(function)}"
    )


def _only(value: Any, *kinds: type) -> Any:
    """The value, which has to be of one of these types: others may run for long, or forever."""
    if type(value) not in kinds:
        raise pickle.UnpicklingError(f"expected {kinds[0].__name__}, but got {shown(value)}")
    return value


def _encode(allowance: Allowance, text: str, encoding: str = "latin1") -> bytes:
    allowance.spend(len(_only(text, str)))
    return _bytes_of_text(text, encoding)


def _bytearray(allowance: Allowance, data: Any = b"", encoding: str = "latin1") -> bytearray:
    allowance.spend(len(_only(data, bytes, bytearray, str)))
    return bytearray(_bytes_of_text(data, encoding) if isinstance(data, str) else data)


def _complex(_: Allowance, real: float = 0, imaginary: float = 0) -> complex:
    return complex(_only(real, float, int), _only(imaginary, float, int))


def _set(allowance: Allowance, items: Any = ()) -> set[Any]:
    allowance.spend(len(_only(items, list, tuple, set, frozenset)))
    allowance.check_keys(items, items)
    return set(items)


def _mapping(kind: type) -> Callable[..., Any]:
    def make(allowance: Allowance, items: Any = ()) -> Any:
        allowance.spend(len(_only(items, dict, list, tuple)))
        keys = items if type(items) is dict else [_only(pair, tuple, list)[0] for pair in items]
        allowance.check_keys(keys, items)
        return kind(items if kind is OrderedDict else dict(items))  # Counter would count pairs

    return make


def _size(allowance: Allowance, items: Any = ()) -> Any:
    allowance.spend(len(_only(items, tuple, list, taper.Size)))
    return taper.Size([_only(item, int) for item in items])


def _device(_: Allowance, *arguments: Any) -> Any:
    return taper.device(*(_only(argument, str, int) for argument in arguments))


def _layout(_: Allowance, name: str) -> Any:
    return rebuild.layout_named(_only(name, str))


def _parameter(_: Allowance, data: Any, requires_grad: bool = True) -> Any:
    if not isinstance(data, Tensor):
        raise pickle.UnpicklingError(f"a parameter in this file is made of {shown(data)}")
    return taper.nn.Parameter(data, _only(requires_grad, bool))


def _sparse(allowance: Allowance, layout: Any, data: Any) -> Tensor:
    """A sparse tensor: its parts are read through, and expanded ones have no end of elements."""
    for part in _only(data, tuple):
        if isinstance(part, Tensor):
            allowance.spend(part.numel())
    return rebuild.rebuild_sparse_tensor(layout, data)


def _from_type(
    allowance: Allowance, function: Any, new_type: Any, arguments: Any, state: Any
) -> Tensor:
    def make(*arguments: Any) -> Any:
        return call(function, arguments, allowance)

    if not rebuild.makes_tensors(function):
        raise pickle.UnpicklingError(f"{shown(function)} doesn't make tensors")
    return rebuild.rebuild_from_type(make, new_type, _only(arguments, tuple), state)


def _unchecked(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda _, *arguments: function(*arguments)


# By identity, because what a file puts in the place of a function may be anything.
_CALLS: dict[int, Callable[..., Any]] = {
    id(function): _unchecked(function)
    for names in rebuild.NAMES.values() for function in names.values()
} | {
    id(_bytes_of_text): _encode, id(bytearray): _bytearray, id(complex): _complex, id(set): _set,
    id(OrderedDict): _mapping(OrderedDict), id(Counter): _mapping(Counter),
    id(taper.Size): _size, id(taper.device): _device, id(taper.nn.Parameter): _parameter,
    id(rebuild.layout_named): _layout, id(rebuild.rebuild_sparse_tensor): _sparse,
    id(rebuild.rebuild_from_type): _from_type,
}
