"""Writes what records a call: the lines that fill a node, and the node's class with `backward`."""

from __future__ import annotations

import re
from typing import Any

from taper.autograd.node import Node, check_version, freed_error, function_of, restore_result
from taper.autograd.saved_tensors import SavedTensor, restored
from taper.core.tensor import wrap
from taper.ops.declare import Operator
from taper.ops.signature import LIST, OPTIONAL, VALUE, Signature
from taper.ops.source import Source

__all__ = ["node_class", "node_class_for", "saved_items", "saved_layout", "write_recording"]


def _recorded_tensors(signature: Signature, numbers: set[str]) -> list[Any]:
    return [p for p in signature.tensors if p.name not in numbers]


def write_recording(
    source: Source, op: Operator, signature: Signature, indent: int, numbers: set[str]
) -> None:
    add = source.add
    present = _recorded_tensors(signature, numbers)
    if not present:
        return
    edge_tests = []
    for p in present:
        if p.role is LIST:
            edge_tests.append(f"any([t._edge is not None for t in {p.name}])")
        elif p.role is OPTIONAL:
            edge_tests.append(f"({p.name} is not None and {p.name}._edge is not None)")
        else:
            edge_tests.append(f"{p.name}._edge is not None")
    test = " or ".join(edge_tests)
    if len(edge_tests) > 1:
        test = f"({test})"
    source.scope["NodeClass"] = node_class(op)
    add(indent, f"if {test} and is_recording():")
    indent += 1
    for p in present:
        if p.role is LIST:
            add(indent, f"e_{p.name} = edges_of({p.name})")
        elif p.role is OPTIONAL:
            add(indent, f"e_{p.name} = None if {p.name} is None else "
                        f"{p.name} if {p.name}._edge is LEAF else {p.name}._edge")
        else:
            add(indent, f"e_{p.name} = {p.name}._edge",
                f"if e_{p.name} is LEAF: e_{p.name} = {p.name}")
    if op.variant is None:
        add(indent, "node = new(NodeClass)")
    else:
        source.scope["NodeVariant"] = node_variant(op)
        add(indent, f"node = new(NodeVariant if {op.variant[0]} else NodeClass)")
    edges = []
    for p in signature.tensors:
        if p.name in numbers:
            edges.append("None")
        else:
            edges.append(f"*e_{p.name}" if p.role is LIST else f"e_{p.name}")
    add(indent, f"node.edges = ({', '.join(edges)},)")
    for item in saved_items(op, signature):
        for line in item.before(numbers):
            add(indent, line)
    saved = [item.text(numbers) for item in saved_items(op, signature)]
    add(indent, f"node.saved = ({', '.join(saved)}{',' if saved else ''})")
    add(indent, "node.sequence = next_sequence()", "frame = getframe(1)",
        "node.where = (frame.f_code, frame.f_lasti)", "node.extras = None")
    arrays = [p for p in present if p.role is not LIST]
    broadcasts = op.promote is not None and len(arrays) > 1 and arrays[0].role is not OPTIONAL
    if broadcasts:
        first = f"a_{arrays[0].name}.shape"
        tests = " or ".join(
            f"(a_{p.name} is not None and {first} != a_{p.name}.shape)" if p.role is OPTIONAL
            else f"{first} != a_{p.name}.shape" for p in arrays[1:]
        )
        parts = []
        for p in signature.tensors:
            if p.name in numbers or p.role is LIST:
                parts.append("None")
            elif p.role is OPTIONAL:
                parts.append(f"None if a_{p.name} is None else (a_{p.name}.shape, None)")
            else:
                parts.append(f"(a_{p.name}.shape, None)")
        add(indent, f"node.adjust = ({', '.join(parts)},) if {tests} else None")
    else:
        # A Python number may broadcast nothing, so the other operand's shape is the result's.
        add(indent, "node.adjust = None")
    if op.outputs is None:
        add(indent, "result._edge = node")
    else:
        add(indent, "node.outputs = len(results)",
            "for index, result in enumerate(results):",
            "    if result._array.dtype.kind not in 'biu':",
            "        result._edge = NodeOutput(node, index)")


