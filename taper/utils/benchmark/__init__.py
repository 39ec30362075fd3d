"""`torch.utils.benchmark`: timing statements so that the numbers can be compared.

`timer.py` runs statements, `measurement.py` holds what came out, `compare.py` shows many together.
"""

from taper.utils.benchmark.compare import Colorize, Compare
from taper.utils.benchmark.measurement import (
    Measurement,
    TaskSpec,
    ordered_unique,
    select_unit,
    set_torch_threads,
    trim_sigfig,
    unit_to_english,
)
from taper.utils.benchmark.timer import Language, Timer, timer

__all__ = [
    "Colorize", "Compare", "Language", "Measurement", "TaskSpec", "Timer", "ordered_unique",
    "select_unit", "set_torch_threads", "timer", "trim_sigfig", "unit_to_english",
]
