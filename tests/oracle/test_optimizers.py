"""Optimizers and schedules against PyTorch: the same gradients, the same trajectories."""

from __future__ import annotations

import copy

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import taper  # noqa: E402

STEPS = 25
SHAPES = [(4, 3), (6, 2), (5,), ()]
MATRICES = [(4, 3), (3, 6)]

SETTINGS = {
    "SGD": [
        {}, {"lr": 0.1, "momentum": 0.9}, {"momentum": 0.9, "dampening": 0.3, "lr": 0.05},
        {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1}, {"maximize": True},
        {"weight_decay": 0.5, "maximize": True}, {"lr": "tensor"},
    ],
    "Adam": [
        {}, {"lr": 0.05, "betas": (0.5, 0.9)}, {"weight_decay": 0.1}, {"amsgrad": True, "lr": 0.1},
        {"maximize": True, "weight_decay": 0.1}, {"eps": 1e-2}, {"lr": "tensor"},
        {"decoupled_weight_decay": True, "weight_decay": 0.2},
    ],
    "AdamW": [{}, {"lr": 0.05, "weight_decay": 0.3}, {"amsgrad": True}, {"maximize": True}],
    "Adagrad": [
        {}, {"lr": 0.1, "lr_decay": 0.5}, {"weight_decay": 0.1}, {"maximize": True},
        {"initial_accumulator_value": 0.3, "eps": 1e-3},
    ],
    "RMSprop": [
        {}, {"momentum": 0.9}, {"centered": True}, {"alpha": 0.8, "weight_decay": 0.1},
        {"centered": True, "momentum": 0.5, "maximize": True},
    ],
    "Adadelta": [{}, {"rho": 0.8, "lr": 0.5}, {"weight_decay": 0.1, "maximize": True}],
    "Adamax": [{}, {"betas": (0.7, 0.8), "lr": 0.1}, {"weight_decay": 0.1, "maximize": True}],
    "NAdam": [
        {}, {"momentum_decay": 0.05, "lr": 0.05}, {"weight_decay": 0.1, "maximize": True},
        {"weight_decay": 0.1, "decoupled_weight_decay": True},
    ],
    "RAdam": [
        {}, {"lr": 0.1, "betas": (0.8, 0.9)}, {"weight_decay": 0.1, "maximize": True},
        {"weight_decay": 0.1, "decoupled_weight_decay": True},
    ],
    "ASGD": [{}, {"lambd": 0.1, "t0": 5}, {"weight_decay": 0.1, "maximize": True, "alpha": 0.5}],
    "Rprop": [{}, {"etas": (0.3, 1.5)}, {"step_sizes": (1e-3, 0.1)}, {"maximize": True}],
    "Adafactor": [{}, {"lr": 0.1, "weight_decay": 0.1}, {"d": 2.0, "maximize": True},
                  {"eps": (1e-3, 1e-2), "beta2_decay": -0.5}],
    "Muon": [{}, {"lr": 0.1, "nesterov": False}, {"adjust_lr_fn": "match_rms_adamw"}],
}  # fmt: skip
CASES = [(name, options) for name, many in SETTINGS.items() for options in many]
REAL_ONLY = ("Adafactor", "Muon")
# Muon's matrix products are in bfloat16, whose last place is 2^-8.
TOLERANCE = {"Muon": 4e-2}


def start(library, name, options, shapes, dtype, groups=False):
    """An optimizer of a library over parameters with fixed values, and the parameters."""
    rng = np.random.default_rng(1)
    arrays = [random_array(rng, shape, dtype) for shape in shapes]
    params = [library.nn.Parameter(library.tensor(array)) for array in arrays]
    options = dict(options)
    if options.get("lr") == "tensor":
        options["lr"] = library.tensor(0.01)
    given = params
    if groups:
        given = [{"params": params[:1]}, {"params": params[1:], "lr": 0.05}]
    return getattr(library.optim, name)(given, **options), params


def random_array(rng, shape, dtype):
    array = rng.standard_normal(shape)
    if np.dtype(dtype).kind == "c":
        array = array + 1j * rng.standard_normal(shape)
    return np.asarray(array, dtype)


def run(library, optimizer, params, first, last, skip=None):
    """The values after each step; the gradients depend on the step only."""
    values = []
    for step in range(first, last):
        rng = np.random.default_rng(100 + step)
        for i, param in enumerate(params):
            grad = random_array(rng, tuple(param.shape), param.detach().numpy().dtype)
            param.grad = None if (i, step) == skip else library.tensor(grad)
        optimizer.step()
        values.append([param.detach().numpy().copy() for param in params])
    return values


