"""The functions of `torch.fft` under their longer names, as pickles have them."""

from taper._C.longer_names import functions_of

__getattr__ = functions_of("fft")
