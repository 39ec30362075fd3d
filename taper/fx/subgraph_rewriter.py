"""Replaces parts of a graph that look like a pattern."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from taper.fx.graph import Graph
from taper.fx.graph_module import GraphModule
from taper.fx.node import Node, map_aggregate
from taper.fx.tracer import Tracer

__all__ = ["Match", "replace_pattern"]


class Match(NamedTuple):
    """A place where a pattern was found."""

    anchor: Node  # the last node of the place
    nodes_map: dict[Node, Node]  # nodes of the pattern, and those found


def replace_pattern(
    gm: GraphModule, pattern: Callable[..., Any] | GraphModule,
    replacement: Callable[..., Any] | GraphModule,
) -> list[Match]:
    """Replaces what calls the functions of `pattern`, in its way, by what `replacement` calls.

    Both are functions, or traced modules, of the same inputs. Places don't overlap: what was
    replaced is not looked at again.

    Example:
        >>> import taper as torch
        >>> traced = torch.fx.symbolic_trace(lambda x: torch.relu(x) + 1)
        >>> matches = torch.fx.replace_pattern(
        ...     traced, lambda x: torch.relu(x), lambda x: torch.sigmoid(x))
        >>> len(matches), traced(torch.zeros(1))
        (1, tensor([1.5000]))
    """
    wanted, given = (
        p.graph if isinstance(p, GraphModule) else Tracer().trace(p) for p in (pattern, replacement)
    )
    places = _found(gm.graph, wanted)
    replaced: dict[Node, Any] = {}
    for match in places:
        found = {k: replaced.get(v, v) if k.op == "placeholder" else v
                 for k, v in match.nodes_map.items()}
        inputs = [found[n] for n in wanted.nodes if n.op == "placeholder"]
        copies: dict[Node, Any] = dict(
            zip([n for n in given.nodes if n.op == "placeholder"], inputs, strict=True)
        )
        order = {node: i for i, node in enumerate(gm.graph.nodes)}
        with gm.graph.inserting_before(min(match.anchor.users, key=order.__getitem__)):
            result = gm.graph.graph_copy(given, copies)
        match.anchor.replace_all_uses_with(result)
        replaced[match.anchor] = result
        inner = [found[n] for n in wanted.nodes if n.op not in ("placeholder", "output")]
        for node in reversed(inner):
            gm.graph.erase_node(node)
    gm.recompile()
    return places


def _found(graph: Graph, pattern: Graph) -> list[Match]:
    """All places that don't share nodes."""
    (wanted,) = pattern.output_node().args
    if not isinstance(wanted, Node):
        raise NotImplementedError(
            "torch.fx.replace_pattern: patterns with several results can't be looked for"
        )
    taken: set[Node] = set()
    places = []
    for node in graph.nodes:
        found: dict[Node, Node] = {}
        if node.op == "output" or not _matches(wanted, node, found):
            continue
        inner = {v for k, v in found.items() if k.op != "placeholder"}
        is_used_outside = any(
            user not in inner for v in inner if v is not node for user in v.users
        )
        if not inner & taken and not is_used_outside:
            taken |= inner
            places.append(Match(node, found))
    return places


def _matches(wanted: Node, node: Any, found: dict[Node, Any]) -> bool:
    """Whether a node does what one of the pattern does, with matching inputs."""
    if wanted in found:
        return found[wanted] is node
    if wanted.op == "placeholder":
        found[wanted] = node
        return True
    if not isinstance(node, Node) or node.op != wanted.op or node.target != wanted.target:
        return False
    found[wanted] = node
    mine, theirs = (_flat((n.args, n.kwargs)) for n in (wanted, node))
    if len(mine) != len(theirs):
        return False
    return all(
        _matches(a, b, found) if isinstance(a, Node) else type(a) is type(b) and a == b
        for a, b in zip(mine, theirs, strict=True)
    )


def _flat(arguments: Any) -> list[Any]:
    values: list[Any] = []
    map_aggregate(arguments, values.append)
    return values

