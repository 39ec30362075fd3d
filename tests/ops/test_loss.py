"""Losses by element, where numbers get large."""

import pytest

import taper as torch


def test_targets_of_large_logits_have_finite_slopes():
    logits = torch.tensor([200.0, -200.0])
    target = torch.tensor([0.5, 0.5], requires_grad=True)
    loss = torch.nn.functional.binary_cross_entropy_with_logits(
        logits, target, pos_weight=torch.tensor(3.0), reduction="sum"
    )
    loss.backward()
    # log(1 - p) - 3 log p, which is -200 - 0 and 0 + 600
    assert target.grad.tolist() == [-200, 600]


@pytest.mark.parametrize(("name", "text"), [
    ("binary_cross_entropy", "Found dtype Long but expected Float"),
    ("binary_cross_entropy_with_logits", "result type Float can't be cast to the desired output"),
])  # fmt: skip
def test_targets_of_binary_entropies_are_floating_point(name, text):
    with pytest.raises(RuntimeError, match=text):
        getattr(torch.nn.functional, name)(torch.tensor([0.5]), torch.tensor([1]))
