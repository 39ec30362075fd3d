"""Methods about memory: shared memory, the order of dimensions."""

import os

import pytest

import taper as torch


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_forked_processes_share_memory():
    x = torch.arange(4.0)[1:]
    assert not x.is_shared()
    assert x.share_memory_() is x and x.is_shared() and x.storage_offset() == 1
    child = os.fork()
    if child == 0:
        x += 10
        os._exit(0)
    os.waitpid(child, 0)
    assert x.tolist() == [11, 12, 13]


def test_the_order_of_dimensions():
    x = torch.ones(1, 2, 3, 4)
    last = x.to(memory_format=torch.channels_last)
    assert x.dim_order() == (0, 1, 2, 3) and last.dim_order() == (0, 2, 3, 1)
    assert torch.ones(2, 3).t().dim_order(ambiguity_check=True) == (1, 0)
    with pytest.raises(RuntimeError, match="unique dim order"):
        last.dim_order(ambiguity_check=True)
    formats = [torch.contiguous_format, torch.channels_last]
    assert last.dim_order(ambiguity_check=formats) == (0, 2, 3, 1)
    with pytest.raises(TypeError, match="must be a bool or a list"):
        x.dim_order(ambiguity_check=3)


def test_a_format_that_fits_by_chance_is_still_asked_for() -> None:
    """Where dimensions have one element, strides say which of two formats is meant."""
    weight = torch.zeros(3, 8, 1, 1)
    moved = weight.to(memory_format=torch.channels_last)
    assert moved is not weight and moved.stride() == (8, 1, 8, 8)
    assert moved.to(memory_format=torch.channels_last) is moved
    assert moved.to(memory_format=torch.contiguous_format).stride() == (8, 1, 1, 1)
    assert moved.is_contiguous() and moved.contiguous() is moved
    assert weight.contiguous(memory_format=torch.channels_last) is weight
    sliced = torch.zeros(2, 3, 4)[..., ::2]
    assert sliced.to(memory_format=torch.contiguous_format) is sliced  # fits no other
    volumes = torch.zeros(2, 1, 3, 4, 5).to(memory_format=torch.channels_last_3d)
    assert volumes.stride() == (60, 1, 20, 5, 1)
    layer = torch.nn.Conv2d(8, 3, 1).to(memory_format=torch.channels_last)
    assert layer.weight.stride() == (8, 1, 8, 8)
