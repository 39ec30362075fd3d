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
