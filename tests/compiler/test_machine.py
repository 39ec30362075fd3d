"""Machine code from IR, its cache on disk, and compilation in the background."""

import ctypes
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from taper.compiler import background, machine
from taper.compiler.object_cache import ObjectCache
from taper.core.settings import Settings, settings

needs_llvm = pytest.mark.skipif(not machine.is_available(), reason="needs llvmlite")

ANSWER = """
define i64 @answer(i64 %x) nounwind {{
  %y = add i64 %x, {0}
  ret i64 %y
}}
"""


def call(address: int, x: int) -> int:
    return ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(address)(x)


@needs_llvm
def test_modules_become_functions() -> None:
    first = machine.compile_ir(ANSWER.format(2), "answer")
    second = machine.compile_ir(ANSWER.format(3), "answer")
    assert call(first, 40) == 42 and call(second, 40) == 43
    assert machine.compile_ir(ANSWER.format(2), "answer") == first  # compiled once


@needs_llvm
def test_rejected_modules_raise() -> None:
    with pytest.raises(RuntimeError):
        machine.compile_ir("define i64 @broken(i64 %x) { ret i64 %y }", "broken")


@needs_llvm
def test_host_describes_a_processor() -> None:
    host = machine.host()
    assert host.vector_bytes in (16, 32, 64) and host.lanes(4) == host.vector_bytes // 4


def test_objects_on_disk(tmp_path: Path) -> None:
    cache = ObjectCache(tmp_path / "new" / "folder")
    assert cache.load("k") is None
    cache.store("k", b"code")
    assert cache.load("k") == b"code"
    assert [file.name for file in (tmp_path / "new" / "folder").iterdir()] == ["k.o"]


@pytest.mark.parametrize("damage", [b"", b"short", b"x" * 100])
def test_damaged_objects_are_not_there(tmp_path: Path, damage: bytes) -> None:
    cache = ObjectCache(tmp_path)
    cache.store("k", b"code")
    (tmp_path / "k.o").write_bytes(damage)
    assert cache.load("k") is None
    cache.store("k", b"code")
    assert cache.load("k") == b"code"


def test_a_folder_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for folder in (None, tmp_path / "file" / "below"):
        cache = ObjectCache(folder)
        cache.store("k", b"code")
        assert cache.load("k") is None


@needs_llvm
def test_a_kernel_arrives_in_the_background(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "_native", "background")

    def slow() -> tuple[str, str]:
        time.sleep(0.05)
        return ANSWER.format(5), "answer"

    assert background.request("test: five", slow, exact=True) is None
    assert background.request("test: five", slow, exact=True) is None
    assert background.wait_until_idle(10)
    address = background.request("test: five", slow, exact=True)
    assert address is not None and call(address, 1) == 6


@needs_llvm
def test_a_kernel_is_waited_for_a_short_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "_native", "background")
    assert background.wait_until_idle(10)
    quick = background.request("test: quick", lambda: (ANSWER.format(6), "answer"))
    assert quick is not None and call(quick, 1) == 7
    go_on = threading.Event()

    def slow() -> tuple[str, str]:
        return ANSWER.format(time.time_ns()), "answer"  # never in the cache

    background._compiler.add(lambda: go_on.wait(10), is_waited_for=True)
    began = time.perf_counter()
    assert background.request("test: slow", slow) is None
    assert background.request("test: slow", slow, exact=True) is None
    assert time.perf_counter() - began < 1
    go_on.set()
    assert background.wait_until_idle(10)
    assert background.request("test: slow", slow) is not None


@needs_llvm
def test_what_is_in_the_cache_needs_no_thread(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(settings, "_native", "background")
    monkeypatch.setattr(machine._machine(), "objects", ObjectCache(tmp_path))
    module = ANSWER.format(11), "answer"
    entry = machine._machine().entry(*module)
    machine._machine().compile(*module, entry)
    go_on = threading.Event()
    background._compiler.add(lambda: go_on.wait(10), is_waited_for=True)
    found = background.request("test: cached", lambda: module)
    assert found is not None and call(found, 1) == 12
    go_on.set()
    assert background.wait_until_idle(10)


@needs_llvm
def test_kernels_of_one_call_share_its_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "_native", "background")
    go_on = threading.Event()
    background._compiler.add(lambda: go_on.wait(10), is_waited_for=True)
    began = time.perf_counter()
    for i in range(10):
        module = ANSWER.format(time.time_ns() + i), "answer"
        assert background.request(("test: one call", i), lambda module=module: module) is None
    assert time.perf_counter() - began < 0.1
    go_on.set()
    assert background.wait_until_idle(10)


@needs_llvm
def test_a_kernel_that_fails_warns_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> tuple[str, str]:
        return "nonsense", "answer"

    monkeypatch.setattr(settings, "_native", "background")
    with pytest.warns(RuntimeWarning, match="test: broken"):
        background.compile_now("test: broken", broken)
    assert background.request("test: broken", broken) is None
    assert background.wait_until_idle(10)
    monkeypatch.setattr(settings, "_native", "now")
    with pytest.raises(RuntimeError):
        background.compile_now("test: broken too", broken)


def test_off_is_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "_native", "off")
    assert background.request("test: never", lambda: (ANSWER.format(1), "answer")) is None
    assert "test: never" not in background._addresses


def test_settings() -> None:
    mine = Settings()
    mine.native = "off"
    assert mine.native == "off"
    with pytest.raises(ValueError, match="native"):
        mine.native = "sometimes"


@needs_llvm
def test_a_second_process_finds_the_code(tmp_path: Path) -> None:
    program = (
        "import sys, pathlib; from taper.compiler import machine\n"
        f"machine.compile_ir({ANSWER.format(7)!r}, 'answer')\n"
        "print(machine._machine().engine is not None)"
    )
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", program], check=True, capture_output=True, text=True,
            env={"PATH": "", "TAPER_CACHE_DIR": str(tmp_path), "PYTHONPATH": ":".join(sys.path)},
        )
        assert done.stdout == "True\n"
        assert len(list(tmp_path.glob("*.o"))) == 1


def test_importing_taper_imports_no_llvm() -> None:
    program = (
        "import sys, taper as torch\n"
        "x = torch.ones(4, 4, requires_grad=True); (x @ x).exp().sum().backward()\n"
        "print('llvmlite' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True,
    )
    assert done.stdout == "False\n"
