"""DLPack capsules: the memory is shared, in both directions."""

import numpy as np

import taper as torch
from taper.utils.dlpack import DLDeviceType, from_dlpack, to_dlpack


def test_capsules_share_memory():
    tensor = torch.arange(3)
    other = from_dlpack(to_dlpack(tensor))
    other[0] = 9
    assert tensor.tolist() == [9, 1, 2]


def test_arrays_of_other_libraries():
    array = np.arange(3.0)
    tensor = from_dlpack(array)
    tensor[1] = 7
    assert array.tolist() == [0, 7, 2]
    assert int(DLDeviceType.kDLCPU) == 1
