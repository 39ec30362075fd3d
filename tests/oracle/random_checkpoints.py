"""Random values to save, made alike with either library, and what must be equal after loading.

Bits are random, too: a checkpoint has NaNs with payloads, negative zeros and numbers of any size.
"""

from __future__ import annotations

import collections
import math
import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

DTYPES = """
    bool uint8 int8 int16 int32 int64 uint16 uint32 uint64 float16 float32 float64 bfloat16
    float8_e4m3fn float8_e5m2 float8_e4m3fnuz float8_e5m2fnuz float8_e8m0fnu complex64
    complex128
""".split()
DIFFERENTIABLE = "float16 float32 float64 bfloat16 complex64 complex128".split()


class CheckpointMaker:
    """Makes values of one library from random choices.

    Args:
        library: taper or torch.
        seed: equal seeds make equal choices.
        with_storages: False: PyTorch can't write bare storages in its older format.
    """

    def __init__(self, library: Any, seed: int, with_storages: bool = True) -> None:
        self.library = library
        self.with_storages = with_storages
        self.chance = random.Random(seed)
        self.made: list[Any] = []  # for references to what is already there

    def value(self, depth: int = 0) -> Any:
        """Anything that can be saved."""
        if self.made and self.chance.random() < 0.1:
            return self.chance.choice(self.made)
        kinds = LEAVES + (CONTAINERS if depth < 3 else []) * (3 - depth)
        kind = self.chance.choice(kinds) if depth else self.chance.choice(CONTAINERS)
        made = kind(self, depth) if kind in CONTAINERS else kind(self)
        self.made.append(made)
        return made

    # -- tensors ------------------------------------------------------------------

    def bits(self, dtype: str, count: int) -> Any:
        """A vector of random bits."""
        dtype_of = getattr(self.library, dtype)
        high = 2 if dtype == "bool" else 256
        raw = [self.chance.randrange(high) for _ in range(count * dtype_of.itemsize)]
        return self.library.tensor(raw, dtype=self.library.uint8).view(dtype_of)

    def shape(self, dimensions: int = 4) -> tuple[int, ...]:
        sizes = [1, 2, 3, 4, 5] if self.chance.random() < 0.9 else [0, 1, 2]
        return tuple(self.chance.choice(sizes) for _ in range(self.chance.randrange(dimensions)))

    def tensor(self) -> Any:
        shape = self.shape()
        return self.bits(self.chance.choice(DTYPES), math.prod(shape)).view(shape)

    def view(self, base: Any = None) -> Any:
        """A part of a storage, in any order of elements."""
        if base is None:
            base = self.bits(self.chance.choice(DTYPES), self.chance.randrange(1, 60))
        count = base.untyped_storage().nbytes() // base.dtype.itemsize
        offset = self.chance.randrange(count)
        shape, strides, room = [], [], count - 1 - offset
        for _ in range(self.chance.randrange(4)):
            stride = self.chance.choice([0, 1, 1, 2, 3, 6])
            longest = 6 if stride == 0 else room // stride + 1
            size = self.chance.randrange(1, min(longest, 6) + 1)
            room -= (size - 1) * stride
            shape.append(size)
            strides.append(stride)
        if self.chance.random() < 0.05:
            shape, strides = [0, *shape], [1, *strides]
        return base.as_strided(tuple(shape), tuple(strides), offset)

    def views(self) -> Any:
        """Some tensors over one storage."""
        base = self.bits(self.chance.choice(DTYPES), self.chance.randrange(1, 60))
        found = [self.view(base) for _ in range(self.chance.randrange(1, 5))]
        if self.chance.random() < 0.5:
            found.append(base)
        return found

    def differentiable(self) -> Any:
        shape = self.shape()
        values = self.bits(self.chance.choice(DIFFERENTIABLE), math.prod(shape)).view(shape)
        return values.requires_grad_()

    def parameter(self) -> Any:
        shape = self.shape()
        values = self.bits(self.chance.choice(DIFFERENTIABLE), math.prod(shape)).view(shape)
        parameter = self.library.nn.Parameter(values, self.chance.random() < 0.7)
        if self.chance.random() < 0.3:
            parameter.note = self.text()
        return parameter

    def buffer(self) -> Any:
        return self.library.nn.Buffer(self.tensor(), persistent=self.chance.random() < 0.5)

    def with_attributes(self) -> Any:
        tensor = self.tensor()
        tensor.note, tensor.place = self.text(), (1, 2.5)
        return tensor

    def sparse(self) -> Any:
        """A sparse tensor of any layout."""
        dense = self.library.tensor(np.array(
            [self.chance.choice([0, 0, 1.5, -2]) for _ in range(24)]).reshape(4, 6))
        dense = dense.to(getattr(self.library, self.chance.choice(["float32", "float64", "int64"])))
        choice = self.chance.randrange(7)
        if choice == 0:
            return dense.to_sparse()
        if choice == 1:
            return dense.view(4, 3, 2).to_sparse(2)  # dense behind two sparse dimensions
        if choice == 2:  # one place twice
            return self.library.sparse_coo_tensor([[0, 2, 0], [1, 0, 1]], [1.0, 2.0, 3.0], (3, 4))
        if choice == 3:
            return dense.to_sparse_csr()
        if choice == 4:
            return dense.to_sparse_csc()
        return dense.to_sparse_bsr((2, 3)) if choice == 5 else dense.to_sparse_bsc((2, 3))

    def meta(self) -> Any:
        dtype = getattr(self.library, self.chance.choice(DTYPES))
        return self.library.empty(self.shape(), dtype=dtype, device="meta")

    def storage(self) -> Any:
        return self.tensor().untyped_storage() if self.with_storages else self.text()

    def description(self) -> Any:
        """What describes tensors."""
        library = self.library
        return self.chance.choice([
            getattr(library, self.chance.choice(DTYPES)), library.device("cpu"), library.strided,
            library.device("cuda", 1), library.Size(self.shape()), library.sparse_coo,
        ])

    # -- Python's own ------------------------------------------------------------

    def number(self) -> Any:
        return self.chance.choice([
            0, -1, 255, 256, 65535, 65536, 2**31, -(2**31) - 1, 2**63, -(2**70), 2**2000, True,
            False, None, 0.1, -0.0, math.inf, math.nan, 5e-324, 1 - 2j, complex(math.nan, -0.0),
            self.chance.randrange(-(10**9), 10**9), self.chance.random(),
        ])

    def text(self) -> Any:
        return self.chance.choice(["", "weight", "ü€😀", "a\nb\0", "x" * 300, "\udc80"])

    def binary(self) -> Any:
        # PyTorch's restricted reader refuses what its writer makes of no bytes.
        least = 1 if self.library.__name__ == "torch" else 0
        raw = bytes(self.chance.randrange(256) for _ in range(self.chance.choice([least, 9, 300])))
        return bytearray(raw) if self.chance.random() < 0.5 else raw

    def key(self) -> Any:
        return self.chance.choice([
            self.text(), self.number(), self.chance.randrange(1000), (1, "a"), (), b"k",
            ((1,), (2, (3,))), f"layers.{self.chance.randrange(9)}.weight",
        ])

    def items(self, depth: int) -> list[Any]:
        return [self.value(depth + 1) for _ in range(self.chance.randrange(1, 6))]

    def pairs(self, depth: int) -> list[tuple[Any, Any]]:
        found = [(self.key(), item) for item in self.items(depth)]
        return [(key, item) for key, item in found if key == key]

    def a_list(self, depth: int) -> Any:
        made = self.items(depth)
        return made if self.chance.random() < 0.5 else tuple(made)

    def a_dict(self, depth: int) -> Any:
        return dict(self.pairs(depth))

    def an_ordered_dict(self, depth: int) -> Any:
        return collections.OrderedDict(self.pairs(depth))

    def a_set(self, depth: int) -> Any:
        if self.chance.random() < 0.3:
            return collections.Counter("abcab"[: self.chance.randrange(6)])
        return {self.chance.randrange(9), "x", (1, 2)}

    # -- programs' states --------------------------------------------------------

    def network(self) -> Any:
        """A small network with parameters, buffers and nested modules."""
        nn = self.library.nn
        layers: list[Callable[[], Any]] = [
            lambda: nn.Linear(3, 3), lambda: nn.Linear(3, 3, bias=False), lambda: nn.LayerNorm(3),
            lambda: nn.BatchNorm1d(3), lambda: nn.Conv2d(2, 3, 2, dtype=self.library.float64),
            lambda: nn.Embedding(4, 3, padding_idx=0), lambda: nn.LSTM(3, 2, 2), nn.ReLU,
            lambda: nn.MultiheadAttention(4, 2), lambda: nn.Dropout(0.25),
            lambda: nn.TransformerEncoderLayer(4, 2, 8), lambda: nn.GroupNorm(1, 3),
            lambda: nn.Bilinear(2, 2, 2), lambda: nn.PReLU(2), nn.Softmax,
            lambda: nn.Sequential(nn.Linear(2, 2), nn.Tanh()),
            lambda: nn.ModuleDict({"a": nn.Linear(1, 1), "b": nn.Identity()}),
            lambda: nn.ParameterList([self.parameter() for _ in range(2)]),
        ]
        model = nn.Sequential(
            *(self.chance.choice(layers)() for _ in range(self.chance.randrange(1, 5)))
        )
        if self.chance.random() < 0.2:
            model = model.to(self.library.bfloat16)
        return model.train(self.chance.random() < 0.5)

    def state_dict(self) -> Any:
        return self.network().state_dict()

    def training(self) -> Any:
        """The states of an optimizer and its schedule after some steps."""
        library, nn = self.library, self.library.nn
        model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
        name, options = self.chance.choice([
            ("SGD", {}), ("SGD", {"momentum": 0.9, "nesterov": True}), ("Adam", {}),
            ("Adam", {"amsgrad": True}), ("AdamW", {"betas": (0.8, 0.9)}), ("RMSprop", {}),
            ("Adagrad", {}), ("Adadelta", {}), ("Adamax", {}), ("NAdam", {}), ("RAdam", {}),
            ("ASGD", {}), ("Rprop", {}),
        ])
        optimizer = getattr(library.optim, name)(
            [{"params": model[0].parameters()}, {"params": model[2].parameters(), "lr": 0.5}],
            lr=0.1, **options)
        schedule = library.optim.lr_scheduler.StepLR(optimizer, 2)
        for _ in range(self.chance.randrange(4)):
            optimizer.zero_grad()
            model(library.ones(2, 3)).sum().backward()
            optimizer.step()
            schedule.step()
        return {"model": model.state_dict(), "optimizer": optimizer.state_dict(),
                "schedule": schedule.state_dict(), "epoch": self.number()}


