"""Recurrent cells: one step of RNN, LSTM and GRU."""

from __future__ import annotations

import math
from typing import Any

import taper
from taper import Tensor
from taper.nn import init
from taper.nn.modules.module import Module
from taper.nn.parameter import Parameter

__all__ = ["GRUCell", "LSTMCell", "RNNCell", "RNNCellBase"]


class RNNCellBase(Module):
    """What all cells share: weights for the input and the state, uniform in ±1/√hidden_size."""

    __constants__ = ["input_size", "hidden_size", "bias"]
    input_size: int
    hidden_size: int
    bias: bool
    weight_ih: Tensor
    weight_hh: Tensor
    bias_ih: Tensor | None
    bias_hh: Tensor | None

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool, num_chunks: int, device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.bias = bias
        rows = num_chunks * hidden_size
        for name, shape in (("weight_ih", (rows, input_size)), ("weight_hh", (rows, hidden_size))):
            setattr(self, name, Parameter(taper.empty(shape, device=device, dtype=dtype)))
        for name in ("bias_ih", "bias_hh"):
            value = Parameter(taper.empty(rows, device=device, dtype=dtype)) if bias else None
            self.register_parameter(name, value)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws new initial values."""
        bound = 1.0 / math.sqrt(self.hidden_size) if self.hidden_size > 0 else 0
        for weight in self.parameters():
            init.uniform_(weight, -bound, bound)

    def extra_repr(self) -> str:
        parts = [f"{self.input_size}, {self.hidden_size}"]
        if self.bias is not True:
            parts.append(f"bias={self.bias}")
        nonlinearity = getattr(self, "nonlinearity", "tanh")
        if nonlinearity != "tanh":
            parts.append(f"nonlinearity={nonlinearity}")
        return ", ".join(parts)

    def _advance(self, step: Any, input: Tensor, hx: Any, names: tuple[str, ...]) -> Any:
        """One step from state `hx`, a tuple or None for zeros; names are those of its parts."""
        kind = type(self).__name__
        if input.dim() not in (1, 2):
            raise ValueError(f"{kind}: Expected input to be 1D or 2D, got {input.dim()}D instead")
        for name, part in zip(names, hx or (), strict=False):
            if part.dim() not in (1, 2):
                raise ValueError(
                    f"{kind}: Expected {name} to be 1D or 2D, got {part.dim()}D instead"
                )
        batched = input.dim() == 2
        rows = input if batched else input.unsqueeze(0)
        if hx is None:
            zeros = taper.zeros(
                rows.size(0), self.hidden_size, dtype=input.dtype, device=input.device
            )
            state = (zeros,) * len(names)
        else:
            state = tuple(part if batched else part.unsqueeze(0) for part in hx)
        found = step(
            rows, state if len(names) > 1 else state[0], self.weight_ih, self.weight_hh,
            self.bias_ih, self.bias_hh,
        )
        if batched:
            return found
        return found.squeeze(0) if len(names) == 1 else tuple(part.squeeze(0) for part in found)


class RNNCell(RNNCellBase):
    r"""One step of an RNN: :math:`h' = \tanh(W_{ih} x + b_{ih} + W_{hh} h + b_{hh})`.

    Args:
        input_size (int): size of x.
        hidden_size (int): size of h.
        bias (bool): whether to add biases. Default True.
        nonlinearity: ``"tanh"`` or ``"relu"``.

    Shape: x (N, input_size), h (N, hidden_size) → (N, hidden_size); without N, too.
    """

    __constants__ = ["input_size", "hidden_size", "bias", "nonlinearity"]

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, nonlinearity: str = "tanh",
        device: Any = None, dtype: Any = None,
    ) -> None:
        super().__init__(input_size, hidden_size, bias, 1, device, dtype)
        self.nonlinearity = nonlinearity

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        if self.nonlinearity not in ("tanh", "relu"):
            raise RuntimeError(f"Unknown nonlinearity: {self.nonlinearity}")
        step = taper.rnn_tanh_cell if self.nonlinearity == "tanh" else taper.rnn_relu_cell
        return self._advance(step, input, None if hx is None else (hx,), ("hidden",))


class LSTMCell(RNNCellBase):
    r"""One step of an LSTM: :math:`c' = f c + i g`, :math:`h' = o \tanh(c')`.

    The gates i, f, o are sigmoids and g a tanh of :math:`W x + b + U h + d` each, in the order
    i, f, g, o in the weights (Hochreiter & Schmidhuber, 1997).

    Shape: x (N, input_size), (h, c) (N, hidden_size) each → (h', c').
    """

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(input_size, hidden_size, bias, 4, device, dtype)

    def forward(
        self, input: Tensor, hx: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        if isinstance(hx, Tensor):
            raise TypeError(
                "lstm_cell(): argument 'hx' (position 2) must be tuple of Tensors, not Tensor"
            )
        return self._advance(taper.lstm_cell, input, hx, ("hx[0]", "hx[1]"))


class GRUCell(RNNCellBase):
    r"""One step of a GRU: :math:`h' = (1 - z) n + z h` (Cho et al., 2014).

    The gates r and z are sigmoids of :math:`W x + b + U h + d` each, and
    :math:`n = \tanh(W_n x + b_n + r (U_n h + d_n))`, in the order r, z, n in the weights.

    Shape: x (N, input_size), h (N, hidden_size) → (N, hidden_size).
    """

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(input_size, hidden_size, bias, 3, device, dtype)

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        return self._advance(
            taper.gru_cell, input, None if hx is None else (hx,), ("hidden",)
        )
