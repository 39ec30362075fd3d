"""`torch.library`: operators that a program defines, with their derivatives and batching rules.

An operator is a record of functions: one that computes, one that tells the shape of the result
(for tensors without data), one for its gradient, one for vmap. It is called by its own name, or as
``torch.ops.<namespace>.<name>``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from taper.autograd.function import Function
from taper.core.custom_operators import NAMESPACES, namespace
from taper.core.operator_schema import Schema, infer_schema, parse_schema
from taper.core.overrides import NOT_INTERCEPTED, has_override, intercept
from taper.core.state import is_recording
from taper.core.tensor import Tensor
from taper.ops.function_samples import apply_to_samples, innermost_level
from taper.ops.join import stack

__all__ = [
    "CustomOpDef", "Library", "custom_op", "define", "get_ctx", "impl", "impl_abstract",
    "infer_schema", "opcheck", "register_autograd", "register_fake", "register_kernel",
    "register_vmap",
]


class CustomOpDef:
    """A custom operator: call it, and register what belongs to it."""

    __module__ = "torch._library.custom_ops"

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._namespace, _, self._name = schema.name.partition("::")
        self.__name__ = self._name
        self._kernels: dict[str, Callable[..., Any]] = {}
        self._fake: Callable[..., Any] | None = None
        self._vmap: Callable[..., Any] | None = None
        self._whole: Callable[..., Any] | None = None  # does its own differentiation
        self._is_opaque = True  # to the tape; else its kernels are recorded
        self._function = _function_of(self)
        operators = namespace(self._namespace).operators
        if self._name in operators:
            raise RuntimeError(
                f"Tried to register an operator ({schema}) with the same name and overload name "
                "multiple times."
            )
        operators[self._name] = self

    @property
    def _qualname(self) -> str:
        return self._schema.name

    @property
    def default(self) -> CustomOpDef:
        """The only overload: the operator itself."""
        return self

    def name(self) -> str:
        """Returns the qualified name, such as ``mylib::foo``."""
        return self._qualname

    def __repr__(self) -> str:
        return f"<CustomOpDef({self._qualname})>"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        bound = self._schema.bind(args, kwargs)
        values = tuple(bound.values())
        if any(has_override(v) for v in values):
            found = intercept(self, values, args, kwargs)
            if found is not NOT_INTERCEPTED:
                return found
        level = innermost_level(values)
        if level is not None and (self._vmap is not None or self._is_opaque):
            return apply_to_samples(self._vmap or self._one_by_one, self._qualname, values, level)
        if self._whole is not None:
            return self._whole(*args, **kwargs)
        if not self._is_opaque and self._function._rule is None:
            return self._compute(bound)
        return self._function.apply(*values)

    def _one_by_one(self, info: Any, in_dims: tuple[Any, ...], *args: Any) -> Any:
        """What `vmap` does where no rule for it is registered."""
        names = [a.name for a in self._schema.arguments]
        results = []
        for i in range(info.batch_size):
            sample = [a if d is None else a.select(d, i)
                      for a, d in zip(args, in_dims, strict=True)]
            bound = dict(zip(names, sample, strict=True))
            results.append(self(
                *[bound[a.name] for a in self._schema.arguments if not a.keyword_only],
                **{a.name: bound[a.name] for a in self._schema.arguments if a.keyword_only},
            ))
        if isinstance(results[0], Tensor):
            return stack.function(results), 0
        return tuple([stack.function(list(column)) for column in zip(*results, strict=True)]), 0

    # -- registering ---------------------------------------------------------------------------

    def register_kernel(self, device_types: Any, fn: Any = None, /) -> Any:
        """Registers the function that computes on these devices; also as a decorator."""
        def register(function: Callable[..., Any]) -> Callable[..., Any]:
            types = [device_types] if isinstance(device_types, str) else device_types or ["any"]
            for kind in types:
                self._kernels[kind] = function
            return function

        return register if fn is None else register(fn)

    def register_fake(self, fn: Callable[..., Any], /) -> Callable[..., Any]:
        """Registers the function that makes empty results for tensors without data."""
        self._fake = fn
        return fn

    def register_autograd(
        self, backward: Callable[..., Any], /, *,
        setup_context: Callable[..., Any] | None = None,
    ) -> None:
        """Registers the gradient: ``backward(ctx, *grads)``, and ``setup_context(ctx, inputs,
        output)``, which saves what that needs."""
        self._function._rule = backward
        self._function._setup = setup_context

    def register_vmap(self, func: Any = None, /) -> Any:
        """Registers ``func(info, in_dims, *args)``, which returns ``(output, out_dims)``."""
        def register(function: Callable[..., Any]) -> Callable[..., Any]:
            self._vmap = function
            return function

        return register if func is None else register(func)

    def register_torch_dispatch(self, torch_dispatch_class: Any, fn: Any = None, /) -> Any:
        """Not available: nothing dispatches on tensor classes below the tape."""
        raise NotImplementedError(
            "register_torch_dispatch: taper has no __torch_dispatch__; give the class a "
            "__torch_function__ instead, which sees custom operators too"
        )

    # -- computing -----------------------------------------------------------------------------

    def _compute(self, bound: dict[str, Any]) -> Any:
        tensors = [v for v in _tensors(bound.values())]
        positional = [bound[a.name] for a in self._schema.arguments if not a.keyword_only]
        keywords = {a.name: bound[a.name] for a in self._schema.arguments if a.keyword_only}
        kinds = {t.device.type for t in tensors} or {"cpu"}
        kind = "meta" if "meta" in kinds else kinds.pop()
        if kind == "meta":
            if self._fake is None:
                raise RuntimeError(
                    f"There was no fake impl registered for {self!r}. This is necessary for "
                    "torch.compile/export/fx tracing to work. Please use "
                    f"`{self._name}.register_fake` to add an fake impl."
                )
            return self._fake(*positional, **keywords)
        kernel = self._kernels.get(kind) or self._kernels.get("any")
        if kernel is None:
            raise NotImplementedError(
                f"Could not run '{self._qualname}' with arguments from the '{kind.upper()}' "
                "backend: no function is registered that computes it there."
            )
        result = kernel(*positional, **keywords)
        for argument in self._schema.arguments:
            if argument.mutated:
                for t in _tensors([bound[argument.name]]):
                    t._bump_version()
        self._check_aliases(tensors, result)
        return result

    def _check_aliases(self, inputs: list[Tensor], result: Any) -> None:
        memory = {id(t._storage) for t in inputs if t._storage is not None}
        for output in _tensors([result]):
            if any(output is t for t in inputs) or id(output._storage) in memory:
                raise RuntimeError(
                    f"{self._name} (with implementation in {__name__}): The output of this custom "
                    "operator (1) must not also be an input to this custom operator and (2) may "
                    "not alias any inputs to this custom operator or other returns. The most "
                    "common way to trigger this error is if we have y = custom_op(x) and y and x "
                    "are the same Tensor. Please instead return a clone of the offending output "
                    "tensor(s) (e.g. return x.clone()) or refactor the custom operator to not "
                    "return y."
                )


def _tensors(values: Iterable[Any]) -> list[Tensor]:
    found: list[Tensor] = []
    for value in values:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, (tuple, list)):
            found += _tensors(value)
    return found


def _function_of(op: CustomOpDef) -> Any:
    """The autograd Function that stands between an operator and the tape."""
    names = [a.name for a in op._schema.arguments]
    count = sum([not a.keyword_only for a in op._schema.arguments])

    def forward(ctx: Any, *args: Any) -> Any:
        result = op._compute(dict(zip(names, args, strict=True)))
        mutated = [v for a, v in zip(op._schema.arguments, args, strict=True) if a.mutated]
        if mutated and is_recording() and any(t.requires_grad for t in _tensors(mutated)):
            raise RuntimeError(
                f"{op!r} changes an argument in place that requires grad: there is no derivative "
                "for that"
            )
        setup = op._function._setup
        if setup is not None:
            if count < len(names):
                keywords = dict(zip(names[count:], args[count:], strict=True))
                setup(ctx, args[:count], keywords, result)
            else:
                setup(ctx, args, result)
        return result

    def backward(ctx: Any, *grads: Any) -> Any:
        rule = op._function._rule
        if rule is None:
            raise RuntimeError(
                f"Trying to backward through {op._namespace}.{op._name}.default but no autograd "
                "formula was registered. Please use register_autograd to add one."
            )
        found = rule(ctx, *grads)
        found = tuple(found) if isinstance(found, (tuple, list)) else (found,)
        return (*found, *(None,) * (len(names) - len(found)))

    members = {
        "forward": staticmethod(forward), "backward": staticmethod(backward), "_rule": None,
        "_setup": None, "__module__": "torch.autograd.function",
    }
    return type(f"GeneratedBackwardFor_{op._namespace}_{op._name}_default", (Function,), members)


# -- defining --------------------------------------------------------------------------------------


def custom_op(
    name: str, fn: Callable[..., Any] | None = None, /, *, mutates_args: str | Iterable[str],
    device_types: Any = None, schema: str | None = None, tags: Any = None,
) -> Any:
    """Makes an operator of a function; the tape doesn't look inside. Also a decorator.

    Args:
        name: ``"namespace::name"``.
        mutates_args: the names of the arguments that it changes in place.
        schema: what it takes and returns; default: read off the annotations.
    Example:
        >>> import taper as torch
        >>> @torch.library.custom_op("docs::twice", mutates_args=())
        ... def twice(x: torch.Tensor) -> torch.Tensor:
        ...     return x * 2
        >>> twice.register_autograd(lambda ctx, grad: grad * 2)
        >>> x = torch.ones(1, requires_grad=True)
        >>> torch.autograd.grad(torch.ops.docs.twice(x), x)
        (tensor([2.]),)
    """
    def register(function: Callable[..., Any]) -> CustomOpDef:
        text = schema
        if text is None:
            text = infer_schema(function, mutates_args=mutates_args)
        _check_name(name)
        op = CustomOpDef(parse_schema(f"{name}{text}"))
        op.register_kernel(device_types, function)
        op.__doc__ = function.__doc__
        return op

    return register if fn is None else register(fn)


def _check_name(name: str) -> None:
    if name.count("::") != 1:
        raise ValueError(
            f"Expected `name` to be of the form `namespace::name`, got {name!r}"
        )


def _found(op: Any) -> CustomOpDef:
    if isinstance(op, CustomOpDef):
        return op
    space, _, name = op.partition("::")
    try:
        return NAMESPACES[space].operators[name]
    except KeyError:
        raise RuntimeError(f"operator {op} does not exist: define it first") from None


class Library:
    """A namespace of operators that are declared by schemas, and implemented one by one.

    Args:
        ns: the namespace.   kind: "DEF" to declare operators, "IMPL" or "FRAGMENT" to add to them.
    """

    __module__ = "torch.library"

    def __init__(self, ns: str, kind: str, dispatch_key: str = "") -> None:
        if kind not in ("DEF", "IMPL", "FRAGMENT"):
            raise ValueError(f"Unsupported kind: {kind}")
        self.ns = ns
        self.kind = kind
        self.dispatch_key = dispatch_key
        namespace(ns)

    def define(self, schema: str, alias_analysis: str = "", *, tags: Any = ()) -> str:
        """Declares an operator: ``"foo(Tensor x) -> Tensor"``. Returns its name."""
        return CustomOpDef(parse_schema(schema, self.ns))._name

    def impl(
        self, op_name: Any, fn: Callable[..., Any], dispatch_key: str = "", *,
        with_keyset: bool = False, allow_override: bool = False,
    ) -> None:
        """Registers what computes an operator: for "CPU", "Meta", "Autograd" (which then does its
        own differentiation) or "CompositeImplicitAutograd" (made of differentiable operators)."""
        name = op_name if isinstance(op_name, str) else op_name._name
        op = _found(name if "::" in name else f"{self.ns}::{name}")
        _implement(op, fn, dispatch_key or self.dispatch_key or "CompositeImplicitAutograd")


def _implement(op: CustomOpDef, function: Callable[..., Any], key: str) -> None:
    if key.lower() == "meta":
        op.register_fake(function)
    elif key.startswith("Autograd") or key in ("CompositeImplicitAutograd", "default"):
        op._whole = function
    elif key == "CompositeExplicitAutograd":
        op.register_kernel(None, function)
        op._is_opaque = False
    else:
        op.register_kernel(key.lower(), function)
        op._is_opaque = False


def define(qualname: str, schema: str, *, lib: Library | None = None, tags: Any = ()) -> None:
    """Declares an operator by its qualified name and its schema, ``"(Tensor x) -> Tensor"``."""
    _check_name(qualname)
    CustomOpDef(parse_schema(f"{qualname}{schema}"))


def impl(
    qualname: Any, types: Any, func: Callable[..., Any] | str | None = None, *, lib: Any = None
) -> Any:
    """Registers what computes an operator on these devices; also as a decorator."""
    if isinstance(qualname, Library):  # the older form: impl(lib, name, dispatch_key)
        library, name, key = qualname, types, func if isinstance(func, str) else ""

        def add(function: Callable[..., Any]) -> Callable[..., Any]:
            library.impl(name, function, key)
            return function

        return add

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        for kind in [types] if isinstance(types, str) else types:
            _implement(_found(qualname), function, kind)
        return function

    return register(func) if callable(func) else register


def register_kernel(
    op: Any, device_types: Any, func: Any = None, /, *, lib: Any = None
) -> Any:
    """Registers the function that computes an operator on these devices."""
    return _found(op).register_kernel(device_types, func)


def register_fake(
    op: Any, func: Any = None, /, *, lib: Any = None, _stacklevel: int = 1,
    allow_override: bool = False,
) -> Any:
    """Registers the function that makes an operator's results for tensors without data."""
    register = _found(op).register_fake
    return register if func is None else register(func)


