"""Pictures of a tensor's history: `taper.graph(tensor)` and ``taper graph program.py``; and of
compiled functions: ``compiled.explain(html=True)`` and ``taper graph --compiled program.py``.

    history.py        what there is to see: operations, leaves, what they saved, gradients
    layout.py         where it goes: layers, crossings, coordinates
    drawing.py        as SVG
    page.py           as a page of its own with zoom, search and details
    text.py           as text, and as DOT for graphviz
    graph.py          `Graph`, which users hold, and `graph`
    programs.py       what there is to see of a compiled function
    program_page.py   its page: kernels and their times, graphs, guards
"""

from taper.viewer.graph import Graph, graph

__all__ = ["Graph", "graph"]
