"""`torch.utils.model_zoo`: the older name of `torch.hub`'s files."""

from typing import Any

from taper import hub
from taper.hub import load_state_dict_from_url as load_url

__all__ = ["load_url"]


def __getattr__(name: str) -> Any:
    if name != "tqdm":  # which packages take from here
        raise AttributeError(f"module 'torch.utils.model_zoo' has no attribute {name!r}")
    return hub.tqdm
