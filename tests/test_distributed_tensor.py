"""Meshes, tensors and optimizers of a world of one process."""

import pytest

import taper as torch
from taper import distributed
from taper.distributed.device_mesh import DeviceMesh, init_device_mesh
from taper.distributed.optim import ZeroRedundancyOptimizer
from taper.distributed.tensor import DTensor, Replicate, Shard, distribute_module, distribute_tensor


@pytest.fixture(autouse=True)
def world_of_one():
    distributed.init_process_group(store=distributed.HashStore(), rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


def test_mesh():
    mesh = init_device_mesh("cpu", (1, 1), mesh_dim_names=("data", "model"))
    assert mesh.shape == (1, 1) and mesh.size() == 1 and mesh.get_coordinate() == (0, 0)
    assert repr(mesh["model"]) == "DeviceMesh((model=1), 'cpu', stride=((),))"
    assert mesh["data"] != mesh["model"] and mesh.get_local_rank("data") == 0
    with pytest.raises(KeyError, match="Invalid mesh_dim_names"):
        mesh["pipeline"]
    with pytest.raises(RuntimeError, match="should not be bigger than default world size 1"):
        DeviceMesh("cpu", [0, 1])


def test_results_are_spread_as_the_first_operand():
    x = distribute_tensor(torch.arange(4.0), init_device_mesh("cpu", (1,)), [Shard(0)])
    doubled = x * 2
    assert type(doubled) is DTensor and doubled.placements == (Shard(0),)
    assert x.sum().placements == (Replicate(),)
    assert doubled.full_tensor().tolist() == [0, 2, 4, 6]
    assert type(doubled.to_local()) is torch.Tensor
    assert x.redistribute(placements=[Replicate()]).placements == (Replicate(),)


def test_gradients_reach_the_local_tensor():
    local = torch.ones(2, requires_grad=True)
    (DTensor.from_local(local) * 3).sum().backward()
    assert local.grad.tolist() == [3, 3]


def test_parameters_of_a_module():
    layer = distribute_module(torch.nn.Linear(2, 2), init_device_mesh("cpu", (1,)))
    assert all(isinstance(p, torch.nn.Parameter) and type(p) is DTensor for p in layer.parameters())
    layer(torch.ones(1, 2)).sum().backward()
    assert layer.bias.grad.tolist() == [1, 1]


def test_optimizer_with_all_of_the_state():
    weight = torch.nn.Parameter(torch.ones(2))
    optimizer = ZeroRedundancyOptimizer([weight], torch.optim.SGD, lr=0.5)
    other = torch.nn.Parameter(torch.ones(1))
    optimizer.add_param_group({"params": [other]})
    (weight.sum() + other.sum()).backward()
    optimizer.step()
    optimizer.consolidate_state_dict()
    assert weight.tolist() == [0.5, 0.5] and other.tolist() == [0.5]
    assert len(optimizer.state_dict()["param_groups"]) == 2
