"""`torch.backends`: modules with switches."""

import importlib

import pytest

import taper as torch


def test_each_is_a_module_of_its_own():
    cudnn = importlib.import_module("taper.backends.cudnn")
    assert cudnn is torch.backends.cudnn and not cudnn.is_available()
    with torch.backends.cudnn.flags(enabled=False, benchmark=True):
        assert not cudnn.enabled and cudnn.benchmark
    assert cudnn.enabled and not cudnn.benchmark


def test_switches_of_attention():
    cuda = torch.backends.cuda
    with pytest.warns(FutureWarning, match="sdp_kernel"), cuda.sdp_kernel(enable_flash=False):
        assert not cuda.flash_sdp_enabled() and cuda.math_sdp_enabled()
    assert cuda.flash_sdp_enabled()


@pytest.mark.parametrize("device", ["cuda", "xpu"])
def test_devices_that_are_absent(device):
    module = getattr(torch, device)
    assert not module.is_available() and module.device_count() == 0
    assert module.get_rng_state_all() == [] and module.memory_allocated() == 0
    with pytest.raises(AssertionError, match="Torch not compiled with"):
        module.synchronize()
