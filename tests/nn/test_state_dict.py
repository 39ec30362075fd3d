"""state_dict and load_state_dict."""

from collections import OrderedDict

import pytest

import taper as torch
from taper import nn


def test_keys_metadata_and_detaching():
    net = nn.Sequential(nn.Linear(1, 2), nn.BatchNorm1d(2))
    state = net.state_dict()
    assert isinstance(state, OrderedDict)
    assert list(state) == ["0.weight", "0.bias", "1.weight", "1.bias", "1.running_mean",
                           "1.running_var", "1.num_batches_tracked"]
    assert state._metadata == {"": {"version": 1}, "0": {"version": 1}, "1": {"version": 2}}
    assert not state["0.weight"].requires_grad
    assert state["0.weight"].data_ptr() == net[0].weight.data_ptr()
    assert net.state_dict(keep_vars=True)["0.weight"] is net[0].weight
    assert list(net[0].state_dict(prefix="a.")) == ["a.weight", "a.bias"]
    with pytest.warns(FutureWarning, match="Positional args are being deprecated"):
        assert list(net[0].state_dict({}, "a.")) == ["a.weight", "a.bias"]


def test_loading_copies_in_place():
    source, target = nn.Linear(2, 3), nn.Linear(2, 3)
    weight = target.weight
    result = target.load_state_dict(source.state_dict())
    assert repr(result) == "<All keys matched successfully>"
    assert target.weight is weight
    assert weight.tolist() == source.weight.tolist()


def test_assign_takes_the_tensors():
    target = nn.Linear(1, 1)
    given = torch.full((1, 1), 3.0)
    target.load_state_dict({"weight": given, "bias": torch.zeros(1)}, assign=True)
    assert isinstance(target.weight, nn.Parameter)
    assert target.weight.data_ptr() == given.data_ptr()


def test_all_problems_are_reported_together():
    net = nn.Sequential(nn.Linear(1, 1), nn.Linear(2, 2))
    state = {"0.weight": torch.ones(2, 2), "x": torch.ones(1), "0.bias": 5,
             "1.weight": torch.ones(2, 2), "1.bias.a": 1}
    with pytest.raises(RuntimeError) as caught:
        net.load_state_dict(state)
    assert str(caught.value) == (
        "Error(s) in loading state_dict for Sequential:\n"
        '\tMissing key(s) in state_dict: "1.bias". \n'
        '\tUnexpected key(s) in state_dict: "x", "1.bias.a". \n'
        "\tsize mismatch for 0.weight: copying a param with shape torch.Size([2, 2]) from "
        "checkpoint, the shape in current model is torch.Size([1, 1]).\n"
        '\tWhile copying the parameter named "0.bias", expected torch.Tensor or Tensor-like '
        "object from checkpoint but received <class 'int'>"
    )
    result = net.load_state_dict({"0.weight": torch.ones(1, 1), "x": torch.ones(1)}, strict=False)
    assert repr(result) == (
        "_IncompatibleKeys(missing_keys=['0.bias', '1.weight', '1.bias'], unexpected_keys=['x'])")
    with pytest.raises(TypeError, match="Expected state_dict to be dict-like, got <class 'int'>"):
        net.load_state_dict(5)


def test_hooks():
    layer, seen = nn.Linear(1, 1), []
    layer.register_state_dict_pre_hook(lambda m, prefix, keep_vars: seen.append("pre"))
    layer.register_state_dict_post_hook(
        lambda m, state, prefix, metadata: state.__setitem__("extra", torch.ones(1)))
    layer.register_load_state_dict_pre_hook(
        lambda m, state, prefix, *rest: state.pop("extra"))
    layer.register_load_state_dict_post_hook(
        lambda m, keys: seen.append((keys.missing_keys, keys.unexpected_keys)))
    state = layer.state_dict()
    assert "extra" in state
    layer.load_state_dict(state)
    assert seen == ["pre", ([], [])]
    assert "extra" in state  # the caller's dict isn't touched

    layer.register_load_state_dict_post_hook(lambda m, keys: 5)
    with pytest.raises(AssertionError, match="expected to return new values"):
        layer.load_state_dict(state)
    other = nn.Linear(1, 1)
    other.register_state_dict_post_hook(lambda *args: {})
    with pytest.raises(RuntimeError, match="state_dict post-hook must return None"):
        other.state_dict()


def test_extra_state():
    class Counter(nn.Module):
        count = 0

        def get_extra_state(self):
            return {"count": self.count}

        def set_extra_state(self, state):
            self.count = state["count"]

    counter = Counter()
    counter.count = 3
    state = counter.state_dict()
    assert state == {"_extra_state": {"count": 3}}
    fresh = Counter()
    fresh.load_state_dict(state)
    assert fresh.count == 3
    with pytest.raises(RuntimeError, match='Missing key\\(s\\) in state_dict: "_extra_state"'):
        fresh.load_state_dict({})


def test_states_from_before_batches_were_counted():
    state = nn.BatchNorm1d(2).state_dict()
    del state["num_batches_tracked"], state._metadata
    norm = nn.BatchNorm1d(2)
    norm.load_state_dict(state)
    assert norm.num_batches_tracked.item() == 0
