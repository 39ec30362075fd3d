"""Expressions: how they print, what is made once, what the checker refuses, how passes follow."""

import pytest

from taper.compiler.expression import ELEMENT, ROW, Expression, Node, RareCase, check
from taper.compiler.math_library import lowered
from taper.compiler.passes import passes_of


def softmax() -> Expression:
    e = Expression()
    x = e.input(0, "f32")
    powers = e.unary("exp", e.sub(x, e.reduce("reduce_max", x)))
    e.results.append(e.div(powers, e.reduce("reduce_sum", powers)))
    return e


def test_expressions_print_node_by_node() -> None:
    assert str(softmax()) == (
        "%0 = input 0  : f32 element\n"
        "%1 = reduce_max %0  : f32 row\n"
        "%2 = sub %0 %1  : f32 element\n"
        "%3 = exp %2  : f32 element\n"
        "%4 = reduce_sum %3  : f32 row\n"
        "%5 = div %3 %4  : f32 element\n"
        "return %5"
    )


def test_equal_nodes_are_made_once() -> None:
    e = Expression()
    x = e.input(0, "f64")
    assert e.add(x, e.constant(1, "f64")) is e.add(x, e.constant(1.0, "f64"))
    assert e.constant(0.0, "f64") is not e.constant(-0.0, "f64")
    assert e.constant(float("nan"), "f64") is e.constant(float("nan"), "f64")


def test_dead_code_goes() -> None:
    e = Expression()
    x = e.input(0, "f32")
    e.mul(x, x)
    e.results.append(e.neg(x))
    assert str(e.without_dead_code()) == (
        "%0 = input 0  : f32 element\n%1 = neg %0  : f32 element\nreturn %1"
    )


def test_rare_cases_are_checked_with_their_operands() -> None:
    inside = Expression()
    inside.results.append(inside.neg(inside.input(0, "f32")))
    case = RareCase("negative", inside)
    e = Expression()
    x, wide = e.input(0, "f32"), e.input(1, "f64")
    is_large = e.compare("gt", x, e.constant(9, "f32"))
    e.results.append(e.rarely(is_large, case, x, x))
    assert str(e.results[0]) == "%4 = rarely negative %3 %0 %0  : f32 element"
    check(e)
    e.rarely(is_large, case, x, wide)
    with pytest.raises(TypeError, match="wrong types"):
        check(e)


def test_functions_become_arithmetic() -> None:
    e = lowered(softmax())
    check(e)
    assert "exp" not in {n.op for n in e.nodes}
    assert "fma" in {n.op for n in e.nodes}


def test_passes_follow_from_the_nesting_of_reductions() -> None:
    passes = passes_of(lowered(softmax()))
    assert [[n.op for n in p.reductions] for p in passes] == [["reduce_max"], ["reduce_sum"], []]
    assert [len(p.stores) for p in passes] == [0, 0, 1]
    # The powers wait in the result's memory for the last pass: they took too long to do twice.
    assert [len(p.kept) for p in passes] == [0, 1, 0]


@pytest.mark.parametrize(("op", "kinds", "result"), [
    ("add", ("f32", "f64"), "f32"),
    ("and", ("f32", "f32"), "f32"),
    ("sqrt", ("i32",), "i32"),
    ("lt", ("f32", "f32"), "f32"),
    ("select", ("f32", "f32", "f32"), "f32"),
    ("bitcast", ("f32",), "i64"),
    ("add", ("f16", "f16"), "bf16"),
    ("unheard_of", ("f32",), "f32"),
])  # fmt: skip
def test_wrong_types_are_refused(op: str, kinds: tuple[str, ...], result: str) -> None:
    e = Expression()
    e.make(op, [e.input(i, kind) for i, kind in enumerate(kinds)], result)
    with pytest.raises(TypeError, match="wrong types"):
        check(e)


def test_nodes_out_of_order_are_refused() -> None:
    e = Expression()
    x = e.input(0, "f32")
    e.nodes.append(Node(1, "neg", (Node(5, "neg", (x,), "f32", ELEMENT, None),), "f32", 2, None))
    with pytest.raises(TypeError, match="out of order"):
        check(e)


def test_reductions_are_values_of_rows() -> None:
    e = Expression()
    total = e.reduce("reduce_sum", e.input(0, "f32"))
    assert total.level == ROW and e.add(total, total).level == ROW
    assert e.add(e.input(0, "f32"), total).level == ELEMENT
    assert e.reduce("reduce_argmax", e.input(0, "f32")).type == "i64"
