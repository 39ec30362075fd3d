"""`torch._dynamo.eval_frame`, where PyTorch keeps the class of compiled modules."""

from taper.compilation import OptimizedModule

__all__ = ["OptimizedModule"]