class SavedItem:
    """One thing that a node keeps for its rules: how to save it and how to get it back."""

    def __init__(self, op: Operator, signature: Signature, name: str, users: set[str]) -> None:
        self.name = name
        self.kind, self.parameter, self.what = _classify(op, signature, name)
        self.users = users
        self.only_input = len(signature.tensors) == 1
        self.for_all = users.issuperset(p.name for p in signature.tensors)
        self.signature = signature

    def before(self, numbers: set[str]) -> list[str]:
        return []

    def _wanted(self, numbers: set[str]) -> str:
        """The condition under which some rule will need this tensor; "" for always."""
        if self.only_input:
            return ""
        users = [u for u in self.users if u not in numbers]
        tests = []
        for user in users:
            p = next(p for p in self.signature.tensors if p.name == user)
            if p.role is LIST:
                return ""
            tests.append(f"e_{user} is not None")
        return " or ".join(tests) or "False"

    def text(self, numbers: set[str]) -> str:
        name = self.name
        if self.kind == "tensor":
            p = self.parameter
            if p.name in numbers:
                return f"{name}, -1"
            wanted = self._wanted(numbers)
            version = f"(0 if (s := {name}._storage) is None else s.version)"
            if p.role is OPTIONAL:
                wanted = f"{name} is not None" + (f" and ({wanted})" if wanted else "")
            if wanted:
                return f"{name} if {wanted} else None, {version} if {wanted} else -1"
            return f"{name}, {version}"
        if self.kind == "list":
            return (f"tuple({name}), "
                    f"[0 if (s := t._storage) is None else s.version for t in {name}]")
        if self.kind == "result":
            save = "save_result(result)" if self.what is None else (
                f"save_result(results[{self.what}])")
            if self.for_all:
                return save
            wanted = self._wanted(numbers)
            return f"{save} if {wanted} else None" if wanted else save
        if self.kind == "aux":
            return f"aux_{name}"
        if self.kind == "strides":
            array = f"a_{self.parameter.name}"
            return (f"{array}.strides if type({array}) is ndarray or hasattr({array}, 'meta') "
                    "else None")  # not of samples or sparse matrices, but of what is recorded
        if self.kind in ("shape", "dtype"):
            p = self.parameter
            if p.name in numbers:
                return "()" if self.kind == "shape" else "None"
            if p.role is LIST:
                return f"[a.{self.kind} for a in a_{p.name}]" if self.kind == "shape" else (
                    f"[t.dtype for t in {p.name}]")
            if p.role is OPTIONAL:
                return f"None if {p.name} is None else " + (
                    f"a_{p.name}.shape" if self.kind == "shape" else f"{p.name}.dtype")
            return f"a_{p.name}.shape" if self.kind == "shape" else f"{p.name}.dtype"
        return name

    def unpack(self) -> list[str]:
        """The targets of tuple unpacking in the generated `backward`."""
        if self.kind in ("tensor", "list"):
            return [self.name, f"v_{self.name}"]
        return [self.name]

    def restore(self) -> list[str]:
        """Lines that check and restore what was unpacked."""
        name = self.name
        if self.kind == "tensor":
            return [f"if v_{name} >= 0: check_version(node, {name}, v_{name})"]
        if self.kind == "list":
            return [f"for t, v in zip({name}, v_{name}): check_version(node, t, v)"]
        if self.kind == "result":
            index = "" if self.what is None else f", {self.what}"
            restored = f"{name} = restore_result(node, {name}{index})"
            return [restored if self.for_all else f"if {name} is not None: {restored}"]
        if self.kind == "aux":
            return [f"{name} = wrap({name}) if {name} is not None else None"]
        return []


def _classify(op: Operator, signature: Signature, name: str) -> tuple[str, Any, Any]:
    if name == "result":
        return ("result", None, None if op.outputs is None else 0)
    if name.startswith("result") and name[6:].isdigit():
        return ("result", None, int(name[6:]))
    if name in op.aux:
        return ("aux", None, None)
    for p in signature.parameters:
        if p.name == name:
            if p.role is VALUE:
                return ("value", p, None)
            return ("list" if p.role is LIST else "tensor", p, None)
    for kind in ("shape", "dtype", "strides"):
        if name.endswith("_" + kind):
            for p in signature.tensors:
                if p.name == name[: -len(kind) - 1]:
                    return (kind, p, None)
    raise TypeError(f"operator {op.path}: its derivative asks for an unknown {name!r}")


