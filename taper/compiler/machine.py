"""From LLVM IR to the address of machine code; and what this machine's vectors are like.

Kernels are written as vector IR that needs no optimization passes, only code generation: about
2 ms for a small one. A kernel refers to nothing outside of itself (no external symbols: they
crash LLVM's loader on some machines); what it calls comes in by pointer.

Note [one engine]. An engine owns the TargetMachine it was made with, and two engines that share
one crash. So there is one engine, which only loads objects, and others make them: two emitters,
each with a TargetMachine and a context of its own, so that the thread which compiles and one that
waits for it can both be at work. Code is never unloaded, as somebody may hold its address; instead
the number of kernels is bounded, and when it is reached `compile_ir` refuses and NumPy goes on
serving.

Note [llvmlite's lock]. llvmlite lets one thread at a time into LLVM, but LLVM only asks that no two
are in one context. So what takes long, code generation, is called without that lock: by the same
library, function and types, in a wrapper of ours.

llvmlite is imported when the first kernel is asked for, and nothing here is called without it:
see `is_available`.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import os
import sys
import threading
import warnings
from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple

from taper.compiler.object_cache import ObjectCache, sha256
from taper.core.settings import settings

__all__ = [
    "Host", "NoNativeCode", "NotCached", "cached_ir", "compile_ir", "host", "is_available", "lock",
    "only_from_cache", "vector_bytes",
]

_MOST_KERNELS = 16384  # of some 11 kB each: none can be unloaded
_EMITTERS = 2
# LLVM's models of how long these processors' instructions take lack some, and LLVM 22 ends the
# process where it meets one.
_LACKING = frozenset({"oryon-1", "ampere1b"})

# Held while LLVM loads code and while a process forks, so that no child inherits a half-done LLVM.
# So are the locks of emitters, which have their own as they take longer.
lock = threading.RLock()


class NotCached(Exception):
    """Code would have to be compiled, within `only_from_cache`."""


class NoNativeCode(RuntimeError):
    """Raised where a kernel can't be had: no llvmlite, no executable memory, too many kernels."""


class Host(NamedTuple):
    """The processor that code is made for."""

    triple: str
    cpu: str
    features: str
    vector_bytes: int  # 64, 32 or 16

    def lanes(self, itemsize: int) -> int:
        """How many items of this size a vector register holds."""
        return self.vector_bytes // itemsize


@cache
def is_available() -> bool:
    """Whether machine code can be made here. Imports llvmlite (100 ms)."""
    with lock:
        try:
            _llvm()
        except (ImportError, OSError, RuntimeError):
            return False
    return True


@cache
def _llvm() -> Any:
    """llvmlite's binding, with this machine's target ready."""
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    llvm.check_jit_execution()
    return llvm


@cache
def vector_bytes() -> int:
    """The width of vector registers that kernels are written for: 64, 32 or 16.

    NumPy has looked at the processor already; to ask LLVM takes 100 ms.
    """
    umath = importlib.import_module("numpy._core._multiarray_umath")
    found = getattr(umath, "__cpu_features__", {})
    if all(found.get(name) for name in ("AVX512F", "AVX512VL", "AVX512DQ", "AVX512BW")):
        return 64
    if found.get("AVX2") and found.get("FMA3"):
        return 32
    return 16  # SSE2, NEON: every 64-bit machine has them


@cache
def host() -> Host:
    """The processor's name, features and vector width."""
    llvm = _llvm()
    name = llvm.get_host_cpu_name()
    features = llvm.get_host_cpu_features().flatten()
    return Host(
        llvm.get_process_triple(), "generic" if name in _LACKING else name, features, vector_bytes()
    )


class _Machine:
    """LLVM's engine, the kernels it has loaded, and their cache on disk."""

    def __init__(self) -> None:
        llvm = _llvm()
        self.llvm = llvm
        self.objects = ObjectCache(settings.cache_dir)
        self.addresses: dict[str, int] = {}
        self.has_warned = False
        self.emitters = [_Emitter(self._target_machine()) for _ in range(_EMITTERS)]
        # llvmlite's memory manager puts an object's code and constants close together, as the
        # small code model requires.
        self.engine = llvm.create_mcjit_compiler(
            llvm.parse_assembly(""), self._target_machine(), use_lmm=True
        )
        # Never freed: threads may still run this code while the interpreter is torn down.
        self.engine._owned = True

    def _target_machine(self) -> Any:
        here = host()
        return self.llvm.Target.from_triple(here.triple).create_target_machine(
            cpu=here.cpu, features=here.features, opt=2, reloc="pic", codemodel="small"
        )

    def entry(self, text: str, name: str) -> _Entry:
        digest = sha256(text.encode()).hexdigest()
        # All kernels share the engine's table of names, so each gets one of its own.
        key = sha256("\0".join([digest, _versions()]).encode()).hexdigest()
        return _Entry(digest, f"{name}_{digest[:16]}", key)

    def compile(self, text: str, name: str, entry: _Entry) -> bytes:
        """The object file of a module."""
        with self._free_emitter() as emitter:
            content = emitter.emit(text.replace(f"@{name}(", f"@{entry.symbol}("))
        self.objects.store(entry.key, content)
        return content

    @contextlib.contextmanager
    def _free_emitter(self) -> Iterator[_Emitter]:
        for emitter in self.emitters:
            if emitter.lock.acquire(blocking=False):
                break
        else:
            emitter.lock.acquire()
        try:
            yield emitter
        finally:
            emitter.lock.release()

    def load(self, content: bytes, entry: _Entry) -> int:
        """The address of the function in an object file."""
        if len(self.addresses) >= _MOST_KERNELS:
            if not self.has_warned:
                self.has_warned = True
                warnings.warn(
                    f"taper has {_MOST_KERNELS} kernels loaded and makes no more in this process: "
                    "NumPy computes what they don't, which is slower", RuntimeWarning, stacklevel=2)
            raise NoNativeCode(f"there are {_MOST_KERNELS} kernels already")
        self.engine.add_object_file(self.llvm.object_file.ObjectFileRef.from_data(content))
        self.engine.finalize_object()
        address = self.addresses[entry.digest] = int(self.engine.get_function_address(entry.symbol))
        return address


