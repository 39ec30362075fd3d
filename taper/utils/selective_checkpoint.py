"""Checkpoints that keep the results of some operators: a policy says which."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any
from zlib import adler32

import numpy as np

from taper.core.state import active, around_forwards

__all__ = [
    "CheckpointPolicy", "SelectiveCheckpointContext", "create_selective_checkpoint_contexts",
]


class CheckpointPolicy(Enum):
    """What a policy says of one operator call: keep its result, or compute it again."""

    MUST_SAVE = 0
    PREFER_SAVE = 1
    MUST_RECOMPUTE = 2
    PREFER_RECOMPUTE = 3
    MUST_CPU_OFFLOAD = 4


CheckpointPolicy.__module__ = "torch.utils.checkpoint"


class SelectiveCheckpointContext:
    """What a policy is told of a call: whether it is in the second run."""

    __module__ = "torch.utils.checkpoint"

    def __init__(self, *, is_recompute: bool, op_output: Any = None) -> None:
        self.is_recompute = is_recompute
        self.op_output = op_output


def create_selective_checkpoint_contexts(
    policy_fn_or_list: Any, allow_cache_entry_mutation: bool = False
) -> tuple[Any, Any]:
    """Returns the two contexts for a `context_fn` of `checkpoint`: results that the policy wants
    saved are kept from the first run, and not computed in the second.

    Args:
        policy_fn_or_list: ``policy(context, op, *args, **kwargs)`` returns a CheckpointPolicy, or
            whether to save; or a list of functions, such as ``[torch.mm]``, whose results to save.
        allow_cache_entry_mutation: don't complain of kept results that were changed in place.
    Example:
        >>> import functools
        >>> import taper as torch
        >>> from taper.utils.checkpoint import checkpoint, create_selective_checkpoint_contexts
        >>> contexts = functools.partial(create_selective_checkpoint_contexts, [torch.mm])
        >>> x = torch.eye(2, requires_grad=True)
        >>> y = checkpoint(lambda x: x.mm(x).exp(), x, use_reentrant=False, context_fn=contexts)
        >>> y.sum().backward()
    """
    if isinstance(policy_fn_or_list, (list, tuple)):
        saved = list(policy_fn_or_list)

        def policy(context: Any, op: Any, *args: Any, **kwargs: Any) -> CheckpointPolicy:
            save = any(op is s for s in saved)
            return CheckpointPolicy.MUST_SAVE if save else CheckpointPolicy.PREFER_RECOMPUTE
    elif callable(policy_fn_or_list):
        policy = policy_fn_or_list
    else:
        raise TypeError("policy_fn_or_list must be either a function or a list of ops.")
    kept: dict[Any, list[Any]] = {}
    return (
        SelectedForwards(policy, kept, False, allow_cache_entry_mutation),
        SelectedForwards(policy, kept, True, allow_cache_entry_mutation),
    )


class SelectedForwards:
    """A block in which forwards are kept, or taken from what was kept, as a policy says."""

    def __init__(
        self, policy: Callable[..., Any], kept: dict[Any, list[Any]], again: bool,
        may_change: bool,
    ) -> None:
        self.policy = policy
        self.kept = kept
        self.again = again
        self.may_change = may_change

    def __enter__(self) -> None:
        active.modes += 1
        self.taken: dict[Any, int] = {}
        self.outer = around_forwards.get()
        around_forwards.set(self.around)

    def __exit__(self, *exception: Any) -> None:
        around_forwards.set(self.outer)
        active.modes -= 1

    def around(self, op: Any, bound: dict[str, Any], run: Callable[[], Any]) -> Any:
        """What the forward of `op` returns, now or at first."""
        if op.view:
            return run()
        context = SelectiveCheckpointContext(is_recompute=self.again)
        around_forwards.set(None)
        try:
            chosen = self.policy(context, op.function, *bound.values())
            if isinstance(chosen, bool):
                saves = chosen
            else:
                saves = chosen in (CheckpointPolicy.MUST_SAVE, CheckpointPolicy.PREFER_SAVE)
            if not saves:
                return run()
            kept = self.kept.setdefault(op, [])
            if not self.again:
                found = run()
                kept.append((found, [_fingerprint(a) for a in _arrays(found)]))
                return found
        finally:
            around_forwards.set(self.around)
        number = self.taken[op] = self.taken.get(op, -1) + 1
        if number >= len(kept):
            raise RuntimeError(
                f"{op.name} encountered during backward, but not found in storage: the policy "
                "chose to save more in the second run than in the first."
            )
        found, before = kept[number]
        if not self.may_change and before != [_fingerprint(a) for a in _arrays(found)]:
            raise RuntimeError(
                "Tensor cached during selective activation checkpoint has been mutated"
            )
        return found


def _arrays(raw: Any) -> list[np.ndarray[Any, Any]]:
    if isinstance(raw, np.ndarray):
        return [raw]
    return [a for item in raw for a in _arrays(item)] if isinstance(raw, (tuple, list)) else []


def _fingerprint(array: np.ndarray[Any, Any]) -> int:
    """A number that changes when somebody writes into the array."""
    return adler32(array.tobytes())
