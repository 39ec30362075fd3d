"""Small programs about hooks of tensors, nodes and modules, on both libraries.

Each takes the library and a function `say`; what they say, in order, must be the same: values,
names, and errors (their type and the first words of their message).
"""

import pytest
from said_programs import Programs, leaf, run, small_model

torch = pytest.importorskip("torch")

import taper  # noqa: E402

program = Programs()


# -- order of hooks --------------------------------------------------------------------------------


@program
def hooks_on_a_leaf(m, say):
    x = leaf(m, 1.0, 2.0)
    x.register_hook(lambda g: say("first", g))
    x.register_hook(lambda g: (say("second", g), g * 2)[1])
    x.register_hook(lambda g: say("third", g))
    x.register_post_accumulate_grad_hook(lambda p: say("accumulated", p.grad))
    (x * 3).sum().backward()
    say(x.grad)
    (x * 3).sum().backward()
    say(x.grad)


@program
def hooks_on_a_leaf_used_twice(m, say):
    x = leaf(m, 1.0)
    x.register_hook(lambda g: say("x", g))
    a, b = x * 2, x * 3
    a.register_hook(lambda g: say("a", g))
    b.register_hook(lambda g: say("b", g))
    (a + b).backward()


@program
def hooks_in_the_middle(m, say):
    x = leaf(m, 1.0, 2.0)
    y = x * 2
    y.register_hook(lambda g: (say("y", g), g * 10)[1])
    y.retain_grad()
    y.register_hook(lambda g: (say("after retain", g), g + 1)[1])
    z = y.exp()
    z.grad_fn.register_prehook(lambda grads: say("pre", grads))
    z.grad_fn.register_hook(lambda inputs, outputs: say("post", inputs, outputs))
    z.register_hook(lambda g: say("z", g))
    z.sum().backward()
    say(y.grad, x.grad)


@program
def node_hooks_replace(m, say):
    x = leaf(m, 2.0)
    y = x * x
    y.grad_fn.register_prehook(lambda grads: (grads[0] * 3,))
    y.grad_fn.register_hook(lambda inputs, outputs: tuple(None if g is None else g + 1
                                                          for g in inputs))
    y.backward()
    say(x.grad)


@program
def accumulator_hooks(m, say):
    x = leaf(m, 1.0)
    y = x * 2
    accumulate = y.grad_fn.next_functions[0][0]
    accumulate.register_prehook(lambda grads: say("pre", grads))
    accumulate.register_hook(lambda inputs, outputs: say("post", inputs, outputs, x.grad))
    x.register_hook(lambda g: say("tensor", g))
    x.register_post_accumulate_grad_hook(lambda p: say("accumulated", p.grad))
    y.backward()


@program
def removed_hooks(m, say):
    x = leaf(m, 1.0)
    handle = x.register_hook(lambda g: say("never"))
    handle.remove()
    handle.remove()
    with x.register_hook(lambda g: say("inside")):
        (x * 2).backward()
    (x * 2).backward()
    y = x * 2
    node = y.grad_fn.register_hook(lambda i, o: say("never"))
    node.remove()
    y.backward()


@program
def hooks_that_remove_themselves(m, say):
    x = leaf(m, 1.0)
    handles = []

    def once(g):
        say("once", g)
        handles[0].remove()

    handles.append(x.register_hook(once))
    x.register_hook(lambda g: say("always"))
    (x * 2).backward()
    (x * 2).backward()


@program
def hooks_and_grad(m, say):
    x = leaf(m, 1.0, 2.0)
    x.register_hook(lambda g: (say("hook", g), g * 2)[1])
    x.register_post_accumulate_grad_hook(lambda p: say("never"))
    y = x.exp()
    y.register_hook(lambda g: (say("y", g), g * 3)[1])
    say(m.autograd.grad(y.sum(), x))
    say(m.autograd.grad(x.exp().sum(), x, create_graph=True))
    y = x.exp()
    y.register_hook(lambda g: (say("y", g), g * 3)[1])
    say(m.autograd.grad(y.sum(), (y, x)))


@program
def hooks_on_tensors_changed_in_place(m, say):
    x = leaf(m, 1.0, 2.0)
    y = x * 2
    y.register_hook(lambda g: say("before", g))
    y.mul_(3)
    y.register_hook(lambda g: say("after", g))
    y.sum().backward()
    say(x.grad)


@program
def retained_through_in_place(m, say):
    x = leaf(m, 1.0, 2.0)
    y = x * 2
    y.retain_grad()
    y.mul_(3)
    say(y.retains_grad)
    (y * y).sum().backward()
    say(y.grad, x.grad)


