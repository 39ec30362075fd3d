"""A kernel that calls functions of other libraries, such as LAPACK's, one a task."""

from __future__ import annotations

from taper.compiler.llvm_text import FunctionText
from taper.compiler.tile_code import plus, word_at

__all__ = ["CALLS_WORDS", "MOST_ARGUMENTS", "calls"]

CALLS_WORDS = ("table",)
MOST_ARGUMENTS = 17


def calls(name: str, vector_bytes: int) -> str:
    """The kernel of `function(*words)` for each line of a table: a function's address and
    MOST_ARGUMENTS words, addresses or integers, of which it may take fewer. A task is a line."""
    text = FunctionText(name, vector_bytes)
    table = text.pointer(text.argument(0))

    def task(number: str, _: list[str]) -> list[str]:
        line = plus(text, table, (number, str(8 * (MOST_ARGUMENTS + 1))))
        function, *words = (word_at(text, line, str(i)) for i in range(MOST_ARGUMENTS + 1))
        text.add(f"call void {text.pointer(function)}({', '.join(f'i64 {w}' for w in words)})")
        return []

    text.loop("%begin", "%end", 1, [], task)
    return text.text()
