"""Adaptive softmax: frequent classes by a full layer, rare ones by smaller ones."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import taper
import taper.nn.functional as F
from taper import Tensor
from taper.nn.modules.container import ModuleList, Sequential
from taper.nn.modules.linear import Linear
from taper.nn.modules.module import Module

__all__ = ["AdaptiveLogSoftmaxWithLoss"]

_ASMoutput = namedtuple("_ASMoutput", ["output", "loss"])


class AdaptiveLogSoftmaxWithLoss(Module):
    """An approximate softmax for many classes of unequal frequency (Grave et al., 2016).

    Classes are sorted from frequent to rare. Those before the first cutoff, the shortlist, get a
    score each from `head`, and so does each cluster of the others; the classes in cluster i are
    scored by ``tail[i]``, whose hidden size is in_features / div_value^(i+1).

    Args:
        in_features (int): size of the inputs.
        n_classes (int): number of classes.
        cutoffs (sequence of int): where clusters begin.
        div_value (float): by how much each cluster's layer is smaller. Default 4.
        head_bias (bool): whether the head has a bias.

    Shape: (N, in_features), targets (N) → (output (N), loss ()): the log probabilities of the
        targets and their negative mean.
    """

    def __init__(
        self, in_features: int, n_classes: int, cutoffs: Sequence[int], div_value: float = 4.0,
        head_bias: bool = False, device: Any = None, dtype: Any = None,
    ) -> None:
        super().__init__()
        options = {"device": device, "dtype": dtype}
        cutoffs = list(cutoffs)
        if len(cutoffs) == 0:
            raise ValueError("cutoffs should be a sequence of length larger than 0")
        if (
            cutoffs != sorted(cutoffs) or min(cutoffs) <= 0 or max(cutoffs) > n_classes - 1
            or len(set(cutoffs)) != len(cutoffs) or any(int(c) != c for c in cutoffs)
        ):
            raise ValueError(
                "cutoffs should be a sequence of unique, positive integers sorted in an increasing "
                "order, where each value is between 1 and n_classes-1"
            )
        self.in_features = in_features
        self.n_classes = n_classes
        self.cutoffs = [*cutoffs, n_classes]
        self.div_value = div_value
        self.head_bias = head_bias
        self.shortlist_size = self.cutoffs[0]
        self.n_clusters = len(self.cutoffs) - 1
        self.head_size = self.shortlist_size + self.n_clusters
        self.head = Linear(self.in_features, self.head_size, bias=head_bias, **options)
        self.tail = ModuleList()
        for i in range(self.n_clusters):
            hidden = int(self.in_features // (self.div_value ** (i + 1)))
            size = self.cutoffs[i + 1] - self.cutoffs[i]
            self.tail.append(
                Sequential(
                    Linear(self.in_features, hidden, bias=False, **options),
                    Linear(hidden, size, bias=False, **options),
                )
            )

    def reset_parameters(self) -> None:
        """Draws new initial values."""
        self.head.reset_parameters()
        for into, out in self.tail:
            into.reset_parameters()
            out.reset_parameters()

    def forward(self, input_: Tensor, target_: Tensor) -> Any:
        if target_.dim() == 1:
            if input_.size(0) != target_.size(0):
                raise RuntimeError(
                    "Input and target should have the same size in the batch dimension."
                )
            if input_.dim() != 2:
                raise RuntimeError(
                    "1D target tensor expects 2D input tensors, but found inputs with size",
                    input_.size(),
                )
        elif target_.dim() == 0:
            if input_.dim() != 1:
                raise RuntimeError(
                    "0D target tensor expects 1D input tensors, but found inputs with size "
                    f"{input_.size()}"
                )
        else:
            raise RuntimeError("0D or 1D target tensor expected, multi-target not supported")
        batched = target_.dim() > 0
        input = input_ if batched else input_.unsqueeze(0)
        target = target_ if batched else target_.unsqueeze(0)
        output = self._log_prob_of(input, target)
        loss = (-output).mean()
        return _ASMoutput(output if batched else output.squeeze(0), loss)

    def _log_prob_of(self, input: Tensor, target: Tensor) -> Tensor:
        """The log probability of each target: of its cluster, plus within the cluster."""
        output = input.new_zeros(target.size(0))
        index = target.new_empty(target.size(0))
        found = 0
        bounds = [0, *self.cutoffs]
        for i, (low, high) in enumerate(pairwise(bounds)):
            rows = ((target >= low) & (target < high)).nonzero().squeeze(1)
            if rows.numel() == 0:
                continue
            if i == 0:
                index.index_copy_(0, rows, target[rows])
            else:
                within = F.log_softmax(self.tail[i - 1](input.index_select(0, rows)), dim=1)
                chosen = within.gather(1, (target[rows] - low).reshape(-1, 1))
                index.index_fill_(0, rows, self.shortlist_size + i - 1)
                output.index_copy_(0, rows, chosen.squeeze(1))
            found += rows.numel()
        if found != target.size(0):
            raise RuntimeError(
                f"Target values should be in [0, {self.n_classes - 1}], but values in range "
                f"[{target.min().item()}, {target.max().item()}] were found. "
            )
        head = F.log_softmax(self.head(input), dim=1)
        output += head.gather(1, index.unsqueeze(1)).squeeze(1)
        return output

    def _get_full_log_prob(self, input: Tensor, head_output: Tensor) -> Tensor:
        output = input.new_empty((head_output.size(0), self.n_classes))
        head = F.log_softmax(head_output, dim=1)
        output[:, : self.shortlist_size] = head[:, : self.shortlist_size]
        for i, (low, high) in enumerate(pairwise(self.cutoffs)):
            cluster = F.log_softmax(self.tail[i](input), dim=1)
            output[:, low:high] = cluster + head[:, self.shortlist_size + i].unsqueeze(1)
        return output

    def log_prob(self, input: Tensor) -> Tensor:
        """Returns the log probabilities of all classes: (N, in_features) → (N, n_classes)."""
        return self._get_full_log_prob(input, self.head(input))

    def predict(self, input: Tensor) -> Tensor:
        """Returns the most probable class of each sample, computing clusters only where needed."""
        head = self.head(input)
        output = taper.argmax(head, dim=1)
        in_cluster = output >= self.shortlist_size
        if not in_cluster.any():
            return output
        if in_cluster.all():
            return taper.argmax(self._get_full_log_prob(input, head), dim=1)
        log_prob = self._get_full_log_prob(input[in_cluster], head[in_cluster])
        output[in_cluster] = taper.argmax(log_prob, dim=1)
        return output
