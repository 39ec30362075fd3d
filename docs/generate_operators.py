"""Writes a page per operator, `docs/operators/NAME.md`, and their index.

    python docs/generate_operators.py            writes pages, and removes those of no operator
    python docs/generate_operators.py --check    names the pages that differ; status 1 if any do

Everything on a page is asked of the declaration (`taper.ops.declare.Operator`) and its docstring;
tests/docs/test_operator_pages.py fails while a page differs, and runs the examples.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import CodeType
from typing import Any

DOCS = Path(__file__).resolve().parent
sys.path.insert(0, str(DOCS.parent))  # the operators of this checkout, whatever is installed

from taper.core.tensor import Tensor  # noqa: E402
from taper.ops.declare import INPLACE, OPERATORS, Operator  # noqa: E402

importlib.import_module("taper.namespace")  # declares them, and binds their methods
PAGES = DOCS / "operators"
COMMAND = "python docs/generate_operators.py"
_KINDS = {"b": "bool", "i": "integers", "f": "floating point", "c": "complex"}
_SECTIONS = "Args|Shape|Dtype|Raises|Returns|Source|See also"
_ARGUMENT = r"(?!default:)[`\w][\w.`]*(?:, [\w`]+)*(?: \([^)]*\))?(?::\s|, or\s)"


def public_operators() -> dict[str, Operator]:
    """Every operator with a public name, by its main one."""
    return {
        op.path: op for op in sorted(OPERATORS.values(), key=lambda op: op.path)
        if not op.name.startswith("_")
    }


def pages() -> dict[str, str]:
    """The text of all pages by file name, the index among them."""
    operators = public_operators()
    texts = {f"{path}.md": page(op) for path, op in operators.items()}
    texts["README.md"] = index(operators)
    return texts


def page(op: Operator) -> str:
    """The page of one operator."""
    rows = "\n".join(f"| {title} | {text} |" for title, text in facts(op))
    return (
        f"# torch.{op.path}\n\n"
        f"```python\ntorch.{op.path}{signature(op)}\n```\n\n"
        f"{body(op.forward.__doc__ or '')}\n"
        f"| | |\n|---|---|\n{rows}\n"
    )


def index(operators: dict[str, Operator]) -> str:
    """The list of all operators by family, which is the file that declares them."""
    families: dict[str, list[Operator]] = {}
    for op in operators.values():
        families.setdefault(family(op), []).append(op)
    text = (
        "# Operators\n\n"
        f"{len(operators)} operators in {len(families)} families, each family a file of "
        "[taper/ops](../../taper/ops).\n"
        f"These pages are written by `{COMMAND}` from the declarations and their docstrings.\n"
    )
    for name, members in sorted(families.items()):
        text += f"\n## {_heading(name)}\n\n{_family_summary(members[0])}\n\n"
        text += "| operator | |\n|---|---|\n"
        for op in members:
            names = ", ".join([f"[{op.path}]({op.path}.md)", *other_names(op)])
            text += f"| {names} | {_cell(summary(op))} |\n"
    return text


def _heading(name: str) -> str:
    return name.replace("_", " ").capitalize()


def family(op: Operator) -> str:
    """The file that declares an operator, without its ending."""
    path: str = inspect.unwrap(op.forward).__code__.co_filename
    return Path(path).stem


def _family_summary(op: Operator) -> str:
    doc = sys.modules[f"taper.ops.{family(op)}"].__doc__ or ""
    return _inline(" ".join(doc.split("\n\n")[0].split()))


def summary(op: Operator) -> str:
    """The first line of an operator's docstring."""
    return _inline((op.forward.__doc__ or "").strip().split("\n")[0])


def other_names(op: Operator) -> list[str]:
    """The further public names of an operator."""
    return sorted(path for path, other in OPERATORS.items() if other is op and path != op.path)


# -- what the declaration says ---------------------------------------------------------------------


