"""Types that TorchScript programs are annotated with; annotations bind nobody here."""

from __future__ import annotations

from typing import Any

__all__ = [f"BroadcastingList{count}" for count in range(1, 7)]


class _BroadcastingList:
    """``BroadcastingList2[int]``: a list of two integers, or one integer for both."""

    def __class_getitem__(cls, element: Any) -> Any:
        return list[element]


BroadcastingList1 = BroadcastingList2 = BroadcastingList3 = _BroadcastingList
BroadcastingList4 = BroadcastingList5 = BroadcastingList6 = _BroadcastingList
