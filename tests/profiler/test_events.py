"""Averages by name and shape, and what is written to files."""

import gzip
import json

import pytest

import taper as torch
from taper.profiler import profile, record_function, schedule, tensorboard_trace_handler


def record(**options):
    with profile(**options) as found, record_function("block"):
        for size in (2, 2, 3):
            torch.ones(size).neg().exp()
    return found


def test_averages_by_name() -> None:
    averages = {average.key: average for average in record().key_averages()}
    assert {key: average.count for key, average in averages.items()} == {
        "block": 1, "aten::neg": 3, "aten::exp": 3
    }
    exp = averages["aten::exp"]
    assert exp.cpu_time == pytest.approx(exp.cpu_time_total / 3)
    assert averages["block"].cpu_time_total >= exp.cpu_time_total
    assert repr(exp).startswith("<FunctionEventAvg key=aten::exp self_cpu_time=")


def test_averages_by_shape_and_by_line() -> None:
    found = record(record_shapes=True, with_stack=True)
    by_shape = found.key_averages(group_by_input_shape=True)
    counts = {str(a.input_shapes): a.count for a in by_shape if a.key == "aten::exp"}
    assert counts == {"[[2]]": 2, "[[3]]": 1}
    assert "Input Shapes" in by_shape.table() and "Input Shapes" not in found.key_averages().table()
    by_line = found.key_averages(group_by_stack_n=1)
    assert "Source Location" in by_line.table() and "test_events.py" in by_line.table()


def test_totals() -> None:
    found = record()
    total = found.key_averages().total_average()
    assert total.key == "Total" and total.count == 7
    assert found.events().self_cpu_time_total == pytest.approx(total.self_cpu_time_total)


def test_trace(tmp_path) -> None:
    found = record(record_shapes=True)
    found.add_metadata_json("sizes", "[2, 3]")
    path = str(tmp_path / "trace.json")
    found.export_chrome_trace(path)
    with open(path) as file:
        document = json.load(file)
    assert document["sizes"] == [2, 3]
    events = [e for e in document["traceEvents"] if e["ph"] == "X"]
    assert [e["name"] for e in events][:3] == ["block", "aten::neg", "aten::exp"]
    assert events[0]["cat"] == "user_annotation" and events[1]["cat"] == "cpu_op"
    block, ones = events[:2]
    assert block["ts"] <= ones["ts"]
    assert ones["ts"] + ones["dur"] <= block["ts"] + block["dur"]
    assert events[2]["args"]["Input Dims"] == [[2]]


def test_stacks(tmp_path) -> None:
    path = tmp_path / "stacks"
    record(with_stack=True).export_stacks(str(path), "self_cpu_time_total")
    last, count = path.read_text().splitlines()[-1].rsplit(" ", 1)
    assert "test_events.py" in last and int(count) > 0
    with pytest.raises(AssertionError, match="requires with_stack=True"):
        record().export_stacks(str(path))


def test_folder_for_tensorboard(tmp_path) -> None:
    with profile(on_trace_ready=tensorboard_trace_handler(str(tmp_path), "me", use_gzip=True)):
        torch.ones(2).neg()
    (written,) = tmp_path.iterdir()
    assert written.name.startswith("me.") and written.name.endswith(".pt.trace.json.gz")
    with gzip.open(written, "rt") as file:
        assert json.load(file)["traceEvents"]


def test_schedules() -> None:
    plan = schedule(wait=1, warmup=1, active=2, repeat=2, skip_first=1)
    names = " ".join(plan(step).name for step in range(10))
    cycle = "NONE WARMUP RECORD RECORD_AND_SAVE"
    assert names == f"NONE {cycle} {cycle} NONE"
    assert schedule(wait=2, warmup=1, active=1, skip_first_wait=1)(0).name == "WARMUP"
    with pytest.raises(AssertionError, match="Invalid profiler schedule arguments"):
        schedule(wait=-1, warmup=0, active=1)
    with pytest.warns(UserWarning, match="won't be using warmup"):
        schedule(wait=0, warmup=0, active=1)


def test_steps() -> None:
    ready = []
    plan = schedule(wait=1, warmup=1, active=2, repeat=1)
    with profile(schedule=plan, on_trace_ready=lambda p: ready.append(p.step_num)) as found:
        for _ in range(6):
            torch.ones(2).neg()
            found.step()
    assert ready == [4]
    assert [e.name for e in found.events()] == ["ProfilerStep*", "aten::neg"] * 2
    clears = pytest.warns(UserWarning, match="Profiler clears events at the end of each cycle")
    with clears, profile(schedule=schedule(wait=0, warmup=1, active=1)) as found:
        for _ in range(4):
            torch.ones(2).neg()
            found.step()
    assert len(found.events()) == 2
    with profile(schedule=schedule(wait=0, warmup=1, active=1), acc_events=True) as found:
        for _ in range(4):
            torch.ones(2).neg()
            found.step()
    assert len(found.events()) == 4


def test_older_form() -> None:
    with torch.autograd.profiler.profile(record_shapes=True) as found:
        block = torch.autograd.profiler.record_function("named")
        with block:
            torch.ones(2).neg()
    assert [event.name for event in found.function_events] == ["named", "aten::neg"]
    assert "aten::neg" in str(found) and found.total_average().count == 2
    with torch.autograd.profiler.profile(enabled=False) as off:
        torch.ones(2).neg()
    with pytest.raises(RuntimeError, match="Profiler didn't finish running"):
        off.table()
    with pytest.raises(AssertionError, match="Profiler must be initialized"):
        profile().key_averages()


def test_decorated_functions() -> None:
    @record_function("adds")
    def add(a):
        return a + 1

    with profile() as found:
        add(torch.ones(1))
    assert found.events()[0].name == "adds"
    assert add(torch.ones(1)).item() == 2