_NOT_SAVED = {"grad", "grads", "needs"}


def saved_items(op: Operator, signature: Signature) -> list[SavedItem]:
    """What the rules of an operator need, each thing once, in the order they name it."""
    found = op.__dict__.get("_saved_items")
    if found is None:
        found = op._saved_items = _find_saved_items(op, signature)
    return found


def _find_saved_items(op: Operator, signature: Signature) -> list[SavedItem]:
    users: dict[str, set[str]] = {}
    for rule in op.derivatives:
        for name in rule.names:
            if name not in _NOT_SAVED:
                users.setdefault(name, set()).update(rule.inputs)
    return [SavedItem(op, signature, name, who) for name, who in users.items()]


def node_class(op: Operator) -> type[Node]:
    """The class of an operator's nodes, with its generated `backward`."""
    found = op.__dict__.get("_node_class")
    if found is None:
        found = op._node_class = _make_node_class(op)
    return found


def node_variant(op: Operator) -> type[Node]:
    """The class of the nodes for which the operator's `variant` condition holds."""
    found = op.__dict__.get("_node_variant")
    if found is None:
        base = node_class(op)
        members: dict[str, Any] = {"__slots__": (), "__module__": "builtins", "__doc__": None}
        numbers = set(re.findall(r"isinstance\((\w+), ", op.variant[0]))
        members["shown"] = _differentiable_positions(op, numbers)
        signature = Signature(op.forward, op.variadic)
        members["saves"] = _keeps_tensors(saved_items(op, signature), numbers)
        found = op._node_variant = type(op.variant[1], (base,), members)
    return found


def node_class_for(op: Operator, bound: dict[str, Any]) -> type[Node]:
    """The class of the node for a call with these arguments."""
    if op.variant is not None and eval(op.variant[0], {}, bound):
        return node_variant(op)
    return node_class(op)


def _make_node_class(op: Operator) -> type[Node]:
    signature = Signature(op.forward, op.variadic)
    source = Source(op, "backward")
    items = saved_items(op, signature)
    source.add(0, "def backward(node, grad):")
    several = op.outputs is not None
    if several:
        source.add(1, "grads = grad if node.outputs != 1 else (grad,)", "grad = grads[0]")
    source.add(1, "saved = node.saved", "if saved is None:", "    raise freed_error(node)")
    targets = [t for item in items for t in item.unpack()]
    if targets:
        source.add(1, f"{', '.join(targets)}, = saved")
    for item in items:
        source.add(1, *item.restore())
    _write_gradients(source, op, signature)
    backward = source.function()
    members: dict[str, Any] = {
        "__slots__": ("outputs",) if several else (),
        "__module__": "builtins",
        "backward": backward,
        "operator": op,
        "saves": _keeps_tensors(items, set()),
        "shown": _differentiable_positions(op, set()),
        "__doc__": None,
    }
    members.update(_saved_properties(items))
    if not op.derivatives:
        members["next_functions"] = property(
            lambda node: tuple([function_of(edge) for edge in node.edges if edge is not None])
        )
    return type(op.node if op.derivatives else "NotImplemented", (Node,), members)


def _keeps_tensors(items: list[SavedItem], numbers: set[str]) -> bool:
    """Whether nodes keep what is freed after use; an advanced index holds tensors too."""
    return any(
        item.name == "advanced" or (
            item.kind in ("tensor", "list", "result", "aux") and not item.users <= numbers
        )
        for item in items
    )


def _differentiable_positions(op: Operator, numbers: set[str]) -> tuple[int, ...] | None:
    """Which edges PyTorch has too: indices and masks have none, nor have operands that are
    numbers where that is a form with a derivative of its own. None for all."""
    tensors = Signature(op.forward, op.variadic).tensors
    if not op.derivatives or any(p.role is LIST for p in tensors):
        return None
    derived = {name for rule in op.derivatives for name in rule.inputs} - numbers
    positions = tuple([i for i, p in enumerate(tensors) if p.name in derived])
    return None if len(positions) == len(tensors) else positions


