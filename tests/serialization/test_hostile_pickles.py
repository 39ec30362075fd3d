"""A thousand pickles that would run code are refused, and nothing of them runs.

    TAPER_TRIALS=full pytest tests/serialization/test_hostile_pickles.py    all 176,400 combinations
    TAPER_TRIALS=5000 …                                                     as many
"""

from __future__ import annotations

import copyreg
import io
import os
import pickle
from collections.abc import Iterator

import pytest
from hostile_pickles import (
    EXTENSION,
    MARK,
    TARGETS,
    Writer,
    archive,
    hostile_files,
    raw,
    reduce,
)
from trials import trials
from watching import watcher

import taper as torch

COUNT = trials(quick=1000, full=None)


@pytest.fixture
def at_risk(tmp_path, monkeypatch) -> Iterator[None]:
    """A folder to leave the mark in, with a module to import; an extension code for os.system."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hostile.py").write_text(f"open('{MARK}', 'w')")
    monkeypatch.syspath_prepend(str(tmp_path))
    copyreg.add_extension("os", "system", EXTENSION)
    for container in (raw, archive):  # imports what messages and zip archives need
        complaint(container(b"\x80\x02cos\nsystem\n."))
    yield
    copyreg.remove_extension("os", "system", EXTENSION)


def complaint(content: bytes) -> str:
    """What is wrong with how a file is refused; nothing: ""."""
    message = "it was loaded"
    with watcher as events:
        try:
            torch.load(io.BytesIO(content))
        except pickle.UnpicklingError as error:
            message = str(error)
        except Exception as error:
            message = f"{type(error).__name__}: {error}"
    if events or os.path.exists(MARK):
        return f"something ran: {events[:3]}"
    return "" if message.startswith("Weights only load failed.") else message


def test_nothing_is_executed(at_risk) -> None:
    complaints = [
        f"{file.name}: {found}"[:300] for file in hostile_files(COUNT)
        if (found := complaint(file.content))
    ]
    assert not complaints, f"{len(complaints)} failed:\n" + "\n".join(complaints[:20])


class Evil:
    """Says how to make itself, in each way that pickle knows."""

    def __init__(self, way: str) -> None:
        self.way = way

    def __reduce_ex__(self, protocol: int):
        return {
            "function": (os.system, (f"touch {MARK}",)),
            "eval": (eval, (f"open('{MARK}', 'w')",)),
            "state": (Evil, ("function",), {"a": 1}),
            "setter": (Evil, ("function",), {"a": 1}, None, None, setattr),
            "items": (list, (), None, iter([Evil("function")]), None),
            "new": (copyreg.__newobj__, (Evil, "x")),
        }[self.way]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("way", ["function", "eval", "state", "setter", "items", "new"])
def test_pickles_by_pickle(at_risk, way: str, protocol: int) -> None:
    for wrapped in (Evil(way), [Evil(way)], {"state": {0: Evil(way)}}):
        content = io.BytesIO()
        torch.save(wrapped, content, pickle_protocol=max(protocol, 2))
        assert complaint(content.getvalue()) == ""
        assert complaint(pickle.dumps(wrapped, protocol)) == ""


def test_the_same_files_are_dangerous(tmp_path, monkeypatch) -> None:
    """The control: who trusts such a file runs it."""
    monkeypatch.chdir(tmp_path)
    for module, name, arguments in TARGETS:
        if (module, name) in [("os", "system"), ("builtins", "eval"), ("builtins", "open")]:
            writer = Writer(2)
            pickle.loads(writer.whole(reduce(writer, module, name, arguments)))
            assert os.path.exists(MARK)
            os.unlink(MARK)
