"""Tables, letter by letter."""

import pytest

from taper.utils.benchmark import Compare, Measurement, TaskSpec


def measure(time: float, row: str, column: str, threads: int = 1, **task) -> Measurement:
    spec = TaskSpec("f()", "pass", label="Sum", sub_label=row, description=column,
                    num_threads=threads, **task)
    return Measurement(1, [time], spec)


def test_layout() -> None:
    compare = Compare([
        measure(1e-6, "a", "one"), measure(2e-3, "bbb", "two"), measure(2e-3, "c", "one", 4)
    ])
    assert str(compare).splitlines() == [
        "[------------ Sum ------------]",
        "           |   one    |   two  ",
        "1 threads: --------------------",
        "      a    |     1.0  |        ",
        "      bbb  |          |  2000.0",
        "4 threads: --------------------",
        "      c    |  2000.0  |        ",
        "",
        "Times are in microseconds (us).",
    ]


def test_places() -> None:
    compare = Compare([measure(1e-6, "a", "one", env="here"), measure(2e-6, "a", "one", env="x")])
    assert [line for line in str(compare).splitlines() if line.startswith("  (")] == [
        "  (here)  a  |  1.0", "  (x)     a  |  2.0"
    ]


def test_colours() -> None:
    results = [measure(t, row, column) for row, column, t in (
        ("a", "one", 1e-6), ("a", "two", 9e-6), ("b", "one", 1.1e-6), ("b", "two", 9e-6))]
    compare = Compare(results)
    compare.colorize()
    assert "\033[92m\033[1m1.0\033[0m\033[0m" in str(compare)
    assert "\033[34m\033[1m1.1\033[0m\033[0m" in str(compare)
    compare.colorize(rowwise=True)
    assert str(compare).count("\033[31m\033[1m9.0") == 2


def test_digits_and_warnings() -> None:
    noisy = Measurement(1, [2.4e-6, 2.0e-6, 3.0e-6, 2.2e-6],
                        TaskSpec("f()", "pass", label="Sum", sub_label="a", description="one"))
    compare = Compare([noisy])
    assert "|  2.3" in str(compare)
    compare.trim_significant_figures()
    compare.highlight_warnings()
    assert "|  2 (! 17%)" in str(compare) and "high variance" in str(compare)


def test_only_measurements() -> None:
    with pytest.raises(ValueError, match="Expected an instance of `Measurement`"):
        Compare([1.0])  # type: ignore[list-item]
