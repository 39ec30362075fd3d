"""The record of an operator: one block declares it, everything else is derived from the block.

    @operator(method=True, inplace=True, out=True, promote="float", ufunc=np.exp)
    def exp(input: Tensor) -> Tensor:
        \"\"\"Raises e to each element …\"\"\"
        return np.exp(input)

    @exp.derivative("input")
    def _(grad, result):
        return grad * result.conj()

The function works on *arrays*: whatever is annotated `Tensor` arrives as an array of NumPy's
protocols. The derivative works on *Tensors*, so that it can be differentiated again; the names of
its parameters say what the tape keeps:

    grad            the gradient of the output (`grads`, a tuple with Nones, of several outputs)
    result          the output; `result0`, `result1` … of several
    <tensor arg>    that input;   <tensor arg>_shape, _dtype, _strides   just that much of it
                    (strides, in bytes, of ndarrays; None of other arrays)
    <other arg>     that argument's value
    <aux name>      what the forward returned beside its outputs, see `aux=`
    needs           for joint rules: which of its inputs need a gradient, a tuple of bools

A rule for several inputs at once names them all, `@op.derivative("input", "weight")`, and returns
a tuple. Gradients of broadcast or promoted inputs are summed and cast back by the engine.

Annotations tell the roles of parameters:

    Tensor                a tensor
    Tensor | None         a tensor or nothing
    Tensor | Number       a tensor or a Python number; numbers take part in promotion
    Sequence[Tensor]      a list or tuple of tensors
    anything else         passed on as it is

`@composite` marks a function on Tensors that is made of operators; its derivative follows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

from taper.core.tensor import Tensor
from taper.ops.public_functions import known_as, named, register, same_function

LARGE = 32767
"""Elements from which on a native kernel beats one NumPy call."""

__all__ = ["COMPOSITES", "OPERATORS", "Derivative", "Operator", "composite", "operator"]

OPERATORS: dict[str, Operator] = {}
"""Every declared operator, by its public name relative to torch: "exp", "linalg.inv" …"""


class Derivative:
    """One rule: the inputs it gives gradients for, and the function that computes them."""

    __slots__ = ("function", "inputs", "names")

    def __init__(self, inputs: tuple[str, ...], function: Callable[..., Any]) -> None:
        self.inputs = inputs
        self.function = function
        code = function.__code__
        self.names = code.co_varnames[: code.co_argcount]


class Operator:
    """What was declared about one operator.

    Attributes:
        name: the last part of its public name.        path: the whole name, below torch.
        forward: the function on arrays (on Tensors, for composites).
        promote: None: dtypes as they come. "result_type": all tensors are cast to their common
            dtype. "float": the same, and integers become the default float. A callable
            ``promote(bound) -> dtype`` chooses by itself.
        kinds: the categories of dtypes that it takes, out of "bifc": bool, integers, floating,
            complex; others are told that `kernel` (PyTorch's name for it) is not implemented.
        check: ``check(bound)`` raises what else is wrong with the arguments, before promotion. It
            is not asked about plain float32 and float64 tensors, nor if a `ufunc` succeeds.
        with_out: ``with_out(bound, out)`` raises if `out=` does not suit, or sets an argument that
            follows from it, such as ``bound["dtype"]``.
        takes_integers: with a callable `promote`: the forward also computes int64 and bool arrays
            as they are, so the short path may hand them over.
        takes_numbers: Python numbers may stand for all tensors, as in ``add(2, 3)``.
        unpromoted: tensors that take no part in promotion, such as the condition of `where`.
        upcast: compute float16 and bfloat16 in float32 and round the result back.
        ufunc: a NumPy ufunc equal to `forward`, which the short path may call directly.
        elementwise: each element of the result depends on the same elements of the operands only,
            so that many elements may be computed by a native kernel; default: if a `ufunc`.
        rowwise: the parameter that names a dimension whose rows don't depend on each other.
        native: a function of kernels that stands for the forward on large arrays, such as
            "native_reductions.var"; it returns None where it has no kernel.
        large: from how many elements on the native form is asked; less than LARGE where NumPy takes
            long for each. The first such call waits for its kernel, so that equal calls agree.
        view: the result shares the input's memory. aux: names of hidden extra outputs.
        outputs: None for one output; names of the fields (a named tuple) or a number, for more;
            "list" for a list or tuple of outputs as the forward returns it.
        node: the name of the node class, as PyTorch has it.
        dunders: Python's operators that it implements, such as ``__add__``.
        variant: a condition on the arguments, and the name of the node class where it holds:
            ``("dim is not None", "SumBackward1")``.
        also: other names that PyTorch, or its documentation, has for required arguments:
            ``{"value": "other"}``.
        keywords: further arguments, by keyword only, and what is called when one is given:
            ``{"out_dtype": handler}`` with ``handler(op, arguments, value)``.
        older: numbers that PyTorch's first releases took by position, before the tensors.
        exact_out: `out=` must have the result's dtype.
        offers: of composites whose parameters don't say which are tensors: a sequence of tensors
            is the first, or all are; calls are offered to `__torch_function__` all the same.
        inplace_flag: the function takes ``inplace=False`` last, as activations in
            ``nn.functional`` do.
        differentiable: False for results that never have a gradient, such as indices.
    """

    def __init__(self, forward: Callable[..., Any], path: str, **options: Any) -> None:
        self.forward = forward
        self.path = path
        self.name = path.rpartition(".")[2]
        self.doc = forward.__doc__ or ""
        self.promote = options.pop("promote", None)
        self.upcast = options.pop("upcast", self.promote == "float")
        self.kinds: str = options.pop("kinds", "bifc")
        self.kernel: str = options.pop("kernel", self.name)
        self.check: Callable[[dict[str, Any]], None] | None = options.pop("check", None)
        self.with_out: Callable[[dict[str, Any], Any], None] | None = options.pop("with_out", None)
        self.takes_integers: bool = options.pop("takes_integers", False)
        self.takes_numbers: bool = options.pop("takes_numbers", False)
        self.unpromoted: tuple[str, ...] = options.pop("unpromoted", ())
        self.ufunc = options.pop("ufunc", None)
        self.elementwise: bool = options.pop("elementwise", self.ufunc is not None)
        self.rowwise: str | None = options.pop("rowwise", None)
        self.native_path: str | None = options.pop("native", None)
        self.large: int = options.pop("large", LARGE)
        self.view = options.pop("view", False)
        self.aux: tuple[str, ...] = options.pop("aux", ())
        self.outputs = options.pop("outputs", None)
        self.node = options.pop("node", None) or default_node_name(self.name)
        self.variant: tuple[str, str] | None = options.pop("variant", None)
        self.differentiable = options.pop("differentiable", True)
        self.has_out = options.pop("out", False)
        self.exact_out = options.pop("exact_out", False)
        self.has_inplace = options.pop("inplace", False)
        self.inplace_flag = options.pop("inplace_flag", False)
        self.variadic: str | None = options.pop("variadic", None)
        self.also: dict[str, str] = options.pop("also", {})
        self.keywords: dict[str, Callable[..., Any]] = options.pop("keywords", {})
        self.older: tuple[str, ...] = options.pop("older", ())
        self.offers: bool = options.pop("offers", False)
        self.samples = options.pop("samples", None)
        self.is_composite = options.pop("is_composite", False)
        self.derivatives: list[Derivative] = []
        self.dunders: tuple[str, ...] = ()
        self.shape_rule: Callable[..., Any] | None = None
        self.is_hidden = False
        self._dunder: dict[str, Callable[..., Any]] = {}
        self._known_as: dict[str, Callable[..., Any]] = {}
        if options:
            raise TypeError(f"unknown options of operator {path}: {sorted(options)}")

    def derivative(self, *inputs: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Declares the rule for the gradient of these inputs."""

        def declare(function: Callable[..., Any]) -> Callable[..., Any]:
            function.__name__ = function.__qualname__ = f"{self.name}.derivative"
            self.derivatives.append(Derivative(inputs, function))
            return function

        return declare

    def shapes(self, rule: Callable[..., Any]) -> Callable[..., Any]:
        """Declares the shape and dtype of the result, or a list of such pairs, for forwards that
        can't be asked because they look at values.

        The rule names the arguments that it needs. It is asked only once the forward has made its
        checks and failed for want of values; see ops/without_data.py.
        """
        rule.__name__ = rule.__qualname__ = f"{self.name}.shapes"
        self.shape_rule = rule
        return rule

    def given(self, parameter: str, *values: Any) -> Any:
        """The argument that was passed under another name; TypeError if none was."""
        for value in values:
            if value is not None:
                return value
        raise TypeError(f'{self.name}() missing 1 required positional arguments: "{parameter}"')

    def short_path(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Takes a public function written by hand where the generated one would be too slow.

        It leaves through `slow.call(op, arguments)` for whatever is unusual.
        """
        function.__doc__ = self.doc
        self.__dict__["function"] = register(function, self.path)
        return function

    @cached_property
    def function(self) -> Callable[..., Any]:
        """The public function, generated on first use."""
        from taper.ops.wrap import make_function

        function = make_function(self)
        return named(function, self.name) if self.is_hidden else register(function, self.path)

    def known_as(self, path: str, inplace: bool = False) -> Callable[..., Any]:
        """The function, or its in-place form, under one of the operator's names."""
        if OPERATORS.get(same_function(path)) is self:
            path = same_function(path)
        found = self._known_as.get(path)
        if found is None:
            found = self.inplace if inplace else self.function
            if path != (f"Tensor.{self.name}_" if inplace else self.path):
                found = known_as(found, path)
            self._known_as[path] = found
        return found

    @cached_property
    def promotions(self) -> dict[Any, Any] | None:
        """What ops/promoted_call.py remembers; None for operators that it does not know."""
        simple = self.promote in ("result_type", "float") and self.outputs is None
        return {} if simple and not (self.view or self.is_composite or self.unpromoted) else None

    @property
    def has_native(self) -> bool:
        """Whether many elements may be computed by native kernels."""
        declared = self.elementwise or self.rowwise is not None or self.native_path is not None
        return declared and not self.is_composite

    @cached_property
    def native(self) -> Any:
        """The forward by native kernels, for large arrays."""
        from taper.ops.native_forward import make_native

        return make_native(self)

    @cached_property
    def node_class(self) -> Any:
        """The class of its nodes, generated on first use."""
        from taper.ops.recording import node_class

        return node_class(self)

    @cached_property
    def inplace(self) -> Callable[..., Any]:
        """The in-place form, ``name_``, generated on first use."""
        from taper.ops.inplace import make_inplace

        return register(make_inplace(self), f"Tensor.{self.name}_")

    @cached_property
    def modeless(self) -> Callable[..., Any]:
        """The short path alone, whatever modes there are, generated on first use."""
        from taper.ops.wrap import make_modeless

        return make_modeless(self)

    def dunder(self, name: str) -> Callable[..., Any]:
        """The form for Python's operator `name`, such as ``__add__``."""
        from taper.ops.wrap import make_dunder

        if name not in self._dunder:
            self._dunder[name] = make_dunder(self, name)
        return self._dunder[name]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Calls the public function, so that files of operators can use each other's."""
        return self.function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<operator {self.path}>"


def default_node_name(name: str) -> str:
    """PyTorch's name for the node of an operator: ``log_softmax`` → ``LogSoftmaxBackward0``."""
    return "".join(part[:1].upper() + part[1:] for part in name.split("_")) + "Backward0"


class LazyAttribute:
    """Stands for a generated function on the Tensor class until its first use."""

    __slots__ = ("function", "make", "name", "owner")

    def __init__(self, owner: type, name: str, make: Callable[[], Any]) -> None:
        self.function: Any = None
        self.owner = owner
        self.name = name
        self.make = make

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        function = self.function = self.make()
        setattr(self.owner, self.name, function)
        return function if instance is None else function.__get__(instance, owner)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.__get__(None)(*args, **kwargs)


def _bind(owner: type, name: str, make: Callable[[], Any]) -> None:
    setattr(owner, name, LazyAttribute(owner, name, make))


def _register(
    op: Operator, method: bool | str | Sequence[str], dunders: Sequence[str],
    aliases: Sequence[str], hidden: bool,
) -> None:
    paths = () if hidden else (op.path, *aliases)
    op.is_hidden = hidden
    for path in paths:
        if path in OPERATORS and OPERATORS[path] is not op:
            raise ValueError(f"operator {path} is declared twice")
        OPERATORS[path] = op
    names: Sequence[str] = ()
    if method is True:
        names = (op.name, *(a for a in aliases if "." not in a))
    elif method:
        names = (method,) if isinstance(method, str) else method
    for name in names:
        _bind(Tensor, name, lambda path=f"Tensor.{name}": op.known_as(path))
        if op.has_inplace:
            _bind(Tensor, name + "_", lambda path=f"Tensor.{name}_": op.known_as(path, True))
    if op.has_inplace and not hidden:
        for path in paths:
            INPLACE[path + "_"] = op
    op.dunders = tuple(dunders)
    for dunder in dunders:
        _bind(Tensor, dunder, lambda dunder=dunder: op.dunder(dunder))


INPLACE: dict[str, Operator] = {}
"""Names of in-place functions, such as "exp_", for the torch namespace."""

COMPOSITES: dict[str, Operator] = OPERATORS


def operator(
    path: str | None = None,
    *,
    method: bool | str | Sequence[str] = False,
    dunders: Sequence[str] = (),
    aliases: Sequence[str] = (),
    hidden: bool = False,
    **options: Any,
) -> Callable[[Callable[..., Any]], Operator]:
    """Declares an operator on arrays; see the module's docstring and `Operator`.

    Args:
        path: the public name below torch, such as "linalg.inv"; default: the function's name.
        method: also bind it as a method (True: under its own name; or the names).
        dunders: Python's operators that it implements, e.g. ``("__add__", "__radd__")``.
        aliases: further public names.       hidden: no public name, only used by others.
    """

    def declare(forward: Callable[..., Any]) -> Operator:
        op = Operator(forward, path or forward.__name__, **options)
        _register(op, method, dunders, aliases, hidden)
        return op

    return declare


def composite(
    path: str | None = None, **options: Any
) -> Callable[[Callable[..., Any]], Operator]:
    """Declares a public function on Tensors that is made of operators.

    Takes the options of `operator` that make sense for it: names, `out`, `inplace`.
    """
    return operator(path, is_composite=True, **options)


def method(name: str | None = None) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Binds a plain function as a Tensor method that has no function of its own."""

    def declare(function: Callable[..., Any]) -> Callable[..., Any]:
        setattr(Tensor, name or function.__name__, function)
        return function

    return declare
