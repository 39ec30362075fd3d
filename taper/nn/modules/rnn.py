"""Recurrent layers over whole sequences: RNN, LSTM and GRU."""

from __future__ import annotations

import math
import numbers
import warnings
from typing import Any

import taper
from taper import Tensor
from taper.nn import init
from taper.nn.modules.module import Module
from taper.nn.modules.rnn_cells import GRUCell, LSTMCell, RNNCell, RNNCellBase
from taper.nn.parameter import Parameter
from taper.nn.utils.rnn import PackedSequence

__all__ = ["GRU", "LSTM", "RNN", "GRUCell", "LSTMCell", "RNNBase", "RNNCell", "RNNCellBase"]

_GATES = {"LSTM": 4, "GRU": 3, "RNN_TANH": 1, "RNN_RELU": 1}


class RNNBase(Module):
    """What RNN, LSTM and GRU share: the weights of all layers and directions, and the walk.

    Weights are called ``weight_ih_l0`` (input to gates, layer 0), ``weight_hh_l0`` (state to
    gates), ``bias_ih_l0``, ``bias_hh_l0`` and, for projections, ``weight_hr_l0``; those of the
    backward direction end in ``_reverse``. They start uniform in ±1/√hidden_size.
    """

    __constants__ = [
        "mode", "input_size", "hidden_size", "num_layers", "bias", "batch_first", "dropout",
        "bidirectional", "proj_size",
    ]
    mode: str
    input_size: int
    hidden_size: int
    num_layers: int
    bias: bool
    batch_first: bool
    dropout: float
    bidirectional: bool
    proj_size: int

    def __init__(
        self, mode: str, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True,
        batch_first: bool = False, dropout: float = 0.0, bidirectional: bool = False,
        proj_size: int = 0, device: Any = None, dtype: Any = None,
    ) -> None:
        super().__init__()
        self.mode = mode
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bias = bias
        self.batch_first = batch_first
        self.dropout = float(dropout)
        self.bidirectional = bidirectional
        self.proj_size = proj_size
        self._check_options(dropout)
        self._all_weights: list[list[str]] = []
        state_size = proj_size or hidden_size
        rows = _GATES[mode] * hidden_size
        for layer in range(num_layers):
            columns = input_size if layer == 0 else state_size * (1 + bool(bidirectional))
            for suffix in ("", "_reverse") if bidirectional else ("",):
                shapes = {
                    "weight_ih": (rows, columns), "weight_hh": (rows, state_size),
                    "bias_ih": (rows,), "bias_hh": (rows,), "weight_hr": (proj_size, hidden_size),
                }
                if not bias:
                    del shapes["bias_ih"], shapes["bias_hh"]
                if not proj_size:
                    del shapes["weight_hr"]
                names = []
                for name, shape in shapes.items():
                    names.append(f"{name}_l{layer}{suffix}")
                    value = Parameter(taper.empty(shape, device=device, dtype=dtype))
                    setattr(self, names[-1], value)
                self._all_weights.append(names)
        self.reset_parameters()

    def _check_options(self, dropout: Any) -> None:
        is_probability = isinstance(dropout, numbers.Number) and not isinstance(dropout, bool)
        if not is_probability or not 0 <= dropout <= 1:
            raise ValueError(
                "dropout should be a number in range [0, 1] representing the probability of an "
                "element being zeroed"
            )
        if dropout > 0 and self.num_layers == 1:
            warnings.warn(
                "dropout option adds dropout after all but last recurrent layer, so non-zero "
                "dropout expects num_layers greater than 1, but got "
                f"dropout={dropout} and num_layers={self.num_layers}",
                stacklevel=4,
            )
        for name, kind in (
            ("bias", bool), ("batch_first", bool), ("input_size", int), ("hidden_size", int),
        ):
            value = getattr(self, name)
            if not isinstance(value, kind):
                raise TypeError(
                    f"{name} should be of type {kind.__name__}, got: {type(value).__name__}"
                )
        for name in ("input_size", "hidden_size", "num_layers"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be greater than zero")
        if self.proj_size < 0:
            raise ValueError(
                "proj_size should be a positive integer or zero to disable projections"
            )
        if self.proj_size >= self.hidden_size:
            raise ValueError("proj_size has to be smaller than hidden_size")
        if self.mode not in _GATES:
            raise ValueError("Unrecognized RNN mode: " + self.mode)

    def reset_parameters(self) -> None:
        """Draws new initial values."""
        bound = 1.0 / math.sqrt(self.hidden_size) if self.hidden_size > 0 else 0
        for weight in self.parameters():
            init.uniform_(weight, -bound, bound)

    def flatten_parameters(self) -> None:
        """Does nothing: there is no other memory layout to bring the weights into."""

    @property
    def all_weights(self) -> list[list[Parameter]]:
        """The weights, a list for each layer and direction."""
        return [[getattr(self, name) for name in names] for names in self._all_weights]

    @property
    def _flat_weights_names(self) -> list[str]:
        return [name for names in self._all_weights for name in names]

    @property
    def _flat_weights(self) -> list[Parameter]:
        return [getattr(self, name) for name in self._flat_weights_names]

    def __getstate__(self) -> dict[str, Any]:
        """With the lists that PyTorch's layers keep and look for in files."""
        return {
            **super().__getstate__(), "_flat_weights": self._flat_weights,
            "_flat_weights_names": self._flat_weights_names,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for name in ("_flat_weights", "_flat_weights_names"):  # those here are properties
            self.__dict__.pop(name, None)

    # -- checks --------------------------------------------------------------------------------

    def check_input(self, input: Tensor, batch_sizes: Tensor | None) -> None:
        """Raises an error if dtype or size of the input don't fit."""
        dtype = self._flat_weights[0].dtype
        if input.dtype != dtype:
            raise ValueError(
                f"RNN input dtype ({input.dtype}) does not match weight dtype ({dtype}). Convert "
                f"input: input.to({dtype}), or convert model: model.to({input.dtype})"
            )
        expected = 2 if batch_sizes is not None else 3
        if input.dim() != expected:
            raise RuntimeError(f"input must have {expected} dimensions, got {input.dim()}")
        if input.size(-1) != self.input_size:
            raise RuntimeError(
                "input.size(-1) must be equal to input_size. Expected "
                f"{self.input_size}, got {input.size(-1)}"
            )

    def get_expected_hidden_size(
        self, input: Tensor, batch_sizes: Tensor | None
    ) -> tuple[int, int, int]:
        """Returns the shape of the hidden state: (layers · directions, batch, size)."""
        if batch_sizes is not None:
            batch = int(batch_sizes[0])
        else:
            batch = input.size(0 if self.batch_first else 1)
        return (
            self.num_layers * (2 if self.bidirectional else 1), batch,
            self.proj_size or self.hidden_size,
        )

    def check_hidden_size(
        self, hx: Tensor, expected_hidden_size: tuple[int, int, int],
        msg: str = "Expected hidden size {}, got {}",
    ) -> None:
        """Raises an error if the state has another shape."""
        if tuple(hx.size()) != expected_hidden_size:
            raise RuntimeError(msg.format(expected_hidden_size, list(hx.size())))

    def check_forward_args(self, input: Tensor, hidden: Any, batch_sizes: Tensor | None) -> None:
        """Raises an error if input or state don't fit."""
        self.check_input(input, batch_sizes)
        self.check_hidden_size(hidden, self.get_expected_hidden_size(input, batch_sizes))

    def extra_repr(self) -> str:
        parts = [f"{self.input_size}, {self.hidden_size}"]
        if self.proj_size != 0:
            parts.append(f"proj_size={self.proj_size}")
        if self.num_layers != 1:
            parts.append(f"num_layers={self.num_layers}")
        if self.bias is not True:
            parts.append(f"bias={self.bias}")
        if self.batch_first is not False:
            parts.append(f"batch_first={self.batch_first}")
        if self.dropout != 0:
            parts.append(f"dropout={self.dropout}")
        if self.bidirectional is not False:
            parts.append(f"bidirectional={self.bidirectional}")
        return ", ".join(parts)

    # -- running -------------------------------------------------------------------------------

    def _check_dims(self, input: Tensor, hx: Any) -> None:
        """Checks input and state of a sequence that is not packed."""
        kind = self.mode if self.mode in ("LSTM", "GRU") else "RNN"
        if input.dim() not in (2, 3):
            word = "D tensor instead" if kind == "RNN" else "D instead"
            raise ValueError(f"{kind}: Expected input to be 2D or 3D, got {input.dim()}{word}")
        if hx is None:
            return
        rank = input.dim()
        batched = f"For {'batched' if rank == 3 else 'unbatched'} {rank}-D input"
        if kind == "LSTM":
            if hx[0].dim() != rank or hx[1].dim() != rank:
                raise RuntimeError(
                    f"{batched}, hx and cx should also be {rank}-D but got ({hx[0].dim()}-D, "
                    f"{hx[1].dim()}-D) tensors"
                )
        elif hx.dim() != rank:
            raise RuntimeError(
                f"{batched}, hx should also be {rank}-D but got {hx.dim()}-D tensor"
            )

    def _zero_state(self, input: Tensor, shape: tuple[int, int, int]) -> Any:
        return taper.zeros(*shape, dtype=input.dtype, device=input.device)

    def forward(self, input: Any, hx: Any = None) -> Any:
        packed = input if isinstance(input, PackedSequence) else None
        batch_sizes = None
        unbatched = False
        if packed is not None:
            input, batch_sizes = packed.data, packed.batch_sizes
        else:
            self._check_dims(input, hx)
            unbatched = input.dim() == 2
            if unbatched:
                input = input.unsqueeze(0 if self.batch_first else 1)
                hx = _each(hx, lambda part: part.unsqueeze(1))
        if hx is None:
            hx = self._zero_state(input, self.get_expected_hidden_size(input, batch_sizes))
        elif packed is not None:
            hx = self.permute_hidden(hx, packed.sorted_indices)
        self.check_forward_args(input, hx, batch_sizes)
        output, hidden = self._run_layers(input, hx, batch_sizes)
        if packed is not None:
            output = PackedSequence(
                output, batch_sizes, packed.sorted_indices, packed.unsorted_indices
            )
            return output, self.permute_hidden(hidden, packed.unsorted_indices)
        if unbatched:
            output = output.squeeze(0 if self.batch_first else 1)
            hidden = _each(hidden, lambda part: part.squeeze(1))
        return output, hidden

    def permute_hidden(self, hx: Any, permutation: Tensor | None) -> Any:
        """Reorders the batch of the state."""
        if permutation is None:
            return hx
        return _each(hx, lambda part: part.index_select(1, permutation))

    def _run_layers(
        self, input: Tensor, hx: Any, batch_sizes: Tensor | None
    ) -> tuple[Tensor, Any]:
        """Output and final state."""
        function = getattr(taper, self.mode.lower())
        options = (
            self._flat_weights, self.bias, self.num_layers, float(self.dropout), self.training,
            self.bidirectional,
        )
        if batch_sizes is not None:
            output, *hidden = function(input, batch_sizes, hx, *options)
        else:
            if input.size(1 if self.batch_first else 0) == 0:
                raise RuntimeError("Expected sequence length to be larger than 0 in RNN")
            output, *hidden = function(input, hx, *options, self.batch_first)
        return output, tuple(hidden) if self.mode == "LSTM" else hidden[0]


def _each(hx: Any, function: Any) -> Any:
    """`function` of the state: of a tensor, or of both tensors of an LSTM."""
    if hx is None:
        return None
    return tuple(map(function, hx)) if isinstance(hx, tuple) else function(hx)


class RNN(RNNBase):
    r"""Runs :math:`h_t = \tanh(W_{ih} x_t + b_{ih} + W_{hh} h_{t-1} + b_{hh})` over a sequence.

    Args:
        input_size (int): size of each x.
        hidden_size (int): size of each h.
        num_layers (int): layers, each running over the outputs of the one before. Default 1.
        nonlinearity: ``"tanh"`` or ``"relu"``.
        bias (bool): whether to add biases. Default True.
        batch_first (bool): whether inputs are (N, L, input_size). Default False.
        dropout (float): dropout after all layers but the last. Default 0.
        bidirectional (bool): whether to run in both directions. Default False.

    Shape: input (L, N, input_size), (L, input_size) or a PackedSequence, h_0 (layers · directions,
        N, hidden_size) → output (L, N, directions · hidden_size), h_n as h_0.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if "proj_size" in kwargs:
            raise ValueError("proj_size argument is only supported for LSTM, not RNN or GRU")
        if len(args) > 3:
            self.nonlinearity = args[3]
            args = args[:3] + args[4:]
        else:
            self.nonlinearity = kwargs.pop("nonlinearity", "tanh")
        modes = {"tanh": "RNN_TANH", "relu": "RNN_RELU"}
        if self.nonlinearity not in modes:
            raise ValueError(
                f"Unknown nonlinearity '{self.nonlinearity}'. Select from 'tanh' or 'relu'."
            )
        super().__init__(modes[self.nonlinearity], *args, **kwargs)


class LSTM(RNNBase):
    r"""Runs an LSTM over a sequence: :math:`c_t = f c_{t-1} + i g`, :math:`h_t = o \tanh(c_t)`.

    The gates are those of LSTMCell. Arguments as RNN, without `nonlinearity`, and:

    Args:
        proj_size (int): if not 0, h is projected to this size, by a further weight. Default 0.

    Shape: input (L, N, input_size), (h_0, c_0) → output (L, N, directions · hidden_size),
        (h_n, c_n); the states as in RNN.

    Example:
        >>> import taper as torch
        >>> output, (h, c) = torch.nn.LSTM(10, 20, 2)(torch.randn(5, 3, 10))
        >>> output.shape, h.shape
        (torch.Size([5, 3, 20]), torch.Size([2, 3, 20]))
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__("LSTM", *args, **kwargs)

    def get_expected_cell_size(
        self, input: Tensor, batch_sizes: Tensor | None
    ) -> tuple[int, int, int]:
        """Returns the shape of the cell state, which is not projected."""
        layers, batch, _ = self.get_expected_hidden_size(input, batch_sizes)
        return layers, batch, self.hidden_size

    def check_forward_args(self, input: Tensor, hidden: Any, batch_sizes: Tensor | None) -> None:
        self.check_input(input, batch_sizes)
        self.check_hidden_size(
            hidden[0], self.get_expected_hidden_size(input, batch_sizes),
            "Expected hidden[0] size {}, got {}",
        )
        self.check_hidden_size(
            hidden[1], self.get_expected_cell_size(input, batch_sizes),
            "Expected hidden[1] size {}, got {}",
        )

    def _zero_state(self, input: Tensor, shape: tuple[int, int, int]) -> Any:
        return (
            super()._zero_state(input, shape),
            super()._zero_state(input, (*shape[:2], self.hidden_size)),
        )


class GRU(RNNBase):
    """Runs a GRU over a sequence; the gates are those of GRUCell, arguments and shapes as RNN."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if "proj_size" in kwargs:
            raise ValueError("proj_size argument is only supported for LSTM, not RNN or GRU")
        super().__init__("GRU", *args, **kwargs)
