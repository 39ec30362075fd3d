"""Collectives with gradients, in a group of one."""

import pytest

import taper as torch


def test_gradients_pass_through():
    nn = torch.distributed.nn
    x = torch.ones(2, requires_grad=True)
    with pytest.raises(ValueError, match="Default process group"):
        nn.functional.all_reduce(x)
    torch.distributed.init_process_group("gloo", "tcp://localhost:1", rank=0, world_size=1)
    try:
        (gathered,) = nn.all_gather(x)
        total = nn.all_reduce(x * 2) + gathered + nn.broadcast(x, 0) + nn.scatter([x])
        total = total + nn.all_to_all([x], [x])[0] + nn.reduce_scatter(x, [x]) + nn.gather(x)[0]
        total.sum().backward()
        assert x.grad.tolist() == [8.0, 8.0]
    finally:
        torch.distributed.destroy_process_group()