def signature(op: Operator) -> str:
    """The parameters of the public function, without types."""
    given = [
        p.replace(annotation=p.empty)
        for p in inspect.signature(op.forward).parameters.values() if p.kind is not p.VAR_KEYWORD
    ]
    names = {p.name for p in given}
    for name, wanted, default in (
        ("inplace", op.inplace_flag, False), ("out", op.has_out, None),
    ):
        if wanted and name not in names:
            kind = inspect.Parameter.KEYWORD_ONLY if name == "out" else (
                inspect.Parameter.POSITIONAL_OR_KEYWORD)
            given.append(inspect.Parameter(name, kind, default=default))
    return str(inspect.Signature(given))


def facts(op: Operator) -> Iterator[tuple[str, str]]:
    """The rows of the table on a page: heading and text."""
    others = other_names(op)
    if others:
        yield "also", _list(f"torch.{name}" for name in others)
    plain = [name for name in (op.path, *others) if "." not in name]
    methods = [name for name in plain if hasattr(Tensor, name)]
    if methods:
        yield "method", _list(f"Tensor.{name}" for name in (*methods, *op.dunders))
    in_place = [f"torch.{name}_" for name in plain if f"{name}_" in INPLACE]
    in_place += [f"Tensor.{name}_" for name in plain if hasattr(Tensor, f"{name}_")]
    if in_place:
        yield "in place", _list(in_place)
    if isinstance(op.outputs, tuple):
        yield "returns", "a named tuple: " + _list(op.outputs)
    if op.view:
        yield "memory", "the result is a view: it shares the memory of the input"
    if maps_tensors(op):
        yield "derivative", derivative(op)
    if not op.is_composite:
        yield "dtypes", dtypes(op)
    path = f"taper/ops/{family(op)}.py"
    ufunc = f", over NumPy's `{op.ufunc.__name__}`" if hasattr(op.ufunc, "__name__") else ""
    yield "source", f"[{path}](../../{path}){ufunc}"
    yield "family", f"[{_heading(family(op))}](README.md#{family(op).replace('_', '-')})"


def maps_tensors(op: Operator) -> bool:
    """False for what makes tensors out of numbers, or numbers out of tensors."""
    signature = inspect.signature(op.forward)
    takes = any(
        "Tensor" in str(p.annotation) or p.name == "tensors" for p in signature.parameters.values()
    )
    returns = str(signature.return_annotation)
    return takes and ("Tensor" in returns or "Any" in returns)


def derivative(op: Operator) -> str:
    """What has a gradient, and the names of the nodes that compute it."""
    if not op.differentiable:
        return "none: the result has no gradient"
    if op.is_composite:
        nodes = sorted({part.node for part in parts_of(op) if part.derivatives})
        return "follows from the operators that it is made of" + (
            f": {_list(nodes)}" if nodes else "")
    if not op.derivatives:
        return "not implemented"
    inputs = dict.fromkeys(name for rule in op.derivatives for name in rule.inputs)
    nodes = f"`{op.node}`"
    if op.variant is not None:
        nodes += f", or `{op.variant[1]}` where `{op.variant[0]}`"
    return f"for {_list(inputs)}; recorded as {nodes}"


def parts_of(op: Operator) -> Iterator[Operator]:
    """The operators that the body of a composite names."""
    function: Any = inspect.unwrap(op.forward)
    codes = [function.__code__]
    for code in codes:  # which grows: comprehensions have their own before Python 3.12
        codes += [constant for constant in code.co_consts if isinstance(constant, CodeType)]
        for name in code.co_names:
            value = function.__globals__.get(name)
            if isinstance(value, Operator):
                yield value


def dtypes(op: Operator) -> str:
    """What dtypes are taken, and what becomes of them."""
    several = sum("Tensor" in str(a) for a in op.forward.__annotations__.values()) > 2
    kinds = [_KINDS[kind] for kind in _KINDS if kind in op.kinds]
    taken = "all" if len(kinds) == len(_KINDS) else ", ".join(kinds)
    if op.promote in ("float", "result_type") and several:
        taken += "; promoted together"
    if op.promote == "float":
        taken += "; bool and integers become the default floating point dtype"
    if callable(op.promote):
        taken += "; the result's depends on the arguments"
    if op.upcast:
        taken += "; float16 and bfloat16 are computed in float32"
    return taken


