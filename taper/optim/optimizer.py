"""The base class of all optimizers: parameter groups, state, hooks, and what subclasses share."""

from __future__ import annotations

import functools
import warnings
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from copy import deepcopy
from itertools import chain
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np

import taper
from taper import Tensor
from taper.utils.hooks import RemovableHandle

__all__ = ["Optimizer", "register_optimizer_step_post_hook", "register_optimizer_step_pre_hook"]

ParamsT: TypeAlias = (
    Iterable[Tensor] | Iterable[dict[str, Any]] | Iterable[tuple[str, Tensor]]
)
StateDict: TypeAlias = dict[str, Any]
Row: TypeAlias = tuple[Tensor, ...]


class _RequiredParameter:
    """Marks a default that every parameter group has to give."""

    def __repr__(self) -> str:
        return "<required parameter>"


required = _RequiredParameter()

_global_pre_hooks: OrderedDict[int, Callable[..., Any]] = OrderedDict()
_global_post_hooks: OrderedDict[int, Callable[..., Any]] = OrderedDict()


def register_optimizer_step_pre_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Registers ``hook(optimizer, args, kwargs)`` to run before each step of every optimizer."""
    return _register(hook, _global_pre_hooks)


def register_optimizer_step_post_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Registers ``hook(optimizer, args, kwargs)`` to run after each step of every optimizer."""
    return _register(hook, _global_post_hooks)


def _register(
    hook: Callable[..., Any], hooks: OrderedDict[int, Callable[..., Any]], prepend: bool = False
) -> RemovableHandle:
    handle = RemovableHandle(hooks)
    hooks[handle.id] = hook
    if prepend:
        hooks.move_to_end(handle.id, last=False)
    return handle


