"""Arguments that are no tensors: values of the wrong type are refused, never read as numbers."""

import numpy as np
import pytest

import taper as torch
import taper.nn.functional as F

x = torch.tensor([[1.0, 2.0], [3.0, 4.0]])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: x.sum(0, "yes"), r"'keepdim' \(position 3\) must be bool, not str"),
        (lambda: x.sum(0, keepdim=1), "'keepdim' .* must be bool, not int"),
        (lambda: torch.full((2,), None), "must be Number, not NoneType"),
        (lambda: torch.full((2,), "3"), "must be Number, not str"),
        (lambda: torch.full_like(x, [3]), "must be Number, not list"),
        (lambda: torch.add(x, x, alpha=None), "'alpha' .* must be Number, not NoneType"),
        (lambda: torch.add(x, x, alpha=b"2"), "'alpha' .* must be Number, not bytes"),
        (lambda: torch.addcmul(x, x, x, value="1"), "'value' .* must be Number, not str"),
        (lambda: torch.addmm(x, x, x, beta=[1.5]), "'beta' .* must be Number, not list"),
        (lambda: F.layer_norm(x, (2,), eps="small"), "'eps' .* must be float, not str"),
        (lambda: torch.chunk(x, True), r"'chunks' \(position 2\) must be int, not bool"),
        (lambda: torch.fft.fft(x, norm=2), "'norm' .* must be str, not int"),
        (lambda: torch.isclose(x, x, equal_nan=0), "'equal_nan' .* must be bool, not int"),
    ],
)
def test_wrong_types_are_refused(call, message):
    with pytest.raises(TypeError, match=message):
        call()


def test_what_stands_for_a_value_is_taken():
    assert x.sum(0, np.bool_(True)).shape == (1, 2)
    assert torch.full((1,), torch.tensor(2.5)).item() == 2.5
    assert torch.add(x, x, alpha=np.float64(2)).tolist() == [[3.0, 6.0], [9.0, 12.0]]
    assert F.leaky_relu(-x, np.float32(0.5)).tolist() == [[-0.5, -1.0], [-1.5, -2.0]]


def test_flags_of_functions_that_are_python_in_pytorch_are_only_asked_for_their_truth():
    assert F.dropout(x.clone(), 0.0, True, "in place").tolist() == x.tolist()
    values, indices = F.max_pool1d(x, 2, return_indices=1)
    assert values.tolist() == [[2.0], [4.0]]
    assert indices.tolist() == [[1], [1]]
    assert torch.masked.sum(x, 0, keepdim="yes").shape == (1, 2)
