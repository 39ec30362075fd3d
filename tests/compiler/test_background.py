"""Who asks for kernels, who doesn't, and who helps to make them."""

import multiprocessing
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from taper.compiler import background, machine
from taper.core.settings import settings
from taper.core.threads import use_deterministic_algorithms

pytestmark = pytest.mark.skipif(not machine.is_available(), reason="needs llvmlite")


def new_module() -> tuple[str, str]:
    """A module that is in no cache."""
    return f"define i64 @new(i64 %x) {{ %y = add i64 %x, {time.time_ns()} ret i64 %y }}", "new"


def interrupted_once() -> Callable[[], tuple[str, str]]:
    """A builder of a new module whose first call is interrupted."""
    is_first = True

    def builder() -> tuple[str, str]:
        nonlocal is_first
        if is_first:
            is_first = False
            raise KeyboardInterrupt
        return new_module()

    return builder


@pytest.fixture(autouse=True)
def idle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "_native", "background")
    assert background.load() and background.wait_until_idle(10)


@pytest.fixture
def busy() -> Iterator[Callable[[], None]]:
    """The thread has something to do until this is called."""
    go_on, is_busy = threading.Event(), threading.Event()

    def job() -> None:
        is_busy.set()
        go_on.wait(10)

    background._compiler.add(job)
    assert is_busy.wait(10)
    yield go_on.set
    go_on.set()
    assert background.wait_until_idle(10)


def test_within_nobody_asks() -> None:
    with background.without_new_kernels():
        assert background.asks_for_none() and background.is_at_work()
        assert background.request("test: unasked", new_module) is None
    assert "test: unasked" not in background._addresses
    assert not background.asks_for_none() and not background.is_at_work()


def test_only_for_a_while_and_in_one_thread() -> None:
    others = []
    with background.without_new_kernels(0.02):
        thread = threading.Thread(target=lambda: others.append(background.asks_for_none()))
        thread.start()
        thread.join()
        time.sleep(0.03)
        assert not background.asks_for_none()
    assert others == [False]


def test_who_wants_the_same_numbers_every_time_asks() -> None:
    use_deterministic_algorithms(True)
    try:
        with background.without_new_kernels():
            assert background.request("test: deterministic", new_module) is not None
    finally:
        use_deterministic_algorithms(False)


def test_what_programs_use_is_made_but_not_waited_for(busy: Callable[[], None]) -> None:
    with background.without_new_kernels():
        began = time.perf_counter()
        assert background.request("test: in programs", new_module, in_programs=True) is None
        assert background.request("test: in programs", new_module, in_programs=True) is None
        assert time.perf_counter() - began < 0.03
    busy()
    assert background.wait_until_idle(10)
    assert background.request("test: in programs", new_module) is not None


def test_who_waits_helps(busy: Callable[[], None]) -> None:
    made_by = []

    def builder() -> tuple[str, str]:
        made_by.append(threading.current_thread())
        return new_module()

    for i in range(3):
        assert background.request(("test: helped", i), builder, exact=True, is_next=True) is None
    background.wait_for([("test: helped", i) for i in range(3)], 10)
    assert made_by == [threading.current_thread()] * 3
    for i in range(3):
        assert background.request(("test: helped", i), builder, exact=True) is not None


def test_nobody_helps_with_what_no_one_waits_for(busy: Callable[[], None]) -> None:
    assert background.request("test: late", new_module, exact=True) is None
    background.wait_for(["test: late"], 0.01)
    assert background.request("test: late", new_module, exact=True) is None
    assert background.request("test: late", new_module, exact=True, is_next=True) is None
    background.wait_for(["test: late"], 10)  # now it is
    assert background.request("test: late", new_module, exact=True) is not None


def test_an_interrupted_helper_leaves_the_work(busy: Callable[[], None]) -> None:
    builder = interrupted_once()
    assert background.request("test: interrupted", builder, exact=True, is_next=True) is None
    with pytest.raises(KeyboardInterrupt):
        background.wait_for(["test: interrupted"], 10)
    busy()
    assert background.wait_until_idle(10)
    assert background.request("test: interrupted", builder, exact=True) is not None


def _compile_many(count: int) -> None:
    for _ in range(count):
        machine.compile_ir(*new_module())


