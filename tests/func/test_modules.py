"""functional_call, stack_module_state, replace_all_batch_norm_modules_."""

import pytest

import taper as torch
from taper.func import functional_call, replace_all_batch_norm_modules_, stack_module_state, vmap


def linear(value):
    layer = torch.nn.Linear(2, 1)
    with torch.no_grad():
        layer.weight.fill_(value)
        layer.bias.fill_(0)
    return layer


def test_functional_call():
    layer = linear(1.0)
    given = {"weight": torch.full((1, 2), 3.0)}
    assert functional_call(layer, given, torch.ones(2)).tolist() == [6.0]
    assert layer(torch.ones(2)).tolist() == [2.0]
    both = functional_call(layer, (given, {"bias": torch.ones(1)}), (torch.ones(2),))
    assert both.tolist() == [7.0]


def test_functional_call_with_wrong_dicts():
    with pytest.raises(ValueError, match="appeared in multiple dictionaries"):
        functional_call(linear(1.0), ({"bias": torch.ones(1)}, {"bias": torch.ones(1)}), ())
    with pytest.raises(ValueError, match="to be a dict, or a list/tuple of dicts"):
        functional_call(linear(1.0), 3, ())


def test_an_ensemble():
    models = [linear(1.0), linear(2.0), linear(3.0)]
    parameters, buffers = stack_module_state(models)
    assert parameters["weight"].shape == (3, 1, 2)
    assert parameters["weight"].is_leaf and parameters["weight"].requires_grad and buffers == {}
    found = vmap(
        lambda p, x: functional_call(models[0], p, (x,)), in_dims=(0, None)
    )(parameters, torch.ones(2))
    assert found.tolist() == [[2.0], [4.0], [6.0]]


@pytest.mark.parametrize(("models", "message"), [
    (lambda: [], "Expected at least one model, got 0"),
    (lambda: [linear(1.0), torch.nn.ReLU()], "all models to be of the same class"),
    (lambda: [linear(1.0), linear(1.0).eval()], "the same training/eval mode"),
    (lambda: [linear(1.0), linear(1.0).requires_grad_(False)], "the same .requires_grad"),
])
def test_models_that_can_not_be_stacked(models, message):
    with pytest.raises(RuntimeError, match=message):
        stack_module_state(models())


def test_batch_norms_without_running_statistics():
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2))
    assert replace_all_batch_norm_modules_(model) is model
    assert model[1].running_mean is None and not model[1].track_running_stats
    assert vmap(model)(torch.randn(3, 4, 2)).shape == (3, 4, 2)


def test_batch_norms_with_running_statistics_are_refused():
    with pytest.raises(RuntimeError, match="Batch norm got a batched tensor as input while"):
        vmap(torch.nn.BatchNorm1d(2))(torch.randn(3, 4, 2))
    assert vmap(torch.nn.BatchNorm1d(2).eval())(torch.ones(3, 4, 2)).shape == (3, 4, 2)


def test_functionalize_says_that_it_is_not_needed():
    with pytest.raises(NotImplementedError, match="as they are"):
        torch.func.functionalize(lambda x: x)
