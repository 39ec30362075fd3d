"""Small programs about backward, views, in-place changes and errors, on both libraries.

Each takes the library and a function `say`; what they say, in order, must be the same: values,
names, and errors (their type and the first words of their message).
"""

import pytest
from said_programs import Programs, leaf, run, small_model

torch = pytest.importorskip("torch")

import taper  # noqa: E402

program = Programs()


# -- backward(inputs=), grad -----------------------------------------------------------------------


@program
def backward_into_some_inputs(m, say):
    x, w = leaf(m, 1.0), leaf(m, 2.0)
    y = x * w
    z = y * y
    z.backward(inputs=[w], retain_graph=True)
    say(x.grad, w.grad)
    z.backward(inputs=(x, y), retain_graph=True)
    say(x.grad, y.grad)
    z.backward(inputs=y, retain_graph=True)
    say(y.grad)
    say.fails(lambda: z.backward(inputs=[]))
    other = leaf(m, 5.0)
    z.backward(inputs=[other], retain_graph=True)
    say(other.grad)
    say.fails(lambda: z.backward(inputs=[m.ones(1)]))


@program
def backward_of_several(m, say):
    x = leaf(m, 1.0, 2.0)
    a, b = x.sum(), (x * x).sum()
    m.autograd.backward([a, b], retain_graph=True)
    say(x.grad)
    m.autograd.backward([a, x * 2], [None, m.tensor([1.0, 10.0])])
    say(x.grad)
    say.fails(lambda: m.autograd.backward([x * 2], [None]))
    say.fails(lambda: m.autograd.backward([x.sum(), x.sum()], [m.tensor(1.0)]))


@program
def gradients_of_unused_inputs(m, say):
    x, w = leaf(m, 1.0), leaf(m, 2.0)
    say.fails(lambda: m.autograd.grad(x * 2, (x, w)), 100)
    say(m.autograd.grad(x * 2, (x, w), allow_unused=True))
    say(m.autograd.grad(x * 2, (x, w), materialize_grads=True))
    say.fails(lambda: m.autograd.grad(x * 2, w, materialize_grads=True, allow_unused=False))
    say.fails(lambda: m.autograd.grad(x * 2, m.ones(1)))


@program
def gradients_at_edges(m, say):
    graph = m.autograd.graph
    x = leaf(m, 1.0, 2.0)
    y = x.exp()
    edge = graph.get_gradient_edge(y)
    say(edge.node.name(), edge.output_nr)
    say(m.autograd.grad((y * y).sum(), edge))
    say(m.autograd.grad(edge, x, m.ones(2)))
    y = x.exp()
    m.autograd.backward(graph.get_gradient_edge(y), m.ones(2))
    say(x.grad)
    say(m.autograd.grad((x * 2).sum(), graph.get_gradient_edge(x)))
    say.fails(lambda: graph.get_gradient_edge(m.ones(1)))
    values, _ = x.sort()
    say(graph.get_gradient_edge(values).output_nr)
    _, b = (x * 2).unbind()
    say(m.autograd.grad(b * 5, graph.get_gradient_edge(b)))


# -- errors ----------------------------------------------------------------------------------------


@program
def second_backward(m, say):
    x = leaf(m, 1.0)
    y = x.exp()
    y.backward()
    say.fails(y.backward, 200)
    say.fails(lambda: y.grad_fn._saved_result, 100)
    z = x * 2  # keeps nothing
    z.backward()
    say.fails(z.backward)
    y = x.exp()
    m.autograd.grad(y, x)
    say.fails(lambda: m.autograd.grad(y, x), 100)


@program
def not_scalars(m, say):
    x = leaf(m, 1.0, 2.0)
    say.fails((x * 2).backward, 100)
    say.fails(lambda: m.autograd.grad(x * 2, x), 100)
    say.fails(lambda: (x * 2).backward(m.ones(3)), 80)
    say.fails(lambda: (x * 2).backward(3.0), 40)
    say.fails(lambda: (x * 1j).sum().backward(), 80)
    say.fails(lambda: (x * 2).backward(m.ones(2, dtype=m.complex64)), 60)
    (x * 2)[0].backward()
    say(x.grad)


