import pytest

import taper as torch
from taper.autograd import gradcheck, gradgradcheck

linalg = torch.linalg
DRIVERS = ("gels", "gelsy", "gelsd", "gelss")


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_line_through_points(driver):
    a = torch.tensor([[1.0, 0.0], [1.0, 1.0], [1.0, 2.0]], dtype=torch.float64)
    b = torch.tensor([1.0, 3.0, 8.0], dtype=torch.float64)
    found = linalg.lstsq(a, b, driver=driver)
    assert found.solution.tolist() == pytest.approx([0.5, 3.5])
    assert found.residuals.tolist() == ([] if driver == "gelsy" else pytest.approx([1.5]))
    assert found.rank.tolist() == ([] if driver == "gels" else 2)
    assert found.singular_values.numel() == (2 if driver in ("gelsd", "gelss") else 0)


def test_many_solutions_give_the_shortest():
    found = linalg.lstsq(torch.ones(1, 2), torch.tensor([[4.0]]))
    assert found.solution.flatten().tolist() == pytest.approx([2, 2])
    assert found.rank.item() == 1
    assert linalg.lstsq(torch.zeros(3, 2), torch.ones(3, 1)).rank.item() == 0


def test_errors():
    with pytest.raises(RuntimeError, match=r"input.size\(-2\) should match other.size\(-2\)"):
        linalg.lstsq(torch.ones(3, 2), torch.ones(2, 1))
    with pytest.raises(RuntimeError, match="parameter `driver` should be one of"):
        linalg.lstsq(torch.ones(3, 2), torch.ones(3), driver="x")
    with pytest.raises(RuntimeError, match="got input's dtype Float and other's dtype Double"):
        linalg.lstsq(torch.ones(3, 2), torch.ones(3).double())


def test_pseudoinverses():
    a = torch.diag(torch.tensor([2.0, 0.5, 0.0]))
    assert linalg.pinv(a).diag().tolist() == [0.5, 2, 0]
    assert linalg.pinv(a, atol=1.0).diag().tolist() == [0.5, 0, 0]
    assert linalg.pinv(a, rtol=torch.tensor(0.5)).diag().tolist() == [0.5, 0, 0]
    assert linalg.pinv(-a, hermitian=True).diag().tolist() == [-0.5, -2, 0]
    assert linalg.pinv(torch.ones(2, 0)).shape == (0, 2)
    with pytest.raises(RuntimeError, match=r"linalg.pinv\(Long\{\[2, 2\]\}\): expected a tensor"):
        linalg.pinv(torch.ones(2, 2, dtype=torch.int64))


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
@pytest.mark.parametrize("shape", [(4, 2), (2, 4), (3, 3)])
def test_derivatives(shape, dtype):
    torch.manual_seed(0)
    a = torch.randn(*shape, dtype=dtype).requires_grad_()
    b = torch.randn(shape[0], 2, dtype=dtype).requires_grad_()
    cases = [
        (linalg.pinv, (a,)), (lambda x, y: linalg.lstsq(x, y).solution, (a, b)),
    ]
    if shape[0] > shape[1]:
        cases.append((lambda x, y: linalg.lstsq(x, y, driver="gelsd").residuals, (a, b)))
    for function, inputs in cases:
        assert gradcheck(function, inputs)
        assert gradgradcheck(function, inputs)
    assert linalg.pinv(a).grad_fn.name() == "LinalgPinvBackward0"
    assert linalg.lstsq(a, b).solution.grad_fn.name() == "LinalgLstsqBackward0"