impl_abstract = register_fake


def register_autograd(
    op: Any, backward: Callable[..., Any], /, *, setup_context: Any = None, lib: Any = None
) -> None:
    """Registers an operator's gradient, see `CustomOpDef.register_autograd`."""
    _found(op).register_autograd(backward, setup_context=setup_context)


def register_vmap(op: Any, func: Any = None, /, *, lib: Any = None) -> Any:
    """Registers what an operator does within `vmap`."""
    return _found(op).register_vmap(func)


def load_library(path: str) -> None:
    """Loads the operators of an extension: torchvision's, which taper has itself.

    Raises:
        OSError: for all others; C++ libraries made for PyTorch need PyTorch.
    """
    folder, _, file = str(path).replace("\\", "/").rpartition("/")
    if folder.endswith("torchvision") and file.startswith("_C"):
        from taper import vision_operators

        vision_operators.declare()
        return
    raise OSError(f"{path}: taper can't load C++ libraries made for PyTorch")


def get_ctx() -> Any:
    """Not available: results whose size depends on values can't be told without data here."""
    raise NotImplementedError(
        "torch.library.get_ctx: shapes that depend on values have no symbols in taper; return "
        "results of the largest size from register_fake"
    )


def opcheck(
    op: Any, args: tuple[Any, ...], kwargs: dict[str, Any] | None = None, *,
    test_utils: Any = (
        "test_schema", "test_autograd_registration", "test_faketensor", "test_aot_dispatch_dynamic",
    ), raise_exception: bool = True, atol: float | None = None, rtol: float | None = None,
) -> dict[str, str]:
    """Tests that an operator keeps to what it declares, on sample arguments.

    Changed arguments must be in `mutates_args`, results without data must have the shapes of
    those with data, and gradients must be registered if an argument requires one.
    """
    from taper.testing.custom_operators import check_operator

    return check_operator(_found(op), args, kwargs or {}, test_utils, raise_exception)
