"""Schedules of the learning rate: call ``scheduler.step()`` after each epoch, or each batch."""

from bisect import bisect_right  # noqa: F401 - public in PyTorch's module as well

from taper.optim.lr_scheduler.base import LRScheduler, _LRScheduler  # noqa: F401 - the old name
from taper.optim.lr_scheduler.composition import ChainedScheduler, SequentialLR
from taper.optim.lr_scheduler.cosine import CosineAnnealingLR, CosineAnnealingWarmRestarts
from taper.optim.lr_scheduler.cycles import CyclicLR, OneCycleLR
from taper.optim.lr_scheduler.factors import (
    ConstantLR,
    ExponentialLR,
    LambdaLR,
    LinearLR,
    MultiplicativeLR,
    MultiStepLR,
    PolynomialLR,
    StepLR,
)
from taper.optim.lr_scheduler.plateau import ReduceLROnPlateau

__all__ = [
    "ChainedScheduler",
    "ConstantLR",
    "CosineAnnealingLR",
    "CosineAnnealingWarmRestarts",
    "CyclicLR",
    "ExponentialLR",
    "LRScheduler",
    "LambdaLR",
    "LinearLR",
    "MultiStepLR",
    "MultiplicativeLR",
    "OneCycleLR",
    "PolynomialLR",
    "ReduceLROnPlateau",
    "SequentialLR",
    "StepLR",
]

# Pickles name the public module, so that the files here may be rearranged.
for _name in (*__all__, "_LRScheduler"):
    globals()[_name].__module__ = __name__
