"""As in a PyTorch that was built without it."""

import pytest

import taper as torch


def test_it_is_not_available() -> None:
    assert torch.distributed.is_available() is False
    assert not hasattr(torch.distributed, "init_process_group")
    with pytest.raises(AttributeError, match="isn't available in taper"):
        torch.distributed.all_reduce
    with pytest.raises(RuntimeError, match="isn't available"):
        torch.distributed.ProcessGroup()