@program
def without_history(m, say):
    x = leaf(m, 1.0)
    say.fails(lambda: m.ones(1).backward(), 100)
    say.fails(lambda: x.detach().exp().backward(), 100)
    with m.no_grad():
        y = x * 2
    say.fails(y.backward, 100)
    say.fails(lambda: m.autograd.grad(y, x), 100)
    say.fails(lambda: (x > 0).sum().backward(), 100)
    with m.inference_mode():
        z = m.ones(1)
    say.fails(lambda: x * z, 80)
    say.fails(z.requires_grad_, 60)


@program
def changed_in_place(m, say):
    x = leaf(m, 1.0, 2.0)
    y = x.exp()
    y.add_(1)
    say.fails(lambda: y.sum().backward(), 220)
    y = x * 1
    z = y * y
    y.add_(1)
    say.fails(lambda: z.sum().backward(), 220)
    y = x * 1
    z = y.sin()
    y[0] = 7.0
    say.fails(lambda: z.sum().backward(), 220)
    y = x * 1
    z = y * 2
    y.add_(1)
    z.sum().backward()
    say(x.grad)
    w = leaf(m, 3.0, 4.0)
    z = x * w
    with m.no_grad():
        w.add_(1)
    say.fails(lambda: z.sum().backward(), 180)


@program
def leaves_changed_in_place(m, say):
    x = leaf(m, 1.0, 2.0)
    say.fails(lambda: x.add_(1), 100)
    say.fails(lambda: x.__setitem__(0, 1.0), 100)
    say.fails(lambda: x[0].mul_(2), 100)
    say.fails(lambda: x.view(2, 1).zero_(), 100)
    say.fails(x.detach_)
    say.fails(lambda: setattr((x * 2), "requires_grad", False), 80)
    with m.no_grad():
        x.add_(1)
    say(x, x._version)
    x.data.mul_(2)
    say(x, x._version)


@program
def graphs_that_end_in_no_grad_views(m, say):
    x = leaf(m, 1.0, 2.0)
    y = x * 1
    with m.no_grad():
        v = y[0]
    say.fails(lambda: v.mul_(2), 100)
    y = x * 1
    a, _ = y.unbind()
    say.fails(lambda: a.mul_(2), 100)
    y = x * 1
    a, _ = y.split(1)
    y.mul_(2)
    say.fails(lambda: a + 1, 100)


@program
def anomalies(m, say):
    x = leaf(m, -1.0)
    with m.autograd.detect_anomaly():
        say.fails((x.sqrt() * 0).backward, 56)
    with m.autograd.set_detect_anomaly(True, check_nan=False):
        say.fails((x.sqrt() * 0).backward, 56)
    y = leaf(m, 0.0)
    with m.autograd.set_detect_anomaly(True):
        say.fails((y.sqrt() * 0).sum().backward, 56)
    say(m.is_anomaly_enabled() if hasattr(m, "is_anomaly_enabled") else False)


@program
def functions_that_fail(m, say):
    class Wrong(m.autograd.Function):
        returned = None

        @staticmethod
        def forward(ctx, x, y):
            return x * y

        @staticmethod
        def backward(ctx, g):
            return Wrong.returned(g)

    x, y = leaf(m, 1.0), leaf(m, 2.0)
    for returned in (lambda g: g, lambda g: (g, g, g), lambda g: (m.ones(3), g), lambda g: (3, g),
                     lambda g: (None, None), lambda g: (g, g, None)):
        Wrong.returned = staticmethod(returned)
        say.fails(lambda: Wrong.apply(x, y).backward(), 90)
    say(x.grad, y.grad)


