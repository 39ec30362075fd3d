"""PyTorch's private tensor subclasses that packages ask about."""

from taper._subclasses.fake_tensor import FakeTensor, FakeTensorMode

__all__ = ["FakeTensor", "FakeTensorMode"]
