"""Vector code for the nodes of an expression: loads, arithmetic, stores, for any number of lanes.

Values of b1 are vectors of i1 in registers and bytes in memory; bf16 is the upper half of an f32.
Vectors may be wider than the machine's: LLVM splits them, which interleaves independent chains.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable

from taper.compiler.expression import (
    ELEMENT,
    SIZE_OF,
    Expression,
    Node,
    RareCase,
    is_float,
    is_signed,
)
from taper.compiler.llvm_text import FunctionText, vector

__all__ = ["VectorCode", "largest_size", "llvm_type"]

_LLVM = {
    "b1": "i1", "f16": "half", "bf16": "i16", "f32": "float", "f64": "double",
    "i8": "i8", "u8": "i8", "i16": "i16", "u16": "i16", "i32": "i32", "u32": "i32",
    "i64": "i64", "u64": "i64",
}
_SUFFIX = {"half": "f16", "float": "f32", "double": "f64", "i8": "i8", "i16": "i16", "i32": "i32",
           "i64": "i64", "i1": "i1"}
_FLOAT_OPS = {"add": "fadd", "sub": "fsub", "mul": "fmul", "div": "fdiv"}
_INTEGER_OPS = {"add": "add", "sub": "sub", "mul": "mul", "and": "and", "or": "or", "xor": "xor",
                "shl": "shl"}
_COMPARE_FLOAT = {"eq": "oeq", "ne": "une", "lt": "olt", "le": "ole", "gt": "ogt", "ge": "oge"}
_ROUNDING = {"floor": "floor", "ceil": "ceil", "trunc": "trunc", "round": "rint", "sqrt": "sqrt"}


def llvm_type(kind: str) -> str:
    """The LLVM type of one value in a register."""
    return _LLVM[kind]


def memory_type(kind: str) -> str:
    """The LLVM type of one value in memory."""
    return "i8" if kind == "b1" else _LLVM[kind]


def largest_size(expression: Expression) -> int:
    """The size of the widest type that is computed for each element."""
    return max([SIZE_OF[n.type] for n in expression.nodes if n.level == ELEMENT], default=4)


def literal(value: object, kind: str) -> str:
    """A constant as LLVM reads it."""
    if kind in ("f16", "f32"):
        packed = "<e" if kind == "f16" else "<f"
        try:
            value = struct.unpack(packed, struct.pack(packed, value))[0]
        except OverflowError:
            value = float("inf") if value > 0 else float("-inf")  # type: ignore[operator]
    if kind == "f16":
        return f"0xH{struct.unpack('<H', struct.pack('<e', value))[0]:04X}"
    if is_float(kind):
        return f"0x{struct.unpack('<Q', struct.pack('<d', value))[0]:016X}"
    if kind == "b1":
        return "true" if value else "false"
    return str(int(value))  # type: ignore[call-overload]


class VectorCode:
    """Writes the nodes of an expression at one number of lanes.

    `leaf(node)` says what an input or a value of another level is, as a vector of these lanes.
    """

    def __init__(self, text: FunctionText, lanes: int, leaf: Callable[[Node], str | None]) -> None:
        self.text = text
        self.lanes = lanes
        self.leaf = leaf
        self.known: dict[int, str] = {}

    def type(self, kind: str) -> str:
        return vector(_LLVM[kind], self.lanes)

    def constant(self, value: object, kind: str) -> str:
        text = literal(value, kind)
        return text if self.lanes == 1 else f"splat ({_LLVM[kind]} {text})"

    def splat(self, value: str, kind: str) -> str:
        """One value in all lanes."""
        if self.lanes == 1:
            return value
        llvm, whole = _LLVM[kind], self.type(kind)
        one = self.text.value(f"insertelement {whole} poison, {llvm} {value}, i64 0")
        zeros = f"<{self.lanes} x i32> zeroinitializer"
        return self.text.value(f"shufflevector {whole} {one}, {whole} poison, {zeros}")

    # -- memory --------------------------------------------------------------------------------

    def load(self, pointer: str, kind: str, mask: str | None = None) -> str:
        """Neighbouring values; where a mask is given, only those."""
        memory = memory_type(kind)
        whole = vector(memory, self.lanes)
        size = SIZE_OF[kind]
        if mask is None:
            found = self.text.value(f"load {whole}, ptr {pointer}, align {size}")
        else:
            found = self.text.intrinsic(
                whole, f"llvm.masked.load.v{self.lanes}{_SUFFIX[memory]}.p0",
                [("ptr", pointer), ("i32", str(size)), (f"<{self.lanes} x i1>", mask),
                 (whole, "zeroinitializer")],
            )
        return self.from_memory(found, kind)

    def from_memory(self, found: str, kind: str) -> str:
        """What was loaded, as the value of a register."""
        if kind != "b1":
            return found
        zero = "0" if self.lanes == 1 else "zeroinitializer"
        return self.text.value(f"icmp ne {vector('i8', self.lanes)} {found}, {zero}")

    def gather(self, pointer: str, stride: str, kind: str, mask: str | None) -> str:
        """Values `stride` bytes apart."""
        lanes = self.lanes
        memory = memory_type(kind)
        if lanes == 1:
            return self.load(pointer, kind)
        places = self._places(pointer, stride)
        found = self.gather_from(places, memory, SIZE_OF[kind], mask or "splat (i1 true)")
        return self.from_memory(found, kind)

    def gather_from(self, places: str, memory: str, size: int, mask: str) -> str:
        """Values of an LLVM type from a vector of pointers; zeros outside of the mask."""
        lanes = self.lanes
        return self.text.intrinsic(
            f"<{lanes} x {memory}>", f"llvm.masked.gather.v{lanes}{_SUFFIX[memory]}.v{lanes}p0",
            [(f"<{lanes} x ptr>", places), ("i32", str(size)), (f"<{lanes} x i1>", mask),
             (f"<{lanes} x {memory}>", "zeroinitializer")],
        )

    def every_second(self, pointer: str, kind: str, mask: str | None) -> str:
        """Values with one element between them, which is not touched: it may lie outside."""
        text, lanes = self.text, self.lanes
        if lanes == 1:
            return self.load(pointer, kind)
        double = VectorCode(text, 2 * lanes, self.leaf)
        spread = ", ".join(f"i32 {i // 2 if i % 2 == 0 else lanes}" for i in range(2 * lanes))
        ones = mask or "splat (i1 true)"
        wide_mask = text.value(
            f"shufflevector <{lanes} x i1> {ones}, <{lanes} x i1> zeroinitializer, "
            f"<{2 * lanes} x i32> <{spread}>")
        raw = "u8" if kind == "b1" else kind
        found = double.load(pointer, raw, wide_mask)
        memory = memory_type(kind)
        picked = ", ".join(f"i32 {2 * i}" for i in range(lanes))
        whole = f"<{2 * lanes} x {memory}>"
        return self.from_memory(text.value(
            f"shufflevector {whole} {found}, {whole} poison, <{lanes} x i32> <{picked}>"), kind)

    def _to_memory(self, value: str, kind: str) -> str:
        if kind != "b1":
            return value
        return self.text.value(f"zext {self.type(kind)} {value} to {vector('i8', self.lanes)}")

    def store(self, value: str, pointer: str, kind: str, mask: str | None = None) -> None:
        """Writes neighbouring values; where a mask is given, only those."""
        memory = memory_type(kind)
        whole = vector(memory, self.lanes)
        size = SIZE_OF[kind]
        value = self._to_memory(value, kind)
        if mask is None:
            self.text.add(f"store {whole} {value}, ptr {pointer}, align {size}")
        else:
            self.text.intrinsic(
                "void", f"llvm.masked.store.v{self.lanes}{_SUFFIX[memory]}.p0",
                [(whole, value), ("ptr", pointer), ("i32", str(size)),
                 (f"<{self.lanes} x i1>", mask)],
            )

    def scatter(self, value: str, pointer: str, stride: str, kind: str, mask: str | None) -> None:
        """Writes values `stride` bytes apart."""
        lanes, memory = self.lanes, memory_type(kind)
        if lanes == 1:
            self.store(value, pointer, kind)
            return
        places = self._places(pointer, stride)
        self.text.intrinsic(
            "void", f"llvm.masked.scatter.v{lanes}{_SUFFIX[memory]}.v{lanes}p0",
            [(f"<{lanes} x {memory}>", self._to_memory(value, kind)), (f"<{lanes} x ptr>", places),
             ("i32", str(SIZE_OF[kind])), (f"<{lanes} x i1>", mask or "splat (i1 true)")])

    def _places(self, pointer: str, stride: str) -> str:
        """A pointer for each lane, `stride` bytes apart."""
        text, lanes = self.text, self.lanes
        whole = f"<{lanes} x i64>"
        steps = VectorCode(text, lanes, self.leaf).splat(stride, "i64")
        iota = f"<{', '.join(f'i64 {i}' for i in range(lanes))}>"
        offsets = text.value(f"mul {whole} {steps}, {iota}")
        return text.value(f"getelementptr i8, ptr {pointer}, {whole} {offsets}")

    # -- nodes ---------------------------------------------------------------------------------

    def of(self, node: Node) -> str:
        """The vector for a node, written now if it isn't yet. Works without recursion."""
        waiting = [node]
        while waiting:
            last = waiting[-1]
            if last.number in self.known:
                waiting.pop()
                continue
            if last.op == "constant":
                self.known[last.number] = self.constant(last.value, last.type)
                continue
            given = self.leaf(last)
            if given is not None:
                self.known[last.number] = given
                continue
            missing = [a for a in last.args if a.number not in self.known]
            if missing:
                waiting.extend(reversed(missing))
                continue
            self.known[last.number] = self._write(last)
        return self.known[node.number]

    def _write(self, node: Node) -> str:
        kind = node.args[0].type if node.args else node.type
        args = [self.known[a.number] for a in node.args]
        text, whole, op = self.text, self.type(kind), node.op
        if op in _COMPARE_FLOAT:
            return self.compare(op, kind, args[0], args[1])
        if op == "select":
            result = self.type(node.type)
            return text.value(f"select {self.type('b1')} {args[0]}, {result} {args[1]}, "
                              f"{result} {args[2]}")
        if op == "spread":
            return args[0]
        if op == "convert":
            return self._convert(args[0], kind, node.type)
        if op == "rarely":
            return self._rarely(node, args)
        if op == "lookup":
            return self._lookup(node.value, args[0])
        if op == "bitcast":
            if _LLVM[kind] == _LLVM[node.type]:
                return args[0]
            return text.value(f"bitcast {whole} {args[0]} to {self.type(node.type)}")
        if is_float(kind):
            return self._write_float(op, kind, args)
        return self._write_integer(op, kind, args)

    def _rarely(self, node: Node, args: list[str]) -> str:
        """Calls the function of the rare case, with as many lanes at once as registers have."""
        text, case = self.text, node.value
        condition, usual, *operands = args
        kinds = [a.type for a in node.args[2:]]
        piece = min(self.lanes, max(2, text.vector_bytes // largest_size(case.expression)))
        part = VectorCode(text, piece, self.leaf)
        name = part.function(case)

        def rare() -> str:
            found = []
            for first in range(0, self.lanes, piece):
                given = [f"{part.type(k)} {self._part(k, x, first, piece)}"
                         for k, x in zip(kinds, operands, strict=True)]
                found.append(text.value(f"call {part.type(node.type)} @{name}({', '.join(given)})"))
            whole = self.type(node.type)
            return text.value(f"select {self.type('b1')} {condition}, {whole} "
                              f"{self._joined(node.type, found)}, {whole} {usual}")

        anywhere = condition if self.lanes == 1 else text.intrinsic(
            "i1", f"llvm.vector.reduce.or.v{self.lanes}i1", [(self.type("b1"), condition)])
        return text.rarely(anywhere, self.type(node.type), usual, rare)

    def _part(self, kind: str, value: str, first: int, count: int) -> str:
        """Some neighbouring lanes."""
        if count == self.lanes:
            return value
        if count == 1:
            return self.text.value(f"extractelement {self.type(kind)} {value}, i64 {first}")
        picked = ", ".join(f"i32 {i}" for i in range(first, first + count))
        whole = self.type(kind)
        return self.text.value(f"shufflevector {whole} {value}, {whole} poison, "
                               f"<{count} x i32> <{picked}>")

    def _joined(self, kind: str, parts: list[str]) -> str:
        """Vectors side by side: as many as a power of two, of equal length."""
        while len(parts) > 1:
            size = self.lanes // len(parts)
            whole = f"<{size} x {_LLVM[kind]}>"
            both = ", ".join(f"i32 {i}" for i in range(2 * size))
            parts = [self.text.value(f"shufflevector {whole} {a}, {whole} {b}, "
                                     f"<{2 * size} x i32> <{both}>")
                     for a, b in zip(parts[::2], parts[1::2], strict=True)]
        return parts[0]

    def function(self, case: RareCase) -> str:
        """The name of a function for a rare case, of as many lanes."""
        name = f"{case.name}_{self.lanes}"
        if name not in self.text.declarations:
            inside = FunctionText(name, self.text.vector_bytes)
            code = VectorCode(inside, self.lanes,
                              lambda n: f"%x{n.value}" if n.op == "input" else None)
            (result,) = case.expression.results
            inside.add(f"ret {self.type(result.type)} {code.of(result)}")
            inputs = [n for n in case.expression.nodes if n.op == "input"]
            self.text.include(inside, self.type(result.type),
                              [f"{self.type(n.type)} %x{n.value}" for n in inputs])
        return name

    def _lookup(self, table: tuple[float, ...], index: str) -> str:
        """Entries of a table of constants, which becomes a part of the module."""
        content = ", ".join(f"double {literal(number, 'f64')}" for number in table)
        known = self.text.declarations
        name = f"@table{zlib.crc32(content.encode()):08x}"
        known[name] = f"{name} = private unnamed_addr constant [{len(table)} x double] [{content}]"
        places = self.text.value(
            f"getelementptr double, ptr {name}, {self.type('i64')} {index}")
        if self.lanes == 1:
            return self.text.value(f"load double, ptr {places}")
        return self.gather_from(places, "double", 8, "splat (i1 true)")

    def compare(self, op: str, kind: str, a: str, b: str) -> str:
        """A comparison of two vectors, as b1."""
        if is_float(kind):
            return self.text.value(f"fcmp {_COMPARE_FLOAT[op]} {self.type(kind)} {a}, {b}")
        if op not in ("eq", "ne"):
            op = ("s" if is_signed(kind) else "u") + op
        return self.text.value(f"icmp {op} {self.type(kind)} {a}, {b}")

    def _write_float(self, op: str, kind: str, args: list[str]) -> str:
        text, whole = self.text, self.type(kind)
        if op in _FLOAT_OPS:
            return text.value(f"{_FLOAT_OPS[op]} {whole} {args[0]}, {args[1]}")
        if op == "neg":
            return text.value(f"fneg {whole} {args[0]}")
        if op == "scale":
            return self._scale(kind, args[0], args[1])
        names = {"fma": "fma", "abs": "fabs", "copysign": "copysign", **_ROUNDING}
        suffix = _SUFFIX[_LLVM[kind]] if self.lanes == 1 else (
            f"v{self.lanes}{_SUFFIX[_LLVM[kind]]}")
        return text.intrinsic(whole, f"llvm.{names[op]}.{suffix}", [(whole, a) for a in args])

    def _scale(self, kind: str, x: str, n: str) -> str:
        """x * 2**n by AVX-512's instruction, one register at a time."""
        text, llvm, lanes = self.text, _LLVM[kind], self.lanes
        full = 64 // SIZE_OF[kind]
        if lanes > full:
            half = VectorCode(text, lanes // 2, self.leaf)
            return self._joined(kind, [
                half._scale(kind, *[self._part(kind, v, first, lanes // 2) for v in (x, n)])
                for first in (0, lanes // 2)])
        wide = f"<{full} x {llvm}>"
        x, n = (self._widened(kind, v, full) for v in (x, n))
        name = "llvm.x86.avx512.mask.scalef." + ("ps.512" if kind == "f32" else "pd.512")
        found = text.intrinsic(wide, name, [
            (wide, x), (wide, n), (wide, "zeroinitializer"), (f"i{full}", "-1"), ("i32", "4")])
        if lanes == full:
            return found
        if lanes == 1:
            return text.value(f"extractelement {wide} {found}, i64 0")
        picked = ", ".join(f"i32 {i}" for i in range(lanes))
        return text.value(
            f"shufflevector {wide} {found}, {wide} poison, <{lanes} x i32> <{picked}>")

    def _widened(self, kind: str, value: str, lanes: int) -> str:
        """The value in the first lanes of a wider vector."""
        llvm = _LLVM[kind]
        if self.lanes == lanes:
            return value
        if self.lanes == 1:
            wide = f"<{lanes} x {llvm}>"
            return self.text.value(f"insertelement {wide} poison, {llvm} {value}, i64 0")
        picked = ", ".join(f"i32 {min(i, self.lanes)}" for i in range(lanes))
        whole = self.type(kind)
        return self.text.value(f"shufflevector {whole} {value}, {whole} poison, "
                               f"<{lanes} x i32> <{picked}>")

    def _write_integer(self, op: str, kind: str, args: list[str]) -> str:
        text, whole = self.text, self.type(kind)
        if op in _INTEGER_OPS:
            return text.value(f"{_INTEGER_OPS[op]} {whole} {args[0]}, {args[1]}")
        if op == "shr":
            shift = "ashr" if is_signed(kind) else "lshr"
            return text.value(f"{shift} {whole} {args[0]}, {args[1]}")
        if op in ("div", "rem"):
            letter = "s" if is_signed(kind) else "u"
            return text.value(f"{letter}{op} {whole} {args[0]}, {args[1]}")
        if op == "neg":
            return text.value(f"sub {whole} {self.constant(0, kind)}, {args[0]}")
        if op == "not":
            ones = self.constant(True if kind == "b1" else -1, kind)
            return text.value(f"xor {whole} {args[0]}, {ones}")
        assert op == "abs", op
        if not is_signed(kind):
            return args[0]
        negative = self.compare("lt", kind, args[0], self.constant(0, kind))
        negated = text.value(f"sub {whole} {self.constant(0, kind)}, {args[0]}")
        return text.value(f"select {self.type('b1')} {negative}, {whole} {negated}, "
                          f"{whole} {args[0]}")

    def _convert(self, x: str, source: str, target: str) -> str:
        text = self.text
        a, b = self.type(source), self.type(target)
        if target == "b1":
            return self.compare("ne", source, x, self.constant(0, source))
        if source == "bf16":
            wide = text.value(f"zext {a} {x} to {self.type('i32')}")
            bits = text.value(f"shl {self.type('i32')} {wide}, {self.constant(16, 'i32')}")
            single = text.value(f"bitcast {self.type('i32')} {bits} to {self.type('f32')}")
            return single if target == "f32" else self._convert(single, "f32", target)
        if target == "bf16":
            return self._to_bfloat(x if source == "f32" else self._convert(x, source, "f32"))
        if source in ("f16", "f32", "f64") and target in ("f16", "f32", "f64"):
            cast = "fpext" if SIZE_OF[source] < SIZE_OF[target] else "fptrunc"
            return text.value(f"{cast} {a} {x} to {b}")
        if is_float(source):
            # Through the signed integer that is wide enough, as C and NumPy do.
            middle = "i64" if SIZE_OF[target] == 8 or target == "u32" else "i32"
            found = text.value(f"fptosi {a} {x} to {self.type(middle)}")
            return self._convert(found, middle, target) if middle != target else found
        if target in ("f16", "f32", "f64"):
            cast = "sitofp" if is_signed(source) else "uitofp"
            return text.value(f"{cast} {a} {x} to {b}")
        if SIZE_OF[source] == SIZE_OF[target] and source != "b1":
            return x
        if source != "b1" and SIZE_OF[source] > SIZE_OF[target]:
            return text.value(f"trunc {a} {x} to {b}")
        cast = "sext" if is_signed(source) else "zext"
        return text.value(f"{cast} {a} {x} to {b}")

    def _to_bfloat(self, x: str) -> str:
        """The nearest bf16, ties to even; NaN stays NaN."""
        text, whole = self.text, self.type("i32")
        bits = text.value(f"bitcast {self.type('f32')} {x} to {whole}")
        upper = text.value(f"lshr {whole} {bits}, {self.constant(16, 'i32')}")
        odd = text.value(f"and {whole} {upper}, {self.constant(1, 'i32')}")
        bias = text.value(f"add {whole} {odd}, {self.constant(0x7FFF, 'i32')}")
        rounded = text.value(f"add {whole} {bits}, {bias}")
        shifted = text.value(f"lshr {whole} {rounded}, {self.constant(16, 'i32')}")
        is_nan = self.compare("ne", "f32", x, x)
        quiet = text.value(f"or {whole} {upper}, {self.constant(0x40, 'i32')}")
        chosen = text.value(f"select {self.type('b1')} {is_nan}, {whole} {quiet}, "
                            f"{whole} {shifted}")
        return text.value(f"trunc {whole} {chosen} to {self.type('bf16')}")
