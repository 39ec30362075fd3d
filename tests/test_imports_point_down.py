"""Reads every import of taper and checks that it points down the floors of the house.

A room imports from itself and from lower floors. Rooms of one floor may use each other as long as
no cycle results. `taper` itself (the torch-shaped namespace) stands below nn, optim and the other
rooms that are written with the public API; it may name anything, because it is asked lazily. What
is only imported for a type checker doesn't count; what is imported inside a function does.

One thing reaches up: derivative rules and composites in ops are programs on Tensors, written in
public names, so a file of ops may hold the namespace (`import taper`, and nothing from it) and ask
it when such a rule runs. Where one operator is meant, its file is imported instead. No cycle
results, because the namespace itself loads nothing but the version; that is tested, too.
"""

import ast
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "taper"

# From the ground up. `version` is read by everybody.
FLOORS = (
    ("version",),
    ("core",),
    ("compiler",),
    ("runtime",),
    ("arrays",),
    ("kernels",),
    ("autograd",),
    ("ops",),
    ("_subclasses", "backends", "capture", "fft", "linalg", "masked", "nn.functional", "signal",
     "sparse", "special"),
    ("",),  # taper/__init__.py and the modules beside it
    # These are programs on Tensors, such as a user could write; some in rooms of other kinds.
    ("autograd.functional", "autograd.forward_gradient_check", "autograd.gradient_check",
     "func", "masked.maskedtensor"),
    ("_C", "amp", "ao", "cpu", "cuda", "data", "distributed", "distributions", "jit",
     "multiprocessing", "nn",
     "optim", "utils"),
    ("autograd.profiler", "profiler"),
    ("_dynamo", "benchmarks", "compilation", "fx", "serialization", "interop", "testing", "viewer",
     "cli"),
    ("export",),
    ("onnx",),
)  # fmt: skip
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
ROOT_FLOOR = FLOOR_OF[""]


@dataclass(frozen=True)
class Import:
    file: str
    line: int
    source: str  # the module that imports, below taper: "ops.wrap"
    target: str  # the module that is imported
    at_load: bool  # outside of functions
    is_namespace: bool = False  # `import taper`, and nothing from it


def module_name(file: Path) -> str:
    parts = file.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(module: str) -> str:
    """The room a module lies in: the longest one listed, else its top folder."""
    for room in FLOOR_OF:
        if "." in room and f"{module}.".startswith(f"{room}."):
            return room
    top = module.partition(".")[0]
    is_room = (PACKAGE / top).is_dir() or top in FLOOR_OF
    return top if is_room else ""


def is_for_types_only(node: ast.If) -> bool:
    return ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def read_imports(file: Path, modules: set[str]) -> list[Import]:
    source = module_name(file)
    package = source if file.name == "__init__.py" else source.rpartition(".")[0]
    found: list[Import] = []

    def note(node: ast.stmt, target: str, in_function: bool, is_namespace: bool = False) -> None:
        where = str(file.relative_to(PACKAGE.parent))
        found.append(Import(where, node.lineno, source, target, not in_function, is_namespace))

    def target_of(node: ast.ImportFrom) -> str | None:
        """The module named after `from`, below taper; None outside of taper."""
        name = node.module or ""
        if node.level:
            parts = package.split(".") if package else []
            base = parts[: len(parts) - node.level + 1]
            return ".".join([*base, name] if name else base)
        if name == "taper" or name.startswith("taper."):
            return name.removeprefix("taper").removeprefix(".")
        return None

    def visit(node: ast.AST, in_function: bool) -> None:
        if isinstance(node, ast.If) and is_for_types_only(node):
            for child in node.orelse:
                visit(child, in_function)
            return
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name == "taper" or alias.name.startswith("taper."):
                    target = alias.name.removeprefix("taper").removeprefix(".")
                    note(node, target, in_function, not target)
        elif isinstance(node, ast.ImportFrom) and (base := target_of(node)) is not None:
            for alias in node.names:
                inner = f"{base}.{alias.name}" if base else alias.name
                note(node, inner if inner in modules else base, in_function)
        inside = in_function or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for child in ast.iter_child_nodes(node):
            visit(child, inside)

    visit(ast.parse(file.read_text(encoding="utf-8"), str(file)), False)
    return found