class _Emitter:
    """Makes object files, for one thread at a time: who holds its lock."""

    def __init__(self, target: Any) -> None:
        self.lock = threading.Lock()
        self.target = target
        self.context = _llvm().create_context()

    def emit(self, text: str) -> bytes:
        """The object file of a module."""
        llvm = _llvm()
        with llvm.parse_assembly(text, self.context) as module:
            module.verify()
            with llvm.ffi.OutputString() as problem:
                buffer = _emit_function()(self.target, module, 1, problem)
                if not buffer:
                    raise RuntimeError(str(problem))
            library = llvm.ffi.lib
            try:
                return ctypes.string_at(
                    library.LLVMPY_GetBufferStart(buffer), library.LLVMPY_GetBufferSize(buffer))
            finally:
                library.LLVMPY_DisposeMemoryBuffer(buffer)


@cache
def _emit_function() -> Any:
    """LLVM's code generation, without llvmlite's lock: see the Note."""
    library = _llvm().ffi.lib
    locked = library.LLVMPY_TargetMachineEmitToMemory
    try:
        found = ctypes.CDLL(library._name, handle=library._handle).LLVMPY_TargetMachineEmitToMemory
        found.argtypes, found.restype = locked.argtypes, locked.restype
    except AttributeError:  # an llvmlite that keeps its library in another way
        return locked
    return found


class _Entry(NamedTuple):
    """What a module is called: the digest of its text, the function's symbol, and its key in the
    cache on disk."""

    digest: str
    symbol: str
    key: str


class _Own(threading.local):
    only_from_cache = False


_own = _Own()


@contextlib.contextmanager
def only_from_cache() -> Iterator[None]:
    """Within, this thread loads machine code, which takes a millisecond, but makes none."""
    _own.only_from_cache = True
    try:
        yield
    finally:
        _own.only_from_cache = False


@cache
def _versions() -> str:
    """What machine code depends on besides its IR."""
    import llvmlite

    here = host()
    return "\0".join([here.triple, here.cpu, here.features, llvmlite.__version__, "1"])


_made: list[_Machine] = []


def _machine() -> _Machine:
    if not _made:
        with lock:
            if not _made:
                _made.append(_Machine())
    return _made[0]


def compile_ir(text: str, name: str) -> int:
    """The address of the function `name` of a module in LLVM IR; other functions in it must be
    `internal` or `private`. Equal modules are compiled once.

    Raises: NoNativeCode: if code can't be made here; RuntimeError: if LLVM rejects the module.
    """
    found = cached_ir(text, name, -1 if not _own.only_from_cache else 0)
    if found is not None:
        return found
    if _own.only_from_cache:
        raise NotCached(name)
    made = _machine()
    entry = made.entry(text, name)
    content = made.compile(text, name, entry)
    with lock:
        return made.addresses.get(entry.digest) or made.load(content, entry)


def cached_ir(text: str, name: str, patience: float = -1) -> int | None:
    """The address of a function that was compiled before, by this process or another; else None.
    So it is if LLVM is at work for longer than `patience` seconds (-1: for ever).

    Raises: NoNativeCode: if code can't be had here.
    """
    if not is_available():
        raise NoNativeCode("llvmlite is missing, or memory can't be made executable")
    if sys.platform == "win32" and " alloca " in text:
        raise NoNativeCode("large stack frames call __chkstk there, an external symbol")
    made = _machine()
    entry = made.entry(text, name)
    known = made.addresses.get(entry.digest)
    if known is not None:
        return known
    content = made.objects.load(entry.key)
    if content is None or not lock.acquire(timeout=patience):
        return None
    try:
        return made.addresses.get(entry.digest) or made.load(content, entry)
    finally:
        lock.release()


def _stop_work() -> None:
    lock.acquire()
    for made in _made:
        for emitter in made.emitters:
            emitter.lock.acquire()


def _resume_work() -> None:
    for made in _made:
        for emitter in made.emitters:
            emitter.lock.release()
    lock.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_stop_work, after_in_parent=_resume_work, after_in_child=_resume_work
    )
