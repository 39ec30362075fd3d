"""`torch.utils.data._utils`: PyTorch's package of the files that lie beside this one."""

from taper.utils.data import collate, fetch, worker

__all__ = ["collate", "fetch", "worker"]
