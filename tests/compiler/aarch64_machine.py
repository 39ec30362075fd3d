"""Kernels as an ARM processor runs them, on any host: a plugin for pytest.

    PYTHONPATH=tests/compiler python -m pytest -p aarch64_machine tests/kernels/test_native.py

Kernels are then made as for 64-bit ARM with NEON, and run by an emulator (the package `unicorn`).
It sees this process's memory at the very same addresses, so that kernels work on NumPy's arrays,
and ends with an error where a kernel touches what no one may touch, such as the pages around
guarded_memory.py's arrays. What taper calls is a C function that starts the emulator: planned
calls, the pool and compiled programs, whose own machine code is the host's, need not know.

Machine code that calls functions of the process (CPython's, NumPy's, the system's) can't be
emulated in this way; script/test_on_aarch64.sh runs all of it.
"""

from __future__ import annotations

import ctypes
import re
import struct
import threading
from collections import Counter
from typing import Any, NamedTuple

import llvmlite.binding as llvm
import unicorn
from unicorn import arm64_const

from taper.compiler import machine

TRIPLE = "aarch64-unknown-linux-gnu"
CPU = "neoverse-n1"
FEATURES = "+fp-armv8,+neon,+crc,+lse,+aes,+sha2"  # what LLVM reads in Linux's /proc/cpuinfo there

_PAGE = 4096
_CODE, _CODE_BYTES = 0x1000_0000, 1 << 26
_STACK, _STACK_BYTES = 0x2000_0000, 1 << 20
_RETURN = 0x3000_0000  # where kernels return to: the emulator stops there
_CALLED = 1 << 40  # instructions that no kernel of a test comes near

_ALLOCATED, _NO_BITS, _RELOCATIONS, _SYMBOLS = 2, 8, 4, 2


class AccessError(RuntimeError):
    """A kernel read or wrote where it may not, or ran wild."""


class _Section(NamedTuple):
    """A section header of an ELF file."""

    name: int
    type: int
    flags: int
    address: int
    offset: int
    size: int
    link: int
    info: int
    alignment: int
    entry_size: int


