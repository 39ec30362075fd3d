"""The text of tables, column by column."""

from taper.profiler.events import EventList, FunctionEvent
from taper.profiler.recorder import Range
from taper.profiler.table import memory_text, time_text


def event(name: str, start: int, end: int, shapes=(), memory: int = 0) -> FunctionEvent:
    recorded = Range(name, "cpu_op", None)
    recorded.start, recorded.end = start, end
    recorded.shapes, recorded.memory = list(shapes), memory
    return FunctionEvent(0, recorded, 0)


def test_texts_of_times_and_sizes() -> None:
    assert time_text(12.3456) == "12.346us"
    assert time_text(1500) == "1.500ms" and time_text(2.5e6) == "2.500s"
    assert time_text(1500, "us") == "1500.000us"
    assert memory_text(224) == "224 B" and memory_text(-2048) == "-2.00 KB"
    assert memory_text(3 * 2**20) == "3.00 MB" and memory_text(2**30) == "1.00 GB"


def test_layout() -> None:
    events = EventList([event("aten::add", 0, 3000), event("aten::mul", 3000, 4000)])
    assert events.table(sort_by="cpu_time_total").splitlines() == [
        "-------------  ------------  ------------  ------------  ------------  ------------  "
        "------------  ",
        "         Name    Self CPU %      Self CPU   CPU total %     CPU total  CPU time avg    "
        "# of Calls  ",
        "-------------  ------------  ------------  ------------  ------------  ------------  "
        "------------  ",
        "    aten::add        75.00%       3.000us        75.00%       3.000us       3.000us    "
        "         1  ",
        "    aten::mul        25.00%       1.000us        25.00%       1.000us       1.000us    "
        "         1  ",
        "-------------  ------------  ------------  ------------  ------------  ------------  "
        "------------  ",
        "Self CPU time total: 4.000us",
    ]


def test_memory_shapes_and_header() -> None:
    events = EventList(
        [event("aten::add", 0, 1000, [[2, 3], []], 2048)], profile_memory=True, with_shapes=True
    )
    lines = events.table(header="Mine").splitlines()
    assert set(lines[0]) == {"="} and lines[1] == "Mine" and len(lines[0]) == len(lines[2])
    titles = lines[3].split("  ")
    assert [t.strip() for t in titles if t.strip()][-4:] == [
        "CPU Mem", "Self CPU Mem", "# of Calls", "Input Shapes"
    ]
    assert "2.00 KB" in lines[5] and "[[2, 3], []]" in lines[5]


def test_limits() -> None:
    events = EventList([event(f"a_rather_long_name_{i}", 0, i * 1000) for i in range(5)])
    lines = events.table(sort_by="cpu_time_total", row_limit=2, max_name_column_width=10)
    rows = lines.splitlines()[3:-2]
    assert len(rows) == 2 and all(row.startswith("a_rathe...  ") for row in rows)
    assert len(events.table(row_limit=-1).splitlines()) == 5 + 5
    assert EventList().table() == ""
