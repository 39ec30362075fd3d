"""`torch.fx`: programs on programs. A module is traced to a graph that can be read and rewritten.

    traced = torch.fx.symbolic_trace(module)    # proxy.py, tracer.py: run it on stand-ins
    print(traced.graph)                         # node.py, graph.py: what was called
    print(traced.code)                          # code.py: the same as Python
    traced(x)                                   # graph_module.py: which it runs

`interpreter.py` runs a graph node by node, `subgraph_rewriter.py` replaces parts of it. (`compile`
does not stand on this: it records what arrays compute, below functions and modules.)
"""

from taper.fx import tracer as _symbolic_trace  # the name that graphs' code says
from taper.fx.graph import CodeGen, Graph
from taper.fx.graph_module import GraphModule
from taper.fx.interpreter import Interpreter, Transformer
from taper.fx.node import Node, has_side_effect, map_arg
from taper.fx.proxy import Proxy
from taper.fx.subgraph_rewriter import replace_pattern
from taper.fx.tracer import Tracer, symbolic_trace, wrap

__all__ = [
    "CodeGen", "Graph", "GraphModule", "Interpreter", "Node", "Proxy", "Tracer", "Transformer",
    "_symbolic_trace", "has_side_effect", "map_arg", "replace_pattern", "symbolic_trace", "wrap",
]
