"""Connectionist temporal classification: the forward-backward algorithm over a whole batch.

Source: Graves et al., Connectionist Temporal Classification, 2006, equations 6 to 16, with
logarithms of probabilities. States are the labels with a blank before, between and after them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from taper.arrays.primitive import primitive

__all__ = ["ctc_gradient", "ctc_losses", "may_skip", "states_of"]

Array = np.ndarray[Any, Any]


def states_of(targets: Array, blank: int) -> Array:
    """The labels of the states, (batch, 2 labels + 1)."""
    batch, length = targets.shape
    found = np.full((batch, 2 * length + 1), blank, np.int64)
    found[:, 1::2] = targets
    return found


def may_skip(states: Array) -> Array:
    """Whether a state can be entered from two before it: over a blank, between other labels."""
    result = np.zeros(states.shape, np.bool_)
    # Blanks equal each other, so they are never entered so.
    result[:, 2:] = states[:, 2:] != states[:, :-2]
    return result


def _log_sum(*arrays: Array) -> Array:
    """The logarithm of a sum of exponentials."""
    most = arrays[0]
    for other in arrays[1:]:
        most = np.maximum(most, other)
    shift = np.where(np.isneginf(most), 0, most).astype(most.dtype)
    total: Any = 0
    for array in arrays:
        total = total + np.exp(array - shift)
    with np.errstate(divide="ignore"):
        return np.log(total) + shift


def _entered(alpha: Array, skip: Array) -> Array:
    """What reaches each state: from itself, from the one before, from two before."""
    nothing = alpha.dtype.type(-np.inf)
    one, two = np.full_like(alpha, nothing), np.full_like(alpha, nothing)
    one[:, 1:] = alpha[:, :-1]
    two[:, 2:] = alpha[:, :-2]
    return _log_sum(alpha, one, np.where(skip, two, nothing))


@primitive
def ctc_losses(
    log_probs: Array, targets: Array, input_lengths: Array, target_lengths: Array, blank: int
) -> tuple[Array, Array]:
    """The negative log likelihood of each target, and log alpha (time, batch, states)."""
    time, batch = log_probs.shape[:2]
    states = states_of(targets, blank)
    skip = may_skip(states)
    nothing = log_probs.dtype.type(-np.inf)
    alpha = np.full((max(time, 1), batch, states.shape[1]), nothing, log_probs.dtype)
    items = np.arange(batch)
    if time:
        emitted = np.take_along_axis(log_probs, states[None].repeat(time, 0), 2)
        alpha[0, :, 0] = emitted[0, :, 0]
        if states.shape[1] > 1:
            has_label = target_lengths > 0
            alpha[0, has_label, 1] = emitted[0, has_label, 1]
        for t in range(1, time):
            alpha[t] = _entered(alpha[t - 1], skip) + emitted[t]
    last = np.maximum(input_lengths - 1, 0)
    end = alpha[last, items, 2 * target_lengths]
    before = np.where(
        target_lengths > 0, alpha[last, items, np.maximum(2 * target_lengths - 1, 0)], nothing
    )
    losses = -_log_sum(end, before)
    without_input = input_lengths == 0
    losses[without_input] = np.where(target_lengths[without_input] == 0, 0, np.inf)
    return losses, alpha


@ctc_losses.shapes
def _(
    log_probs: Array, targets: Array, input_lengths: Array, target_lengths: Array, blank: int
) -> Any:
    time, batch = log_probs.shape[:2]
    alpha = (max(time, 1), batch, 2 * targets.shape[1] + 1)
    return [((batch,), log_probs.dtype), (alpha, log_probs.dtype)]


@primitive
def ctc_gradient(
    grad: Array, log_probs: Array, targets: Array, input_lengths: Array, target_lengths: Array,
    losses: Array, alpha: Array, blank: int, zero_infinity: bool,
) -> Array:
    """The gradient of `log_probs`, which must be normalized, as PyTorch has it (equation 16)."""
    time, batch = log_probs.shape[:2]
    states = states_of(targets, blank)
    count = states.shape[1]
    skip = np.zeros(states.shape, np.bool_)
    skip[:, :-2] = may_skip(states)[:, 2:]
    nothing = log_probs.dtype.type(-np.inf)
    items = np.arange(batch)
    beta = np.full((batch, count), nothing, log_probs.dtype)
    result = np.exp(log_probs)
    valid = np.arange(count) <= 2 * target_lengths[:, None]
    for t in range(time - 1, -1, -1):
        emitted = np.take_along_axis(log_probs[t], states, 1)
        one, two = np.full_like(beta, nothing), np.full_like(beta, nothing)
        one[:, :-1] = beta[:, 1:]
        two[:, :-2] = beta[:, 2:]
        moved = _log_sum(beta, one, np.where(skip, two, nothing)) + emitted
        starts = np.flatnonzero(input_lengths - 1 == t)
        if len(starts):
            moved[starts] = nothing
            last = 2 * target_lengths[starts]
            moved[starts, last] = emitted[starts, last]
            labelled = starts[target_lengths[starts] > 0]
            place = 2 * target_lengths[labelled] - 1
            moved[labelled, place] = emitted[labelled, place]
        beta = np.where(valid, moved, nothing)
        beta[input_lengths - 1 < t] = nothing
        both = alpha[t] + beta
        shares = np.zeros(result.shape[1:], result.dtype)
        with np.errstate(invalid="ignore"):
            scaled = np.exp(both + losses[:, None] - emitted)
        np.add.at(shares, (items[:, None], states), np.where(np.isneginf(both), 0, scaled))
        result[t] -= shares
    if not zero_infinity:
        result[:, np.isposinf(losses)] = np.nan  # no alignment: there is no direction to improve
    result *= grad[:, None]
    result[np.arange(time)[:, None] >= input_lengths] = 0
    if zero_infinity:
        result[:, np.isinf(losses)] = 0
    return result


@ctc_gradient.shapes
def _(grad: Array, log_probs: Array, *rest: Any) -> Any:
    return log_probs.shape, log_probs.dtype
