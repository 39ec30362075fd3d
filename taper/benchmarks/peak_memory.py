"""The memory of a training step besides its parameters: `python -m taper.benchmarks.peak_memory`.

A GPT of two layers, 8 x 64 tokens, AdamW; gradients are dropped before each step. PyTorch's figure
is the most that its allocator has handed out at once during a step, as its profiler tells. Taper
compiles the step; its figure is all memory of the program: the arena, which it keeps, and results
(which are the gradients). Each side runs in a process of its own.
"""

from __future__ import annotations

import argparse
import importlib
import itertools
import subprocess
import sys
from collections.abc import Callable
from typing import Any

__all__ = ["main", "transformer"]

_WORDS, _TOKENS, _WIDTH, _HEADS = 65, 64, 64, 4


def transformer(torch: Any, layers: int) -> Any:
    """A small GPT, in PyTorch or taper."""
    nn: Any = torch.nn

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.before, self.between = nn.LayerNorm(_WIDTH), nn.LayerNorm(_WIDTH)
            self.attention, self.mixed = nn.Linear(_WIDTH, 3 * _WIDTH), nn.Linear(_WIDTH, _WIDTH)
            self.perceptron = nn.Sequential(
                nn.Linear(_WIDTH, 4 * _WIDTH), nn.GELU(), nn.Linear(4 * _WIDTH, _WIDTH))

        def forward(self, x: Any) -> Any:
            batch, tokens, width = x.shape
            parts = self.attention(self.before(x)).split(width, dim=2)
            q, k, v = (part.view(batch, tokens, _HEADS, width // _HEADS).transpose(1, 2)
                       for part in parts)
            found = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + self.mixed(found.transpose(1, 2).contiguous().view(batch, tokens, width))
            return x + self.perceptron(self.between(x))

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words, self.places = nn.Embedding(_WORDS, _WIDTH), nn.Embedding(_TOKENS, _WIDTH)
            self.blocks = nn.Sequential(*[Block() for _ in range(layers)])
            self.last = nn.LayerNorm(_WIDTH)
            self.head = nn.Linear(_WIDTH, _WORDS, bias=False)

        def forward(self, text: Any) -> Any:
            x = self.words(text) + self.places(torch.arange(text.shape[1]))
            return self.head(self.last(self.blocks(x)))

    return Model()


def _step(torch: Any, layers: int) -> tuple[Callable[[], Any], Any]:
    torch.manual_seed(0)
    model = transformer(torch, layers)
    text = torch.randint(0, _WORDS, (8, _TOKENS + 1))
    x, y = text[:, :-1].contiguous(), text[:, 1:].contiguous()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)

    def step() -> Any:
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(x).view(-1, _WORDS), y.view(-1))
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step, optimizer


def _bytes_of_pytorch(layers: int) -> int:
    torch = importlib.import_module("torch")
    step, optimizer = _step(torch, layers)
    for _ in range(3):
        step()
    optimizer.zero_grad()
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
    ) as profile:
        step()
    events = [(event.start_ns(), event.nbytes())
              for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    return max(itertools.accumulate(size for _, size in sorted(events)))


def _bytes_of_taper(layers: int) -> int:
    import gc

    import taper
    from taper.compilation.program import Program

    step, _ = _step(taper, layers)
    compiled = taper.compile(step)
    for _ in range(4):
        compiled()
    programs = [found for found in gc.get_objects() if isinstance(found, Program)]
    return max(program.arena_bytes + sum(f.size * f.dtype.itemsize for f in program.fresh)
               for program in programs)


def main() -> None:
    """Prints both sides, and taper's share of PyTorch's."""
    parser = argparse.ArgumentParser(prog="python -m taper.benchmarks.peak_memory")
    parser.add_argument("--layers", type=int, default=2, help="layers of the model: 2")
    parser.add_argument("--side", choices=["taper", "torch"], help="measure one side, here")
    options = parser.parse_args()
    if options.side:
        measure = _bytes_of_taper if options.side == "taper" else _bytes_of_pytorch
        print(measure(options.layers))
        return
    found = {}
    for side in ("torch", "taper"):
        command = [sys.executable, "-m", "taper.benchmarks.peak_memory", "--side", side,
                   "--layers", str(options.layers)]
        answer = subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE,
                                stderr=subprocess.DEVNULL)
        found[side] = int(answer.stdout)
        print(f"{side}: {found[side] / 1e6:.2f} MB")
    print(f"taper needs {found['taper'] / found['torch']:.2f} of it")


if __name__ == "__main__":
    main()
