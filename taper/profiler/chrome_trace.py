"""Writes events in the Trace Event Format that chrome://tracing and Perfetto show.

Source: "Trace Event Format", the Chromium project's document: complete events (``"ph": "X"``) with
begin and duration in microseconds.
"""

from __future__ import annotations

import gzip
import json
import os
import socket
from typing import Any

__all__ = ["write_trace"]


def write_trace(path: str, events: Any, metadata: dict[str, Any] | None = None) -> None:
    """Writes events to `path`; compressed if its name ends in ``.gz``."""
    process = os.getpid()
    entries: list[dict[str, Any]] = [
        {"ph": "M", "name": "process_name", "pid": process, "tid": 0, "args": {"name": "python"}},
        {"ph": "M", "name": "process_labels", "pid": process, "tid": 0, "args": {"labels": "CPU"}},
    ]
    entries += [_entry(event, process) for event in events]
    document = {
        "schemaVersion": 1, "displayTimeUnit": "ms", "host_name": socket.gethostname(),
        "deviceProperties": [], **(metadata or {}), "traceName": path, "traceEvents": entries,
    }
    open_file: Any = gzip.open if path.endswith(".gz") else open
    with open_file(path, "wt", encoding="utf-8") as file:
        json.dump(document, file)


def _entry(event: Any, process: int) -> dict[str, Any]:
    args: dict[str, Any] = {"External id": event.id + 1}
    if event.input_shapes:
        args["Input Dims"] = event.input_shapes
    if event.cpu_memory_usage:
        args["Bytes"] = event.cpu_memory_usage
    if event.stack:
        args["Call stack"] = ";".join(event.stack)
    if event.note is not None:
        args["Note"] = event.note
    return {
        "ph": "X", "cat": _CATEGORIES.get(event.kind, "cpu_op"), "name": event.trace_name,
        "pid": process, "tid": event.thread, "ts": event.time_range.start,
        "dur": event.time_range.elapsed_us(), "args": args,
    }


_CATEGORIES = {"user_annotation": "user_annotation", "module": "python_function"}
