"""`RemovableHandle`: what registering a hook returns, and what takes the hook away again."""

from __future__ import annotations

import weakref
from collections import OrderedDict
from itertools import count
from typing import Any

__all__ = ["RemovableHandle", "register"]

_ids = count()


class RemovableHandle:
    """Removes one hook from its registry: call `remove`, or leave a ``with`` block.

    Args:
        hooks_dict: the ordered dict the hook is registered in, by `id`.
        extra_dict: a dict, or list of dicts, with more entries of the same id to remove.
    """

    __module__ = "torch.utils.hooks"

    id: int

    def __init__(self, hooks_dict: Any, *, extra_dict: Any = None) -> None:
        self.hooks_dict_ref = weakref.ref(hooks_dict)
        self.id = next(_ids)
        if extra_dict is None:
            extra_dict = []
        elif not isinstance(extra_dict, list):
            extra_dict = [extra_dict]
        self.extra_dict_ref = tuple(weakref.ref(extra) for extra in extra_dict)

    def remove(self) -> None:
        """Unregisters the hook; nothing happens the second time."""
        for reference in (self.hooks_dict_ref, *self.extra_dict_ref):
            hooks = reference()
            if hooks is not None:
                hooks.pop(self.id, None)

    def follow(self, replaced: dict[int, Any]) -> None:
        """Refers to others where registries were replaced, which are told by their ids."""
        hooks, extra = self.hooks_dict_ref(), [reference() for reference in self.extra_dict_ref]
        own = OrderedDict() if hooks is None else hooks
        self.hooks_dict_ref = weakref.ref(replaced.get(id(hooks), own))
        self.extra_dict_ref = tuple([
            weakref.ref(replaced.get(id(d), d)) for d in extra if d is not None
        ])

    def __getstate__(self) -> Any:
        extra = tuple([reference() for reference in self.extra_dict_ref])
        return self.hooks_dict_ref(), self.id, extra

    def __setstate__(self, state: Any) -> None:
        global _ids  # noqa: PLW0603 - later hooks must not get an id that is taken
        hooks, self.id, *extra = state
        # What is gone is referred to by a dict that is gone, too.
        self.hooks_dict_ref = weakref.ref(OrderedDict() if hooks is None else hooks)
        self.extra_dict_ref = tuple([weakref.ref(d) for d in (extra[0] if extra else ()) or ()])
        _ids = count(max(next(_ids), self.id + 1))

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *exception: Any) -> None:
        self.remove()


def register(hooks: Any, hook: Any) -> RemovableHandle:
    """Adds a hook at the end of an ordered dict of hooks."""
    handle = RemovableHandle(hooks)
    hooks[handle.id] = hook
    return handle
