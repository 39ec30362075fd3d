"""Handles of hooks travel with the modules that keep them."""

import pickle

import taper as torch


def shout(module, args, output):
    return output + 1


def test_a_pickled_handle_removes_the_pickled_hook():
    layer = torch.nn.Identity()
    layer.handle = layer.register_forward_hook(shout)
    copy = pickle.loads(pickle.dumps(layer))
    assert copy(torch.zeros(1)).item() == 1
    copy.handle.remove()
    assert copy(torch.zeros(1)).item() == 0 and layer(torch.zeros(1)).item() == 1
    assert layer.register_forward_hook(shout).id > copy.handle.id


def test_lazy_modules_are_pickled_before_they_have_seen_anything():
    layer = pickle.loads(pickle.dumps(torch.nn.LazyLinear(3)))
    assert layer(torch.ones(2, 4)).shape == (2, 3)
