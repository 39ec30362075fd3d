"""Parameter groups, state dicts, hooks and closures, which all optimizers share."""

from __future__ import annotations

import copy
import gc
import pickle
import weakref

import pytest

import taper as torch
from taper.optim.optimizer import (
    Optimizer,
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
    required,
)


def parameter(*values):
    return torch.nn.Parameter(torch.tensor(values or (1.0, 2.0)))


def with_gradient(*values):
    p = parameter(*values)
    p.grad = torch.ones_like(p)
    return p


def test_repr_lists_options_by_name():
    text = repr(torch.optim.SGD([parameter()], lr=0.1))
    assert text == (
        "SGD (\nParameter Group 0\n    dampening: 0\n    differentiable: False\n    foreach: None\n"
        "    fused: None\n    lr: 0.1\n    maximize: False\n    momentum: 0\n    nesterov: False\n"
        "    weight_decay: 0\n)"
    )


def test_groups_take_defaults_and_keep_their_own_options():
    first, second = with_gradient(), with_gradient()
    optimizer = torch.optim.SGD([{"params": first, "lr": 1.0}, {"params": [second]}], lr=0.5)
    optimizer.step()
    assert first.tolist() == [0, 1]
    assert second.tolist() == [0.5, 1.5]
    third = with_gradient()
    optimizer.add_param_group({"params": third, "lr": 2.0})
    assert [group["lr"] for group in optimizer.param_groups] == [1.0, 0.5, 2.0]


def test_names_of_parameters():
    optimizer = torch.optim.SGD([("a", parameter()), ("b", parameter())])
    assert optimizer.state_dict()["param_groups"][0]["param_names"] == ["a", "b"]


class Needy(Optimizer):
    def __init__(self, params):
        super().__init__(params, {"lr": required})


@pytest.mark.parametrize(("make", "kind", "text"), [
    (lambda p: torch.optim.SGD([]), ValueError, "optimizer got an empty parameter list"),
    (torch.optim.SGD, TypeError,
     "params argument given to the optimizer should be an iterable of Tensors or dicts, but got "
     "torch.FloatTensor"),
    (lambda p: torch.optim.SGD([3]), TypeError,
     "optimizer can only optimize Tensors, but one of the params is int"),
    (lambda p: torch.optim.SGD([p * 2]), ValueError, "can't optimize a non-leaf Tensor"),
    (lambda p: torch.optim.SGD([{"params": {p}}]), TypeError, "optimizer parameters need to be or"),
    (lambda p: torch.optim.SGD([{"params": [p]}, {"params": [p]}]), ValueError,
     "some parameters appear in more than one parameter group"),
    (lambda p: torch.optim.SGD([("a", p), parameter()]), ValueError,
     "all optimizer params should be with/without names. Some param names are missing"),
    (lambda p: torch.optim.SGD([p], lr=-1), ValueError, "Invalid learning rate: -1"),
    (lambda p: torch.optim.SGD([p], lr=torch.ones(2)), ValueError, "Tensor lr must be 1-element"),
    (lambda p: torch.optim.SGD([p], nesterov=True), ValueError,
     "Nesterov momentum requires a momentum and zero dampening"),
    (lambda p: torch.optim.Adam([p], betas=(1.0, 0.5)), ValueError,
     "Invalid beta parameter at index 0: 1.0"),
    (lambda p: torch.optim.Adam([p], eps=-1), ValueError, "Invalid epsilon value: -1"),
    (lambda p: torch.optim.Adam([p], fused=True, foreach=True), RuntimeError,
     "`fused` and `foreach` cannot be `True` together."),
    (lambda p: torch.optim.SGD([p]).add_param_group([p]), TypeError,
     "param_group must be a dict, but got <class 'list'>"),
    (lambda p: Needy([p]), ValueError,
     "parameter group didn't specify a value of required optimization parameter lr"),
])  # fmt: skip
def test_errors(make, kind, text):
    with pytest.raises(kind, match=text.replace("(", r"\(")):
        make(parameter())