@pytest.fixture(scope="module")
def imports() -> list[Import]:
    files = sorted(PACKAGE.rglob("*.py"))
    modules = {module_name(file) for file in files} | {
        module_name(file / "__init__.py") for file in PACKAGE.rglob("*") if file.is_dir()
    }
    return [found for file in files for found in read_imports(file, modules)]


def test_every_room_has_a_floor() -> None:
    rooms = {room_of(module_name(file)) for file in PACKAGE.rglob("*.py")}
    assert rooms <= set(FLOOR_OF), f"give them a floor above: {sorted(rooms - set(FLOOR_OF))}"


def test_imports_point_down(imports: list[Import]) -> None:
    wrong = []
    for found in imports:
        here, there = room_of(found.source), room_of(found.target)
        if here in ("", there) or there == "version":
            continue  # the namespace itself names anything; a room imports from itself
        if here == "ops" and found.is_namespace:
            continue
        if FLOOR_OF[there] > FLOOR_OF[here]:
            wrong.append(
                f"{found.file}:{found.line}: {here} imports taper.{found.target}, above it"
            )
    assert not wrong, "\n".join(["", *wrong])


def test_the_namespace_loads_nothing(imports: list[Import]) -> None:
    """So whoever imports `taper` while it is being imported holds a module that is complete."""
    loaded = {found.target for found in imports if found.source == "" and found.at_load}
    assert loaded == {"version"}


def test_rooms_of_one_floor_form_no_cycle(imports: list[Import]) -> None:
    edges = defaultdict(set)
    for found in imports:
        here, there = room_of(found.source), room_of(found.target)
        if here != there and FLOOR_OF[here] == FLOOR_OF[there]:
            edges[here].add(there)
    assert not (cycle := find_cycle(edges)), " → ".join(cycle)


def test_files_form_no_cycle_when_loaded(imports: list[Import]) -> None:
    """Within a room too. A package's own __init__ collects names and isn't counted."""
    packages = {module_name(file) for file in PACKAGE.rglob("__init__.py")}
    edges = defaultdict(set)
    for found in imports:
        if found.at_load and found.source not in packages and found.target not in packages:
            edges[found.source].add(found.target)
    assert not (cycle := find_cycle(edges)), " → ".join(cycle)


def find_cycle(edges: dict[str, set[str]]) -> list[str]:
    """A cycle of the graph as a list of its nodes, the first one repeated; empty without one."""
    done: set[str] = set()

    def follow(node: str, path: list[str]) -> list[str]:
        if node in path:
            return [*path[path.index(node) :], node]
        if node in done:
            return []
        for following in sorted(edges.get(node, ())):
            if cycle := follow(following, [*path, node]):
                return cycle
        done.add(node)
        return []

    for node in sorted(edges):
        if cycle := follow(node, []):
            return cycle
    return []


def test_nothing_imports_torch() -> None:
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module or ""]
            assert not any(name.partition(".")[0] == "torch" for name in names), (
                f"{file}:{node.lineno} imports torch"
            )


def test_the_reader_sees_what_it_should(tmp_path: Path) -> None:
    """The checks above pass on an empty list too, so the reader itself is tested."""
    file = PACKAGE / "ops" / "made_up.py"
    text = (
        "from typing import TYPE_CHECKING\nimport taper.core.dtype\nfrom . import view\n"
        "from ..nn import functional\nfrom taper import nn\nimport taper\n"
        "if TYPE_CHECKING:\n    from taper.cli import main\n"
        "def f():\n    from taper.optim.sgd import SGD\n"
    )

    class Written(type(file)):
        def read_text(self, encoding=None):
            return text

    found = read_imports(Written(file), {"core.dtype", "ops", "ops.view", "nn", "nn.functional"})
    assert [(one.line, one.target, one.at_load) for one in found] == [
        (2, "core.dtype", True),
        (3, "ops.view", True),
        (4, "nn.functional", True),
        (5, "nn", True),
        (6, "", True),
        (10, "optim.sgd", False),
    ]
    assert [one.line for one in found if one.is_namespace] == [6]
    assert room_of("nn.functional") == "nn.functional" and room_of("nn.modules.linear") == "nn"
    assert find_cycle({"a": {"b"}, "b": {"c"}, "c": {"a"}}) == ["a", "b", "c", "a"]
    assert find_cycle({"a": {"b", "c"}, "b": {"c"}}) == []
