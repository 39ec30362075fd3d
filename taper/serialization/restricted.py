"""An unpickler that can't run code: it knows few instructions and few names.

Pickles are programs. This one interpreter reads those that consist of plain data, tensors, and
the classes that `add_safe_globals` allowed. Whatever else it meets is an UnpicklingError; it
imports nothing, and calls only what is listed here.
"""

from __future__ import annotations

import _compat_pickle
import io
import os
import pickle
import struct
from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import IO, Any

import taper
from taper import Tensor
from taper.serialization.allowed import Allowance, call, find_allowed, is_users, shown
from taper.serialization.archive import ArchiveReader, is_archive

__all__ = ["get_unsafe_globals_in_checkpoint", "restricted_load"]

_MARK = object()
_SMALL = 1 << 16
_BLOCKED_MODULES = ("sys", "os", "posix", "nt")  # also where the user allows something of theirs
_MAPPINGS = (dict, OrderedDict, Counter)


def _python_3(module: str, name: str) -> tuple[str, str]:
    """The name of today for a name that protocol 2 writes as Python 2 had it."""
    if (module, name) in _compat_pickle.NAME_MAPPING:
        return _compat_pickle.NAME_MAPPING[module, name]
    return _compat_pickle.IMPORT_MAPPING.get(module, module), name


def _full_name(module: str, name: str) -> str:
    return name if module == "builtins" else f"{module}.{name}"


def restricted_load(
    data: bytes | IO[bytes], find_storage: Callable[[Any], Any], size: int = 0
) -> Any:
    """The object in a pickle.

    Args:
        data: the pickle, or a file that it comes next in.
        find_storage: gives the LoadedStorage for a persistent id.
        size: that of the whole file in bytes, which limits what it may ask for.

    Raises: pickle.UnpicklingError: for anything not allowed, unknown or malformed.
    """
    file = io.BytesIO(data) if isinstance(data, bytes) else data
    try:
        return _Machine(file, find_storage, Allowance(size)).run()
    except (pickle.UnpicklingError, MemoryError, RuntimeError):
        raise
    except EOFError:
        if isinstance(data, bytes):
            raise pickle.UnpicklingError("this pickle ends early") from None
        raise
    except (AttributeError, IndexError, KeyError, TypeError, ValueError, ArithmeticError,
            struct.error) as error:
        raise pickle.UnpicklingError(
            f"this pickle is malformed: {type(error).__name__}: {error}"
        ) from error


