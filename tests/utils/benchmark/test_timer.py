"""Statements are run as asked, and measured."""

import pytest

import taper as torch
from taper.utils.benchmark import Timer


class Clock:
    """Goes on by one hundredth of a second when `work` is called, and only then."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def work(self) -> None:
        self.now += 0.01


def test_timeit_measures_once() -> None:
    calls = []
    measured = Timer("calls.append(1)", globals={"calls": calls}).timeit(7)
    assert measured.number_per_run == 7 and len(measured.times) == 1
    assert len(calls) == 7 + 2  # two to warm up


def test_blocks_until_the_time_is_over() -> None:
    seen = []
    clock = Clock()
    timer = Timer("work()", globals={"work": clock.work}, timer=clock)
    measured = timer.blocked_autorange(lambda n, seconds: seen.append((n, seconds)), 0.1)
    assert sum(measured.raw_times) >= 0.1 and len(seen) == len(measured.raw_times)
    assert measured.median == pytest.approx(0.01)


def test_adaptive_stops_when_the_times_agree() -> None:
    clock = Clock()
    measured = Timer("work()", globals={"work": clock.work}, timer=clock).adaptive_autorange()
    assert len(measured.times) == 4 and measured.meets_confidence()
    assert len(Timer().adaptive_autorange(max_run_time=0.001, threshold=0).times) >= 1


def test_setup_threads_and_torch() -> None:
    seen = {}
    before = torch.get_num_threads()
    Timer(
        "seen['threads'] = torch.get_num_threads(); x + x", setup="""
            x = torch.ones(3)
        """, globals={"seen": seen}, num_threads=2,
    ).timeit(1)
    assert seen["threads"] == 2 and torch.get_num_threads() == before


def test_what_it_refuses() -> None:
    with pytest.raises(ValueError, match="Currently only a `str` stmt is supported"):
        Timer(lambda: 1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="Invalid language `foo`"):
        Timer(language="foo")
    with pytest.raises(NotImplementedError, match=r"C\+\+"):
        Timer(language="c++")
    with pytest.raises(ValueError, match=r"global_setup is C\+\+ only"):
        Timer(global_setup="int x;")
    with pytest.raises(NotImplementedError, match="Valgrind"):
        Timer().collect_callgrind()
    with pytest.raises(ZeroDivisionError):
        Timer("1 / 0").timeit(1)
