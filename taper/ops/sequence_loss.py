"""Losses of unaligned sequences: ctc_loss."""

from __future__ import annotations

from typing import Any

import numpy as np

from taper.core.promotion import scalar_type_name
from taper.core.state import is_differentiated
from taper.core.tensor import Tensor, wrap
from taper.kernels import ctc as kernel
from taper.ops.declare import composite, operator
from taper.ops.loss import check_reduction
from taper.ops.namespace import find
from taper.ops.recomputation import gradients_by_running

_NUMBERS = {0: "none", 1: "mean", 2: "sum"}


@operator(
    hidden=True, upcast=True, kinds="f", kernel="ctc_loss_cpu", aux=("losses", "alpha"),
    node="CtcLossBackward0",
)
def negative_log_likelihoods(
    log_probs: Tensor, targets: Any, input_lengths: Any, target_lengths: Any, blank: int,
    zero_infinity: bool,
) -> Any:
    losses, alpha = kernel.ctc_losses(log_probs, targets, input_lengths, target_lengths, blank)
    shown = np.where(np.isinf(losses), 0, losses).astype(losses.dtype) if zero_infinity else losses
    return shown.copy(), losses, alpha


@negative_log_likelihoods.derivative("log_probs")
def _(grad, log_probs, losses, alpha, targets, input_lengths, target_lengths, blank,
      zero_infinity):
    gradient = wrap(kernel.ctc_gradient(
        grad._array, log_probs._array, targets, input_lengths, target_lengths, losses._array,
        alpha._array, blank, zero_infinity,
    ))
    if not is_differentiated():
        return gradient
    # The same again on Tensors, where it is finite: the gradient of normalized probabilities is
    # exp(log_probs) less the shares that the labels have in the likelihood.
    shares, = gradients_by_running(
        lambda x: _losses_on_tensors(x, targets, input_lengths, target_lengths, blank),
        (log_probs,), grad, (True,),
    )
    ended = np.arange(len(log_probs))[:, None] >= input_lengths
    impossible = np.broadcast_to(np.isinf(losses._array), ended.shape)
    fixed = wrap((ended | impossible)[:, :, None])
    return find("where")(fixed, gradient, log_probs.exp() * grad.unsqueeze(-1) + shares)


def _losses_on_tensors(
    log_probs: Tensor, targets: Any, input_lengths: Any, target_lengths: Any, blank: int
) -> Tensor:
    """`kernel.ctc_losses` on Tensors; what can't be reached is very unlikely, not impossible."""
    time, batch = log_probs._array.shape[:2]
    if not time:
        return log_probs.new_zeros(batch)
    where, stack, unlikely = find("where"), find("stack"), -1e30
    states = kernel.states_of(targets, blank)
    skip = wrap(kernel.may_skip(states))
    emitted = log_probs.gather(2, wrap(states[None].repeat(time, 0)))
    start = np.zeros(states.shape, np.bool_)
    start[:, 0] = True
    start[:, 1:2] = target_lengths[:, None] > 0
    alpha = where(wrap(start), emitted[0], unlikely)
    nothing = alpha.new_full((batch, 2), unlikely)
    for t in range(1, time):
        before = find("cat")([nothing, alpha], 1)
        ways = [alpha, before[:, 1:-1], where(skip, before[:, :-2], unlikely)]
        entered = stack(ways).logsumexp(0)
        going = wrap((t < input_lengths)[:, None])
        alpha = where(going, entered + emitted[t], alpha)
    last = wrap(2 * target_lengths[:, None])
    end = alpha.gather(1, last)
    has_label = wrap(target_lengths[:, None] > 0)
    label = where(has_label, alpha.gather(1, (last - 1).clamp(min=0)), unlikely)
    return -stack([end, label]).logsumexp(0).squeeze(1)


_CHECKED = "(while checking arguments for ctc_loss_allocate_outputs)"


def _read_lengths(name: str, value: Any, batch: int) -> Any:
    array = value._array if isinstance(value, Tensor) else np.asarray(value)
    if array.dtype.kind not in "iu":
        raise RuntimeError(f"{name} must be integral")
    array = array.reshape(-1).astype(np.int64)
    if array.size != batch:
        raise RuntimeError(f"{name} must be of size batch_size")
    return array