def assert_same(actual, expected, name, dtype):
    single = np.dtype(dtype).itemsize // (2 if np.dtype(dtype).kind == "c" else 1) == 4
    tolerance = TOLERANCE.get(name, 2e-5 if single else 1e-10)
    for step, (ours, theirs) in enumerate(zip(actual, expected, strict=True)):
        for one, other in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(
                one, other, rtol=tolerance, atol=tolerance * 0.1, err_msg=f"step {step}"
            )


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64"])
@pytest.mark.parametrize(("name", "options"), CASES, ids=str)
def test_trajectory(name, options, dtype):
    if dtype == "complex64" and name in REAL_ONLY:
        pytest.skip(f"{name} takes real parameters only")
    shapes = MATRICES if name == "Muon" else SHAPES
    results = []
    for library in (taper, torch):
        optimizer, params = start(library, name, options, shapes, dtype)
        results.append(run(library, optimizer, params, 0, STEPS))
    # A rate that is a tensor is in single precision, and so is what PyTorch computes from it.
    assert_same(*results, name, "float32" if options.get("lr") == "tensor" else dtype)


@pytest.mark.parametrize("name", SETTINGS)
def test_groups_and_missing_gradients(name):
    shapes = MATRICES if name == "Muon" else SHAPES
    results = []
    for library in (taper, torch):
        optimizer, params = start(library, name, {}, shapes, "float32", groups=True)
        results.append(run(library, optimizer, params, 0, STEPS, skip=(1, 3)))
    assert_same(*results, name, "float32")


@pytest.mark.parametrize("name", ["SGD", "Adam", "RMSprop", "Rprop"])
def test_large_parameters_go_in_blocks(name):
    """Sizes beyond a block, one of them not contiguous, and small ones among them."""
    shapes = [(300, 200), (7,), (40000,), (3, 5)]
    options = {"SGD": {"momentum": 0.9}}.get(name, {})
    results = []
    for library in (taper, torch):
        optimizer, params = start(library, name, options, shapes, "float32")
        params[0].data = params[0].data.t()
        results.append(run(library, optimizer, params, 0, 5))
    assert_same(*results, name, "float32")


@pytest.mark.parametrize(("name", "options"), CASES, ids=str)
def test_state_dicts_are_exchanged(name, options):
    """Each side goes on from the other's state dict as the other would have."""
    shapes = MATRICES if name == "Muon" else SHAPES
    reference, params = start(torch, name, options, shapes, "float32")
    expected = run(torch, reference, params, 0, 20)

    theirs, params = start(torch, name, options, shapes, "float32")
    values = run(torch, theirs, params, 0, 10)[-1]
    ours, our_params = start(taper, name, options, shapes, "float32")
    with taper.no_grad():
        for param, value in zip(our_params, values, strict=True):
            param.copy_(taper.tensor(value))
    ours.load_state_dict(translated(theirs.state_dict(), taper))
    assert_same(run(taper, ours, our_params, 10, 20), expected[10:], name, "float32")
    assert describe(ours.state_dict()) == describe(theirs.state_dict())


def translated(tree, library):
    """A tree of containers with its tensors moved to the other library."""
    if isinstance(tree, torch.Tensor):
        return library.tensor(tree.numpy())
    if isinstance(tree, dict):
        return {key: translated(value, library) for key, value in tree.items()}
    if isinstance(tree, (list, tuple)):
        return type(tree)(translated(item, library) for item in tree)
    return copy.copy(tree)


def describe(tree):
    """Keys, types and shapes of a tree."""
    if isinstance(tree, dict):
        return {key: describe(value) for key, value in sorted(tree.items(), key=str)}
    if isinstance(tree, (list, tuple)):
        return [describe(item) for item in tree]
    if hasattr(tree, "shape"):
        return str(tree.dtype), tuple(tree.shape)
    return tree


@pytest.mark.parametrize("search", [None, "strong_wolfe"])
def test_lbfgs_on_rosenbrock(search):
    results = []
    for library in (taper, torch):
        x = library.nn.Parameter(library.tensor([-1.5, 2.0], dtype=library.float64))
        optimizer = library.optim.LBFGS([x], lr=0.1 if search is None else 1,
                                        line_search_fn=search, max_iter=8)

        def closure(x=x, optimizer=optimizer):
            optimizer.zero_grad()
            loss = (1 - x[0]) ** 2 + 100 * (x[1] - x[0] ** 2) ** 2
            loss.backward()
            return loss

        seen = []
        for _ in range(4):
            optimizer.step(closure)
            seen.append(x.detach().numpy().copy())
        results.append(seen)
    np.testing.assert_allclose(results[0], results[1], rtol=1e-6)