class _Machine:
    """The interpreter: a stack, the marks on it, and a memo."""

    def __init__(
        self, file: IO[bytes], find_storage: Callable[[Any], Any], allowance: Allowance
    ) -> None:
        self._file = file
        self._read = file.read
        self._find_storage = find_storage
        self._allowance = allowance
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    # -- reading ------------------------------------------------------------------

    def _take(self, count: int) -> bytes:
        if count > _SMALL:  # a file's `read` would make room for it first
            here = self._file.tell()
            end = self._file.seek(0, os.SEEK_END)
            self._file.seek(here)
            if count > end - here:
                raise EOFError("Ran out of input")
        data = self._read(count)
        if len(data) < count:
            raise EOFError("Ran out of input")
        return data

    def _line(self) -> str:
        line = self._file.readline(1024)
        if not line.endswith(b"\n"):
            raise pickle.UnpicklingError("a name in this pickle doesn't end")
        return line[:-1].decode("utf-8")

    def run(self) -> Any:
        """Runs to the STOP instruction; returns what is left on the stack."""
        read = self._read
        while True:
            code = read(1)
            instruction = _INSTRUCTIONS.get(code)
            if instruction is not None:
                instruction(self)
            elif code == pickle.STOP:
                return self._stack.pop()
            elif not code:
                raise EOFError("Ran out of input")
            else:
                raise pickle.UnpicklingError(f"Unsupported operand {code[0]}")

    # -- instructions -------------------------------------------------------------

    def _protocol(self) -> None:
        protocol = self._take(1)[0]
        if protocol > pickle.HIGHEST_PROTOCOL:
            raise pickle.UnpicklingError(f"unknown pickle protocol {protocol}")

    def _skip_frame_size(self) -> None:
        self._take(8)

    def _long(self) -> None:
        self._stack.append(int.from_bytes(self._take(self._take(1)[0]), "little", signed=True))

    def _mark(self) -> None:
        self._stack.append(_MARK)

    def _since_mark(self) -> list[Any]:
        """Takes everything after the last mark off the stack, and the mark."""
        stack = self._stack
        at = len(stack) - 1
        while stack[at] is not _MARK:
            if at == 0:
                raise pickle.UnpicklingError("there is no mark on the stack")
            at -= 1
        items = stack[at + 1 :]
        del stack[at:]
        return items

    def _push_list(self) -> None:
        self._stack.append([])

    def _push_dict(self) -> None:
        self._stack.append({})

    def _push_set(self) -> None:
        self._stack.append(set())

    def _tuple(self) -> None:
        self._stack.append(tuple(self._since_mark()))

    def _tuple_of(self, count: int) -> None:
        items = self._stack[-count:]
        if len(items) < count or any(item is _MARK for item in items):
            raise pickle.UnpicklingError("unpickling stack underflow")
        self._stack[-count:] = [tuple(items)]

    def _frozenset(self) -> None:
        items = self._since_mark()
        self._allowance.check_keys(items, items)
        self._stack.append(frozenset(items))

    def _pop(self) -> None:
        self._stack.pop()

    def _append(self) -> None:
        item = self._stack.pop()
        self._list("append to").append(item)

    def _appends(self) -> None:
        items = self._since_mark()
        self._list("extend").extend(items)

    def _list(self, action: str) -> list[Any]:
        target = self._stack[-1]
        if type(target) is not list:
            raise pickle.UnpicklingError(f"Can only {action} lists, but got {type(target)}")
        return target

    def _add_items(self) -> None:
        items = self._since_mark()
        target = self._stack[-1]
        if type(target) is not set:
            raise pickle.UnpicklingError(f"Can only add to sets, but got {type(target)}")
        self._allowance.check_keys(items, target)
        target.update(items)

    def _set_item(self) -> None:
        value, key = self._stack.pop(), self._stack.pop()
        self._update("SETITEM", [key, value])

    def _set_items(self) -> None:
        self._update("SETITEMS", self._since_mark())

    def _update(self, instruction: str, items: list[Any]) -> None:
        target = self._stack[-1]
        if type(target) not in _MAPPINGS and not is_users(type(target)):
            raise pickle.UnpicklingError(
                f"Can only {instruction} for dict, collections.OrderedDict, collections.Counter, "
                f"but got {type(target)}"
            )
        if len(items) % 2:
            raise pickle.UnpicklingError("a key in this pickle has no value")
        self._allowance.check_keys(items[::2], target)
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[key] = value

    def _memoize(self) -> None:
        self._memo[len(self._memo)] = self._stack[-1]

    def _global(self) -> None:
        self._push_global(self._line(), self._line())

    def _stack_global(self) -> None:
        name, module = self._stack.pop(), self._stack.pop()
        if not isinstance(name, str) or not isinstance(module, str):
            raise pickle.UnpicklingError("STACK_GLOBAL requires str")
        self._push_global(module, name)

    def _push_global(self, module: str, name: str) -> None:
        module, name = _python_3(module, name)
        if module in _BLOCKED_MODULES:
            raise pickle.UnpicklingError(
                f"Trying to load unsupported GLOBAL {module}.{name} whose module {module} is "
                "blocked."
            )
        found = find_allowed(module, name)
        if found is None:
            full = _full_name(module, name)
            raise pickle.UnpicklingError(
                f"Unsupported global: GLOBAL {full} was not an allowed global by default. Please "
                f"use `torch.serialization.add_safe_globals([{full}])` or the "
                f"`torch.serialization.safe_globals([{full}])` context manager to allowlist this "
                "global if you trust this class/function."
            )
        self._stack.append(found)

    def _new_object(self) -> None:
        arguments, cls = self._stack.pop(), self._stack.pop()
        if not isinstance(arguments, tuple):
            raise pickle.UnpicklingError("NEWOBJ requires a tuple of arguments")
        if cls is taper.nn.Parameter:
            self._stack.append(call(cls, arguments, self._allowance))
        elif isinstance(cls, type) and (cls in (OrderedDict, Counter) or is_users(cls)):
            self._stack.append(cls.__new__(cls, *arguments))
        else:
            raise pickle.UnpicklingError(
                "Can only create new object for nn.Parameter or classes allowlisted via "
                f"`add_safe_globals` but got {shown(cls)}"
            )

    def _reduce(self) -> None:
        arguments, function = self._stack.pop(), self._stack.pop()
        self._stack.append(call(function, arguments, self._allowance))

    def _build(self) -> None:
        state, target = self._stack.pop(), self._stack[-1]
        kind = type(target)
        if kind in (OrderedDict, Counter):
            if type(state) is not dict:
                raise pickle.UnpicklingError(f"the state of a {kind.__name__} is no dict")
            self._allowance.spend(len(state))
            for name in state:
                if not isinstance(name, str) or name.startswith("__"):
                    raise pickle.UnpicklingError(f"a file can't set the attribute {shown(name)}")
            target.__dict__.update(state)
        elif is_users(kind):
            if hasattr(target, "__setstate__"):
                target.__setstate__(state)
            elif isinstance(state, tuple) and len(state) == 2:
                for values in state:
                    for name, value in (values or {}).items():
                        setattr(target, name, value)
            else:
                target.__dict__.update(state)
        elif isinstance(target, Tensor):
            raise pickle.UnpicklingError("a file can't change a tensor after it has made it")
        else:
            raise pickle.UnpicklingError(
                "Can only build Tensor, Parameter, OrderedDict or types allowlisted via "
                f"`add_safe_globals`, but got {kind}"
            )

    def _storage(self) -> None:
        saved_id = self._stack.pop()
        if type(saved_id) is not tuple:
            raise pickle.UnpicklingError(
                f"persistent_load id must be tuple or int, but got {type(saved_id)}"
            )
        if not saved_id or type(saved_id[0]) is not str or saved_id[0] != "storage":
            raise pickle.UnpicklingError(
                "Only persistent_load of storage is allowed, but got "
                f"{type(saved_id[0]) if saved_id else 'nothing'}"
            )
        self._stack.append(self._find_storage(saved_id))


