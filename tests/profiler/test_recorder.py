"""What recordings see, and that they leave nothing behind."""

import threading

import pytest

import taper as torch
from taper.autograd.engine import observed
from taper.core.overrides import mode_stack
from taper.core.state import active
from taper.overrides import TorchFunctionMode
from taper.profiler import profile, record_function


def names_of(found) -> list[str]:
    return [event.name for event in found.events()]


def test_operators_are_named_as_pytorch_names_them() -> None:
    x = torch.ones(2, 2)
    with profile() as found:
        (x + 1).exp_()
        torch.linalg.det(x)
        torch.special.i0e(x)
        x[0]
        x[:, 1:]
        x[torch.tensor([0])]
        x[0] = 2
        x.to(torch.float64)
    seen = names_of(found)
    assert seen[:3] == ["aten::add", "aten::exp_", "aten::linalg_det"]
    for name in ("special_i0e", "select", "slice", "index", "index_put_", "to"):
        assert f"aten::{name}" in seen


def test_operators_within_operators_are_children() -> None:
    linear = torch.nn.Linear(3, 2)
    with profile() as found:
        linear(torch.ones(1, 3).requires_grad_())
    whole = next(event for event in found.events() if event.name == "aten::linear")
    assert "aten::addmm" in [child.name for child in whole.cpu_children]
    assert all(child.cpu_parent is whole for child in whole.cpu_children)
    inner = sum(child.cpu_time_total for child in whole.cpu_children)
    assert whole.self_cpu_time_total == pytest.approx(whole.cpu_time_total - inner)


def test_backward_nodes_are_recorded_with_the_operators_they_call() -> None:
    x = torch.ones(3, requires_grad=True)
    y = (x * x).sum()
    with profile() as found:
        y.backward()
    seen = names_of(found)
    assert seen[:2] == ["autograd::engine::evaluate_function: SumBackward0", "SumBackward0"]
    node = next(event for event in found.events() if event.name == "MulBackward0")
    assert [child.name for child in node.cpu_children].count("aten::mul") == 2
    assert x.grad.tolist() == [2, 2, 2]


def test_backward_is_recorded_in_anomaly_mode_too() -> None:
    x = torch.zeros(1, requires_grad=True)
    y = torch.sqrt(x) * 0
    with profile() as found, torch.autograd.set_detect_anomaly(True), pytest.raises(
        RuntimeError, match="returned nan values"
    ):
        y.backward()
    assert "MulBackward0" in names_of(found)


def test_shapes() -> None:
    with profile(record_shapes=True) as found:
        torch.cat([torch.ones(2, 3), torch.ones(1, 3)])
        torch.ones(2, 3) @ torch.ones(3, 4)
    shapes = {event.name: event.input_shapes for event in found.events()}
    assert shapes["aten::cat"][0] == [[2, 3], [1, 3]]
    assert shapes["aten::mm"] == [[2, 3], [3, 4]]


def test_memory_is_that_of_new_results() -> None:
    x = torch.ones(10)
    with profile(profile_memory=True) as found:
        x + 1
        x.add_(1)
        x.view(2, 5)
    memory = {event.name: event.cpu_memory_usage for event in found.events()}
    assert memory == {"aten::add": 40, "aten::add_": 0, "aten::view": 0}


def test_blocks_have_the_memory_of_what_runs_within() -> None:
    with profile(profile_memory=True) as found, record_function("block"):
        torch.ones(2) + 1
    block = found.events()[0]
    assert (block.cpu_memory_usage, block.self_cpu_memory_usage) == (8, 0)


def test_the_calling_line_is_known() -> None:
    with profile(with_stack=True) as found:
        torch.ones(3).exp()
    exp = next(event for event in found.events() if event.name == "aten::exp")
    assert __file__ in exp.stack[0] and "test_the_calling_line_is_known" in exp.stack[0]


def test_modules_and_optimizer_steps() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with profile(with_modules=True) as found:
        model(torch.ones(1, 2)).sum().backward()
        optimizer.step()
    seen = names_of(found)
    modules = [name for name in seen if name.startswith("nn.Module")]
    assert modules == ["nn.Module: Sequential_0", "nn.Module: Linear_0", "nn.Module: Linear_1"]
    assert "Optimizer.step#SGD.step" in seen


def test_errors_close_what_they_leave_and_pass_through() -> None:
    with profile() as found:
        with pytest.raises(RuntimeError), record_function("fails"):
            torch.ones(2) @ torch.ones(3)
        torch.ones(1).neg()
    after = found.events()[-1]
    assert after.name == "aten::neg" and after.cpu_parent is None


def test_nothing_is_left_behind() -> None:
    modes = active.modes
    with pytest.raises(ValueError), profile(with_modules=True):
        raise ValueError
    assert active.modes == modes and mode_stack.get() == () and observed.around is None
    with profile() as found:
        pass
    torch.ones(2).exp()
    assert names_of(found) == []


def test_one_recording_at_a_time() -> None:
    with profile(), pytest.raises(RuntimeError, match="Can't start profiler"), profile():
        pass
    with profile():
        pass


def test_modes_see_what_is_recorded() -> None:
    class Seen(TorchFunctionMode):
        def __init__(self) -> None:
            self.names = []

        def __torch_function__(self, func, types, args=(), kwargs=None):
            self.names.append(func.__name__)
            return func(*args, **(kwargs or {}))

    with Seen() as outside, profile() as found:
        torch.ones(2).neg().exp()
    assert outside.names == ["neg", "exp"] and "aten::exp" in names_of(found)
    with profile() as found, Seen() as inside:
        torch.ones(2).neg().exp()
    assert inside.names == ["neg", "exp"] and "aten::exp" in names_of(found)


def test_blocks_of_other_threads() -> None:
    def work() -> None:
        with record_function("elsewhere"):
            pass

    with profile() as found, record_function("here"):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    here, elsewhere = found.events()
    assert elsewhere.cpu_parent is None and elsewhere.thread != here.thread


def test_results_are_those_without_a_recording() -> None:
    def step():
        torch.manual_seed(0)
        model = torch.nn.TransformerEncoderLayer(8, 2, 16)
        loss = model(torch.randn(3, 2, 8)).pow(2).sum()
        loss.backward()
        return [loss, *(p.grad for p in model.parameters())]

    with profile(record_shapes=True, profile_memory=True, with_stack=True) as found:
        recorded = step()
    assert all(torch.equal(a, b) for a, b in zip(recorded, step(), strict=True))
    assert len(found.events()) > 30


def test_functions_that_ask_for_overrides_are_left_alone() -> None:
    from taper.overrides import handle_torch_function, has_torch_function

    def twice(x):
        if has_torch_function((x,)):
            return handle_torch_function(twice, (x,), x)
        return x + x

    with profile() as found:
        assert twice(torch.ones(1)).item() == 2
    assert names_of(found) == ["aten::add"]
