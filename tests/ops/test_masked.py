import math

import pytest

import taper as torch

X = torch.tensor([[1.0, 9.0, 3.0], [2.0, 4.0, 8.0]])
MASK = torch.tensor([[True, False, True], [False, False, False]])


@pytest.mark.parametrize(
    ("name", "wanted"),
    [("sum", [4, 0]), ("prod", [3, 1]), ("amax", [3, -math.inf]), ("amin", [1, math.inf]),
     ("norm", [math.sqrt(10), 0]), ("var", [2, math.nan])],
)
def test_masked_reductions(name, wanted):
    found = getattr(torch.masked, name)(X, dim=1, mask=MASK).tolist()
    assert found == pytest.approx(wanted, nan_ok=True)


def test_masked_mean_and_median():
    assert torch.masked.mean(X, mask=MASK).item() == 2
    assert torch.masked.median(X, 1, mask=MASK)[0].item() == 1
    with pytest.raises(ValueError, match=r"mean\(\): Could not infer output dtype"):
        torch.masked.mean(X.long(), mask=MASK)


def test_masked_softmax_and_its_gradient():
    x = torch.zeros(3, requires_grad=True)
    y = torch.masked.softmax(x, 0, mask=torch.tensor([True, False, True]))
    assert y.tolist() == [0.5, 0, 0.5]
    y[0].backward()
    assert x.grad.tolist() == [0.25, 0, -0.25]


def test_masked_scans_and_normalize():
    mask = torch.tensor([True, False, True])
    assert torch.masked.cumsum(X[0], 0, mask=mask).tolist() == [1, 1, 4]
    assert torch.masked.normalize(torch.tensor([3.0, 9.0, 4.0]), 2, 0, mask=mask).tolist() == (
        pytest.approx([0.6, 0, 0.8]))