def test_duplicates_in_a_group_warn():
    p = parameter()
    with pytest.warns(UserWarning, match="a parameter group with duplicate parameters"):
        torch.optim.SGD([p, p])


def test_zero_grad():
    p, q = with_gradient(), parameter()
    optimizer = torch.optim.SGD([p, q])
    grad = p.grad
    optimizer.zero_grad(set_to_none=False)
    assert p.grad is grad
    assert grad.tolist() == [0, 0]
    optimizer.zero_grad()
    assert p.grad is None
    assert q.grad is None


def test_closure_runs_with_gradients_on():
    p = parameter()
    optimizer = torch.optim.SGD([p], lr=0.1)

    def closure():
        optimizer.zero_grad()
        loss = (p * p).sum()
        loss.backward()
        return loss

    with torch.no_grad():
        loss = optimizer.step(closure)
    assert loss.item() == 5
    assert torch.allclose(p, torch.tensor([0.8, 1.6]))


def test_step_counts_as_a_change_in_place():
    p = with_gradient()
    before = p._version
    loss = (p * p).sum()
    torch.optim.SGD([p]).step()
    assert p._version > before
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_state_dict_numbers_parameters():
    p, q = with_gradient(), parameter()
    optimizer = torch.optim.Adam([{"params": [q]}, {"params": [p]}])
    optimizer.step()
    state = optimizer.state_dict()
    assert list(state["state"]) == [1]
    assert [group["params"] for group in state["param_groups"]] == [[0], [1]]
    assert state["state"][1]["step"].item() == 1
    assert state["state"][1]["exp_avg"] is optimizer.state[p]["exp_avg"]


def test_load_state_dict_casts_but_for_steps():
    p = with_gradient()
    optimizer = torch.optim.Adam([p])
    optimizer.step()
    q = torch.nn.Parameter(torch.ones(2, dtype=torch.float64))
    other = torch.optim.Adam([q], lr=5)
    other.load_state_dict(optimizer.state_dict())
    assert other.param_groups[0]["lr"] == 1e-3
    assert other.state[q]["exp_avg"].dtype is torch.float64
    assert other.state[q]["step"].dtype is torch.float32


@pytest.mark.parametrize(("groups", "text"), [
    (1, "loaded state dict contains a parameter group that doesn't match the size"),
    (2, "loaded state dict has a different number of parameter groups"),
])  # fmt: skip
def test_load_state_dict_checks_groups(groups, text):
    saved = torch.optim.SGD([parameter()]).state_dict()
    given = [parameter(), parameter()]
    optimizer = torch.optim.SGD(given if groups == 1 else [{"params": p} for p in given])
    with pytest.raises(ValueError, match=text):
        optimizer.load_state_dict(saved)


def test_copies_are_independent():
    p = with_gradient()
    optimizer = torch.optim.Adam([p], lr=0.1)
    optimizer.step()
    for made in (copy.deepcopy(optimizer), pickle.loads(pickle.dumps(optimizer))):
        q = made.param_groups[0]["params"][0]
        q.grad = torch.ones(2)
        made.step()
        assert made.state[q]["step"].item() == 2
        assert optimizer.state[p]["step"].item() == 1
        assert made.register_step_pre_hook(lambda *_: None) is not None


def test_step_hooks_run_in_order():
    seen = []
    p = with_gradient()
    optimizer = torch.optim.SGD([p])
    handles = [
        register_optimizer_step_pre_hook(lambda opt, args, kwargs: seen.append("all before")),
        optimizer.register_step_pre_hook(lambda opt, args, kwargs: seen.append("before")),
        optimizer.register_step_post_hook(lambda opt, args, kwargs: seen.append("after")),
        register_optimizer_step_post_hook(lambda opt, args, kwargs: seen.append("all after")),
    ]
    optimizer.step()
    assert seen == ["all before", "before", "after", "all after"]
    for handle in handles:
        handle.remove()
    optimizer.step()
    assert len(seen) == 4