class _Object:
    """An object file for 64-bit ARM, laid out at an address."""

    def __init__(self, content: bytes, base: int) -> None:
        self.content = content
        place, = struct.unpack_from("<Q", content, 0x28)
        each, count = struct.unpack_from("<HH", content, 0x3A)
        self.sections = [
            _Section(*struct.unpack_from("<IIQQQQIIQQ", content, place + i * each))
            for i in range(count)]
        self.places: dict[int, int] = {}
        self.memory = bytearray()
        self.base = base
        for number, section in enumerate(self.sections):
            if section.flags & _ALLOCATED:
                self.memory += bytes(-len(self.memory) % max(section.alignment, 16))
                self.places[number] = base + len(self.memory)
                has_none = section.type == _NO_BITS
                self.memory += bytes(section.size) if has_none else content[
                    section.offset:section.offset + section.size]
        for section in self.sections:
            if section.type == _RELOCATIONS and section.info in self.places:
                self._relocate(section)

    def symbol(self, table: _Section, number: int) -> tuple[str, int]:
        """A symbol's name and address."""
        name, _, section, value = struct.unpack_from(
            "<IHHQ", self.content, table.offset + number * table.entry_size)
        start = self.sections[table.link].offset + name
        text = self.content[start:self.content.index(b"\0", start)].decode()
        if section not in self.places:
            raise AccessError(f"machine code refers to {text!r}, which is outside of it")
        return text, self.places[section] + value

    def address_of(self, name: str) -> int:
        """Where a function begins."""
        table = next(section for section in self.sections if section.type == _SYMBOLS)
        for number in range(table.info, table.size // table.entry_size):
            text, address = self.symbol(table, number)
            if text == name:
                return address
        raise KeyError(name)

    def _relocate(self, section: _Section) -> None:
        table = self.sections[section.link]
        for at in range(section.offset, section.offset + section.size, section.entry_size):
            offset, info, addend = struct.unpack_from("<QQq", self.content, at)
            target = self.symbol(table, info >> 32)[1] + addend
            self._patch(self.places[section.info] + offset, info & 0xFFFFFFFF, target)

    def _patch(self, place: int, kind: int, target: int) -> None:
        """One relocation; numbers are those of the ELF supplement for the Arm 64-bit
        architecture."""
        at = place - self.base
        if kind in (257, 260):  # ABS64, PREL64
            struct.pack_into("<Q", self.memory, at, (target - (kind == 260) * place) % 2**64)
            return
        if kind == 261:  # PREL32
            struct.pack_into("<i", self.memory, at, target - place)
            return
        word, = struct.unpack_from("<I", self.memory, at)
        shifts = {277: 0, 278: 0, 284: 1, 285: 2, 286: 3, 299: 4}
        if kind == 275:  # ADR_PREL_PG_HI21
            pages = (target >> 12) - (place >> 12)
            word |= (pages & 3) << 29 | (pages >> 2 & 0x7FFFF) << 5
        elif kind in shifts:  # the lower 12 bits, in units of what is loaded
            word |= (target & 0xFFF) >> shifts[kind] << 10
        elif kind in (282, 283):  # JUMP26, CALL26
            word |= (target - place) >> 2 & 0x3FFFFFF
        else:
            raise NotImplementedError(f"relocation {kind}")
        struct.pack_into("<I", self.memory, at, word)


def make_object(text: str) -> bytes:
    """A module (LLVM IR) as an object file for ARM."""
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    module = llvm.parse_assembly(text)
    module.verify()
    return bytes(target_machine().emit_object(module))


def target_machine() -> Any:
    """LLVM's code generator, with the options that taper gives it."""
    return llvm.Target.from_triple(TRIPLE).create_target_machine(
        cpu=CPU, features=FEATURES, opt=2, reloc="pic", codemodel="small")


class Processor:
    """The emulated processor, and the kernels that it has."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.uc = uc = unicorn.Uc(unicorn.UC_ARCH_ARM64, unicorn.UC_MODE_ARM)
        uc.ctl_set_cpu_model(arm64_const.UC_CPU_ARM64_MAX)
        control = uc.reg_read(arm64_const.UC_ARM64_REG_CPACR_EL1)
        uc.reg_write(arm64_const.UC_ARM64_REG_CPACR_EL1, control | 3 << 20)  # NEON may be used
        uc.mem_map(_CODE, _CODE_BYTES, unicorn.UC_PROT_READ | unicorn.UC_PROT_EXEC)
        uc.mem_map(_STACK, _STACK_BYTES)
        uc.mem_map(_RETURN, _PAGE, unicorn.UC_PROT_READ | unicorn.UC_PROT_EXEC)
        uc.hook_add(unicorn.UC_HOOK_MEM_READ_UNMAPPED | unicorn.UC_HOOK_MEM_WRITE_UNMAPPED,
                    self._share)
        self.free = _CODE
        self.shared: list[tuple[int, int]] = []
        self.entries: dict[str, tuple[int, Any]] = {}  # by text: the C function for the process
        self.runs = 0
        self.failures: list[str] = []

    def load(self, text: str, name: str) -> int:
        """The address in this process of a C function that runs a kernel."""
        with self.lock:
            if text not in self.entries:
                made = _Object(make_object(text), self.free)
                self.uc.mem_write(self.free, bytes(made.memory))
                self.free += -(-len(made.memory) // 64) * 64
                entry = made.address_of(name)

                def run(block: int, begin: int, end: int) -> None:
                    try:
                        self.run(entry, block, begin, end)
                    except AccessError as error:  # C functions can't raise: the test is told later
                        self.failures.append(f"{name}: {error}")

                function = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 3)(run)
                address = ctypes.cast(function, ctypes.c_void_p).value
                assert address is not None
                self.entries[text] = address, function
            return self.entries[text][0]

    def run(self, entry: int, block: int, begin: int, end: int) -> None:
        """Calls a function at an address of the emulator."""
        uc = self.uc
        with self.lock:
            self.runs += 1
            top = _STACK + _STACK_BYTES - 64
            uc.reg_write_batch([
                (arm64_const.UC_ARM64_REG_X0, block), (arm64_const.UC_ARM64_REG_X1, begin),
                (arm64_const.UC_ARM64_REG_X2, end), (arm64_const.UC_ARM64_REG_SP, top),
                (arm64_const.UC_ARM64_REG_LR, _RETURN)])
            kept = [arm64_const.UC_ARM64_REG_D8 + i for i in range(8)]
            before = uc.reg_read_batch(kept)
            try:
                uc.emu_start(entry, _RETURN, count=_CALLED)
            except unicorn.UcError as error:
                raise AccessError(str(error)) from None
            finally:  # what is mapped there may be another's by the next call
                for start, size in self.shared:
                    uc.mem_unmap(start, size)
                self.shared.clear()
            if uc.reg_read(arm64_const.UC_ARM64_REG_SP) != top or (
                    uc.reg_read_batch(kept) != before):
                raise AccessError("registers that belong to the caller have changed")

    def _share(
        self, uc: Any, access: int, address: int, size: int, value: int, data: object
    ) -> bool:
        """Maps memory of this process at its own address, if it may be accessed so."""
        writes = access == unicorn.UC_MEM_WRITE_UNMAPPED
        with open("/proc/self/maps") as maps:
            for line in maps:
                limits, rights = line.split(maxsplit=2)[:2]
                start, stop = (int(part, 16) for part in limits.split("-"))
                if start <= address < stop:
                    if rights[writes] == "-":
                        return False
                    self._map(start, stop, address & -_PAGE, rights)
                    return True
        return False

    def _map(self, start: int, stop: int, page: int, rights: str) -> None:
        """Maps the pages around one, as far as they are not mapped yet."""
        start, stop = max(start, page - 64 * _PAGE), min(stop, page + 64 * _PAGE)
        for begin, size in self.shared:
            if begin + size <= page:
                start = max(start, begin + size)
            if begin > page:
                stop = min(stop, begin)
        may = unicorn.UC_PROT_READ | (unicorn.UC_PROT_WRITE if rights[1] == "w" else 0)
        self.uc.mem_map_ptr(start, stop - start, may, start)
        self.shared.append((start, stop - start))


_CALLS_BACK = re.compile(r"\bcall [^@\n]*%[\w.]+\(")
processor = Processor()


def is_kernel(text: str, name: str) -> bool:
    """Whether a module's function is a kernel that calls nothing outside of the module."""
    head = f"define void @{name}(ptr %block, i64 %begin, i64 %end)"
    return head in text and not _CALLS_BACK.search(text)


def pytest_addoption(parser: Any) -> None:
    parser.addoption("--vector-bytes", type=int, default=16, help="more than NEON's 16: in pairs")
    parser.addoption("--parameter-sets", type=int, help="how many of each test are run")


def pytest_configure(config: Any) -> None:
    """From now on kernels are made for ARM."""
    native_compile, native_cached = machine.compile_ir, machine.cached_ir
    width = config.getoption("--vector-bytes")
    host = machine.host()._replace(triple=TRIPLE, cpu=CPU, features=FEATURES, vector_bytes=width)

    def compile_ir(text: str, name: str) -> int:
        return processor.load(text, name) if is_kernel(text, name) else native_compile(text, name)

    def cached_ir(text: str, name: str, patience: float = -1) -> int | None:
        return processor.load(text, name) if is_kernel(text, name) else native_cached(
            text, name, patience)

    machine._versions()  # remembers what the code of the host itself depends on
    machine._machine()
    machine.compile_ir, machine.cached_ir = compile_ir, cached_ir
    machine.host, machine.vector_bytes = lambda: host, lambda: width


def pytest_collection_modifyitems(config: Any, items: list[Any]) -> None:
    """Keeps the first sets of parameters of each test."""
    most = config.getoption("--parameter-sets")
    if most is not None:
        seen: Counter[str] = Counter()
        kept = []
        for item in items:
            name = item.nodeid.partition("[")[0]
            seen[name] += 1
            if seen[name] <= most:
                kept.append(item)
        items[:] = kept


def pytest_runtest_teardown(item: Any) -> None:
    """A test whose kernels failed has failed, whatever it found."""
    failures, processor.failures = processor.failures, []
    assert not failures, failures


def pytest_terminal_summary(terminalreporter: Any) -> None:
    terminalreporter.write_line(
        f"{processor.runs} runs of {len(processor.entries)} kernels on an emulated {CPU}")
