"""Parametrizations: a parameter computed by modules from the tensors that are learned."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import taper
from taper import Tensor
from taper.nn.modules.container import ModuleDict, ModuleList
from taper.nn.modules.module import Module
from taper.nn.parameter import Parameter

__all__ = [
    "ParametrizationList", "cached", "is_parametrized", "register_parametrization",
    "remove_parametrizations", "transfer_parametrizations_and_params",
    "type_before_parametrizations",
]

_cache: dict[tuple[int, str], Tensor] = {}
_cache_depth = 0


@contextmanager
def cached() -> Iterator[None]:
    """Within: every parametrized tensor is computed once and then remembered.

    Compiled functions run as they are: a program would compute it again.
    """
    global _cache_depth  # noqa: PLW0603
    _cache_depth += 1
    try:
        with taper.compiler.set_stance("force_eager"):
            yield
    finally:
        _cache_depth -= 1
        if not _cache_depth:
            _cache.clear()


def _register(module: Module, name: str, tensor: Tensor) -> None:
    if isinstance(tensor, Parameter):
        module.register_parameter(name, tensor)
    else:
        module.register_buffer(name, tensor)


def _set_data(target: Tensor, source: Tensor) -> None:
    """Gives `target` the data of `source`; it stays the object that an optimizer knows."""
    if target is not source:
        target.data = source.detach()


class ParametrizationList(ModuleList):
    """The parametrizations of one tensor, applied in order, and the tensor they start from.

    It is called ``original``, or ``original0``, ``original1`` … if there are several.
    """

    original: Tensor
    unsafe: bool

    def __init__(self, modules: Sequence[Module], original: Tensor, unsafe: bool = False) -> None:
        if len(modules) == 0:
            raise ValueError("ParametrizationList requires one or more modules.")
        super().__init__(modules)
        self.unsafe = unsafe
        with taper.no_grad():
            new: Any = original
            for module in reversed(self):
                if hasattr(module, "right_inverse"):
                    try:
                        new = module.right_inverse(new)
                    except NotImplementedError:
                        break  # there is no inverse after all: the tensor stays as it is
        if not isinstance(new, (Tensor, Sequence)):
            raise ValueError(
                "'right_inverse' must return a Tensor or a Sequence of tensors (list, tuple...). "
                f"Got {type(new).__name__}"
            )
        self.is_tensor = isinstance(new, Tensor)
        self.ntensors = 1 if self.is_tensor else len(new)
        if isinstance(new, Tensor):
            _check_same("dtype", "When `right_inverse` outputs one tensor, it may not change the "
                        "dtype.", original.dtype, new.dtype)
            _set_data(original, new)
            _register(self, "original", original)
        else:
            for index, part in enumerate(new):
                if not isinstance(part, Tensor):
                    raise ValueError(
                        "'right_inverse' must return a Tensor or a Sequence of tensors (list, "
                        f"tuple...). Got element {index} of the sequence with type "
                        f"{type(part).__name__}."
                    )
                learned = isinstance(original, Parameter)
                new_part = Parameter(part, original.requires_grad) if learned else part
                new_part.requires_grad_(original.requires_grad)
                _register(self, f"original{index}", new_part)
        if not unsafe:
            _check_result(self(), original)

    def _originals(self) -> list[Tensor]:
        return [getattr(self, f"original{index}") for index in range(self.ntensors)]

    def right_inverse(self, value: Tensor) -> None:
        """Sets the original tensors so that the parametrization gives `value`."""
        with taper.no_grad():
            for module in reversed(self):
                if not hasattr(module, "right_inverse"):
                    raise RuntimeError(
                        f"parametrization {type(module).__name__} does not implement right_inverse."
                    )
                value = module.right_inverse(value)
            if not self.is_tensor:
                if not isinstance(value, Sequence):
                    raise ValueError(
                        f"'right_inverse' must return a sequence of tensors. Got {type(value)}."
                    )
                if len(value) != self.ntensors:
                    raise ValueError(
                        "'right_inverse' must return a sequence of tensors of length "
                        f"{self.ntensors}. Got a sequence of length {len(value)}."
                    )
                for original, part in zip(self._originals(), value, strict=True):
                    _set_data(original, part)
                return
            if not isinstance(value, Tensor):
                raise ValueError(
                    f"`right_inverse` should return a tensor. Got {type(value).__name__}"
                )
            if value.dtype != self.original.dtype:
                raise ValueError(
                    "The tensor returned by `right_inverse` has dtype "
                    f"{value.dtype} while `original` has dtype {self.original.dtype}"
                )
            _set_data(self.original, value)

    def forward(self) -> Tensor:
        first, *rest = self
        value = first(self.original) if self.is_tensor else first(*self._originals())
        for module in rest:
            value = module(value)
        return value


def _check_same(
    what: str, rule: str, before: Any, after: Any, names: tuple[str, str] = ("original", "new")
) -> None:
    if before != after:
        raise ValueError(f"{rule}\n{names[0]} {what}: {before}\n{names[1]} {what}: {after}")


def _check_result(value: Any, original: Tensor) -> None:
    """A parametrization must keep shape and dtype, unless it is registered as unsafe."""
    if not isinstance(value, Tensor):
        raise ValueError(f"A parametrization must return a tensor. Got {type(value).__name__}.")
    for what in ("dtype", "shape"):
        _check_same(
            what,
            f"Registering a parametrization may not change the {what} of the tensor, unless "
            "`unsafe` flag is enabled.",
            getattr(original, what), getattr(value, what), ("unparametrized", "parametrized"),
        )


def _inject_new_class(module: Module) -> None:
    """Gives `module` a class of its own, which can hold properties."""
    kind = type(module)

    def no_getstate(self: Any) -> Any:
        raise RuntimeError(
            "Serialization of parametrized modules is only supported through state_dict(). See:\n"
            "https://pytorch.org/tutorials/beginner/saving_loading_models.html"
            "#saving-loading-a-general-checkpoint-for-inference-and-or-resuming-training"
        )

    def deepcopy(self: Any, memo: dict[int, Any]) -> Any:
        if id(self) in memo:
            return memo[id(self)]
        replica = self.__new__(type(self))
        memo[id(self)] = replica
        replica.__setstate__(copy.deepcopy(Module.__getstate__(self), memo))
        return replica

    methods: dict[str, Any] = {"__getstate__": no_getstate}
    if not hasattr(kind, "__deepcopy__"):
        methods["__deepcopy__"] = deepcopy
    module.__class__ = type(f"Parametrized{kind.__name__}", (kind,), methods)


def _inject_property(module: Module, tensor_name: str) -> None:
    def get(self: Any) -> Tensor:
        parametrization = self.parametrizations[tensor_name]
        if not _cache_depth:
            return parametrization()
        key = (id(self), tensor_name)
        if key not in _cache:
            _cache[key] = parametrization()
        return _cache[key]

    def set_original(self: Any, value: Tensor) -> None:
        self.parametrizations[tensor_name].right_inverse(value)

    setattr(type(module), tensor_name, property(get, set_original))


def register_parametrization(
    module: Module, tensor_name: str, parametrization: Module, *, unsafe: bool = False
) -> Module:
    """Makes a parameter or buffer the result of a module; returns `module`.

    ``module.weight`` is from then on computed from
    ``module.parametrizations.weight.original``. A parametrization with ``right_inverse`` can be
    assigned to, and starts from the inverse of the present value.

    Args:
        unsafe: whether shape and dtype may change.

    Example:
        >>> import taper as torch
        >>> from taper.nn.utils import parametrize
        >>> class Symmetric(torch.nn.Module):
        ...     def forward(self, x):
        ...         return x.triu() + x.triu(1).T
        >>> layer = torch.nn.Linear(3, 3)
        >>> _ = parametrize.register_parametrization(layer, "weight", Symmetric())
        >>> bool((layer.weight == layer.weight.T).all())
        True
    """
    parametrization.train(module.training)
    if is_parametrized(module, tensor_name):
        known: Any = module.parametrizations[tensor_name]
        if not unsafe:
            _check_next(getattr(module, tensor_name), parametrization)
        known.append(parametrization)
        known.unsafe |= unsafe
    elif tensor_name in module._buffers or tensor_name in module._parameters:
        original = getattr(module, tensor_name)
        chain = ParametrizationList([parametrization], original, unsafe=unsafe)
        delattr(module, tensor_name)
        if not is_parametrized(module):
            _inject_new_class(module)
            module.parametrizations = ModuleDict()
        _inject_property(module, tensor_name)
        module.parametrizations[tensor_name] = chain
    else:
        raise ValueError(
            f"Module '{module}' does not have a parameter, a buffer, or a parametrized element "
            f"with name '{tensor_name}'"
        )
    return module


def _check_next(before: Tensor, parametrization: Any) -> None:
    """Checks one more parametrization of a tensor that has some."""
    after = parametrization(before)
    if not isinstance(after, Tensor):
        raise ValueError(f"A parametrization must return a tensor. Got {type(after).__name__}.")
    for what in ("dtype", "shape"):
        _check_same(
            what,
            f"Registering a parametrization may not change the {what} of the tensor, unless the "
            "`unsafe` flag is enabled.",
            getattr(before, what), getattr(after, what),
            ("module.tensor_name", "parametrization(module.tensor_name)"),
        )
    if hasattr(parametrization, "right_inverse"):
        try:
            back = parametrization.right_inverse(after)
        except NotImplementedError:
            return
        if not isinstance(back, Tensor):
            raise ValueError(
                f"parametrization.right_inverse must return a tensor. Got: {type(back).__name__}"
            )
        for what in ("dtype", "shape"):
            _check_same(
                what,
                f"The tensor returned by parametrization.right_inverse must have the same {what} "
                "as module.tensor_name, unless the `unsafe` flag is enabled.",
                getattr(before, what), getattr(back, what),
                ("module.tensor_name", "returned"),
            )


def is_parametrized(module: Module, tensor_name: str | None = None) -> bool:
    """Returns whether the module has a parametrization, or one of this tensor."""
    found = getattr(module, "parametrizations", None)
    if not isinstance(found, ModuleDict):
        return False
    return len(found) > 0 if tensor_name is None else tensor_name in found


def remove_parametrizations(
    module: Module, tensor_name: str, leave_parametrized: bool = True
) -> Module:
    """Makes the tensor an ordinary parameter or buffer again; returns `module`.

    Args:
        leave_parametrized: whether it keeps its present value, instead of the original tensor's.
    """
    if not is_parametrized(module, tensor_name):
        raise ValueError(f"Module {module} does not have a parametrization on {tensor_name}")
    chain: Any = module.parametrizations[tensor_name]
    if chain.is_tensor:
        original = chain.original
        if leave_parametrized:
            with taper.no_grad():
                _set_data(original, getattr(module, tensor_name))
    else:
        if not leave_parametrized:
            raise ValueError(
                "Cannot leave unparametrized (`leave_parametrized=False`) a tensor that is "
                "parametrized in terms of a sequence of tensors."
            )
        value = getattr(module, tensor_name)
        original = Parameter(value.detach()) if value.requires_grad else value
    delattr(type(module), tensor_name)
    del module.parametrizations[tensor_name]
    if not is_parametrized(module):
        delattr(module, "parametrizations")
        module.__class__ = type(module).__bases__[0]
    _register(module, tensor_name, original)
    return module


def type_before_parametrizations(module: Module) -> type:
    """Returns the module's class, without the one that parametrizing it made."""
    return type(module).__bases__[0] if is_parametrized(module) else type(module)


def transfer_parametrizations_and_params(
    from_module: Module, to_module: Module, tensor_name: str | None = None
) -> Module:
    """Copies parametrizations, and the tensors they start from, to another module."""
    if not is_parametrized(from_module):
        return to_module
    names = [tensor_name] if tensor_name is not None else list(from_module.parametrizations)
    for name in names:
        chain: Any = from_module.parametrizations[name]
        if not hasattr(to_module, name):
            setattr(to_module, name, Parameter(getattr(from_module, name).detach().clone()))
        for module in chain:
            register_parametrization(to_module, name, copy.deepcopy(module), unsafe=chain.unsafe)
        target: Any = to_module.parametrizations[name]
        if chain.is_tensor:
            target.original = copy.deepcopy(chain.original)
        else:
            for index in range(chain.ntensors):
                value = copy.deepcopy(getattr(chain, f"original{index}"))
                setattr(target, f"original{index}", value)
    return to_module