def _read_targets(targets: Any, lengths: Any) -> Any:
    """The targets as (batch, longest), from that or from all in one row."""
    array = targets._array.astype(np.int64)
    if type(lengths) is not np.ndarray:  # of meta tensors, or of a step that is recorded
        if array.ndim != 2:
            raise NotImplementedError(
                "ctc_loss(): targets in one row are taken apart by the values of their lengths, "
                "which are not there: give them as (batch, longest)"
            )
        places = np.add.accumulate(np.ones_like(lengths, shape=array.shape[1])) - 1
        return np.where(places < lengths[:, None], array, 0)
    longest = int(lengths.max(initial=0))
    if array.ndim == 1:
        total = int(lengths.sum())
        if array.size != total:
            raise RuntimeError(
                f"Expected tensor to have size {total} at dimension 0, but got size {array.size} "
                f"for argument #2 'targets' {_CHECKED}"
            )
        padded = np.zeros((len(lengths), longest), np.int64)
        padded[np.arange(longest) < lengths[:, None]] = array
        return padded
    if array.ndim != 2 or array.shape[0] != len(lengths):
        raise RuntimeError(
            f"Expected tensor to have size {len(lengths)} at dimension 0, but got size "
            f"{array.shape[0] if array.ndim else 0} for argument #2 'targets' {_CHECKED}"
        )
    if array.shape[1] < longest:
        raise RuntimeError(
            f"Expected tensor to have size at least {longest} at dimension 1, but got size "
            f"{array.shape[1]} for argument #2 'targets' {_CHECKED}"
        )
    # What stands behind a target is never read, but must be an index.
    return np.where(np.arange(longest) < lengths[:, None], array[:, :longest], 0)


def _check_lengths(inputs: Any, targets: Any, time: int) -> None:
    for name, lengths in (("input_lengths", inputs), ("target_lengths", targets)):
        if type(lengths) is not np.ndarray:
            return
        if lengths.size and int(lengths.min()) < 0:
            raise RuntimeError(
                f"Expected {name} to have value at least 0, but got value {int(lengths.min())} "
                f"{_CHECKED}"
            )
    if inputs.size and int(inputs.max()) > time:
        raise RuntimeError(
            f"Expected input_lengths to have value at most {time}, but got value "
            f"{int(inputs.max())} {_CHECKED}"
        )


@composite("nn.functional.ctc_loss")
def ctc_loss(
    log_probs: Tensor, targets: Tensor, input_lengths: Any, target_lengths: Any, blank: int = 0,
    reduction: str = "mean", zero_infinity: bool = False,
) -> Tensor:
    """The negative log likelihood of label sequences, summed over all alignments to the inputs.

    Args:     blank: the label of no label;  reduction: "mean" divides by the targets' lengths
        first;  zero_infinity: targets that don't fit their input cost 0
    Shape:    log_probs (T, N, C) or (T, C), from log_softmax; targets (N, S), or all in one row;
        lengths (N)
    Source:   Graves et al., Connectionist Temporal Classification, 2006
    Example:
        >>> import taper as torch
        >>> log_probs = torch.zeros(2, 1, 3).log_softmax(-1)
        >>> torch.nn.functional.ctc_loss(log_probs, torch.tensor([[1]]), (2,), (1,))
        tensor(1.0986)
    """
    check_reduction(reduction)
    shape = log_probs._array.shape
    is_batch = len(shape) == 3
    if not is_batch:
        log_probs = log_probs.unsqueeze(1)
        if targets._array.ndim == 1:
            targets = targets.unsqueeze(0)
    if log_probs._array.dtype.kind in "iub":
        raise NotImplementedError(
            f"\"ctc_loss_cpu\" not implemented for '{scalar_type_name(log_probs.dtype)}'"
        )
    time, batch, classes = log_probs._array.shape
    if not 0 <= blank < classes:
        raise RuntimeError("blank must be in label range")
    inputs = _read_lengths("input_lengths", input_lengths, batch)
    lengths = _read_lengths("target_lengths", target_lengths, batch)
    _check_lengths(inputs, lengths, time)
    losses = negative_log_likelihoods(
        log_probs, _read_targets(targets, lengths), inputs, lengths, blank, zero_infinity
    )
    if reduction == "mean":
        divisor = wrap(np.maximum(lengths, 1).astype(losses._array.dtype))
        return (losses / divisor).mean()
    if reduction == "sum":
        return losses.sum()
    return losses if is_batch else losses.squeeze(0)


@composite("ctc_loss")
def torch_ctc_loss(
    log_probs: Tensor, targets: Tensor, input_lengths: Any, target_lengths: Any, blank: int = 0,
    reduction: int = 0, zero_infinity: bool = False,
) -> Tensor:
    """`nn.functional.ctc_loss` with the reduction as a number: none 0, mean 1, sum 2.

    Example:
        >>> import taper as torch
        >>> log_probs = torch.zeros(2, 1, 3).log_softmax(-1)
        >>> torch.ctc_loss(log_probs, torch.tensor([[1]]), (2,), (1,))
        tensor([1.0986])
    """
    return ctc_loss(
        log_probs, targets, input_lengths, target_lengths, blank, _NUMBERS[reduction],
        zero_infinity,
    )
