"""Tables of profiles and reports of measurements: letter by letter those of PyTorch."""

import re

import pytest

torch = pytest.importorskip("torch")

import taper  # noqa: E402
from taper.profiler import schedule as our_schedule  # noqa: E402
from taper.utils import benchmark as ours  # noqa: E402

theirs = pytest.importorskip("torch.utils.benchmark")


def shape_of(table: str) -> list[str]:
    """A table with its numbers made alike."""
    return [re.sub(r" +[-\d.]+(us|ms|s|%)", " N", line) for line in table.splitlines()]


@pytest.mark.parametrize("options", [{}, {"record_shapes": True}], ids=str)
def test_tables_of_profiles(options) -> None:
    tables = []
    for library in (torch, taper):
        x = library.ones(3, 4)
        with library.profiler.profile(
            activities=[library.profiler.ProfilerActivity.CPU], **options
        ) as found:
            with library.profiler.record_function("a block with a name"):
                x.exp()
                x.exp()
            x.neg()
        averages = found.key_averages(group_by_input_shape=bool(options))
        tables.append(shape_of(averages.table(sort_by="count", row_limit=5)))
    assert tables[0] == tables[1]


@pytest.mark.parametrize("plan", [
    {"wait": 1, "warmup": 1, "active": 2}, {"wait": 0, "warmup": 1, "active": 1, "repeat": 2},
    {"wait": 2, "warmup": 1, "active": 1, "skip_first": 3},
    {"wait": 2, "warmup": 1, "active": 1, "skip_first": 3, "skip_first_wait": 1},
], ids=str)
def test_schedules(plan) -> None:
    expected = torch.profiler.schedule(**plan)
    found = our_schedule(**plan)
    assert [found(i).name for i in range(20)] == [expected(i).name for i in range(20)]


TASKS = [
    {"stmt": "f(x)", "setup": "pass"},
    {"stmt": "f(x)", "setup": "x = 1", "label": "f", "sub_label": "small", "num_threads": 2},
    {"stmt": "a\nb", "setup": "c\nd", "description": "mine"},
    {"stmt": "a", "setup": "pass", "label": "f", "description": "mine", "env": "here"},
]  # fmt: skip


@pytest.mark.parametrize("times", [[1e-4], [1e-4, 2e-4], [1e-4, 2e-5, 3e-2, 1e-3], [3.0, 3.1, 3.2]])
@pytest.mark.parametrize("task", TASKS, ids=str)
def test_measurements(task, times) -> None:
    expected = theirs.Measurement(10, times, theirs.TaskSpec(**task))
    found = ours.Measurement(10, times, ours.TaskSpec(**task))
    assert repr(found).splitlines()[1:] == repr(expected).splitlines()[1:]
    assert (found.has_warnings, found.title) == (expected.has_warnings, expected.title)
    for name in ("median", "mean", "iqr"):
        assert getattr(found, name) == pytest.approx(getattr(expected, name))


@pytest.mark.parametrize("color", [None, False, True])
def test_comparisons(color) -> None:
    texts = []
    for library in (theirs, ours):
        compare = library.Compare([
            library.Measurement(1, [1e-6 * (row + 1) * (1 + column) ** 2], library.TaskSpec(
                "f()", "pass", label="a label", sub_label=f"size {10**row}",
                description=f"column {column}", num_threads=threads))
            for row in range(3) for column in range(3) for threads in (1, 4)
        ])
        if color is not None:
            compare.colorize(rowwise=color)
        texts.append(str(compare))
    assert texts[0] == texts[1]
