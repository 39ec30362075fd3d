"""What taper says of pickles that would run code is what PyTorch says.

    TAPER_TRIALS=full pytest tests/oracle/test_hostile_pickles.py    5000 files, not 500
"""

from __future__ import annotations

import io
import pickle
import re
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

sys.path.insert(0, str(Path(__file__).parents[1] / "serialization"))

from hostile_pickles import hostile_files  # noqa: E402
from trials import trials  # noqa: E402

import taper  # noqa: E402

COUNT = trials(quick=500, full=5000)
RENAMED_BY_TAPER = {"dbm", "commands", "cPickle"}

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def refusal(library, content: bytes) -> str:
    try:
        library.load(io.BytesIO(content))
    except pickle.UnpicklingError as error:
        return str(error)
    except Exception as error:  # PyTorch has no words of its own for malformed pickles
        return f"{type(error).__name__}: {error}"
    return "loaded"


def test_words() -> None:
    """Refused names in full; of other refusals the opening, and which instruction it was."""
    compared = {"in full": 0, "operand": 0, "opening": 0}
    for file in hostile_files(COUNT, seed=1):
        theirs, ours = refusal(torch, file.content), refusal(taper, file.content)
        if not theirs.startswith("Weights only load failed."):
            continue
        assert ours.startswith("Weights only load failed."), file.name
        operand = re.search(r"Unsupported operand \d+", theirs)
        if file.protocol >= 4 and operand:  # PyTorch's reader doesn't know these protocols
            compared["opening"] += 1
        elif "was not an allowed global" in theirs or "is blocked" in theirs:
            # Both say the name of today; PyTorch's table of names of Python 2 is the shorter one.
            renamed = file.name.partition(".")[0] in RENAMED_BY_TAPER
            assert ours[:600] == theirs[:600] if renamed else ours == theirs, file.name
            compared["in full"] += 1
        else:
            assert ours[:300] == theirs[:300], file.name
            assert operand is None or operand[0] in ours, file.name
            compared["operand" if operand else "opening"] += 1
    assert min(compared.values()) > 5, compared
