"""What Python tells its auditors while a file is read: code that is run, processes, files."""

from __future__ import annotations

import sys
import threading
from typing import Any

__all__ = ["Watcher", "watcher"]

_SUSPICIOUS = frozenset("""
    compile exec import os subprocess socket open shutil tempfile ctypes sqlite3 webbrowser pty
    urllib signal glob pathlib
""".split())


class Watcher:
    """In a ``with`` block, collects suspicious events of the main thread; others may compile."""

    def __init__(self) -> None:
        self.events: list[tuple[str, Any]] = []
        self._watching = False
        sys.addaudithook(self._hook)  # it can't be taken away again

    def _hook(self, event: str, arguments: Any) -> None:
        if self._watching and event.partition(".")[0] in _SUSPICIOUS and (
            threading.current_thread() is threading.main_thread()
        ):
            self.events.append((event, arguments))

    def __enter__(self) -> list[tuple[str, Any]]:
        self.events = []
        self._watching = True
        return self.events

    def __exit__(self, *exception: object) -> None:
        self._watching = False


watcher = Watcher()
