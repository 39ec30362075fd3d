"""Tensors spread over a mesh of devices; with one device, each is its own local part."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import taper
from taper.distributed.device_mesh import DeviceMesh, init_device_mesh
from taper.distributed.tensor.placement_types import Partial, Placement, Replicate, Shard

__all__ = [
    "DTensor", "DeviceMesh", "Partial", "Placement", "Replicate", "Shard", "distribute_module",
    "distribute_tensor", "init_device_mesh",
]


class DTensor(taper.Tensor):
    """A tensor with a mesh and a placement for each of its dimensions.

    Results of operators are spread as the first such operand is, if they have its dimensions, and
    replicated otherwise. Made by `distribute_tensor` and `DTensor.from_local`.
    """

    __module__ = "torch.distributed.tensor"

    device_mesh: DeviceMesh
    placements: tuple[Placement, ...]

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Any, args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        result = super().__torch_function__(func, types, args, kwargs)
        first = _first((args, kwargs or {}))
        if first is not None:
            for made in result if isinstance(result, (tuple, list)) else (result,):
                if isinstance(made, DTensor) and "device_mesh" not in vars(made):
                    same = made.ndim == first.ndim
                    _spread(made, first.device_mesh, (
                        first.placements if same else (Replicate(),) * len(first.placements)))
        return result

    @staticmethod
    def from_local(
        local_tensor: taper.Tensor, device_mesh: DeviceMesh | None = None,
        placements: Sequence[Placement] | None = None, *, run_check: bool = False,
        shape: Any = None, stride: Any = None,
    ) -> DTensor:
        """Takes a tensor as this device's part; gradients flow through."""
        with taper.DisableTorchFunctionSubclass():
            part = local_tensor.view_as(local_tensor).as_subclass(DTensor)
        mesh = _mesh(device_mesh)
        return _spread(part, mesh, placements or (Replicate(),) * mesh.ndim)

    def to_local(self, *, grad_placements: Sequence[Placement] | None = None) -> taper.Tensor:
        """This device's part: all of it."""
        with taper.DisableTorchFunctionSubclass():
            return self.view_as(self).as_subclass(taper.Tensor)

    def full_tensor(
        self, *, grad_placements: Sequence[Placement] | None = None
    ) -> taper.Tensor:
        """The whole tensor."""
        return self.to_local()

    def redistribute(
        self, device_mesh: DeviceMesh | None = None,
        placements: Sequence[Placement] | None = None, *, async_op: bool = False,
        forward_dtype: Any = None, backward_dtype: Any = None,
    ) -> DTensor:
        """The same tensor, spread otherwise."""
        if placements is None:
            raise RuntimeError("placements is needed for redistribute!")
        return DTensor.from_local(self.to_local(), device_mesh or self.device_mesh, placements)

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        local = self.detach().to_local().requires_grad_(self.is_leaf and self.requires_grad)
        value = local if local.ndim else local.item()
        return (f"DTensor(local_tensor={value}, device_mesh={self.device_mesh}, "
                f"placements={self.placements})")


def _first(values: Any) -> DTensor | None:
    if isinstance(values, DTensor):
        return values
    if isinstance(values, dict):
        values = list(values.values())
    if isinstance(values, (tuple, list)):
        for value in values:
            found = _first(value)
            if found is not None:
                return found
    return None


def _spread(tensor: Any, mesh: DeviceMesh, placements: Sequence[Placement]) -> DTensor:
    tensor.device_mesh = mesh
    tensor.placements = tuple(placements)
    return tensor


def _mesh(mesh: DeviceMesh | None) -> DeviceMesh:
    return init_device_mesh("cpu", (1,)) if mesh is None else mesh


def distribute_tensor(
    tensor: taper.Tensor, device_mesh: DeviceMesh | None = None,
    placements: Sequence[Placement] | None = None, *, src_data_rank: int | None = 0,
) -> DTensor:
    """Spreads a leaf tensor over a mesh (replicated, if nothing is said).

    Example:
        >>> import taper as torch
        >>> from taper import distributed
        >>> from taper.distributed.tensor import Shard, distribute_tensor
        >>> distributed.init_process_group(store=distributed.HashStore(), rank=0, world_size=1)
        >>> mesh = distributed.init_device_mesh("cpu", (1,))
        >>> distribute_tensor(torch.ones(2), mesh, [Shard(0)]).to_local()
        tensor([1., 1.])
        >>> distributed.destroy_process_group()
    """
    if not tensor.is_leaf:
        raise RuntimeError("`distribute_tensor` should be used to distribute leaf tensors! but "
                           "found non-leaf tensor!")
    made = DTensor.from_local(tensor.detach(), device_mesh, placements)
    return made.requires_grad_(tensor.requires_grad)


def distribute_module(
    module: Any, device_mesh: DeviceMesh | None = None,
    partition_fn: Callable[[str, Any, DeviceMesh], None] | None = None,
    input_fn: Callable[[Any, Any, DeviceMesh], Any] | None = None,
    output_fn: Callable[[Any, Any, DeviceMesh], Any] | None = None,
) -> Any:
    """Replicates the parameters of a module, except those that `partition_fn` spreads."""
    mesh = _mesh(device_mesh)
    for name, part in module.named_modules():
        if partition_fn is not None:
            partition_fn(name, part, mesh)
        for key, parameter in list(part._parameters.items()):
            if parameter is not None and not isinstance(parameter.data, DTensor):
                part.register_parameter(key, taper.nn.Parameter(
                    distribute_tensor(parameter.data, mesh), parameter.requires_grad))
    if input_fn is not None:
        module.register_forward_pre_hook(lambda part, inputs: input_fn(part, inputs, mesh))
    if output_fn is not None:
        module.register_forward_hook(
            lambda part, inputs, outputs: output_fn(part, outputs, mesh))
    return module