LEAVES = [getattr(CheckpointMaker, name) for name in """
    tensor tensor tensor view view views views differentiable parameter parameter buffer
    with_attributes sparse meta storage description number number text binary state_dict training
""".split()]  # fmt: skip
CONTAINERS = [getattr(CheckpointMaker, name) for name in """
    a_list a_dict an_ordered_dict a_set
""".split()]  # fmt: skip


# -- comparison ---------------------------------------------------------------------


def name_of(kind: type) -> str:
    """A class's name, which the libraries share."""
    return kind.__qualname__


class Comparison:
    """Raises AssertionError where a loaded value isn't what was saved; remembers the tensors."""

    def __init__(self) -> None:
        self.tensors: list[tuple[Any, Any]] = []
        self.seen: dict[int, Any] = {}  # id → (saved, loaded)

    def same(self, saved: Any, loaded: Any, at: str = "") -> None:
        """Compares anything; `at` is the way there, for messages."""
        known = self.seen.setdefault(id(saved), (saved, loaded))
        if known[1] is not loaded and not isinstance(saved, (int, float, str, bytes, tuple)):
            raise AssertionError(f"{at}: one object has become two")
        if hasattr(saved, "untyped_storage"):
            self.same_tensor(saved, loaded, at)
        elif hasattr(saved, "untyped"):
            assert raw(saved) == raw(loaded.untyped()), at
        elif hasattr(saved, "state_dict"):
            self.same_module(saved, loaded, at)
        elif isinstance(saved, dict):
            assert type(saved) is type(loaded), at
            assert len(saved) == len(loaded), at
            for (key, value), (key_2, value_2) in zip(saved.items(), loaded.items(), strict=True):
                self.same(key, key_2, f"{at} key")
                self.same(value, value_2, f"{at}[{key!r:.40}]")
            self.same(vars(saved) if hasattr(saved, "__dict__") else None,
                      vars(loaded) if hasattr(loaded, "__dict__") else None, f"{at}.__dict__")
        elif isinstance(saved, (list, tuple)):
            assert name_of(type(saved)) == name_of(type(loaded)), at
            assert len(saved) == len(loaded), at
            for n, (value, value_2) in enumerate(zip(saved, loaded, strict=True)):
                self.same(value, value_2, f"{at}[{n}]")
        elif isinstance(saved, set):
            assert saved == loaded, at
        else:
            assert name_of(type(saved)) == name_of(type(loaded)), at
            assert repr(saved) == repr(loaded), at

    def same_tensor(self, saved: Any, loaded: Any, at: str) -> None:
        assert name_of(type(saved)) == name_of(type(loaded)), at
        for name in ("dtype", "shape", "layout", "device", "requires_grad"):
            assert str(getattr(saved, name)) == str(getattr(loaded, name)), f"{at}.{name}"
        kept = {name: value for name, value in vars(saved).items()
                if not name.startswith("_") or name == "_is_buffer"}
        for name, value in kept.items():
            self.same(value, getattr(loaded, name), f"{at}.{name}")
        if "sparse" in str(saved.layout):
            if str(saved.layout) == "torch.sparse_coo":
                assert saved.is_coalesced() == loaded.is_coalesced(), at
            for part, part_2 in zip(parts(saved), parts(loaded), strict=True):
                self.same_tensor(part.clone(), part_2.clone(), f"{at} part")
            return
        if not saved.numel():
            return
        # Nobody goes along a dimension of size 1, so its stride says nothing.
        strides = ([step for n, step in zip(t.shape, t.stride(), strict=True) if n > 1]
                   for t in (saved, loaded))
        assert next(strides) == next(strides), f"{at}.stride() of {saved.shape}"
        if saved.device.type == "meta":
            return
        if saved.is_conj() or saved.is_neg():
            assert raw(saved.detach().resolve_conj().resolve_neg().clone().untyped_storage()) == (
                raw(loaded.detach().clone().untyped_storage())), at
            return
        assert saved.storage_offset() == loaded.storage_offset(), f"{at}.storage_offset()"
        assert raw(saved.untyped_storage()) == raw(loaded.untyped_storage()), at
        self.tensors.append((saved, loaded))

    def same_module(self, saved: Any, loaded: Any, at: str) -> None:
        assert name_of(type(saved)) == name_of(type(loaded)), at
        assert saved.training == loaded.training, at
        assert repr(saved) == repr(loaded), at
        self.same(dict(saved.state_dict()), dict(loaded.state_dict()), at)
        for (name, child), (_, child_2) in zip(
            saved.named_children(), loaded.named_children(), strict=True
        ):
            self.same_module(child, child_2, f"{at}.{name}")

    def same_sharing(self) -> None:
        """Tensors share their memory in the same way on both sides."""
        pairs: dict[int, int] = {}
        for saved, loaded in self.tensors:
            there, here = (t.untyped_storage().data_ptr() for t in (saved, loaded))
            assert pairs.setdefault(there, here) == here, "tensors that shared memory don't"
        assert len(set(pairs.values())) == len(pairs), "tensors share memory that didn't"


def parts(tensor: Any) -> Iterator[Any]:
    """The dense tensors that a sparse one consists of."""
    names = {
        "torch.sparse_coo": ("_indices", "_values"),
        "torch.sparse_csr": ("crow_indices", "col_indices", "values"),
        "torch.sparse_bsr": ("crow_indices", "col_indices", "values"),
    }.get(str(tensor.layout), ("ccol_indices", "row_indices", "values"))
    return (getattr(tensor, name)() for name in names)


def raw(storage: Any) -> bytes:
    """A storage's bytes."""
    return bytes(storage.tolist())
