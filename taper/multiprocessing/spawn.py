"""Runs a function in many processes; if one fails, the others end and its error is raised here."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from multiprocessing import connection
from typing import Any, NoReturn

__all__ = [
    "ENV_VAR_PARALLEL_START", "ProcessContext", "ProcessException", "ProcessExitedException",
    "ProcessRaisedException", "SpawnContext", "spawn", "start_processes",
]

# PyTorch's switch for starting the processes of a fork server at the same time.
ENV_VAR_PARALLEL_START = "TORCH_MP_PARALLEL_START"


class ProcessException(Exception):
    """A process failed: its place among the processes, and its number."""

    def __init__(self, msg: str, error_index: int, pid: int) -> None:
        super().__init__(msg)
        self.msg = msg
        self.error_index = error_index
        self.pid = pid

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.msg, self.error_index, self.pid)


class ProcessRaisedException(ProcessException):
    """The function raised in a process; the message has its traceback."""

    def __init__(self, msg: str, error_index: int, error_pid: int) -> None:
        super().__init__(msg, error_index, error_pid)


class ProcessExitedException(ProcessException):
    """A process ended by itself with an exit code, or by a signal."""

    def __init__(
        self, msg: str, error_index: int, error_pid: int, exit_code: int,
        signal_name: str | None = None,
    ) -> None:
        super().__init__(msg, error_index, error_pid)
        self.exit_code = exit_code
        self.signal_name = signal_name

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (
            self.msg, self.error_index, self.pid, self.exit_code, self.signal_name
        )


def _run(fn: Callable[..., Any], index: int, args: tuple[Any, ...], error_file: str) -> None:
    """What each process does; its error, if there is one, is in the file when it has ended."""
    try:
        fn(index, *args)
    except KeyboardInterrupt:
        pass  # the parent has it, too, and says so
    except Exception:
        with open(error_file, "wb") as file:
            pickle.dump(traceback.format_exc(), file)
        sys.exit(1)


class ProcessContext:
    """The processes that `start_processes` started."""

    __module__ = "torch.multiprocessing.spawn"

    def __init__(self, processes: list[Any], error_files: list[str]) -> None:
        self.processes = processes
        self.error_files = error_files
        self.sentinels = {process.sentinel: i for i, process in enumerate(processes)}

    def pids(self) -> list[int]:
        """Returns the numbers of the processes."""
        return [int(process.pid) for process in self.processes]

    def join(self, timeout: float | None = None, grace_period: float | None = None) -> bool:
        """Waits for the next processes to end, and returns whether all have.

        Args:
            timeout: waits so many seconds at most.
            grace_period: if one fails, the others have so many seconds before they are killed;
                default 30.

        Raises:
            ProcessRaisedException: if the function raised.
            ProcessExitedException: if a process ended otherwise.
        """
        if not self.sentinels:
            return True
        failed = None
        for sentinel in connection.wait(list(self.sentinels), timeout=timeout):
            index = self.sentinels.pop(sentinel)
            process = self.processes[index]
            process.join()
            if process.exitcode != 0:
                failed = index
                break
        if failed is None:
            if not self.sentinels:
                self._remove_files()
            return not self.sentinels
        self._end_others(30.0 if grace_period is None else grace_period)
        self._raise_error_of(failed)

    def _end_others(self, grace_period: float) -> None:
        for process in self.processes:
            if process.is_alive():
                process.terminate()
        end = time.monotonic() + grace_period
        for process in self.processes:
            process.join(max(0.0, end - time.monotonic()))
        for process in self.processes:
            if process.is_alive():
                process.kill()
            process.join()

    def _raise_error_of(self, index: int) -> NoReturn:
        process = self.processes[index]
        path = self.error_files[index]
        text = None
        if os.path.getsize(path):
            with open(path, "rb") as file:
                text = pickle.load(file)  # our own process wrote it
        self._remove_files()
        if text is not None:
            raise ProcessRaisedException(
                f"\n\n-- Process {index} terminated with the following error:\n{text}", index,
                process.pid,
            )
        code = process.exitcode
        if code < 0:
            try:
                name = signal.Signals(-code).name
            except ValueError:
                name = f"<Unknown signal {-code}>"
            raise ProcessExitedException(
                f"process {index} terminated with signal {name}", index, process.pid, code, name
            )
        raise ProcessExitedException(
            f"process {index} terminated with exit code {code}", index, process.pid, code
        )

    def _remove_files(self) -> None:
        for path in self.error_files:
            if os.path.exists(path):
                os.unlink(path)


class SpawnContext(ProcessContext):
    """The name that `ProcessContext` had before processes could be forked, too."""

    __module__ = "torch.multiprocessing.spawn"


def start_processes(
    fn: Callable[..., Any], args: tuple[Any, ...] = (), nprocs: int = 1, join: bool = True,
    daemon: bool = False, start_method: str = "spawn",
) -> ProcessContext | None:
    """Starts `nprocs` processes, each of which calls ``fn(i, *args)``.

    Args:
        fn: the function; a new process has to be able to import it.
        join: wait until all have ended; otherwise returns a context to wait with.
        daemon: the processes end with this one.
        start_method: ``"spawn"``, ``"fork"`` or ``"forkserver"``.

    Raises:
        ProcessRaisedException: if the function raised in one of them.
        ProcessExitedException: if one ended otherwise.
    """
    multi = multiprocessing.get_context(start_method)
    processes: list[Any] = []
    error_files = []
    for index in range(nprocs):
        handle, path = tempfile.mkstemp(prefix="taper-process-", suffix=".pickle")
        os.close(handle)
        error_files.append(path)
        process = multi.Process(  # type: ignore[attr-defined]
            target=_run, args=(fn, index, args, path), daemon=daemon
        )
        process.start()
        processes.append(process)
    context = ProcessContext(processes, error_files)
    if not join:
        return context
    while not context.join():
        pass
    return None


def spawn(
    fn: Callable[..., Any], args: tuple[Any, ...] = (), nprocs: int = 1, join: bool = True,
    daemon: bool = False, start_method: str = "spawn",
) -> ProcessContext | None:
    """Starts new processes, each of which calls ``fn(i, *args)``; see `start_processes`."""
    if start_method != "spawn":
        warnings.warn(
            f"This method only supports start_method=spawn (got: {start_method}).\n"
            "To use a different start_method use:\n\t\t"
            " torch.multiprocessing.start_processes(...)", FutureWarning, stacklevel=2,
        )
    return start_processes(fn, args, nprocs, join, daemon, start_method="spawn")
