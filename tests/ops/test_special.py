"""taper/ops/special.py, bessel.py, polynomial.py: known values, and slopes."""

import math

import pytest

import taper as torch

GAMMA = 0.5772156649015329


@pytest.mark.parametrize(
    ("name", "value", "result", "slope"),
    [
        ("erf", 0.5, math.erf(0.5), 2 / math.sqrt(math.pi) * math.exp(-0.25)),
        ("erfc", 0.5, math.erfc(0.5), -2 / math.sqrt(math.pi) * math.exp(-0.25)),
        ("erfinv", math.erf(0.5), 0.5, math.sqrt(math.pi) / 2 * math.exp(0.25)),
        ("lgamma", 1.0, 0, -GAMMA),
        ("digamma", 1.0, -GAMMA, math.pi**2 / 6),
        ("i0", 0.0, 1, 0),
        ("special.i1", 0.0, 0, 0.5),
        ("special.i1e", 0.0, 0, 0.5),
        ("special.entr", 0.5, 0.5 * math.log(2), math.log(2) - 1),
        ("special.ndtr", 0.0, 0.5, 1 / math.sqrt(2 * math.pi)),
        ("special.ndtri", 0.5, 0, math.sqrt(2 * math.pi)),
        ("special.log_ndtr", 0.0, -math.log(2), 2 / math.sqrt(2 * math.pi)),
        ("special.erfcx", 0.0, 1, -2 / math.sqrt(math.pi)),
    ],
)
def test_values_and_slopes(name, value, result, slope):
    function = torch
    for part in name.split("."):
        function = getattr(function, part)
    x = torch.tensor([value], dtype=torch.float64, requires_grad=True)
    y = function(x)
    y.backward()
    assert y.item() == pytest.approx(result, abs=1e-12)
    assert x.grad.item() == pytest.approx(slope)


def test_polygamma():
    x = torch.tensor([1.0], dtype=torch.float64, requires_grad=True)
    y = torch.polygamma(1, x)
    y.backward()
    assert y.item() == pytest.approx(math.pi**2 / 6)
    assert x.grad.item() == pytest.approx(-2 * 1.2020569031595942)
    assert x.detach().polygamma(0).item() == pytest.approx(-GAMMA)
    with pytest.raises(RuntimeError, match=r"polygamma\(n, x\) does not support negative n"):
        torch.polygamma(-1, x)


def test_gamma_family():
    one = torch.tensor([1.0])
    assert torch.igamma(one, one).item() == pytest.approx(1 - math.exp(-1))
    assert torch.igammac(one, one).item() == pytest.approx(math.exp(-1))
    assert torch.mvlgamma(torch.tensor([2.0]), 1).item() == pytest.approx(0)
    assert torch.special.zeta(torch.tensor([2.0]), 1).item() == pytest.approx(math.pi**2 / 6)
    assert torch.digamma(torch.tensor([0.0, -0.0])).tolist() == [float("-inf"), float("inf")]
    a = torch.tensor([1.0], requires_grad=True)
    with pytest.raises(NotImplementedError, match="igamma"):
        torch.igamma(a, one).backward()


def test_zero_times_the_logarithm_of_zero():
    x = torch.tensor([0.0, 2.0], requires_grad=True)
    y = torch.xlogy(x, torch.tensor([0.0, 1.0]))
    y.sum().backward()
    assert y.tolist() == [0, 0]
    assert x.grad.tolist() == [0, 0]
    assert torch.special.xlog1py(x, -1)[0].item() == 0
    assert math.isnan(torch.xlogy(0, torch.tensor([float("nan")])).item())


def test_bessel_functions():
    zero = torch.tensor([0.0])
    assert torch.special.bessel_j0(zero).item() == 1
    assert torch.special.bessel_y0(zero).item() == float("-inf")
    assert torch.special.spherical_bessel_j0(zero).item() == 1
    one = torch.tensor([1.0], requires_grad=True)
    assert not torch.special.bessel_j1(one).requires_grad


@pytest.mark.parametrize(
    ("name", "at_degrees"),
    [  # degrees 0 to 3 at x = 2
        ("chebyshev_polynomial_t", [1, 2, 7, 26]),
        ("chebyshev_polynomial_u", [1, 4, 15, 56]),
        ("chebyshev_polynomial_v", [1, 3, 11, 41]),
        ("chebyshev_polynomial_w", [1, 5, 19, 71]),
        ("hermite_polynomial_h", [1, 4, 14, 40]),
        ("hermite_polynomial_he", [1, 2, 3, 2]),
        ("laguerre_polynomial_l", [1, -1, -1, -1 / 3]),
        ("legendre_polynomial_p", [1, 2, 5.5, 17]),
        ("shifted_chebyshev_polynomial_t", [1, 3, 17, 99]),
    ],
)
def test_polynomials(name, at_degrees):
    degrees = torch.tensor([0, 1, 2, 3])
    found = getattr(torch.special, name)(torch.tensor(2.0), degrees)
    assert found.tolist() == pytest.approx(at_degrees)
    assert getattr(torch.special, name)(torch.tensor([2.0]), -1).item() == 0


def test_complex_is_refused():
    with pytest.raises(NotImplementedError, match="\"erf_vml_cpu\" not implemented for 'Complex"):
        torch.erf(torch.tensor([1j]))


def test_results_of_erfinv_may_be_changed():
    x = torch.tensor([0.5], requires_grad=True)
    y = torch.erfinv(x)
    y.mul_(2)
    y.sum().backward()
    assert math.isclose(x.grad.item(), 2 * 1.1125849, rel_tol=1e-5)