def test_threads_compile_at_the_same_time() -> None:
    threads = [threading.Thread(target=_compile_many, args=(20,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    same = new_module()
    found: list[int] = []
    threads = [threading.Thread(target=lambda: found.append(machine.compile_ir(*same)))
               for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4 and len(set(found)) == 1


def test_an_interrupted_request_is_made_again() -> None:
    builder = interrupted_once()
    with pytest.raises(KeyboardInterrupt):
        background.request("test: interrupted request", builder)
    use_deterministic_algorithms(True)  # who waits however long it takes
    try:
        assert background.request("test: interrupted request", builder) is not None
    finally:
        use_deterministic_algorithms(False)


def test_the_thread_outlives_what_its_jobs_raise(monkeypatch: pytest.MonkeyPatch) -> None:
    raised = []
    monkeypatch.setattr(threading, "excepthook", lambda args: raised.append(args.exc_type))

    def broken() -> None:
        raise SystemExit

    background._compiler.add(broken)
    assert background.wait_until_idle(10)
    background.request("test: outlives", new_module, exact=True)
    assert background.wait_until_idle(10) and raised == [SystemExit]
    assert background.request("test: outlives", new_module, exact=True) is not None


def test_who_waits_starts_the_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    def cannot_start(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    compiler = background._Compiler()
    monkeypatch.setattr(background, "_compiler", compiler)
    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="can't start"):
        patch.setattr(threading.Thread, "start", cannot_start)
        compiler.add(lambda: None)
    done = threading.Event()
    compiler.waiting[0] = (True, 1, done.set)
    monkeypatch.setattr(settings, "_native", "now")
    assert background.waits(done)
    compiler.close()
    assert not background.waits(threading.Event())  # nobody will do it


@pytest.mark.parametrize("native", ["background", "now"])
def test_successors(native: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "_native", native)
    module, put, threads = new_module(), [], []

    def make() -> int:
        threads.append(threading.current_thread())
        return machine.compile_ir(*module)

    for count in range(1, 3):  # compiled, and from the cache
        successor = background.Successor("test: new", make, put.append, is_waited_for=True)
        assert background.waits(successor.ready) or background.wait_until_idle(10)
        assert successor.made is not None and put == [successor.made] * count
    is_left = native == "background"
    assert len(threads) == (3 if is_left else 2)
    assert (threads[1] is not threads[0]) == is_left and threads[-1] is threads[0]


@pytest.mark.parametrize("native", ["background", "now"])
def test_successors_that_cannot_be_made(native: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "_native", native)
    monkeypatch.setattr(machine, "_MOST_KERNELS", 0)
    monkeypatch.setattr(machine._machine(), "has_warned", False)
    module, put = new_module(), []
    with pytest.warns(RuntimeWarning, match="has 0 kernels loaded") as warned:
        for _ in range(2):
            successor = background.Successor(
                "test: too many", lambda: machine.compile_ir(*module), put.append)
            assert background.wait_until_idle(10) and background.waits(successor.ready)
            assert successor.made is None and not put
    assert len(warned) == 1


def test_what_goes_wrong_in_a_successor_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise ValueError("nonsense")

    with pytest.warns(RuntimeWarning, match="test: broken successor.*nonsense"):
        successor = background.Successor("test: broken successor", broken)
    assert successor.made is None and successor.ready.is_set()
    monkeypatch.setattr(settings, "_native", "now")
    with pytest.raises(ValueError, match="nonsense"):
        background.Successor("test: broken successor", broken)


def _has_come(successor: background.Successor) -> None:
    use_deterministic_algorithms(True)
    if not background.waits(successor.ready) or successor.made is None:
        raise RuntimeError("the successor hasn't come")


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_makes_what_its_parent_was_making(busy: Callable[[], None]) -> None:
    module = new_module()
    successor = background.Successor("test: forked", lambda: machine.compile_ir(*module))
    assert not successor.ready.is_set()
    child = multiprocessing.get_context("fork").Process(target=_has_come, args=(successor,))
    child.start()
    child.join(20)
    assert child.exitcode == 0


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_fork_meets_no_lock_that_is_held() -> None:
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            _compile_many(1)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(3):
            child = multiprocessing.get_context("fork").Process(target=_compile_many, args=(1,))
            child.start()
            child.join(20)
            assert child.exitcode == 0
    finally:
        stop.set()
        for thread in threads:
            thread.join()
