"""Processes end as they should, and their errors arrive here."""

import glob
import os
import pickle
import signal
import tempfile
import time

import pytest

import taper as torch
from taper.multiprocessing import (
    ProcessExitedException,
    ProcessRaisedException,
    start_processes,
)


def write_rank(rank: int, folder: str) -> None:
    torch.save(torch.full((2,), float(rank)), os.path.join(folder, f"{rank}.pt"))


def raise_in_second(rank: int) -> None:
    if rank == 1:
        raise ValueError("the second one fails")
    time.sleep(60)


def leave(rank: int) -> None:
    os._exit(3)


def die(rank: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def run(function, *args, nprocs: int = 2, **options):
    return start_processes(function, args, nprocs, start_method="fork", **options)


@pytest.fixture(autouse=True)
def no_files_are_left():
    yield
    assert not glob.glob(os.path.join(tempfile.gettempdir(), "taper-process-*"))


def test_all_run(tmp_path) -> None:
    assert run(write_rank, str(tmp_path), nprocs=3) is None
    assert [torch.load(tmp_path / f"{i}.pt").tolist() for i in range(3)] == [
        [0, 0], [1, 1], [2, 2]
    ]


def test_new_processes(tmp_path) -> None:
    torch.multiprocessing.spawn(write_rank, (str(tmp_path),), nprocs=1)
    assert torch.load(tmp_path / "0.pt").tolist() == [0, 0]


def test_an_error_ends_the_others() -> None:
    begun = time.monotonic()
    with pytest.raises(ProcessRaisedException, match="Process 1 terminated with the following"):
        run(raise_in_second)
    assert time.monotonic() - begun < 20


def test_the_error_has_the_traceback() -> None:
    with pytest.raises(ProcessRaisedException) as raised:
        run(raise_in_second)
    assert "ValueError: the second one fails" in str(raised.value)
    assert raised.value.error_index == 1 and raised.value.pid > 0
    assert str(pickle.loads(pickle.dumps(raised.value))) == str(raised.value)


def test_exits_and_signals() -> None:
    with pytest.raises(ProcessExitedException, match="process 0 terminated with exit code 3"):
        run(leave, nprocs=1)
    with pytest.raises(ProcessExitedException, match="terminated with signal SIGKILL") as raised:
        run(die, nprocs=1)
    assert raised.value.signal_name == "SIGKILL" and raised.value.exit_code == -9


def test_waiting_oneself(tmp_path) -> None:
    context = run(write_rank, str(tmp_path), join=False)
    assert len(context.pids()) == 2
    while not context.join(timeout=10):
        pass
    assert context.join()


def test_other_start_methods_are_for_start_processes() -> None:
    with pytest.warns(FutureWarning, match="only supports start_method=spawn"):
        torch.multiprocessing.spawn(leave, nprocs=0, start_method="fork")


def test_strategies() -> None:
    shared = torch.multiprocessing
    assert shared.get_all_sharing_strategies() == {"file_descriptor", "file_system"}
    before = shared.get_sharing_strategy()
    shared.set_sharing_strategy("file_system")
    assert shared.get_sharing_strategy() == "file_system"
    shared.set_sharing_strategy(before)
    with pytest.raises(AssertionError, match="invalid sharing strategy 'x'"):
        shared.set_sharing_strategy("x")


def test_pythons_names_are_here() -> None:
    queue = torch.multiprocessing.get_context("fork").Queue()
    queue.put(torch.arange(3))
    assert queue.get(timeout=10).tolist() == [0, 1, 2]
    assert torch.multiprocessing.cpu_count() >= 1