def test_step_pre_hook_may_change_the_arguments():
    p = with_gradient()
    optimizer = torch.optim.SGD([p])
    optimizer.register_step_pre_hook(lambda opt, args, kwargs: ((opt, lambda: "new"), {}))
    assert optimizer.step() == "new"
    optimizer.register_step_pre_hook(lambda opt, args, kwargs: 3)
    with pytest.raises(RuntimeError, match=r"must return None or a tuple of \(new_args, new_kwarg"):
        optimizer.step()


def test_state_dict_hooks():
    p = with_gradient()
    optimizer = torch.optim.SGD([p])
    optimizer.register_state_dict_post_hook(lambda opt, state: {**state, "note": 1})
    assert optimizer.state_dict()["note"] == 1
    seen = []

    def rename(opt, state):
        seen.append(state["note"])
        return {"state": {}, "param_groups": state["param_groups"]}

    optimizer.register_load_state_dict_pre_hook(rename)
    optimizer.register_load_state_dict_post_hook(lambda opt: seen.append("loaded"))
    optimizer.load_state_dict(optimizer.state_dict())
    assert seen == [1, "loaded"]


def test_a_users_optimizer():
    """Subclasses as programs write them: `step` under `no_grad`, with `super().step()` or not."""

    class SignDescent(Optimizer):
        def __init__(self, params, lr=0.1):
            super().__init__(params, {"lr": lr})

        @torch.no_grad()
        def step(self, closure=None):
            for group in self.param_groups:
                for p in group["params"]:
                    p.sub_(p.grad.sign(), alpha=group["lr"])

    class Twice(torch.optim.SGD):
        def step(self, closure=None):
            super().step()
            return super().step(closure)

    p = with_gradient()
    SignDescent([p], lr=0.5).step()
    assert p.tolist() == [0.5, 1.5]
    seen = []
    optimizer = Twice([p], lr=0.25)
    optimizer.register_step_post_hook(lambda *_: seen.append(1))
    optimizer.step()
    assert p.tolist() == [0, 1]
    assert seen == [1]


def test_optimizers_are_freed_with_their_schedules():
    optimizer = torch.optim.SGD([parameter()])
    reference = weakref.ref(optimizer)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1)
    del optimizer, scheduler
    gc.collect()
    assert reference() is None


def test_other_parameters_for_a_while():
    p = with_gradient()
    optimizer = torch.optim.SGD([p], lr=1.0, momentum=0.5)
    optimizer.step()
    q = with_gradient(5.0, 6.0)
    state = copy.deepcopy(optimizer.state_dict())
    state["param_groups"][0]["lr"] = 10.0
    with torch.optim.swap_in_optimizer_params_and_state(optimizer, {"q": q}, state):
        optimizer.step()
    assert q.tolist() == [-10, -9]
    assert state["state"][0]["momentum_buffer"].tolist() == [1.5, 1.5]
    assert p.tolist() == [0, 1]
    assert optimizer.state[p]["momentum_buffer"].tolist() == [1, 1]
    assert optimizer.param_groups[0]["lr"] == 1.0
    short = torch.optim.SGD([p, q])
    swapped = torch.optim.swap_in_optimizer_params_and_state(short, {"q": q}, state)
    with pytest.raises(ValueError, match="the optimizer has 2 parameters"), swapped:
        pass


def test_a_wrapper_that_never_calls_init_has_no_hooks():
    class Wrapper(torch.optim.Optimizer):
        def __init__(self, inner):
            self.inner = inner

        def step(self, closure=None):
            return self.inner.step(closure)

    weight = torch.ones(1, requires_grad=True)
    weight.grad = torch.ones(1)
    Wrapper(torch.optim.SGD([weight], lr=0.5)).step()
    assert weight.item() == 0.5


@pytest.mark.parametrize("name", ["Adam", "AdamW"])
def test_adam_refuses_a_whole_number_beside_a_float_in_betas(name):
    weight = torch.ones(1, requires_grad=True)
    with pytest.raises(ValueError, match=r"^betas must be either both floats or both Tensors$"):
        getattr(torch.optim, name)([weight], betas=(0, 0.9))
    getattr(torch.optim, name)([weight], betas=(0.0, 0.9))
