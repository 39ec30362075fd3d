"""Native kernels called from several Python threads at once, and in forked children."""

import os
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import taper
from taper.compiler import machine
from taper.core.settings import settings
from taper.kernels import native_attention, native_convolution, native_matrix_product

pytestmark = pytest.mark.skipif(
    not machine.is_available() or machine.vector_bytes() < 32, reason="needs llvmlite and AVX2"
)

random = np.random.default_rng(13)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(settings, "native", "now")
    before = taper.get_num_threads()
    taper.set_num_threads(3)
    yield
    taper.set_num_threads(before)


def draw(*shape: int) -> Any:
    return random.standard_normal(shape).astype("f4")


def jobs() -> list[Callable[[], Any]]:
    x, weight = draw(3, 8, 30, 30), draw(20, 8, 3, 3)
    a, b = draw(120, 700), draw(700, 130)
    q = draw(4, 70, 32)
    return [
        lambda: native_convolution.convolve(x, weight, (1, 1), (1, 1), (1, 1), 1),
        lambda: native_matrix_product.multiply(a, b),
        lambda: native_attention.attention(q, q, q, None, True, 0.2)[0],  # type: ignore[index]
    ]


def test_threads_do_not_disturb_each_other() -> None:
    work = jobs()
    wanted = [job() for job in work]
    wrong: list[int] = []

    def run(start: int) -> None:
        for turn in range(60):
            which = (start + turn) % len(work)
            if not np.array_equal(work[which](), wanted[which]):
                wrong.append(which)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads) and not wrong


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_children_compute_the_same() -> None:
    work = jobs()
    wanted = [job() for job in work]
    child = os.fork()
    if child == 0:
        status = 1
        try:
            found = [job() for job in work]
            same = all(np.array_equal(a, b) for a, b in zip(found, wanted, strict=True))
            status = 0 if same else 2
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
