"""Modules that learn the shape of their parameters from their first input."""

from __future__ import annotations

import itertools
from typing import Any

import taper
from taper.nn.parameter import is_lazy

__all__ = ["LazyModuleMixin"]


class LazyModuleMixin:
    """Turns a module class into one whose parameters get their shape at the first call.

    The subclass defines ``cls_to_become``, makes `UninitializedParameter`s in ``__init__`` and
    defines ``initialize_parameters(*args, **kwargs)``, which gets the arguments of ``forward``.
    """

    cls_to_become: type[Any] | None = None

    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._load_hook = self._register_load_state_dict_pre_hook(LoadShapes(self))
        self._initialize_hook = self.register_forward_pre_hook(_initialize, with_kwargs=True)

    def _save_to_state_dict(self: Any, destination: Any, prefix: str, keep_vars: bool) -> None:
        # detach() would fail on a tensor without shape, so these are stored as they are.
        for name, member in itertools.chain(self._parameters.items(), self._buffers.items()):
            if member is not None and name not in self._non_persistent_buffers_set:
                keep = keep_vars or is_lazy(member)
                destination[prefix + name] = member if keep else member.detach()

    def initialize_parameters(self, *args: Any, **kwargs: Any) -> None:
        """Gives the parameters their shapes; gets the arguments of the first call."""
        raise NotImplementedError(
            f"initialize_parameters is not implemented for {type(self).__name__}"
        )

    def has_uninitialized_params(self: Any) -> bool:
        """Returns whether any parameter or buffer of this module has no shape yet."""
        return any(
            is_lazy(member)
            for member in itertools.chain(self._parameters.values(), self._buffers.values())
        )

    def _infer_parameters(self: Any, module: Any, args: Any, kwargs: Any = None) -> None:
        self.initialize_parameters(*args, **(kwargs or {}))
        if self.has_uninitialized_params():
            raise RuntimeError(f"module {self._get_name()} has not been fully initialized")
        self._initialize_hook.remove()
        self._load_hook.remove()
        del self._initialize_hook, self._load_hook
        if self.cls_to_become is not None:
            self.__class__ = self.cls_to_become

    def _replicate_for_data_parallel(self) -> Any:
        raise RuntimeError(
            "Modules with uninitialized parameters can't be used with `DataParallel`. Run a dummy "
            "forward pass to correctly initialize the modules"
        )


def _initialize(module: Any, args: Any, kwargs: Any) -> None:
    module._infer_parameters(module, args, kwargs)


class LoadShapes:
    """Before loading: gives parameters without shape the shapes in the state dict."""

    def __init__(self, module: Any) -> None:
        self.module = module

    def __call__(self, state_dict: Any, prefix: str, *rest: Any) -> None:
        module = self.module
        for name, member in itertools.chain(module._parameters.items(), module._buffers.items()):
            given = state_dict.get(prefix + name)
            if given is not None and is_lazy(member) and not is_lazy(given):
                with taper.no_grad():
                    member.materialize(given.shape)
