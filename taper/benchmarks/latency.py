"""What machine code costs besides the time that it computes: `python -m taper.benchmarks.latency`.

Prints how long calls waited for kernels at most, with an empty cache and with a full one; how much
later a program gets going that finds its kernels on disk; what an idle process uses; and how much
two busy processes slow each other. Each figure is taken in a fresh process.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

__all__ = ["main"]

_WATCHED = (  # where a call may wait for machine code
    ("taper.compiler.background", "request"), ("taper.compiler.background", "load"),
    ("taper.kernels.when_busy", "_replace"), ("taper.kernels.row_sums", "_successor"),
)


# -- programs: each returns a function that does one step ------------------------------------------


def _training(torch: Any, model: Any, inputs: Any, targets: Any, loss: Any) -> Callable[[], Any]:
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)

    def step() -> Any:
        optimizer.zero_grad()
        found = loss(model(inputs), targets)
        found.backward()
        optimizer.step()
        return found.item()

    return step


def _cnn(torch: Any) -> Callable[[], Any]:
    nn = torch.nn
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Dropout(0.2), nn.Linear(32 * 7 * 7, 10))
    inputs, targets = torch.randn(32, 1, 28, 28), torch.randint(0, 10, (32,))
    return _training(torch, model, inputs, targets, nn.CrossEntropyLoss())


def _mlp(torch: Any) -> Callable[[], Any]:
    nn = torch.nn
    model = nn.Sequential(nn.Linear(784, 512), nn.GELU(), nn.LayerNorm(512), nn.Linear(512, 10))
    inputs, targets = torch.randn(256, 784), torch.randint(0, 10, (256,))
    return _training(torch, model, inputs, targets, nn.CrossEntropyLoss())


def _gpt(torch: Any) -> Callable[[], Any]:
    nn = torch.nn
    functional = nn.functional

    class Block(nn.Module):  # type: ignore[name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.LayerNorm(128), nn.LayerNorm(128)
            self.joined, self.out = nn.Linear(128, 384), nn.Linear(128, 128)
            self.wide, self.narrow = nn.Linear(128, 512), nn.Linear(512, 128)

        def forward(self, x: Any) -> Any:
            q, k, v = (part.view(*x.shape[:2], 4, 32).transpose(1, 2)
                       for part in self.joined(self.first(x)).chunk(3, -1))
            found = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + self.out(found.transpose(1, 2).reshape(x.shape))
            return x + self.narrow(functional.gelu(self.wide(self.second(x))))

    model = nn.Sequential(nn.Embedding(100, 128), Block(), Block(), nn.Linear(128, 100))
    text = torch.randint(0, 100, (16, 65))
    return _training(torch, model, text[:, :-1], text[:, 1:].reshape(-1),
                     lambda y, t: functional.cross_entropy(y.reshape(-1, 100), t))


_PROGRAMS = {"cnn": _cnn, "mlp": _mlp, "gpt": _gpt}


# -- what runs in a process of its own -------------------------------------------------------------


def _watch(waits: dict[str, float]) -> None:
    """Notes the longest wait at each place, for calls of this thread, without what they call in
    another of these places."""
    from importlib import import_module
    from threading import get_ident

    main, within = get_ident(), [0.0]

    def watched(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **named: Any) -> Any:
            if get_ident() != main:
                return function(*args, **named)
            before, within[0] = within[0], 0.0
            begin = time.perf_counter()
            try:
                return function(*args, **named)
            finally:
                spent = time.perf_counter() - begin
                waits[name] = max(waits.get(name, 0.0), spent - within[0])
                within[0] = before + spent

        return call

    for module, name in _WATCHED:
        room = import_module(module)
        original = getattr(room, name)
        found = watched(name, original)
        for other in list(sys.modules.values()):
            if getattr(other, "__name__", "").startswith("taper") and (
                getattr(other, name, None) is original
            ):
                setattr(other, name, found)


def _run_program(name: str, steps: int) -> dict[str, Any]:
    import taper

    taper.ones(2) + 1  # what every program pays
    waits: dict[str, float] = {}
    _watch(waits)
    begin = time.perf_counter()
    step = _PROGRAMS[name](taper)
    times = []
    for _ in range(steps):
        before = time.perf_counter()
        step()
        times.append(time.perf_counter() - before)
    total = time.perf_counter() - begin
    steady = sorted(times[steps // 2 :])[steps // 4]
    return {"waits": waits, "extra": total - steps * steady, "steady": steady}


def _run_idle(seconds: float) -> dict[str, Any]:
    import resource

    import taper

    x = taper.randn(2000, 2000)
    for _ in range(30):
        (x @ x).exp().sum()
    time.sleep(0.2)
    before = resource.getrusage(resource.RUSAGE_SELF)
    time.sleep(seconds)
    after = resource.getrusage(resource.RUSAGE_SELF)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"used": used, "seconds": seconds}


def _run_busy(seconds: float) -> dict[str, Any]:
    import taper

    x, w = taper.randn(1_000_000), taper.randn(512, 512)

    def work() -> None:
        y = (x * 2 + 1).tanh()
        y.sum(), w @ w

    for _ in range(20):
        work()
    count = 0
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        work()
        count += 1
    return {"rate": count / seconds}


# -- the process that asks -------------------------------------------------------------------------


def _start(task: list[str], cache: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "taper.benchmarks.latency", "--task", *task],
        stdout=subprocess.PIPE, text=True, env={**os.environ, "TAPER_CACHE_DIR": cache})


def _answer(process: subprocess.Popen[str]) -> dict[str, Any]:
    output, _ = process.communicate()
    if process.returncode:
        raise SystemExit(process.returncode)
    found: dict[str, Any] = json.loads(output.splitlines()[-1])
    return found


def main(arguments: list[str]) -> None:
    """Prints all figures."""
    parser = argparse.ArgumentParser(prog="python -m taper.benchmarks.latency")
    parser.add_argument("--task", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.task:
        name, value = options.task
        tasks = {"idle": _run_idle, "busy": _run_busy}
        print(json.dumps(tasks[name](float(value)) if name in tasks else
                         _run_program(name, int(value))))
        return
    print(f"{'':6}{'cache':8}{'longest wait':>14}{'where':>14}{'loading LLVM':>14}"
          f"{'start costs':>14}{'step':>10}")
    for name in _PROGRAMS:
        with tempfile.TemporaryDirectory() as cache:
            for state in ("empty", "full", "full"):
                found = _answer(_start([name, "12"], cache))
                loading = found["waits"].pop("load", 0.0)
                where, longest = max(found["waits"].items(), key=lambda item: item[1])
                extra, steady = found["extra"] * 1e3, found["steady"] * 1e3
                print(f"{name:6}{state:8}{longest * 1e3:11.1f} ms{where:>14}"
                      f"{loading * 1e3:11.0f} ms{extra:11.0f} ms{steady:7.1f} ms")
    with tempfile.TemporaryDirectory() as cache:
        found = _answer(_start(["idle", "2"], cache))
        print(f"idle for {found['seconds']:.0f} s after large work: {found['used'] * 1e3:.1f} ms "
              "of processor time")
        alone = _answer(_start(["busy", "3"], cache))["rate"]
        both = [_start(["busy", "3"], cache) for _ in range(2)]
        rates = [_answer(process)["rate"] for process in both]
        print(f"two busy processes: each {alone / min(rates):.2f} times slower than alone")


if __name__ == "__main__":
    main(sys.argv[1:])
