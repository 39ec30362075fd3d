"""Statistics of times, and how they are written."""

import pytest

from taper.utils.benchmark import (
    Measurement,
    TaskSpec,
    select_unit,
    trim_sigfig,
    unit_to_english,
)


def measure(*times: float, number: int = 1, **task) -> Measurement:
    return Measurement(number, list(times), TaskSpec(**{"stmt": "f()", "setup": "pass", **task}))


def lines_of(measurement: Measurement) -> list[str]:
    first, *rest = repr(measurement).splitlines()
    assert first.startswith("<torch.utils.benchmark.utils.common.Measurement object at 0x")
    return rest


def test_statistics() -> None:
    found = measure(1e-5, 2e-5, 3e-5, 4e-5, number=10)
    assert found.times == pytest.approx([1e-6, 2e-6, 3e-6, 4e-6])
    assert found.median == found.mean == pytest.approx(2.5e-6)
    assert found.iqr == pytest.approx(1.5e-6)
    assert found.has_warnings and not found.meets_confidence()
    assert measure(1.0).iqr == 0 and measure(1.0).significant_figures == 1
    assert measure(*[1.0, 1.0001] * 50).significant_figures == 4
    with pytest.raises(AssertionError):
        _ = measure().median


def test_one_time() -> None:
    assert lines_of(measure(1e-4, number=10, label="add", sub_label="small", description="mine")) \
        == ["add: small", "mine", "  10.00 us", "  1 measurement, 10 runs , 1 thread"]


def test_many_times() -> None:
    found = measure(1e-4, 2e-5, 3e-2, 1e-3, number=10, setup="x = 1", num_threads=2)
    assert lines_of(found) == [
        "f()", "setup: x = 1",
        "  Median: 55.00 us", "  IQR:    817.00 us (8.00 to 825.00)",
        "  4 measurements, 10 runs per measurement, 2 threads",
        "  WARNING: Interquartile range is 1485.5% of the median measurement.",
        "           This suggests significant environmental influence.",
    ]


def test_statements_of_many_lines() -> None:
    assert lines_of(measure(1e-4, number=10, stmt="a\nb", setup="c\nd")) == [
        "stmt:", "  a", "  b", "", "setup:", "  c", "  d", "", "  10.00 us",
        "  1 measurement, 10 runs , 1 thread",
    ]


def test_measurements_of_one_task_are_merged() -> None:
    merged = Measurement.merge([measure(2.0, number=2), measure(3.0), measure(5.0, label="other")])
    assert [m.times for m in merged] == [[1.0, 3.0], [5.0]]


def test_units() -> None:
    assert [select_unit(t)[0] for t in (1e-10, 1e-7, 3e-5, 0.01, 2.0)] == [
        "ns", "ns", "us", "ms", "s"
    ]
    assert unit_to_english("us") == "microsecond"
    assert trim_sigfig(12345.0, 2) == 12000 and trim_sigfig(0.00123, 1) == 0.001
