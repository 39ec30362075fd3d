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
