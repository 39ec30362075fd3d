"""no_grad, enable_grad, set_grad_enabled, inference_mode: blocks, decorators, threads."""

import threading

import pytest

import taper as torch


def recorded():
    return (torch.ones(1, requires_grad=True) * 2).requires_grad


def test_blocks_nest_either_way():
    with torch.no_grad():
        assert not recorded()
        with torch.enable_grad():
            assert recorded()
        assert not recorded()
    assert recorded()


def test_a_block_ends_with_an_exception():
    with pytest.raises(ValueError), torch.no_grad():
        raise ValueError
    assert torch.is_grad_enabled()


def test_decorators():
    @torch.no_grad()
    def with_call():
        return recorded()

    @torch.no_grad
    def without_call():
        return recorded()

    @torch.no_grad()
    def generator():
        received = yield recorded()
        yield (received, recorded())

    assert not with_call() and not without_call()
    steps = generator()
    assert next(steps) is False
    assert recorded()
    assert steps.send("x") == ("x", False)


def test_set_grad_enabled_is_a_block_and_a_call():
    with torch.set_grad_enabled(False):
        assert not recorded()
    torch.set_grad_enabled(False)
    assert not recorded()
    torch.set_grad_enabled(True)
    assert recorded()


def test_other_threads_have_their_own_mode():
    seen = []
    with torch.no_grad():
        thread = threading.Thread(target=lambda: seen.append(recorded()))
        thread.start()
        thread.join()
    assert seen == [True]


def test_inference_tensors():
    w = torch.ones(2, requires_grad=True)
    with torch.inference_mode():
        assert torch.is_inference_mode_enabled()
        x = w * 2
    assert x.is_inference() and not x.requires_grad
    with pytest.raises(RuntimeError, match="Inference tensors cannot be saved for backward"):
        x * w
    with pytest.raises(RuntimeError, match="Inplace update to inference tensor outside"):
        x.add_(1)
    assert (x + 1).tolist() == [3.0, 3.0]


def test_memory_of_inference_mode_can_be_written_within_it():
    with torch.inference_mode():
        x = torch.zeros(4)
        x[1:3] += 1.0
        x[:1] = torch.ones(1)
        x[3:].copy_(torch.tensor([5.0]))
        assert x.tolist() == [1.0, 1.0, 1.0, 5.0]
        x.copy_(torch.arange(4))
        x.view(2, 2).diagonal().fill_(7)
        assert x.tolist() == [7.0, 1.0, 2.0, 7.0]
        x.untyped_storage().fill_(0)
        x.data[:1] = 9.0
        assert x.tolist() == [9.0, 0.0, 0.0, 0.0]
        assert x.set_(torch.ones(2)).tolist() == [1.0, 1.0]
    w = torch.zeros(2)
    with torch.inference_mode():
        w[:1] = torch.ones(1)
        w.copy_(w + 1)
    assert w.tolist() == [2.0, 1.0] and w._version == 2


def test_memory_of_inference_mode_stays_as_it_is_outside():
    with torch.inference_mode():
        x = torch.zeros(2, 2)

    def assign():
        x[0] = 1.0

    def assign_tensor():
        x[:1] = torch.ones(2)

    for change in (assign, assign_tensor, lambda: x.copy_(torch.ones(2, 2)),
                   lambda: x[0].copy_(torch.ones(2)), lambda: x.view(4).add_(1), x.zero_):
        with pytest.raises(RuntimeError, match="Inplace update to inference tensor outside"):
            change()
    assert x.tolist() == [[0.0, 0.0], [0.0, 0.0]]
