"""Writes LLVM IR as text: names, blocks, loops. Knows nothing of expressions."""

from __future__ import annotations

from collections.abc import Callable, Sequence

__all__ = ["FunctionText", "vector"]


def vector(kind: str, lanes: int) -> str:
    """The LLVM type of `lanes` values of an LLVM scalar type."""
    return kind if lanes == 1 else f"<{lanes} x {kind}>"


class FunctionText:
    """The text of one kernel, ``void name(i64* block, i64 begin, i64 end)``, being written."""

    def __init__(self, name: str, vector_bytes: int) -> None:
        self.name = name
        self.vector_bytes = vector_bytes
        self.lines: list[str] = []
        self.declarations: dict[str, str] = {}
        self._count = 0
        self.block = "entry"
        self.lines.append("entry:")

    def fresh(self) -> str:
        self._count += 1
        return f"%v{self._count}"

    def add(self, line: str) -> None:
        self.lines.append("  " + line)

    def value(self, text: str) -> str:
        """Adds ``%n = text`` and returns the name."""
        name = self.fresh()
        self.lines.append(f"  {name} = {text}")
        return name

    def label(self, name: str) -> None:
        self.lines.append(f"{name}:")
        self.block = name

    def new_label(self, hint: str) -> str:
        self._count += 1
        return f"{hint}{self._count}"

    def intrinsic(self, returns: str, name: str, arguments: Sequence[tuple[str, str]]) -> str:
        """Calls an intrinsic with (type, value) arguments."""
        types = ", ".join(kind for kind, _ in arguments)
        self.declarations[name] = f"declare {returns} @{name}({types})"
        call = f"call {returns} @{name}({', '.join(f'{kind} {v}' for kind, v in arguments)})"
        if returns == "void":
            self.add(call)
            return ""
        return self.value(call)

    # -- integers and addresses ----------------------------------------------------------------

    def argument(self, index: int | str) -> str:
        """Word `index` of the argument block."""
        place = self.value(f"getelementptr i64, ptr %block, i64 {index}")
        return self.value(f"load i64, ptr {place}")

    def arguments(self, count: int) -> list[str]:
        """The first words of the argument block."""
        return [self.argument(i) for i in range(count)]

    def words(self, labels: Sequence[str]) -> dict[str, str]:
        """The first words of the argument block, by what they are called."""
        return {label: self.argument(i) for i, label in enumerate(labels)}

    def pointer(self, address: str) -> str:
        return self.value(f"inttoptr i64 {address} to ptr")

    def offset(self, pointer: str, count: str, bytes_each: int = 1) -> str:
        """A pointer `count` items further."""
        kind = {1: "i8", 2: "i16", 4: "i32", 8: "i64"}[bytes_each]
        return self.value(f"getelementptr {kind}, ptr {pointer}, i64 {count}")

    def integer(self, op: str, a: str | int, b: str | int) -> str:
        """An operation on i64: add, sub, mul, udiv, urem, and …"""
        return self.value(f"{op} i64 {a}, {b}")

    def least(self, a: str, b: str) -> str:
        smaller = self.value(f"icmp slt i64 {a}, {b}")
        return self.value(f"select i1 {smaller}, i64 {a}, i64 {b}")

    # -- control -------------------------------------------------------------------------------

    def loop(
        self, start: str | int, stop: str | int, step: str | int,
        carried: Sequence[tuple[str, str]],
        body: Callable[[str, list[str]], Sequence[str]],
    ) -> list[str]:
        """``for i in range(start, stop, step)``, carrying (type, first value) from turn to turn.

        `body` gets i and the carried values and returns the new ones; so does this.
        """
        before = self.block
        head, inside, after = (self.new_label(n) for n in ("head", "body", "done"))
        self.add(f"br label %{head}")
        self.label(head)
        index = self.fresh()
        values = [self.fresh() for _ in carried]
        place = len(self.lines)
        going = self.value(f"icmp slt i64 {index}, {stop}")
        self.add(f"br i1 {going}, label %{inside}, label %{after}")
        self.label(inside)
        new = list(body(index, values))
        following = self.integer("add", index, step)
        phis = [f"  {index} = phi i64 [ {start}, %{before} ], [ {following}, %{self.block} ]"]
        for name, (kind, first), then in zip(values, carried, new, strict=True):
            phis.append(f"  {name} = phi {kind} [ {first}, %{before} ], [ {then}, %{self.block} ]")
        self.lines[place:place] = phis
        self.add(f"br label %{head}")
        self.label(after)
        return values

    def when(self, condition: str, body: Callable[[str, list[str]], Sequence[str]]) -> None:
        """Does `body`, a loop's, once or not at all."""
        self.loop(0, self.value(f"zext i1 {condition} to i64"), 1, [], body)

    def either(
        self, condition: str, then: Callable[[], None], otherwise: Callable[[], None]
    ) -> None:
        """``if condition: then() else: otherwise()``, for what has effects only."""
        first, second, after = (self.new_label(n) for n in ("then", "else", "after"))
        self.add(f"br i1 {condition}, label %{first}, label %{second}")
        for label, write in ((first, then), (second, otherwise)):
            self.label(label)
            write()
            self.add(f"br label %{after}")
        self.label(after)

    def rarely(self, condition: str, kind: str, usual: str, rare: Callable[[], str]) -> str:
        """``rare() if condition else usual``, where the condition hardly ever holds."""
        before = self.block
        aside, after = self.new_label("rare"), self.new_label("after")
        self.declarations["!rare"] = '!0 = !{!"branch_weights", i32 1, i32 2000}'
        self.add(f"br i1 {condition}, label %{aside}, label %{after}, !prof !0")
        self.label(aside)
        found = rare()
        last = self.block
        self.add(f"br label %{after}")
        self.label(after)
        return self.value(f"phi {kind} [ {usual}, %{before} ], [ {found}, %{last} ]")

    def include(self, function: FunctionText, returns: str, arguments: Sequence[str]) -> None:
        """Another function in the same module, whose lines end with what it returns."""
        self.declarations.update(function.declarations)
        self.declarations[function.name] = function._definition(
            f"internal {returns}", ", ".join(arguments), "noinline ", function.lines)

    def text(self) -> str:
        whole = self._definition(
            "void", "ptr %block, i64 %begin, i64 %end", "", [*self.lines, "  ret void"])
        return "\n".join([whole, *self.declarations.values()]) + "\n"

    def _definition(
        self, returns: str, arguments: str, attributes: str, lines: Sequence[str]
    ) -> str:
        width = self.vector_bytes * 8
        return "\n".join([
            f"define {returns} @{self.name}({arguments}) {attributes}nounwind "
            f"\"prefer-vector-width\"=\"{width}\" \"min-legal-vector-width\"=\"{width}\" {{",
            *lines, "}",
        ])
