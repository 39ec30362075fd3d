"""Optimizers of several processes, for a world of one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from taper.distributed.group import ProcessGroup, member
from taper.optim import Optimizer

__all__ = ["ZeroRedundancyOptimizer"]


class ZeroRedundancyOptimizer(Optimizer):
    """An optimizer whose state is divided among processes: one process has all of it.

    Args:
        optimizer_class: what updates the parameters.
        defaults: its arguments.

    Source: Rajbhandari et al., "ZeRO: Memory optimizations toward training trillion parameter
    models" (2020).
    """

    __module__ = "torch.distributed.optim"

    def __init__(
        self, params: Any, optimizer_class: type[Optimizer],
        process_group: ProcessGroup | None = None, parameters_as_bucket_view: bool = False,
        overlap_with_ddp: bool = False, **defaults: Any,
    ) -> None:
        member(process_group)
        self.optim = optimizer_class(params, **defaults)
        super().__init__(self.optim.param_groups, self.optim.defaults)
        self.param_groups = self.optim.param_groups
        self.state = self.optim.state

    def step(self, closure: Callable[[], float] | None = None, **options: Any) -> Any:
        """Updates the parameters."""
        return self.optim.step(closure, **options)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Adds parameters to the optimizer."""
        if not any(group is param_group for group in self.optim.param_groups):
            self.optim.add_param_group(param_group)

    def consolidate_state_dict(self, to: int = 0) -> None:
        """Gathers the state on one process, where it is already."""

    def state_dict(self) -> dict[str, Any]:
        """The optimizer's."""
        return self.optim.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes over a state that `state_dict` returned."""
        self.optim.load_state_dict(state_dict)
        self.param_groups = self.optim.param_groups
        self.state = self.optim.state
