"""Handles of hooks travel with the modules that keep them."""

import io

import taper as torch


def shout(module, args, output):
    return output + 1


def copied(module):
    file = io.BytesIO()
    torch.save(module, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


def test_a_saved_handle_removes_the_saved_hook():
    layer = torch.nn.Identity()
    layer.handle = layer.register_forward_hook(shout)
    copy = copied(layer)
    assert copy(torch.zeros(1)).item() == 1
    copy.handle.remove()
    assert copy(torch.zeros(1)).item() == 0 and layer(torch.zeros(1)).item() == 1
    assert layer.register_forward_hook(shout).id > copy.handle.id


def test_lazy_modules_are_saved_before_they_have_seen_anything():
    layer = copied(torch.nn.LazyLinear(3))
    assert layer(torch.ones(2, 4)).shape == (2, 3)
    assert copied(layer).weight.shape == (3, 4)
