"""torch.distributed in a world of one process."""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterator
from datetime import timedelta

import pytest

import taper as torch
from taper import distributed as dist
from taper.nn.parallel import DistributedDataParallel


@pytest.fixture
def world() -> Iterator[None]:
    dist.init_process_group("gloo", rank=0, world_size=1, store=dist.HashStore())
    yield
    if dist.is_initialized():
        dist.destroy_process_group()


def test_it_is_not_available_and_works_for_one() -> None:
    assert dist.is_available() is False
    assert dist.is_initialized() is False
    with pytest.raises(ValueError, match="Default process group has not been initialized"):
        dist.get_rank()
    with pytest.raises(ValueError, match="Default process group has not been initialized"):
        dist.all_reduce(torch.ones(2))
    with pytest.raises(AssertionError, match="Process group cannot be None"):
        dist.destroy_process_group()


def test_the_environment_says_how_large_the_world_is(monkeypatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ValueError, match="environment variable RANK expected, but not set"):
        dist.init_process_group("gloo")
    for name, value in (("RANK", "0"), ("WORLD_SIZE", "4"), ("MASTER_ADDR", "localhost")):
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match="environment variable MASTER_PORT expected"):
        dist.init_process_group("gloo")
    monkeypatch.setenv("MASTER_PORT", "29500")
    with pytest.raises(NotImplementedError, match=r"world_size is 4.*WORLD_SIZE=1"):
        dist.init_process_group("gloo")
    monkeypatch.setenv("WORLD_SIZE", "1")
    dist.init_process_group("gloo")
    assert (dist.get_rank(), dist.get_world_size(), dist.get_backend()) == (0, 1, "gloo")
    with pytest.raises(ValueError, match="default process group twice"):
        dist.init_process_group("gloo")
    dist.destroy_process_group()
    assert dist.group.WORLD is None


def test_backends_that_are_not_here() -> None:
    with pytest.raises(RuntimeError, match="Distributed package doesn't have NCCL built in"):
        dist.init_process_group("nccl", rank=0, world_size=1, store=dist.HashStore())
    with pytest.raises(AssertionError, match="Unknown backend type foo"):
        dist.init_process_group("foo", rank=0, world_size=1, store=dist.HashStore())
    dist.init_process_group("cpu:gloo,cuda:nccl", init_method="file:///x", rank=0, world_size=1)
    assert dist.get_backend() == "gloo"
    dist.destroy_process_group()


def test_collectives_do_what_they_do_for_one(world: None) -> None:
    x = torch.tensor([1.0, 2.0])
    for op in (dist.ReduceOp.SUM, dist.ReduceOp.AVG, dist.ReduceOp.MAX):
        assert dist.all_reduce(x, op=op) is None
    dist.broadcast(x, src=0)
    dist.reduce(x, dst=0)
    assert x.tolist() == [1.0, 2.0]
    target = [torch.empty(2)]
    work = dist.all_gather(target, x, async_op=True)
    assert work.wait() and work.is_completed() and target[0].tolist() == [1.0, 2.0]
    assert work.get_future().value()[0] is target[0]
    assert target[0].data_ptr() != x.data_ptr()
    one, source = torch.zeros(2), torch.tensor([3.0, 4.0])
    for write in (
        lambda: dist.scatter(one, [source]),
        lambda: dist.reduce_scatter(one, [source]),
        lambda: dist.reduce_scatter_tensor(one, source),
        lambda: dist.all_gather_into_tensor(one, source),
        lambda: dist.all_to_all([one], [source]),
        lambda: dist.all_to_all_single(one, source),
        lambda: dist.gather(source, [one]),
    ):
        one.zero_()
        write()
        assert one.tolist() == [3.0, 4.0]
    found, scattered = [None], [None]
    dist.all_gather_object(found, {"a": 1})
    dist.scatter_object_list(scattered, ["b"])
    assert found == [{"a": 1}] and scattered == ["b"]
    dist.barrier()


def test_what_does_not_fit_raises(world: None) -> None:
    x = torch.ones(2)
    with pytest.raises(RuntimeError, match="all_gather: invalid tensor size"):
        dist.all_gather([torch.empty(3)], x)
    with pytest.raises(TypeError, match="must be of the same type"):
        dist.all_gather([torch.empty(2, dtype=torch.int64)], x)
    with pytest.raises(RuntimeError, match="tensor_list has 2 tensors"):
        dist.all_gather([x, x], x)
    with pytest.raises(TypeError, match="Expected parameter `tensor` of type torch"):
        dist.all_reduce(3)
    with pytest.raises(ValueError, match="destination rank should not be the same"):
        dist.send(x, 0)
    with pytest.raises(ValueError, match="Rank 1 is not in a group"):
        dist.broadcast(x, src=1)
    with pytest.raises(ValueError, match="Rank 1 is out of range"):
        dist.new_group([0, 1])


def test_groups(world: None) -> None:
    other = dist.new_group([0])
    assert dist.get_process_group_ranks(other) == [0] and dist.get_pg_count() == 2
    assert dist.get_world_size(other) == 1
    dist.destroy_process_group(other)
    with pytest.raises(ValueError, match="Invalid process group"):
        dist.barrier(other)


def test_stores() -> None:
    store = dist.HashStore()
    prefixed = dist.PrefixStore("p", store)
    prefixed.set("a", "1")
    assert store.get("p/a") == b"1" and prefixed.add("n", 2) == 2 and prefixed.add("n", 3) == 5
    assert store.compare_set("p/a", "1", "2") == b"2" and prefixed.get("a") == b"2"
    assert prefixed.delete_key("a") and not prefixed.check(["a"])
    with pytest.raises(dist.DistStoreError, match="wait timeout after 10ms, keys: late"):
        store.wait(["late"], timedelta(milliseconds=10))
    threading.Timer(0.02, store.set, ("late", "x")).start()
    assert store.get("late") == b"x"


def test_distributed_data_parallel_trains_as_its_module_does(world: None) -> None:
    torch.manual_seed(0)
    plain = torch.nn.Linear(3, 1)
    wrapped = DistributedDataParallel(copy.deepcopy(plain))
    assert list(wrapped.state_dict()) == ["module.weight", "module.bias"]
    x = torch.randn(8, 3)
    for model in (plain, wrapped):
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        for _ in range(3):
            optimizer.zero_grad()
            model(x).square().mean().backward()
            optimizer.step()
    assert torch.equal(plain.weight, wrapped.module.weight)
    with wrapped.no_sync():
        assert not wrapped.require_backward_grad_sync
    with pytest.raises(RuntimeError, match="is not needed when a module doesn't have any param"):
        DistributedDataParallel(torch.nn.ReLU())
    sampler = torch.utils.data.DistributedSampler(range(5), shuffle=False)
    assert list(sampler) == [0, 1, 2, 3, 4]