class Optimizer:
    """Base class of all optimizers.

    Args:
        params: an iterable of tensors, of ``(name, tensor)`` pairs, or of dicts, each a parameter
            group with its own options.
        defaults: the options of groups that don't give their own.
    """

    state: defaultdict[Tensor, Any]
    param_groups: list[dict[str, Any]]
    _newer_options: Mapping[str, Any] = MappingProxyType({})
    """What groups of older checkpoints lack, with what is meant by that."""
    # Wrappers that never call __init__ have no hooks, and can't be given any.
    _optimizer_step_pre_hooks: Any = MappingProxyType({})
    _optimizer_step_post_hooks: Any = MappingProxyType({})

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "step" in cls.__dict__:
            cls.step = _with_hooks(cls.step)  # type: ignore[method-assign]

    def __init__(self, params: ParamsT, defaults: dict[str, Any]) -> None:
        self.defaults = defaults
        self._make_hooks()
        if isinstance(params, Tensor):
            raise TypeError(
                "params argument given to the optimizer should be an iterable of Tensors or dicts, "
                f"but got {params.type()}"
            )
        self.state = defaultdict(dict)
        self.param_groups = []
        groups: list[Any] = list(params)
        if len(groups) == 0:
            raise ValueError("optimizer got an empty parameter list")
        if not isinstance(groups[0], dict):
            groups = [{"params": groups}]
        for group in groups:
            self.add_param_group(group)

    def _make_hooks(self) -> None:
        self._optimizer_step_pre_hooks = OrderedDict()
        self._optimizer_step_post_hooks = OrderedDict()
        self._optimizer_state_dict_pre_hooks: OrderedDict[int, Any] = OrderedDict()
        self._optimizer_state_dict_post_hooks: OrderedDict[int, Any] = OrderedDict()
        self._optimizer_load_state_dict_pre_hooks: OrderedDict[int, Any] = OrderedDict()
        self._optimizer_load_state_dict_post_hooks: OrderedDict[int, Any] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        return {
            "defaults": self.defaults, "state": self.state, "param_groups": self.param_groups,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if "_optimizer_step_pre_hooks" not in self.__dict__:
            self._make_hooks()
        self.defaults.setdefault("differentiable", False)
        if self._newer_options:
            self._add_newer_options()

    def _add_newer_options(self) -> None:
        """Adds options that older checkpoints lack to the groups, and makes step counts tensors."""
        for group in self.param_groups:
            for name, value in self._newer_options.items():
                group.setdefault(name, value)
            for param in group["params"]:
                state = self.state.get(param)
                if state and "step" in state and not isinstance(state["step"], Tensor):
                    state["step"] = new_step(float(state["step"]))

    def __repr__(self) -> str:
        text = self.__class__.__name__ + " ("
        for i, group in enumerate(self.param_groups):
            text += f"\nParameter Group {i}\n"
            for key in sorted(group):
                if key != "params":
                    text += f"    {key}: {group[key]}\n"
        return text + ")"

    # -- steps ----------------------------------------------------------------

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Performs one optimization step; `closure`, if given, recomputes and returns the loss."""
        raise NotImplementedError

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Sets the gradients of all parameters to None, or to zeros."""
        if set_to_none:
            for group in self.param_groups:
                for param in group["params"]:
                    param._grad = None  # what `param.grad = None` comes to, three times as fast
            return
        for group in self.param_groups:
            for param in group["params"]:
                grad = param.grad
                if grad is not None:
                    if grad.grad_fn is not None:
                        grad.detach_()
                    else:
                        grad.requires_grad_(False)
                    grad.zero_()

    @staticmethod
    def _evaluate(closure: Callable[[], Any] | None) -> Any:
        """The closure's loss, computed with gradients on; None without a closure."""
        if closure is None:
            return None
        with taper.enable_grad():
            return closure()

    def _gradients(self, group: dict[str, Any]) -> list[tuple[Tensor, Tensor]]:
        """The parameters of a group that have a gradient, with it."""
        found = []
        for param in group["params"]:
            grad = param.grad
            if grad is not None:
                if type(grad._array) is not np.ndarray and grad.is_sparse:
                    grad = self._dense_gradient(grad, group)
                found.append((param, grad))
        return found

    def _state_of(self, param: Tensor, initial: dict[str, float]) -> dict[str, Any]:
        """The state of a parameter; a new one counts steps and is filled as `initial` says."""
        state: dict[str, Any] = self.state[param]
        if not state:
            state["step"] = new_step()
            for name, value in initial.items():
                state[name] = taper.full_like(
                    param, complex(value, value) if param.is_complex() else value
                )
        return state

    def _rows(
        self, group: dict[str, Any], **initial: float
    ) -> Iterator[tuple[dict[str, Any], Row]]:
        """Yields the state and the row of each parameter that has a gradient, for `apply_rule`.

        A row is (param, grad, *those entries of the state that `initial` names, in its order).
        """
        for param, grad in self._gradients(group):
            state = self._state_of(param, initial)
            yield state, (param, grad, *[state[name] for name in initial])

    def _rows_by_step(self, group: dict[str, Any], **initial: float) -> dict[Any, list[Row]]:
        """Takes a step: the rows of the group, by the step count that they have reached."""
        rows: dict[Any, list[Row]] = {}
        for state, row in self._rows(group, **initial):
            rows.setdefault(advance(state["step"]), []).append(row)
        return rows

    def _rows_whatever_step(self, group: dict[str, Any], **initial: float) -> list[Row]:
        """Takes a step: the rows of the group, for rules that don't ask how many there were."""
        rows = []
        for state, row in self._rows(group, **initial):
            advance(state["step"])
            rows.append(row)
        return rows

    def _dense_gradient(self, grad: Tensor, group: dict[str, Any]) -> Tensor:
        """What to do with a sparse gradient: most optimizers refuse it."""
        raise RuntimeError(f"{type(self).__name__} does not support sparse gradients")

    # -- parameter groups -------------------------------------------------------

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Adds a parameter group, such as ``{"params": layer.parameters(), "lr": 1e-3}``."""
        if not isinstance(param_group, dict):
            raise TypeError(f"param_group must be a dict, but got {type(param_group)}")
        params = param_group["params"]
        if isinstance(params, Tensor):
            params = [params]
        elif isinstance(params, set):
            raise TypeError(
                "optimizer parameters need to be organized in ordered collections, but the "
                "ordering of tensors in sets will change between runs. Please use a list instead."
            )
        params = list(params)
        named = [isinstance(param, tuple) for param in params]
        if any(named):
            if not all(named):
                raise ValueError(
                    "all optimizer params should be with/without names. "
                    "Some param names are missing"
                )
            param_group["param_names"] = [name for name, _ in params]
            params = [param for _, param in params]
        param_group["params"] = params
        self._check_params(params)
        for name, default in self.defaults.items():
            if default is required and name not in param_group:
                raise ValueError(
                    f"parameter group didn't specify a value of required optimization parameter "
                    f"{name}"
                )
            param_group.setdefault(name, default)
        if len(params) != len(set(params)):
            warnings.warn(
                "optimizer contains a parameter group with duplicate parameters; "
                "in future, this will cause an error; "
                "see github.com/pytorch/pytorch/issues/40967 for more information",
                stacklevel=3,
            )
        known: set[Tensor] = set()
        for group in self.param_groups:
            known.update(group["params"])
            if ("param_names" in param_group) != ("param_names" in group):
                which = "with names" if "param_names" in param_group else "without names"
                raise ValueError(
                    "all optimizer param groups should be with/without names. "
                    f"cannot add param group {which} to the optimizer"
                )
        if not known.isdisjoint(params):
            raise ValueError("some parameters appear in more than one parameter group")
        self.param_groups.append(param_group)

    def _check_params(self, params: list[Any]) -> None:
        for param in params:
            if not isinstance(param, Tensor):
                raise TypeError(
                    "optimizer can only optimize Tensors, but one of the params is "
                    f"{taper.typename(param)}"
                )
            if not self.defaults.get("differentiable") and not (
                param.is_leaf or param.retains_grad
            ):
                raise ValueError("can't optimize a non-leaf Tensor")

    # -- state dicts ------------------------------------------------------------

    def state_dict(self) -> StateDict:
        """Returns ``{"state": …, "param_groups": …}`` with parameters replaced by their numbers.

        The tensors are the optimizer's own, not copies.
        """
        for hook in self._optimizer_state_dict_pre_hooks.values():
            hook(self)
        numbers: dict[int, int] = {}
        groups = []
        for group in self.param_groups:
            for param in group["params"]:
                numbers.setdefault(id(param), len(numbers))
            packed = {key: value for key, value in group.items() if key != "params"}
            packed["params"] = [numbers[id(param)] for param in group["params"]]
            groups.append(packed)
        state = {
            numbers[id(key)] if isinstance(key, Tensor) else key: value
            for key, value in self.state.items()
        }
        result: StateDict = {"state": state, "param_groups": groups}
        for hook in self._optimizer_state_dict_post_hooks.values():
            changed = hook(self, result)
            if changed is not None:
                result = changed
        return result

    def load_state_dict(self, state_dict: StateDict) -> None:
        """Takes over a state made by `state_dict`, cast to the dtypes of the parameters.

        Raises: ValueError: if the parameter groups don't match in number or size.
        """
        state_dict = state_dict.copy()
        for hook in self._optimizer_load_state_dict_pre_hooks.values():
            changed = hook(self, state_dict)
            if changed is not None:
                state_dict = changed
        saved_groups = deepcopy(state_dict["param_groups"])
        if len(self.param_groups) != len(saved_groups):
            raise ValueError("loaded state dict has a different number of parameter groups")
        param_of: dict[int, tuple[Tensor, dict[str, Any]]] = {}
        for group, saved in zip(self.param_groups, saved_groups, strict=True):
            if len(group["params"]) != len(saved["params"]):
                raise ValueError(
                    "loaded state dict contains a parameter group that doesn't match the size of "
                    "optimizer's group"
                )
            for number, param in zip(saved["params"], group["params"], strict=True):
                param_of[number] = (param, saved)
        state: defaultdict[Any, Any] = defaultdict(dict)
        for number, value in state_dict["state"].items():
            if number in param_of:
                param, saved = param_of[number]
                state[param] = _cast(value, param, saved)
            else:
                state[number] = value
        for group, saved in zip(self.param_groups, saved_groups, strict=True):
            saved["params"] = group["params"]
            if "param_names" in group:
                saved.setdefault("param_names", group["param_names"])
        self.__setstate__({"state": state, "param_groups": saved_groups})
        for hook in self._optimizer_load_state_dict_post_hooks.values():
            hook(self)

    # -- hooks --------------------------------------------------------------------

    def register_step_pre_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Registers ``hook(optimizer, args, kwargs)``, which may return new args and kwargs."""
        return _register(hook, self._optimizer_step_pre_hooks)

    def register_step_post_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Registers ``hook(optimizer, args, kwargs)`` to run after each step."""
        return _register(hook, self._optimizer_step_post_hooks)

    def register_state_dict_pre_hook(
        self, hook: Callable[..., Any], prepend: bool = False
    ) -> RemovableHandle:
        """Registers ``hook(optimizer)`` to run before `state_dict`."""
        return _register(hook, self._optimizer_state_dict_pre_hooks, prepend)

    def register_state_dict_post_hook(
        self, hook: Callable[..., Any], prepend: bool = False
    ) -> RemovableHandle:
        """Registers ``hook(optimizer, state_dict)``, which may return another state dict."""
        return _register(hook, self._optimizer_state_dict_post_hooks, prepend)

    def register_load_state_dict_pre_hook(
        self, hook: Callable[..., Any], prepend: bool = False
    ) -> RemovableHandle:
        """Registers ``hook(optimizer, state_dict)``, which may return another state dict."""
        return _register(hook, self._optimizer_load_state_dict_pre_hooks, prepend)

    def register_load_state_dict_post_hook(
        self, hook: Callable[..., Any], prepend: bool = False
    ) -> RemovableHandle:
        """Registers ``hook(optimizer)`` to run after `load_state_dict`."""
        return _register(hook, self._optimizer_load_state_dict_post_hooks, prepend)


def _with_hooks(step: Callable[..., Any]) -> Callable[..., Any]:
    """The step method of a class, with the registered hooks around it."""

    @functools.wraps(step)
    def hooked_step(self: Optimizer, *args: Any, **kwargs: Any) -> Any:
        if not (
            self._optimizer_step_pre_hooks or self._optimizer_step_post_hooks
            or _global_pre_hooks or _global_post_hooks
        ) or type(self).step is not hooked_step:  # a subclass calls super().step()
            return step(self, *args, **kwargs)
        args = (self, *args)
        for hook in chain(_global_pre_hooks.values(), self._optimizer_step_pre_hooks.values()):
            changed = hook(self, args, kwargs)
            if changed is not None:
                if not (isinstance(changed, tuple) and len(changed) == 2):
                    raise RuntimeError(
                        f"{step} must return None or a tuple of (new_args, new_kwargs), "
                        f"but got {changed}."
                    )
                args, kwargs = changed
        result = step(*args, **kwargs)
        for hook in chain(self._optimizer_step_post_hooks.values(), _global_post_hooks.values()):
            hook(self, args, kwargs)
        return result

    return hooked_step


def _cast(value: Any, param: Tensor, group: dict[str, Any], key: Any = None) -> Any:
    """A loaded value, its tensors cast to the parameter's dtype (but for step counts)."""
    if isinstance(value, Tensor):
        if key == "step":
            if group.get("capturable") or group.get("fused"):
                return value.to(dtype=taper.float32, device=param.device)
            return value
        if param.is_floating_point():
            return value.to(dtype=param.dtype, device=param.device)
        return value.to(device=param.device)
    if isinstance(value, dict):
        return {key: _cast(item, param, group, key) for key, item in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, (str, bytes)):
        return type(value)(_cast(item, param, group) for item in value)  # type: ignore[call-arg]
    return value


# -- what the optimizers share ----------------------------------------------------


def check_lr(lr: float | Tensor) -> None:
    """Raises ValueError unless the learning rate is one number that isn't negative."""
    if isinstance(lr, Tensor) and lr.numel() != 1:
        raise ValueError("Tensor lr must be 1-element")
    if not lr >= 0.0:
        raise ValueError(f"Invalid learning rate: {lr}")


def check_not_negative(**values: Any) -> None:
    """Raises ValueError naming the first argument that is negative."""
    for name, value in values.items():
        if not value >= 0.0:
            raise ValueError(f"Invalid {'epsilon' if name == 'eps' else name} value: {value}")


def check_betas(betas: tuple[Any, Any]) -> None:
    """Raises ValueError unless both decay rates lie in [0, 1)."""
    for index in range(2):
        if not 0.0 <= betas[index] < 1.0:
            raise ValueError(f"Invalid beta parameter at index {index}: {betas[index]}")


def check_fused(fused: bool | None, foreach: bool | None, differentiable: bool) -> None:
    """Raises RuntimeError if the choices of implementation contradict each other."""
    if fused:
        if differentiable:
            raise RuntimeError("`fused` does not support `differentiable`")
        if foreach:
            raise RuntimeError("`fused` and `foreach` cannot be `True` together.")


def new_step(value: float = 0.0) -> Tensor:
    """A step count (or another number that checkpoints keep as a tensor)."""
    double = taper.get_default_dtype() == taper.float64
    return taper.tensor(value, dtype=taper.float64 if double else taper.float32)


def advance(step: Tensor) -> Any:
    """Adds one to a step count and returns it as a number (without data, as a tensor)."""
    array = step._array
    if type(array) is not np.ndarray:
        step.add_(1)
        return _number_in(step)
    count = array.item() + 1
    array[()] = count
    step._bump_version()
    return count


def number(value: Any, differentiable: bool = False) -> Any:
    """A hyperparameter that may be given as a one-element tensor, as a number.

    It stays a tensor where its history counts.
    """
    if not isinstance(value, Tensor) or differentiable:
        return value
    return _number_in(value)


def _number_in(tensor: Tensor) -> Any:
    """The number in a tensor of one; in a step that is recorded, one that is recorded as well.
    Without data, the tensor."""
    array: Any = tensor._array
    if type(array) is np.ndarray:
        return array.item()
    return array.as_number() if hasattr(array, "as_number") else tensor