# -- docstrings as Markdown ------------------------------------------------------------------------


def body(doc: str) -> str:
    """A docstring as Markdown: paragraphs, a list of sections, the example."""
    text, caption, example = (
        *re.split(r"\nExample:[ ]*(.*)\n", inspect.cleandoc(doc), maxsplit=1), "", "")[:3]
    paragraphs, sections = [], []
    for block in re.split(r"\n\s*\n", text):
        prose, found = _sections_of(block)
        if prose:
            paragraphs.append(_inline(prose))
        sections += found
    parts = [*paragraphs]
    if sections:
        parts.append("\n".join(sections))
    code, _, rest = inspect.cleandoc("\n" + example).partition("\n\n")
    if caption:
        parts.append(_inline(caption[0].upper() + caption[1:]))
    if code:
        parts.append(f"```python\n{code}\n```")
    if rest:
        prose, found = _sections_of(rest)
        parts += [_inline(prose)] if prose else []
        parts += ["\n".join(found)] if found else []
    return "\n\n".join(parts) + "\n"


def _sections_of(block: str) -> tuple[str, list[str]]:
    """The prose of a paragraph, and the sections such as "Shape:" that stand below or in it."""
    prose: list[str] = []
    items: list[tuple[str, list[str]]] = []
    for line in block.split("\n"):
        head, *pieces = re.split(rf"(?:^|\s{{2,}})({_SECTIONS}):(?=\s|$)", line)
        if head.strip():
            if items:
                items[-1][1].append(head)
            else:
                prose.append(head.strip())
        for title, rest in zip(pieces[::2], pieces[1::2], strict=True):
            items.append((title, [rest] if rest.strip() else []))
    return " ".join(prose), [_section(title, lines) for title, lines in items]


def _section(title: str, lines: list[str]) -> str:
    """One bullet; if it explains several arguments or errors, a bullet for each below it."""
    items: list[str] = []
    for line in lines:
        # An argument begins on a line of its own, or behind a gap or semicolon.
        pieces = re.split(rf"(?:;\s+|\s{{2,}})(?={_ARGUMENT})", line.strip())
        if not items or re.match(_ARGUMENT, pieces[0]):
            items += pieces
        else:
            items[-1] += " " + pieces[0]
            items += pieces[1:]
    items = [_inline(" ".join(item.split()).removesuffix(";")) for item in items]
    if len(items) < 2:
        return f"- **{title}** " + "".join(items)
    return f"- **{title}**" + "".join(f"\n  - {item}" for item in items)


def _inline(text: str) -> str:
    """Inline markup: formulas in GitHub's form; stars of shapes mean nothing outside of code."""
    text = re.sub(r"``([^`]+)``", r"`\1`", text)
    parts = re.split(r"((?::math:)?`[^`]*`)", text)
    for i, part in enumerate(parts):
        if part.startswith(":math:"):
            parts[i] = f"${part.removeprefix(':math:')}$"
        elif not part.startswith("`"):
            parts[i] = part.replace("*", "\\*")
    return "".join(parts)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _list(names: Any) -> str:
    return ", ".join(f"`{name}`" for name in names)


def main(arguments: list[str] | None = None) -> int:
    """Writes the pages, or compares them."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing, compare")
    check = parser.parse_args(arguments).check
    texts = pages()
    present = {path.name: path.read_text("utf-8") for path in PAGES.glob("*.md")}
    differing = sorted(
        name for name in texts.keys() | present.keys() if texts.get(name) != present.get(name))
    if check:
        for name in differing:
            print(f"docs/operators/{name}: stale, run {COMMAND}")
        return 1 if differing else 0
    PAGES.mkdir(exist_ok=True)
    for name in differing:
        if name in texts:
            (PAGES / name).write_text(texts[name], "utf-8")
        else:
            (PAGES / name).unlink()
    print(f"{len(texts)} pages, {len(differing)} of them new, changed or removed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