@pytest.mark.parametrize("name", ["SGD", "Adam", "Adagrad", "RMSprop", "Adadelta", "NAdam"])
def test_differentiable_step(name):
    """The gradient of what a few steps reach, with respect to the start and the learning rate."""
    results = []
    for library in (taper, torch):
        start_value = library.tensor([1.0, -2.0, 3.0], dtype=library.float64, requires_grad=True)
        param = start_value.clone()
        options = {"momentum": 0.9} if name == "SGD" else {}
        optimizer = getattr(library.optim, name)([param], lr=0.1, differentiable=True, **options)
        for _ in range(3):
            param.grad = param.clone() ** 2 + start_value
            optimizer.step()
        param.sum().backward()
        results.append(start_value.grad.numpy())
    # PyTorch computes Adam's bias corrections in single precision here.
    np.testing.assert_allclose(results[0], results[1], rtol=1e-6)


SCHEDULES = {
    "LambdaLR": {"lr_lambda": lambda epoch: 0.95**epoch},
    "MultiplicativeLR": {"lr_lambda": lambda epoch: 0.9},
    "StepLR": {"step_size": 3, "gamma": 0.5},
    "MultiStepLR": {"milestones": [2, 5, 5, 9], "gamma": 0.3},
    "ConstantLR": {"factor": 0.5, "total_iters": 4},
    "LinearLR": {"start_factor": 0.25, "end_factor": 0.8, "total_iters": 6},
    "ExponentialLR": {"gamma": 0.9},
    "PolynomialLR": {"total_iters": 7, "power": 2.0},
    "CosineAnnealingLR": {"T_max": 5, "eta_min": 0.01},
    "CosineAnnealingWarmRestarts": {"T_0": 2, "T_mult": 2},
    "CyclicLR": {"base_lr": 0.01, "max_lr": 0.1, "step_size_up": 3, "mode": "triangular2"},
    "OneCycleLR": {"max_lr": 0.2, "total_steps": 40, "three_phase": True},
}


def rates(library, name, last_epoch=-1, epochs=()):
    """The rates of 20 epochs; `epochs` are passed to `step`."""
    param = library.nn.Parameter(library.tensor([1.0]))
    optimizer = library.optim.SGD([{"params": [param], "initial_lr": 0.1}], lr=0.07, momentum=0.9)
    if name in ("CyclicLR", "OneCycleLR"):
        for key, value in (("max_momentum", 0.9), ("base_momentum", 0.8), ("max_lr", 0.2),
                           ("min_lr", 0.001)):
            optimizer.param_groups[0][key] = value
    scheduler = getattr(library.optim.lr_scheduler, name)(
        optimizer, **SCHEDULES[name], last_epoch=last_epoch
    )
    seen = [optimizer.param_groups[0]["lr"]]
    optimizer.step()
    for epoch in epochs or [None] * 20:
        scheduler.step() if epoch is None else scheduler.step(epoch)
        seen.append(optimizer.param_groups[0]["lr"])
    return seen


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("how", ["anew", "resumed", "jumping"])
@pytest.mark.parametrize("name", SCHEDULES)
def test_schedule(name, how):
    options = {
        "anew": {}, "resumed": {"last_epoch": 4}, "jumping": {"epochs": (3, 4, 9, 2, 12)},
    }[how]
    ours, theirs = (rates(library, name, **options) for library in (taper, torch))
    np.testing.assert_allclose(ours, theirs, rtol=1e-12)


@pytest.mark.filterwarnings("ignore")
def test_sequential_of_sequentials():
    results = []
    for library in (taper, torch):
        schedules = library.optim.lr_scheduler
        optimizer = library.optim.SGD([library.nn.Parameter(library.tensor([1.0]))], lr=0.1)
        inner = schedules.SequentialLR(
            optimizer, [schedules.ConstantLR(optimizer, 0.5, 2), schedules.StepLR(optimizer, 2)],
            milestones=[3],
        )
        outer = schedules.SequentialLR(
            optimizer, [inner, schedules.ExponentialLR(optimizer, 0.5)], milestones=[6]
        )
        seen = []
        for _ in range(10):
            seen.append(optimizer.param_groups[0]["lr"])
            outer.step()
        results.append(seen)
    np.testing.assert_allclose(results[0], results[1], rtol=1e-12)


def test_averaged_models():
    results = []
    for library in (taper, torch):
        swa = library.optim.swa_utils
        model = library.nn.Linear(2, 1)
        with library.no_grad():
            model.weight.copy_(library.tensor([[1.0, 2.0]]))
            model.bias.copy_(library.tensor([3.0]))
        averages = [
            swa.AveragedModel(model),
            swa.AveragedModel(model, multi_avg_fn=swa.get_ema_multi_avg_fn(0.8)),
            swa.AveragedModel(model, avg_fn=swa.get_ema_avg_fn(0.7)),
        ]
        for step in range(4):
            with library.no_grad():
                model.weight.add_(step)
            for average in averages:
                average.update_parameters(model)
        results.append([average.module.weight.detach().numpy() for average in averages])
    np.testing.assert_allclose(results[0], results[1], rtol=1e-6)
