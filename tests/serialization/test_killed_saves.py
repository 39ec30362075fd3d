"""Whatever kills a save, the path holds the checkpoint of before or the new one, whole.

    TAPER_TRIALS=full pytest -s tests/serialization/test_killed_saves.py    500 kills, not 40

What is left is at most one file beside it, `.NAME.taper-unfinished`, that the next save takes over.
Where files can be without a name (Linux), it is complete, called `.NAME.taper-complete`, and left
only if the kill comes between two system calls.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from trials import trials

import taper as torch
from taper.serialization import replacing

COUNT = trials(quick=40, full=500)
KILLER = Path(__file__).with_name("kill_saves.py")
ROOT = Path(__file__).parents[2]


@pytest.fixture(params=["nameless", "named"])
def kind(request, monkeypatch) -> str:
    """Whether files can be without a name."""
    if request.param == "named":
        monkeypatch.setattr(replacing, "_nameless_file", lambda folder: None)
    return request.param


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_kills(kind: str, tmp_path: Path) -> None:
    assert COUNT is not None
    process = subprocess.run(
        [sys.executable, str(KILLER), kind, str(COUNT // 2), "1", str(tmp_path)],
        capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert process.returncode == 0, process.stderr
    seen = json.loads(process.stdout)
    print(kind, seen)
    assert seen["old"] + seen["new"] == COUNT // 2
    assert min(seen["old"], seen["new"]) > COUNT // 20  # kills came before and after


def test_what_is_left_is_taken_over(kind: str, tmp_path: Path) -> None:
    torch.save(1, tmp_path / "model.pt")
    left = "complete" if kind == "nameless" else "unfinished"
    (tmp_path / f".model.pt.taper-{left}").write_bytes(b"something longer than the next" * 1000)
    (tmp_path / "other").write_bytes(b"mine")
    torch.save(2, tmp_path / "model.pt")
    assert torch.load(tmp_path / "model.pt") == 2
    assert sorted(os.listdir(tmp_path)) == ["model.pt", "other"]


def test_saves_at_once(kind: str, tmp_path: Path) -> None:
    """Threads that save to one path: each file is whole, and nothing is left."""
    path, failures = tmp_path / "model.pt", []
    torch.save({"number": -1, "weight": torch.full((1000,), -1)}, path)

    def save(thread: int) -> None:
        try:
            for n in range(20):
                number = 100 * thread + n
                torch.save({"number": number, "weight": torch.full((1000,), number)}, path)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=save, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        loaded = torch.load(path)
        assert (loaded["weight"] == loaded["number"]).all()
    for thread in threads:
        thread.join()
    assert not failures
    assert os.listdir(tmp_path) == ["model.pt"]


@pytest.mark.parametrize("name", ["ü" * 120, "x" * 250])
def test_long_names(kind: str, tmp_path: Path, name: str) -> None:
    torch.save(3, tmp_path / name)
    assert torch.load(tmp_path / name) == 3
    assert os.listdir(tmp_path) == [name]


def test_errors_of_the_disk_are_not_lost(kind: str, tmp_path: Path, monkeypatch) -> None:
    """The thread that brings bytes to the disk early sees an error: the old file stays."""
    torch.save(1, tmp_path / "model.pt")
    monkeypatch.setattr(replacing, "_SYNC_EVERY", 1000)
    real, failed, end = os.fsync, threading.Event(), replacing._DiskFile._end_thread

    def failing(descriptor: int) -> None:
        if threading.current_thread() is not threading.main_thread():
            failed.set()
            raise OSError(5, "Input/output error")
        real(descriptor)

    def end_later(file) -> None:
        assert failed.wait(60)
        end(file)

    monkeypatch.setattr(replacing.os, "fsync", failing)
    monkeypatch.setattr(replacing._DiskFile, "_end_thread", end_later)
    with pytest.raises(OSError, match="Input/output error"):
        torch.save(torch.zeros(100_000), tmp_path / "model.pt")
    monkeypatch.undo()
    assert torch.load(tmp_path / "model.pt") == 1
    assert os.listdir(tmp_path) == ["model.pt"]
