"""Corners of PyTorch's namespace that packages lean on: the same questions to both."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import taper  # noqa: E402


def same(mine: Any, theirs: Any) -> bool:
    if isinstance(theirs, torch.Tensor):
        return np.allclose(mine.detach().numpy(), theirs.detach().numpy(), atol=1e-6)
    if isinstance(theirs, (list, tuple)):
        return len(mine) == len(theirs) and all(map(same, mine, theirs))
    return bool(mine == theirs)


@pytest.mark.parametrize("dimension", [1, 2, 7, 50])
@pytest.mark.parametrize("options", [{}, {"scramble": True, "seed": 3}])
def test_sobol_points(dimension: int, options: Any) -> None:
    mine = taper.quasirandom.SobolEngine(dimension, **options)
    theirs = torch.quasirandom.SobolEngine(dimension, **options)
    assert repr(mine) == repr(theirs)
    for draw in (
        lambda e: e.draw(5), lambda e: e.fast_forward(11).draw(3),
        lambda e: e.reset().draw_base2(4),
        lambda e: e.draw(2, dtype=sys.modules[type(e).__module__.partition(".")[0]].float64),
    ):  # fmt: skip
        assert np.array_equal(draw(mine).numpy(), draw(theirs).numpy())
    with pytest.raises(ValueError, match="balance properties"):
        mine.draw_base2(3)


FOREACH = [
    ("_foreach_add", (2.0,), {}), ("_foreach_add", ("other",), {"alpha": 0.5}),
    ("_foreach_mul", ([2.0, 3.0],), {}), ("_foreach_sqrt", (), {}), ("_foreach_norm", (), {}),
    ("_foreach_norm", (1,), {}), ("_foreach_lerp", ("other", 0.25), {}),
    ("_foreach_lerp", ("other", "other"), {}),
    ("_foreach_addcmul", ("other", "other"), {"value": 2}),
    ("_foreach_addcdiv", ("other", "other", [1.0, 2.0]), {}), ("_foreach_maximum", (0.5,), {}),
    ("_foreach_maximum", ("other",), {}), ("_foreach_clamp_min", (0.5,), {}),
    ("_foreach_pow", (2,), {}), ("_foreach_sign", (), {}), ("_foreach_max", (), {}),
    ("_foreach_clone", (), {}), ("_foreach_div", (2.0,), {}), ("_foreach_neg", (), {}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "args", "options"), FOREACH)
def test_foreach(name: str, args: Any, options: Any) -> None:
    rng = np.random.default_rng(5)
    first, other = ([rng.random(n) + 0.1 for n in (3, 4)] for _ in range(2))

    def call(module: Any, function: str) -> Any:
        lists = {"other": [module.tensor(a) for a in other]}
        target = [module.tensor(a) for a in first]
        result = getattr(module, function)(
            target, *[lists.get(a, a) if isinstance(a, str) else a for a in args], **options
        )
        return target if result is None else result

    assert same(call(taper, name), call(torch, name))
    if hasattr(torch, name + "_"):
        assert same(call(taper, name + "_"), call(torch, name + "_"))


def test_foreach_names() -> None:
    names = {name for name in dir(torch) if name.startswith("_foreach_")}
    assert names <= {name for name in names if hasattr(taper, name)}
    with pytest.raises(RuntimeError, match="at least one tensor"):
        taper._foreach_add_([], 1)
    with pytest.raises(RuntimeError, match="same number of tensors"):
        taper._foreach_add_([taper.ones(1)], [1.0, 2.0])


CHECKS = [
    lambda m: m._check(False), lambda m: m._check(False, lambda: "why"), lambda m: m._check(True),
    lambda m: m._check(1), lambda m: m._check_index(False, lambda: "why"),
    lambda m: m._check_value(False, lambda: "why"), lambda m: m._check_type(False, lambda: "why"),
    lambda m: m._check_not_implemented(False, lambda: "why"), lambda m: m._check_is_size(-1),
    lambda m: m._check_with(KeyError, False, lambda: "why"),
    lambda m: m._check_tensor_all(m.tensor([True, False]), lambda: "why"),
    lambda m: m._assert(m.tensor(False), "why"), lambda m: m._assert(m.tensor(True), "why"),
    lambda m: m.accelerator.synchronize(), lambda m: m.accelerator.device_count(),
    lambda m: m.accelerator.current_accelerator(), lambda m: m.accelerator.is_available(),
    lambda m: (m.sym_int(3.7), m.sym_float(2), m.sym_min(1, 2.0), m.sym_max(1, 2.0)),
    lambda m: (m.sym_not(True), m.sym_sum([1, 2]), m.sym_ite(True, 1, 2)),
    lambda m: m.get_device_module("cpu").device_count(),
]  # fmt: skip


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("ask", CHECKS)
def test_checks(ask: Any) -> None:
    def outcome(module: Any) -> Any:
        try:
            return ask(module)
        except Exception as error:
            return type(error), str(error)

    assert outcome(taper) == outcome(torch)


def test_trees() -> None:
    mine, theirs = taper.utils._pytree, torch.utils._pytree
    tree = {"a": [1, (2, 3)], "b": {"c": 4}}
    for ask in (
        lambda p: p.treespec_dumps(p.tree_structure(tree)),
        lambda p: str(p.treespec_loads(p.treespec_dumps(p.tree_structure(tree)))),
        lambda p: [(p.keystr(path), leaf) for path, leaf in p.tree_leaves_with_path(tree)],
        lambda p: p.tree_map_with_path(lambda path, x: (p.keystr(path), x), tree),
        lambda p: (p.tree_is_leaf(1), p.tree_is_leaf([])), lambda p: p._dict_flatten(tree),
        lambda p: p.arg_tree_leaves(1, [2], a=3), lambda p: list(p.tree_iter(tree)),
        lambda p: p.tree_map_only(int, lambda x: x + 1, [1, "a"]),
        lambda p: (p.tree_any_only(int, lambda x: x > 3, tree), p.is_namedtuple((1, 2))),
    ):  # fmt: skip
        assert ask(mine) == ask(theirs)

    class Pair:
        def __init__(self, x: Any, y: Any) -> None:
            self.x, self.y = x, y

    for p in (mine, theirs):
        p.register_pytree_node(Pair, lambda v: ([v.x, v.y], None), lambda parts, _: Pair(*parts))
        leaves, spec = p.tree_flatten([Pair(1, [2, 3])])
        assert leaves == [1, 2, 3]
        assert p.tree_unflatten([4, 5, 6], spec)[0].y == [5, 6]
        with pytest.raises(ValueError, match="already registered"):
            p.register_pytree_node(Pair, None, None)
        p._deregister_pytree_node(Pair)


@pytest.mark.parametrize("with_mask", [False, True])
def test_flex_attention(with_mask: bool) -> None:
    rng = np.random.default_rng(0)
    q, k, v = (rng.standard_normal((2, 4, 8, 6), np.float32) for _ in range(3))
    found = []
    for module in (taper, torch):
        attention = __import__(f"{module.__name__}.nn.attention.flex_attention", fromlist=["x"])
        mask = attention.create_block_mask(
            attention.and_masks(attention.noop_mask, lambda b, h, i, j: i >= j), 2, 4, 8, 8,
            device="cpu", BLOCK_SIZE=4,
        ) if with_mask else None  # fmt: skip
        found.append(attention.flex_attention(
            *map(module.tensor, (q, k, v)), score_mod=lambda s, b, h, i, j: s - (i - j).abs(),
            block_mask=mask, return_lse=True,
        ))
        if mask is not None:
            found[-1] = (*found[-1], mask.to_dense(), mask.kv_num_blocks, mask.kv_indices,
                         mask.full_kv_num_blocks, mask.full_kv_indices)
    for mine, theirs in zip(*found, strict=True):
        assert np.allclose(mine.numpy(), theirs.numpy(), atol=1e-5)


def test_numpy_of_parameters_within_no_grad() -> None:
    for module in (taper, torch):
        parameter = module.nn.Parameter(module.ones(2))
        with module.no_grad():
            assert parameter.numpy().tolist() == [1, 1]
        with pytest.raises(RuntimeError, match="Can't call numpy"):
            parameter.numpy()


def test_aten_names() -> None:
    for module in (taper, torch):
        aten = module.ops.aten
        assert aten.add.Tensor(module.ones(1), 2).item() == 3
        assert aten.mm.default.name() == "aten::mm"
        assert str(aten.add.Tensor) == "aten.add.Tensor"
        assert aten.add.Tensor is aten.add.Tensor
        assert aten.add.Tensor.overloadpacket is aten.add
        assert not hasattr(module.ops.not_there, "x")


def test_futures() -> None:
    for module in (taper, torch):
        futures = [module.futures.Future() for _ in range(2)]
        done = module.futures.collect_all(futures).then(lambda f: [g.value() for g in f.value()])
        assert not done.done()
        for i, future in enumerate(futures):
            future.set_result(i)
        assert done.wait() == [0, 1] == module.futures.wait_all(futures)
        failed = module.futures.Future()
        failed.set_exception(KeyError("x"))
        with pytest.raises(KeyError):
            failed.wait()
        with pytest.raises(RuntimeError, match="can only be marked completed once"):
            failed.set_result(1)


def test_index_conversions() -> None:
    for module in (taper, torch):
        pointers, columns = module.tensor([0, 2, 2, 3]), module.tensor([0, 1, 1])
        pairs = module._convert_indices_from_csr_to_coo(pointers, columns)
        assert pairs.tolist() == [[0, 0, 2], [0, 1, 1]]
        assert module._convert_indices_from_coo_to_csr(pairs[0], 3).tolist() == pointers.tolist()


def test_vars_of_rooms_are_complete() -> None:
    for name in ("distributions", "optim", "nn"):
        theirs = getattr(torch, name)
        mine = vars(getattr(taper, name))
        classes = [n for n, v in vars(theirs).items() if isinstance(v, type) and n[0] != "_"]
        assert [n for n in classes if n not in mine and n in theirs.__all__] == []


def test_return_types() -> None:
    x = taper.rand(3, 4)
    assert type(x.max(0)) is taper.return_types.max
    assert type(taper.linalg.svd(x)) is taper.return_types.linalg_svd
    assert type(x.topk(2)) is taper.return_types.topk
