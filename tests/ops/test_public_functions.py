"""Public functions say where PyTorch keeps them; pickles look for them there."""

from importlib import import_module
from operator import attrgetter

import pytest

import taper as torch
import taper.nn.functional as F


@pytest.mark.parametrize(
    ("function", "place"),
    [
        (torch.relu, "torch relu"), (F.relu, "torch.nn.functional relu"),
        (F.gelu, "torch._C._nn gelu"), (F.linear, "torch._C._nn linear"),
        (F.logsigmoid, "torch._C._nn log_sigmoid"),
        (torch.linalg.norm, "torch._C._linalg linalg_norm"),
        (torch.fft.fft, "torch._C._fft fft_fft"),
        (torch.special.erf, "torch._C._special special_erf"),
        (torch.einsum, "torch.functional einsum"), (torch.Tensor.add, "torch Tensor.add"),
    ],
)  # fmt: skip
def test_functions_lie_where_they_say(function, place):
    module, name = place.split()
    assert (function.__module__, function.__qualname__) == (module, name)
    home = import_module(module.replace("torch", "taper", 1))
    assert attrgetter(name)(home) is function
