"""What a compiled function does, as data for people to look at (`explain(html=True)`).

    function.py       a compiled function: its programs, what they watch, what ran as it is
    graphs.py         recorded graphs as boxes
    kernels.py        the steps of a program: what was fused, bytes, arithmetic, time
    machine_speed.py  what this machine reaches: the bounds that times are compared with

The page itself is written by taper/viewer.
"""

from taper.compilation.reports.function import view_of_function, write_page

__all__ = ["view_of_function", "write_page"]