def _write_gradients(source: Source, op: Operator, signature: Signature) -> None:
    tensors = signature.tensors
    if not op.derivatives:
        name = op.path.replace(".", "_")
        source.add(1, f"raise RuntimeError('derivative for aten::{name} is not implemented')")
        return
    lists = [p for p in tensors if p.role is LIST]
    source.add(1, "edges = node.edges")
    if lists and len(tensors) > 1:
        position = tensors.index(lists[0])
        after = len(tensors) - position - 1
        source.add(1, f"count = len(edges) - {len(tensors) - 1}")
        parts = [f"edges[{i}]" for i in range(position)]
        parts.append(f"edges[{position}:{position} + count]")
        parts += [f"edges[{i - after}]" for i in range(after)]
    elif lists:
        parts = ["edges"]
    else:
        parts = [f"edges[{i}]" for i in range(len(tensors))]
    edge = dict(zip((p.name for p in tensors), parts, strict=True))
    wanted = {
        p.name: (f"any([e is not None for e in {edge[p.name]}])" if p.role is LIST
                 else f"{edge[p.name]} is not None")
        for p in tensors
    }
    returned: dict[str, str] = {}
    for number, rule in enumerate(op.derivatives):
        source.scope[f"rule{number}"] = rule.function
        if len(rule.inputs) == 1:
            if "needs" in rule.names:
                source.add(1, f"needs = [e is not None for e in {edge[rule.inputs[0]]}]")
            call = f"rule{number}({', '.join(rule.names)})"
            name = rule.inputs[0]
            defined = " and grad is not None" if (
                op.outputs is not None and "grad" in rule.names
            ) else ""
            source.add(1, f"g_{name} = {call} if {wanted[name]}{defined} else None")
            returned[name] = f"g_{name}"
        else:
            needs = ", ".join(wanted[n] for n in rule.inputs)
            source.add(1, f"needs = ({needs},)")
            call = f"rule{number}({', '.join(rule.names)})"
            names = ", ".join(f"g_{n}" for n in rule.inputs)
            source.add(1, f"{names} = {call} if any(needs) else {(None,) * len(rule.inputs)!r}")
            returned.update({n: f"g_{n}" for n in rule.inputs})
    results = []
    for p in tensors:
        text = returned.get(p.name, "None")
        if p.role is LIST:
            if text == "None":
                results.append(f"*[None for e in {edge[p.name]}]")
            else:
                results.append(f"*({text} or [None for e in {edge[p.name]}])")
        else:
            results.append(text)
    source.add(1, f"return ({', '.join(results)},)")


_PYTORCH_SAVED_NAMES = {"input": "self"}


def _saved_properties(items: list[SavedItem]) -> dict[str, property]:
    """`_saved_self`, `_saved_result` …: what a node keeps, as PyTorch names it.

    `_raw_saved_self` … are the same as objects on which hooks can be registered.
    """
    properties = {}
    for item, layout in zip(items, saved_layout(items), strict=True):
        def get(node: Any, item: SavedItem = item, position: int = layout[1]) -> Any:
            saved = node.saved
            if saved is None:
                raise freed_error(node)
            value = restored(node, saved[position])
            if item.kind == "tensor" and saved[position + 1] >= 0:
                check_version(node, value, saved[position + 1])
            elif item.kind == "result" and value is not None:
                value = restore_result(node, value, item.what)
            elif item.kind == "aux" and value is not None:
                value = wrap(value)
            return value

        name = _PYTORCH_SAVED_NAMES.get(item.name, item.name)
        properties[f"_saved_{name}"] = property(get)
        if item.kind in ("tensor", "result", "aux"):
            properties[f"_raw_saved_{name}"] = property(
                lambda node, layout=layout, get=get: SavedTensor(node, layout, get)
            )
    return properties


def saved_layout(items: list[SavedItem]) -> list[tuple[str, int, int | None]]:
    """The kind of each saved thing, its place in the node's `saved`, and the output it is of."""
    layout = []
    position = 0
    for item in items:
        layout.append((item.kind, position, item.what))
        position += len(item.unpack())
    return layout