@program
def once_differentiable(m, say):
    from importlib import import_module

    once = import_module(f"{m.__name__}.autograd.function").once_differentiable

    class Square(m.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        @once
        def backward(ctx, g):
            (x,) = ctx.saved_tensors
            say(m.is_grad_enabled(), x.requires_grad)
            return 2 * x * g

    x = leaf(m, 3.0)
    (g,) = m.autograd.grad(Square.apply(x), x, create_graph=True)
    say(g, g.requires_grad)
    say.fails(g.backward, 80)
    Square.apply(x).backward()
    say(x.grad)


# -- views and in-place changes --------------------------------------------------------------------


@program
def a_view_changes_its_base(m, say):
    x = leaf(m, 1.0, 2.0, 3.0, 4.0)
    y = x * 1
    v = y.view(2, 2)[1]
    v.mul_(10)
    say(y.grad_fn.name(), v.grad_fn.name())
    (y * m.tensor([1.0, 2.0, 3.0, 4.0])).sum().backward()
    say(x.grad)


@program
def views_of_views(m, say):
    x = leaf(m, *map(float, range(6)))
    y = x * 1
    a = y.view(2, 3)
    b = a.t()
    c = b[1:]
    c.add_(m.ones(2, 2))
    a[0].mul_(3)
    b.exp_()
    (c.sum() + a.sum() * 2).backward()
    say(x.grad, y)


@program
def a_base_changes_its_views(m, say):
    x = leaf(m, 1.0, 2.0)
    y = x * 1
    v = y[:1]
    y.mul_(5)
    say(v, v.grad_fn.name())
    v.sum().backward()
    say(x.grad)


@program
def in_place_with_another_history(m, say):
    base = m.zeros(2, 2)
    x = leaf(m, 1.0, 2.0)
    row = base[0]
    row.copy_(x * 3)
    say(base.requires_grad, base.grad_fn.name())
    base[1] = x
    base[:, 0] *= 2
    (base * base).sum().backward()
    say(x.grad)


@program
def overlapping_changes(m, say):
    x = leaf(m, 1.0, 2.0, 3.0)
    y = x.clone()
    y[:2] = y[1:].clone() * 2
    y[1:].mul_(y[:2].clone())
    y.sum().backward()
    say(x.grad, y)


@program
def masks_and_indices(m, say):
    x = leaf(m, 1.0, -2.0, 3.0)
    y = x * 1
    y[y < 0] = 0
    y[m.tensor([0, 2])] *= m.tensor([2.0, 3.0])
    y.index_add_(0, m.tensor([1]), x[:1])
    y.masked_fill_(m.tensor([False, False, True]), 9.0)
    y.sum().backward()
    say(x.grad, y)


@program
def in_place_on_what_was_saved_by_others(m, say):
    x = leaf(m, 1.0, 2.0)
    y = x * 1
    z = y.relu_()
    say(z is y, z.grad_fn.name())
    z.sum().backward()
    say(x.grad)
    w = (x * 1).sigmoid_().sqrt_().sin_()
    say(w.grad_fn.name())
    say.fails(w.sum().backward, 100)
    w = (x * 1).sin_().mul_(2).cos_().add_(1)
    w.sum().backward()
    say(x.grad)


@program
def gradients_are_not_shared(m, say):
    x, w = leaf(m, 1.0), leaf(m, 2.0)
    (x + w).sum().backward()
    x.grad.mul_(10)
    say(x.grad, w.grad)
    g = m.ones(1)
    (x * 1).backward(g)
    x.grad.zero_()
    say(g)


@program
def gradients_accumulate(m, say):
    x = leaf(m, 1.0)
    for _ in range(2):
        (x * 2).backward()
    first = x.grad
    (x * 2).backward()
    say(first, first is x.grad)
    x.grad = None
    (x * x).backward(create_graph=True)
    say(x.grad, x.grad.requires_grad)
    say.fails(lambda: setattr(x, "grad", m.ones(3)), 60)
    say.fails(lambda: setattr(x, "grad", m.ones(1).double()), 44)
    say.fails(lambda: setattr(x, "grad", 3), 60)


@program
def set_and_detach(m, say):
    x = leaf(m, 1.0, 2.0)
    y = x * 2
    d = y.detach()
    d.zero_()
    say(y, y._version)
    y.sum().backward()
    say(x.grad)
    y = x.exp()
    y.detach().zero_()
    say.fails(lambda: y.sum().backward(), 120)
    y = x * 2
    y.detach_()
    say(y.requires_grad, y.is_leaf)


# -- saved tensors, checkpoints --------------------------------------------------------------------


@program
def saved_tensors_in_order(m, say):
    x, w = leaf(m, 1.0, 2.0), leaf(m, 0.3, 0.4)

    def pack(t):
        say("pack", t)
        return [t.detach().clone()]

    def unpack(packed):
        say("unpack", packed[0])
        return packed[0]

    with m.autograd.graph.saved_tensors_hooks(pack, unpack):
        y = (x * w).exp() / x
        z = m.cat([y, x]).softmax(0).log()
    z[0].backward()
    say(x.grad, w.grad)


@program
def hooks_within_hooks(m, say):
    hooks = m.autograd.graph.saved_tensors_hooks
    x = leaf(m, 1.0, 2.0)

    def named(name):
        return hooks(lambda t: (say("pack", name), t)[1], lambda t: (say("unpack", name), t)[1])

    with named("outer"):
        y = x * x
        with named("inner"):
            z = y.exp()
        w = z.sin()
    w.sum().backward()
    say(x.grad)


@program
def functions_and_saved_tensors(m, say):
    class Square(m.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            y = x * x
            ctx.save_for_backward(x, y)
            return y

        @staticmethod
        def backward(ctx, g):
            x, y = ctx.saved_tensors
            say(x, y)
            return 2 * x * g

    x = leaf(m, 3.0)
    with m.autograd.graph.saved_tensors_hooks(lambda t: (say("pack", t), t.detach())[1],
                                              lambda t: (say("unpack", t), t)[1]):
        y = Square.apply(x)
    y.backward()
    say(x.grad)


@program
def checkpointed_steps(m, say):
    from importlib import import_module

    checkpoint = import_module(f"{m.__name__}.utils.checkpoint").checkpoint
    x = leaf(m, 0.5, 1.0)

    def steps(t):
        say("exp", m.is_grad_enabled(), t.requires_grad)
        t = t.exp()
        say("sin")
        t = t.sin()
        say("end")
        return t * 2

    for reentrant in (False, True):
        out = checkpoint(steps, x, use_reentrant=reentrant)
        say(out.requires_grad)
        out.sum().backward()
        say(x.grad)


# -- dual tensors ----------------------------------------------------------------------------------


def dual_of(m, values, tangents):
    from importlib import import_module

    forward_ad = import_module(f"{m.__name__}.autograd.forward_ad")
    return forward_ad, forward_ad.make_dual(m.tensor(values), m.tensor(tangents))


def tangent(forward_ad, t):
    return forward_ad.unpack_dual(t).tangent


@program
def duals_views_and_changes(m, say):
    from importlib import import_module

    with import_module(f"{m.__name__}.autograd.forward_ad").dual_level():
        f, d = dual_of(m, [1.0, 2.0, 3.0, 4.0], [1.0, 10.0, 100.0, 1000.0])
        square = d.view(2, 2)
        row = square[1]
        row.mul_(2)
        say(tangent(f, d), tangent(f, square), tangent(f, row))
        square.t()[0].add_(row)
        say(tangent(f, d))
        base = m.zeros(2, 2)
        early = base[0]
        base[:, 1] = d[:2]
        say(tangent(f, base), tangent(f, early))
        early.copy_(d[2:])
        say(tangent(f, base))
        base[base > 5] = 0
        say(tangent(f, base))
        base.masked_fill_(m.tensor([[True, False], [False, False]]), 3.0)
        base.index_add_(0, m.tensor([1]), d[:2].view(1, 2))
        say(tangent(f, base), tangent(f, base.detach()))
        say(tangent(f, base.clone().zero_()), tangent(f, m.zeros(2).copy_(d[:2])))
        x = d.clone().requires_grad_()
        y = (x * x).sum()
        y.backward()
        say(x.grad, tangent(f, y))


@program
def duals_through_modules(m, say):
    from importlib import import_module

    with import_module(f"{m.__name__}.autograd.forward_ad").dual_level():
        f, d = dual_of(m, [[1.0, 2.0]], [[1.0, -1.0]])
        model = small_model(m)
        out = model(d)
        say(out, tangent(f, out))
        tangent(f, out).sum().backward()
        say([p.grad for p in model.parameters()])
        with m.no_grad():
            say(tangent(f, model(d)))
        say.fails(lambda: m.exp(d, out=m.zeros(1, 2)), 40)


# -- the comparison --------------------------------------------------------------------------------


@pytest.mark.parametrize("function", program, ids=lambda f: f.__name__)
def test_programs(function):
    assert run(function, taper) == run(function, torch)
