import math

import pytest

import taper as torch
from taper.autograd import gradcheck

F = torch.nn.functional


def test_ctc_sums_over_alignments():
    # Two steps, blank or label 1, each with probability 1/2: 1 1, - 1 and 1 - mean "1".
    logs = torch.full((2, 1, 2), 0.5).log()
    loss = F.ctc_loss(logs, torch.tensor([[1]]), [2], [1])
    assert loss.item() == pytest.approx(-math.log(0.75))
    # Two equal labels need a blank between them.
    target = torch.tensor([[1, 1]])
    assert F.ctc_loss(logs, target, [2], [2], reduction="none").tolist() == [math.inf]
    assert F.ctc_loss(logs, target, [2], [2], reduction="sum", zero_infinity=True).item() == 0


def test_targets_in_one_row():
    logs = torch.randn(6, 2, 4).log_softmax(2)
    rows = torch.tensor([[1, 2, 3], [3, 0, 0]])
    flat = torch.tensor([1, 2, 3, 3])
    a = F.ctc_loss(logs, rows, [6, 5], [3, 1], reduction="none")
    b = F.ctc_loss(logs, flat, [6, 5], [3, 1], reduction="none")
    assert a.equal(b)


def test_derivative():
    x = torch.randn(5, 2, 3, dtype=torch.float64, requires_grad=True)
    target = torch.tensor([[1, 2], [2, 2]])
    assert gradcheck(
        lambda x: F.ctc_loss(x.log_softmax(2), target, [5, 4], [2, 2], reduction="none"), (x,)
    )


def test_errors():
    logs = torch.zeros(3, 1, 2)
    with pytest.raises(RuntimeError, match="blank must be in label range"):
        F.ctc_loss(logs, torch.tensor([[1]]), [3], [1], blank=2)
    with pytest.raises(RuntimeError, match="Expected input_lengths to have value at most 3"):
        F.ctc_loss(logs, torch.tensor([[1]]), [4], [1])
