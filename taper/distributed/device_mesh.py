"""Meshes of devices, of which a world of one process has those with one device."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import taper
from taper.distributed.group import (
    ProcessGroup,
    init_process_group,
    is_initialized,
    member,
)

__all__ = ["DeviceMesh", "init_device_mesh"]


class DeviceMesh:
    """Devices in a grid, whose dimensions may have names; this process is at its origin.

    Args:
        mesh: the ranks of the processes, as a tensor or nested lists.

    Raises: RuntimeError: if there is more than one.
    """

    __module__ = "torch.distributed.device_mesh"

    def __init__(
        self, device_type: str, mesh: Any, *, mesh_dim_names: tuple[str, ...] | None = None,
        backend_override: Any = None, _init_backend: bool = True,
    ) -> None:
        self.device_type = device_type
        self.mesh = taper.atleast_1d(taper.as_tensor(mesh, dtype=taper.int32))
        self.mesh_dim_names = None if mesh_dim_names is None else tuple(mesh_dim_names)
        if self.mesh.numel() > 1:
            raise RuntimeError(
                f"Mesh should not be bigger than default world size 1, but found "
                f"{self.mesh.numel()} ranks!"
            )
        if _init_backend and not is_initialized():
            init_process_group()

    @property
    def shape(self) -> tuple[int, ...]:
        """The size of each dimension."""
        return tuple(self.mesh.shape)

    @property
    def ndim(self) -> int:
        """How many dimensions there are."""
        return int(self.mesh.ndim)

    def size(self, mesh_dim: int | None = None) -> int:
        """How many devices there are, in all or along a dimension."""
        return int(self.mesh.numel() if mesh_dim is None else self.mesh.shape[mesh_dim])

    def get_rank(self) -> int:
        """The rank of this process."""
        return 0

    def get_local_rank(self, mesh_dim: int | str | None = None) -> int:
        """The place of this process along a dimension."""
        if mesh_dim is None and self.ndim > 1:
            raise RuntimeError(
                f"Found the DeviceMesh have {self.ndim} dimensions",
                "Optional kwarg `mesh_dim` needs to be specified when device_mesh.ndim > 1.",
            )
        return 0

    def get_coordinate(self) -> tuple[int, ...]:
        """The place of this process along all dimensions."""
        return (0,) * self.ndim

    def get_group(self, mesh_dim: int | str | None = None) -> ProcessGroup:
        """The group of the processes along a dimension."""
        self.get_local_rank(mesh_dim)
        return member(None)

    def get_all_groups(self) -> list[ProcessGroup]:
        """The groups of all dimensions."""
        return [member(None)] * self.ndim

    def __getitem__(self, names: str | tuple[str, ...]) -> DeviceMesh:
        if self.mesh_dim_names is None:
            raise RuntimeError("Cannot slice a DeviceMesh without mesh_dim_names!")
        wanted = (names,) if isinstance(names, str) else tuple(names)
        if not set(wanted) <= set(self.mesh_dim_names):
            raise KeyError(
                f"Invalid mesh_dim_names {wanted} specified. Valid mesh_dim_names are "
                f"{list(self.mesh_dim_names)}."
            )
        return DeviceMesh(
            self.device_type, self.mesh.reshape((1,) * len(wanted)), mesh_dim_names=wanted)

    def __enter__(self) -> DeviceMesh:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DeviceMesh) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def _key(self) -> tuple[Any, ...]:
        return self.device_type, self.shape, self.mesh_dim_names

    def __repr__(self) -> str:
        names = self.mesh_dim_names
        sizes = ", ".join(
            f"{names[i]}={n}" if names else f"{n}" for i, n in enumerate(self.shape))
        comma = "," if not names and self.ndim == 1 else ""
        strides = ", ".join(["()"] * self.ndim) + ("," if self.ndim == 1 else "")
        return f"DeviceMesh(({sizes}{comma}), '{self.device_type}', stride=({strides}))"


def init_device_mesh(
    device_type: str, mesh_shape: Sequence[int], *, mesh_dim_names: Sequence[str] | None = None,
    backend_override: Any = None,
) -> DeviceMesh:
    """Makes a mesh of this shape, and the default group if there is none.

    Raises: RuntimeError: for more than one device.

    Example:
        >>> from taper import distributed
        >>> distributed.init_process_group(store=distributed.HashStore(), rank=0, world_size=1)
        >>> distributed.init_device_mesh("cpu", (1, 1), mesh_dim_names=("data", "model")).ndim
        2
        >>> distributed.destroy_process_group()
    """
    if mesh_dim_names is not None:
        if len(set(mesh_dim_names)) != len(mesh_dim_names):
            raise RuntimeError(
                "Each mesh_dim_name must be unique.",
                f"Found repeated mesh_dim_name in mesh_dim_names {mesh_dim_names}",
            )
        if len(mesh_dim_names) != len(mesh_shape):
            raise RuntimeError(
                f"mesh_shape and mesh_dim_names should have same length! Found "
                f"len(mesh_dim_names): {len(mesh_dim_names)} and len(mesh_shape):{len(mesh_shape)}."
            )
    ranks = taper.arange(math.prod(mesh_shape), dtype=taper.int32).reshape(tuple(mesh_shape))
    return DeviceMesh(device_type, ranks, mesh_dim_names=(
        None if mesh_dim_names is None else tuple(mesh_dim_names)))
