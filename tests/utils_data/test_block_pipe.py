"""The pipe between a loader and its workers, with both ends in one process."""

from __future__ import annotations

import gc
import multiprocessing
import sys
import threading

import numpy as np
import pytest

import taper as torch
from taper.utils.data import block_pipe
from taper.utils.data.block_pipe import BlockPipe

needs_blocks = pytest.mark.skipif(sys.platform == "win32", reason="no nameless memory")


@pytest.fixture
def ends():
    pair = tuple(BlockPipe(end) for end in multiprocessing.Pipe())
    yield pair
    for end in pair:
        end.close()


def exchange(ends, value):
    ours, theirs = ends
    ours.send("label", value)
    label, unpickle = theirs.receive()
    assert label == "label"
    return unpickle()


@pytest.mark.parametrize("size", [0, 1, 1000, 4095, 4096, 100_000, 3_000_000])
@pytest.mark.parametrize("dtype", [torch.float32, torch.uint8, torch.bfloat16, torch.complex64])
def test_tensors(ends, size, dtype):
    tensor = torch.arange(size).to(dtype)
    assert torch.equal(exchange(ends, tensor), tensor)


def test_all_sorts_of_things(ends):
    text = "x" * 200_000  # a pickle that is large without any buffer
    matrix = np.asfortranarray(np.arange(60_000.0).reshape(300, 200))
    received = exchange(ends, {"a": (1, None), "text": text, "m": [matrix, matrix[::2]]})
    assert received["a"] == (1, None)
    assert received["text"] == text
    assert (received["m"][0] == matrix).all()
    assert received["m"][0].flags.f_contiguous
    assert (received["m"][1] == matrix[::2]).all()


@needs_blocks
def test_what_arrives_is_shared_and_can_be_written(ends):
    received = exchange(ends, [torch.ones(50_000), torch.zeros(50_000, dtype=torch.int64)])
    assert all(tensor.is_shared() for tensor in received)
    received[0].add_(1)
    assert received[0].sum().item() == 100_000
    assert received[1].sum().item() == 0


@needs_blocks
def test_blocks_are_used_again_when_nobody_uses_them(ends):
    ours, _ = ends
    for number in range(20):
        received = exchange(ends, torch.full((50_000,), float(number)))
        view = received[10:20]
        del received
        exchange(ends[::-1], None)  # the way back, which takes notes of unused blocks along
        assert view.tolist() == [number] * 10
    assert len(ours._ours.memory) <= 3


@needs_blocks
def test_what_is_kept_stays_as_it_is(ends):
    kept = []
    for number in range(30):
        kept.append(exchange(ends, torch.full((20_000,), float(number))))
        exchange(ends[::-1], None)
    assert [tensor[-1].item() for tensor in kept] == list(range(30))
    assert len(ends[0]._ours.memory) == 30
    kept.clear()
    gc.collect()
    for _ in range(2):
        exchange(ends[::-1], None)
        exchange(ends, torch.ones(20_000))
    assert len(ends[0]._ours.memory) < 12  # not all of that waits forever
    assert len(ends[1]._theirs) == len(ends[0]._ours.memory)


@pytest.mark.parametrize("without", ["descriptors", "blocks"])
def test_without_blocks_buffers_go_through_the_pipe(ends, monkeypatch, without):
    if without == "descriptors":
        monkeypatch.setattr(block_pipe, "_nameless_memory", lambda: None)
    else:
        monkeypatch.setattr(block_pipe, "_MOST_LENT", 0)
    sender = threading.Thread(target=ends[0].send, args=("l", [torch.ones(300_000), "y" * 99_999]))
    sender.start()
    _, unpickle = ends[1].receive()
    sender.join()
    tensor, text = unpickle()
    assert tensor.sum().item() == 300_000
    assert len(text) == 99_999
    assert not tensor.is_shared()


@needs_blocks
def test_blocks_are_few_however_much_is_kept(ends):
    """Descriptors are: a program that keeps its batches must not run out of them."""
    def send():
        for number in range(100):
            ends[0].send(number, torch.full((20_000,), float(number)))

    sender = threading.Thread(target=send)
    sender.start()
    kept = [ends[1].receive()[1]() for _ in range(100)]
    sender.join()
    assert [tensor[-1].item() for tensor in kept] == list(range(100))
    assert len(ends[1]._theirs) == block_pipe._MOST_LENT


def test_what_cant_be_pickled_sends_nothing(ends):
    with pytest.raises((TypeError, AttributeError)):
        ends[0].send("label", lambda: None)
    assert not ends[1].can_receive()
    assert exchange(ends, 3) == 3


def test_can_send_until_the_pipe_is_full(ends):
    ours, theirs = ends
    count = 0
    while ours.can_send():
        ours.send(count, "z" * 10_000)
        count += 1
    assert 3 < count < 1000
    assert theirs.can_receive()
    assert [theirs.receive()[0] for _ in range(count)] == list(range(count))
    assert ours.can_send()


def test_the_end(ends):
    ours, theirs = ends
    ours.close()
    assert theirs.can_receive()
    with pytest.raises((EOFError, OSError)):
        theirs.receive()
    with pytest.raises(BrokenPipeError):
        theirs.send("label", 1)
