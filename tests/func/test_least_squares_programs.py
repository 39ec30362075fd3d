"""Gauss-Newton and Levenberg-Marquardt as libraries of functional optimization write them: on
`jacrev`, on `linearize` and `vjp`, and vmapped. The problems have known answers: certified values
of NIST's Statistical Reference Datasets (Misra1a), and least squares in closed form."""

import pytest

import taper as torch
from taper.func import jacfwd, jacrev, vmap
from taper.func.second_order import conjugate_gradient, gauss_newton_product

FLOAT64 = {"dtype": torch.float64}

# Misra1a: volume of adsorbed gas against pressure, y = b1 (1 - exp(-b2 x)).
VOLUMES = torch.tensor(
    [10.07, 14.73, 17.94, 23.93, 29.61, 35.18, 40.02, 44.82, 50.76, 55.05, 61.01, 66.40, 75.47,
     81.78], **FLOAT64)  # fmt: skip
PRESSURES = torch.tensor(
    [77.6, 114.9, 141.1, 190.8, 239.9, 289.0, 332.8, 378.4, 434.8, 477.3, 536.8, 593.1, 689.1,
     760.0], **FLOAT64)  # fmt: skip
CERTIFIED = torch.tensor([2.3894212918e2, 5.5015643181e-4], **FLOAT64)
CERTIFIED_ERRORS = torch.tensor([2.7070075241, 7.2668688436e-6], **FLOAT64)
CERTIFIED_SUM = 1.2455138894e-1
START = torch.tensor([500.0, 1e-4], **FLOAT64)


def misfit(params):
    return VOLUMES - params[0] * (1 - torch.exp(-params[1] * PRESSURES))


def levenberg_marquardt(residuals, params, jacobian=jacrev, most_steps=100):
    """Damps with the diagonal of transpose(J) J: less after each success, more after a failure."""
    damping = 1e-3
    value = residuals(params).square().sum()
    for _ in range(most_steps):
        r, J = residuals(params), jacobian(residuals)(params)
        normal = J.T @ J
        step = torch.linalg.solve(normal + damping * torch.diag(normal.diag()), -J.T @ r)
        new_value = residuals(params + step).square().sum()
        if new_value < value:
            done = (step.abs() < 1e-12 * params.abs()).all() or value - new_value < 1e-15 * value
            params, value, damping = params + step, new_value, damping / 10
            if done:
                break
        else:
            damping *= 10
            if damping > 1e12:
                break
    return params


@pytest.mark.parametrize("jacobian", [jacrev, jacfwd])
def test_levenberg_marquardt_finds_certified_values(jacobian):
    found = levenberg_marquardt(misfit, START, jacobian)
    torch.testing.assert_close(found, CERTIFIED, rtol=1e-8, atol=0)
    assert misfit(found).square().sum().item() == pytest.approx(CERTIFIED_SUM, rel=1e-9)
    J = jacobian(misfit)(found)
    variance = CERTIFIED_SUM / (14 - 2)
    errors = (variance * torch.linalg.inv(J.T @ J).diag()).sqrt()
    torch.testing.assert_close(errors, CERTIFIED_ERRORS, rtol=1e-6, atol=0)


def test_gauss_newton_is_exact_in_one_step_for_linear_residuals():
    generator = torch.Generator().manual_seed(0)
    A = torch.randn(9, 4, generator=generator, **FLOAT64)
    b = torch.randn(9, generator=generator, **FLOAT64)

    def residuals(x):
        return A @ x - b

    x = torch.ones(4, **FLOAT64)
    step = torch.linalg.lstsq(jacrev(residuals)(x), residuals(x)).solution
    torch.testing.assert_close(x - step, torch.linalg.lstsq(A, b).solution)


def test_gauss_newton_without_matrices():
    """Each step by conjugate gradients on products; parameters are a tree."""
    x = torch.linspace(-2, 2, 40, **FLOAT64)
    y = 1.5 * torch.tanh(0.8 * x + 0.3) - 0.2

    def residuals(params):
        slope, offset = params["line"]
        return params["height"] * torch.tanh(slope * x + offset) + params["base"] - y

    def squares(r):
        return 0.5 * r.square().sum()

    params = {"height": torch.tensor(1.0, **FLOAT64), "base": torch.tensor(0.0, **FLOAT64),
              "line": torch.tensor([1.0, 0.0], **FLOAT64)}
    for _ in range(12):
        gradient = torch.func.grad(lambda p: squares(residuals(p)))(params)
        product = gauss_newton_product(residuals, squares, params)
        step = conjugate_gradient(product, gradient, damping=1e-9, tolerance=1e-10).solution
        params = {name: p - step[name] for name, p in params.items()}
    found = torch.cat([params["height"][None], params["line"], params["base"][None]])
    torch.testing.assert_close(found, torch.tensor([1.5, 0.8, 0.3, -0.2], **FLOAT64))


def test_many_problems_at_once():
    """Gauss-Newton with a fixed number of steps, vmapped over data: decay rates of ten series."""
    times = torch.linspace(0, 2, 15, **FLOAT64)
    rates = torch.linspace(0.5, 2.0, 10, **FLOAT64)
    series = 3 * torch.exp(-rates[:, None] * times)

    def fitted(observed):
        params = torch.tensor([2.5, 1.0], **FLOAT64)

        def residuals(params):
            return params[0] * torch.exp(-params[1] * times) - observed

        for _ in range(12):
            J = jacrev(residuals)(params)
            params = params - torch.linalg.solve(J.T @ J, J.T @ residuals(params))
        return params

    found = vmap(fitted)(series)
    torch.testing.assert_close(found[:, 0], torch.full((10,), 3.0, **FLOAT64))
    torch.testing.assert_close(found[:, 1], rates)


def test_the_fit_is_differentiated_in_the_data():
    """d fit / d y = -inverse(JtJ) Jt for a fit without misfit: also what unrolled steps give."""
    A = torch.tensor([[1.0, 0.0], [1.0, 1.0], [1.0, 2.0]], **FLOAT64)

    def fitted(y):
        params = torch.tensor([0.1, 0.1], **FLOAT64)
        for _ in range(8):
            J = jacrev(lambda p: torch.exp(A @ p) - y)(params)
            params = params - torch.linalg.solve(J.T @ J, J.T @ (torch.exp(A @ params) - y))
        return params

    truth = torch.tensor([0.3, -0.2], **FLOAT64)
    y = torch.exp(A @ truth)
    J = y[:, None] * A
    torch.testing.assert_close(fitted(y), truth)
    torch.testing.assert_close(jacrev(fitted)(y), torch.linalg.pinv(J), rtol=1e-6, atol=1e-9)