@program
def hooks_that_return_wrong_things(m, say):
    x = leaf(m, 1.0, 2.0)
    for wrong in (lambda g: 3, lambda g: g[:1], lambda g: g.double()):
        with x.register_hook(wrong):
            say.fails(lambda: (x * 2).sum().backward(), 25)
    y = x * 2
    y.grad_fn.register_hook(lambda i, o: (i[0],) * 5)
    say.fails(lambda: y.sum().backward(), 20)
    say.fails(lambda: m.ones(1).register_hook(lambda g: g))
    say.fails(lambda: (x * 2).register_post_accumulate_grad_hook(lambda g: g))
    say.fails(lambda: m.ones(1).register_post_accumulate_grad_hook(lambda g: g))
    say.fails(lambda: m.ones(1).retain_grad())


@program
def multi_grad_hooks(m, say):
    graph = m.autograd.graph
    x = leaf(m, 1.0)
    a, b, c = x * 2, x * 3, x * 4
    every = graph.register_multi_grad_hook((a, b, c), lambda grads: say("all", grads))
    graph.register_multi_grad_hook((a, b, c), lambda grad: say("any", grad), mode="any")
    (a + b).backward(retain_graph=True)
    (a + b + c).backward(retain_graph=True)
    every.remove()
    c.backward()
    say.fails(lambda: graph.register_multi_grad_hook((a,), print, mode="some"))


@program
def hooks_that_run_backward(m, say):
    x, w = leaf(m, 1.0), leaf(m, 3.0)

    def inner(g):
        with m.enable_grad():
            (w * w).backward()
        say("inner", g, w.grad, m.is_grad_enabled())

    y = x * 2
    y.register_hook(inner)
    y.backward()
    say(x.grad, w.grad)


@program
def hooks_that_raise(m, say):
    x = leaf(m, 1.0)

    def broken(g):
        raise KeyError("broken")

    y = x * 2
    y.register_hook(broken)
    say.fails(y.backward)
    say(x.grad)
    say.fails(y.backward)


# -- modules ---------------------------------------------------------------------------------------


@program
def module_hooks_in_order(m, say):
    model = small_model(m)
    for i, module in enumerate((model, *model)):
        name = f"{i} {type(module).__name__}"
        module.register_forward_pre_hook(lambda mod, a, n=name: say("pre", n, a))
        module.register_forward_hook(lambda mod, a, out, n=name: say("forward", n, a, out))
        module.register_full_backward_pre_hook(lambda mod, g, n=name: say("backward pre", n, g))
        module.register_full_backward_hook(lambda mod, gi, go, n=name: say("backward", n, gi, go))
    x = leaf(m, 1.0, 2.0)
    model(x.unsqueeze(0)).sum().backward()
    say([p.grad for p in model.parameters()], x.grad)


@program
def module_hooks_without_input_gradients(m, say):
    layer = m.nn.Linear(2, 1)
    layer.weight.data.fill_(1.0)
    layer.register_full_backward_hook(lambda mod, gi, go: say("backward", gi, go))
    layer(m.ones(1, 2)).sum().backward()
    say(layer.weight.grad)


@program
def module_hooks_replace_gradients(m, say):
    model = small_model(m)
    model[1].register_full_backward_hook(lambda mod, gi, go: (gi[0] * 10,))
    model[2].register_full_backward_pre_hook(lambda mod, go: (go[0] * 2,))
    x = leaf(m, 1.0, 2.0)
    model(x.unsqueeze(0)).sum().backward()
    say(x.grad, [p.grad for p in model.parameters()])


@program
def module_and_tensor_hooks_together(m, say):
    layer = m.nn.Linear(1, 1, bias=False)
    layer.weight.data.fill_(2.0)
    layer.register_full_backward_pre_hook(lambda mod, go: say("module pre"))
    layer.register_full_backward_hook(lambda mod, gi, go: say("module"))
    layer.weight.register_hook(lambda g: say("weight"))
    layer.weight.register_post_accumulate_grad_hook(lambda p: say("weight accumulated"))
    x = leaf(m, 1.0)
    x.register_hook(lambda g: say("x"))
    h = x * 3
    h.register_hook(lambda g: say("h"))
    out = layer(h)
    out.register_hook(lambda g: say("out"))
    out.backward()


@program
def post_accumulate_hooks_as_optimizers(m, say):
    model = small_model(m)
    for p in model.parameters():
        p.register_post_accumulate_grad_hook(
            lambda p: (p.data.sub_(p.grad * 0.1), setattr(p, "grad", None))[1])
    for _ in range(2):
        model(m.ones(1, 2)).sum().backward()
    say(list(model.parameters()), [p.grad for p in model.parameters()])


# -- the comparison --------------------------------------------------------------------------------


@pytest.mark.parametrize("function", program, ids=lambda f: f.__name__)
def test_programs(function):
    assert run(function, taper) == run(function, torch)