_Instruction = Callable[[_Machine], None]


def _constant(value: Any) -> _Instruction:
    """Pushes a value."""
    return lambda machine: machine._stack.append(value)


def _with_number(form: str, act: Callable[[_Machine, Any], None]) -> _Instruction:
    """Does something with the number, written in this form, that follows the instruction."""
    number = struct.Struct(form)
    unpack, size = number.unpack, number.size

    def instruction(machine: _Machine) -> None:
        act(machine, unpack(machine._read(size))[0])

    return instruction


def _push_number(machine: _Machine, number: Any) -> None:
    machine._stack.append(number)


def _push_text(machine: _Machine, size: int) -> None:
    machine._stack.append(machine._take(size).decode("utf-8", "surrogatepass"))


def _push_bytes(machine: _Machine, size: int) -> None:
    machine._stack.append(machine._take(size))


def _push_bytearray(machine: _Machine, size: int) -> None:
    machine._stack.append(bytearray(machine._take(size)))


def _get(machine: _Machine, index: int) -> None:
    machine._stack.append(machine._memo[index])


def _put(machine: _Machine, index: int) -> None:
    machine._memo[index] = machine._stack[-1]


_INSTRUCTIONS: dict[bytes, _Instruction] = {
    pickle.NONE: _constant(None),
    pickle.NEWTRUE: _constant(True),
    pickle.NEWFALSE: _constant(False),
    pickle.EMPTY_TUPLE: _constant(()),
    pickle.BININT: _with_number("<i", _push_number),
    pickle.BININT1: _with_number("<B", _push_number),
    pickle.BININT2: _with_number("<H", _push_number),
    pickle.BINFLOAT: _with_number(">d", _push_number),
    pickle.BINUNICODE: _with_number("<I", _push_text),
    pickle.SHORT_BINUNICODE: _with_number("<B", _push_text),
    pickle.BINUNICODE8: _with_number("<Q", _push_text),
    pickle.SHORT_BINSTRING: _with_number("<B", _push_text),
    pickle.BINBYTES: _with_number("<I", _push_bytes),
    pickle.SHORT_BINBYTES: _with_number("<B", _push_bytes),
    pickle.BINBYTES8: _with_number("<Q", _push_bytes),
    pickle.BYTEARRAY8: _with_number("<Q", _push_bytearray),
    pickle.PROTO: _Machine._protocol,
    pickle.FRAME: _Machine._skip_frame_size,
    pickle.LONG1: _Machine._long,
    pickle.MARK: _Machine._mark,
    pickle.POP: _Machine._pop,
    pickle.EMPTY_LIST: _Machine._push_list,
    pickle.EMPTY_DICT: _Machine._push_dict,
    pickle.EMPTY_SET: _Machine._push_set,
    pickle.TUPLE: _Machine._tuple,
    pickle.TUPLE1: lambda machine: machine._tuple_of(1),
    pickle.TUPLE2: lambda machine: machine._tuple_of(2),
    pickle.TUPLE3: lambda machine: machine._tuple_of(3),
    pickle.FROZENSET: _Machine._frozenset,
    pickle.APPEND: _Machine._append,
    pickle.APPENDS: _Machine._appends,
    pickle.ADDITEMS: _Machine._add_items,
    pickle.SETITEM: _Machine._set_item,
    pickle.SETITEMS: _Machine._set_items,
    pickle.BINGET: _with_number("<B", _get),
    pickle.LONG_BINGET: _with_number("<I", _get),
    pickle.BINPUT: _with_number("<B", _put),
    pickle.LONG_BINPUT: _with_number("<I", _put),
    pickle.MEMOIZE: _Machine._memoize,
    pickle.GLOBAL: _Machine._global,
    pickle.STACK_GLOBAL: _Machine._stack_global,
    pickle.NEWOBJ: _Machine._new_object,
    pickle.REDUCE: _Machine._reduce,
    pickle.BUILD: _Machine._build,
    pickle.BINPERSID: _Machine._storage,
}


def get_unsafe_globals_in_checkpoint(f: str | os.PathLike[str] | IO[bytes]) -> list[str]:
    """Returns the names in a file that ``load(weights_only=True)`` would refuse.

    Args:
        f: a path, or a seekable file object open for reading bytes.
    """
    import pickletools

    if isinstance(f, (str, os.PathLike)):
        with open(f, "rb") as file:
            return get_unsafe_globals_in_checkpoint(file)
    if not is_archive(f):
        raise ValueError("get_unsafe_globals_in_checkpoint reads zip archives only")
    data = ArchiveReader(f).read("data.pkl").tobytes()
    found: dict[str, None] = {}
    texts: list[str] = []
    try:
        for instruction, argument, _ in pickletools.genops(data):
            if instruction.name == "GLOBAL":
                module, name = str(argument).split(" ", 1)
            elif instruction.name == "STACK_GLOBAL":
                module, name = texts[-2:]
            else:
                if "UNICODE" in instruction.name:
                    texts.append(str(argument))
                continue
            module, name = _python_3(module, name)
            if find_allowed(module, name) is None:
                found[f"{module}.{name}"] = None
    except ValueError as error:
        raise pickle.UnpicklingError(f"this pickle is malformed: {error}") from error
    return list(found)
