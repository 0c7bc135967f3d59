"""Recurrent layers, unrolled in time: every step is part of the graph."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ..dtypes import DType
from ..errors import Error, ShapeError
from ..functions import add, chunk, matmul, mul, reshape, stack, transpose, zeros
from ..functions import cat as _cat
from ..location import user_location
from ..tensor import Tensor
from . import functional as F
from . import init
from .module import Module
from .parameter import Parameter

# A state of one layer in one direction: (h,), or (h, c) of an LSTM.
State = tuple[Tensor, ...]
# (what the input gives the gates, h of before through the gates, the whole state) -> the new state.
Step = Callable[[Tensor, Tensor, State], State]


def _plain(nonlinearity: str) -> Step:
    if nonlinearity not in ("tanh", "relu"):
        raise Error(f"nonlinearity={nonlinearity!r}: 'tanh' or 'relu'", user_location())
    function = F.tanh if nonlinearity == "tanh" else F.relu
    return lambda x, h, state: (function(add(x, h)),)


def _gated(x: Tensor, h: Tensor, state: State) -> State:
    """GRU: r, z, n."""
    (x_reset, x_update, x_new), (reset, update, new) = chunk(x, 3, -1), chunk(h, 3, -1)
    r = F.sigmoid(add(x_reset, reset))
    z = F.sigmoid(add(x_update, update))
    n = F.tanh(add(x_new, mul(r, new)))
    return (add(n, mul(z, state[0] - n)),)


def _long_short(x: Tensor, h: Tensor, state: State) -> State:
    """LSTM: i, f, g, o."""
    i, f, g, o = chunk(add(x, h), 4, -1)
    c = add(mul(F.sigmoid(f), state[1]), mul(F.sigmoid(i), F.tanh(g)))
    return (mul(F.sigmoid(o), F.tanh(c)), c)


class RNNBase(Module):
    """What RNN, LSTM and GRU share.

    Input [l, n, input_size], [n, l, input_size] with batch_first, or [l, input_size] of one sequence; states are
    [num_layers * directions, n, size]. Parameters: weight_ih_l0 [gates * hidden, input], weight_hh_l0
    [gates * hidden, hidden], bias_ih_l0, bias_hh_l0; `_reverse` of the second direction.
    """

    gates = 1

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        if num_layers < 1 or hidden_size < 1 or not 0 <= proj_size < hidden_size:
            raise ShapeError(
                f"num_layers={num_layers} and hidden_size={hidden_size} must be positive, proj_size={proj_size} "
                "smaller than hidden_size",
                user_location(),
            )
        self.input_size, self.hidden_size, self.num_layers = input_size, hidden_size, num_layers
        self.bias, self.batch_first, self.dropout = bias, batch_first, float(dropout)
        self.bidirectional, self.proj_size = bidirectional, proj_size
        self._suffixes = ["", "_reverse"] if bidirectional else [""]
        out = proj_size or hidden_size
        for layer in range(num_layers):
            width = input_size if layer == 0 else out * len(self._suffixes)
            for suffix in self._suffixes:
                name = f"l{layer}{suffix}"
                rows = self.gates * hidden_size
                setattr(self, f"weight_ih_{name}", Parameter(shape=(rows, width)))
                setattr(self, f"weight_hh_{name}", Parameter(shape=(rows, out)))
                if bias:
                    setattr(self, f"bias_ih_{name}", Parameter(shape=(rows,)))
                    setattr(self, f"bias_hh_{name}", Parameter(shape=(rows,)))
                if proj_size:
                    setattr(self, f"weight_hr_{name}", Parameter(shape=(proj_size, hidden_size)))
        self.reset_parameters()
        self.to(dtype=dtype)

    def reset_parameters(self) -> None:
        bound = 1.0 / math.sqrt(self.hidden_size)
        for parameter in self.parameters():
            init.uniform_(parameter, -bound, bound)

    def flatten_parameters(self) -> None:
        """Accepted for porting: how parameters lie in memory is the plan's business."""

    def _step(self) -> Step:
        raise NotImplementedError

    def _state_sizes(self) -> tuple[int, ...]:
        """Of the parts of a state."""
        return (self.hidden_size,)

    def _run_direction(
        self, x: Tensor, name: str, state: State, reverse: bool
    ) -> tuple[Tensor, State]:
        """One layer in one direction over x [n, l, width]."""
        step = self._step()
        bias_ih = getattr(self, f"bias_ih_{name}") if self.bias else None
        bias_hh = getattr(self, f"bias_hh_{name}") if self.bias else None
        weight_hh = getattr(self, f"weight_hh_{name}")
        # The inputs of all steps at once: one large product in place of many small ones. Samples stand first, so
        # that its rows can be cut into micro-batches.
        projected = F.linear(x, getattr(self, f"weight_ih_{name}"), bias_ih)
        outputs: list[Tensor] = []
        times = range(x.shape[1])
        for t in reversed(times) if reverse else times:
            state = step(projected[:, t], F.linear(state[0], weight_hh, bias_hh), state)
            if self.proj_size:
                state = (matmul(state[0], getattr(self, f"weight_hr_{name}").T), *state[1:])
            outputs.append(state[0])
        return stack(outputs[::-1] if reverse else outputs, 1), state

    def _run_layers(self, input: Tensor, hx: State | None) -> tuple[Tensor, State]:
        if input.ndim not in (2, 3) or input.shape[-1] != self.input_size:
            raise ShapeError(
                f"{type(self).__name__} takes two or three dims with {self.input_size} features, not "
                f"{list(input.shape)}",
                user_location(),
            )
        single = input.ndim == 2
        x = reshape(input, 1, *input.shape) if single else input
        if not self.batch_first and not single:
            x = transpose(x, 0, 1)
        if x.shape[1] == 0:
            raise ShapeError(f"{type(self).__name__} got a sequence of no steps", user_location())
        n, count = x.shape[0], self.num_layers * len(self._suffixes)
        parts = self._parts(hx, count, n, single, x.dtype)
        last: list[State] = []
        for layer in range(self.num_layers):
            outputs = []
            for direction, suffix in enumerate(self._suffixes):
                place = layer * len(self._suffixes) + direction
                state = tuple(part[place] for part in parts)
                y, state = self._run_direction(x, f"l{layer}{suffix}", state, direction == 1)
                outputs.append(y)
                last.append(state)
            x = _cat(outputs, -1) if len(outputs) > 1 else outputs[0]
            if self.dropout and layer + 1 < self.num_layers:
                x = F.dropout(x, self.dropout, self.training)
        finals = tuple(stack([state[i] for state in last]) for i in range(len(parts)))
        if single:
            return reshape(x, *x.shape[1:]), tuple(
                reshape(part, count, part.shape[2]) for part in finals
            )
        return (x if self.batch_first else transpose(x, 0, 1)), finals

    def _parts(self, hx: State | None, count: int, n: int, single: bool, dtype: DType) -> State:
        sizes = self._state_sizes()
        if hx is None:
            return tuple(zeros(count, n, size, dtype=dtype) for size in sizes)
        parts = []
        for part, size in zip(hx, sizes, strict=True):
            expected = (count, size) if single else (count, n, size)
            if part.shape != expected:
                raise ShapeError(
                    f"{type(self).__name__}: the initial state has the shape {list(part.shape)}, {list(expected)} is "
                    "needed",
                    user_location(),
                )
            parts.append(reshape(part, count, n, size))
        return tuple(parts)

    def forward(self, input: Tensor, hx: Tensor | None = None) -> tuple[Tensor, Any]:
        """(output of the last layer for every step, states after the last step)."""
        output, (hidden,) = self._run_layers(input, None if hx is None else (hx,))
        return output, hidden

    def extra_repr(self) -> str:
        text = f"{self.input_size}, {self.hidden_size}"
        if self.proj_size:
            text += f", proj_size={self.proj_size}"
        if self.num_layers != 1:
            text += f", num_layers={self.num_layers}"
        if not self.bias:
            text += f", bias={self.bias}"
        if self.batch_first:
            text += f", batch_first={self.batch_first}"
        if self.dropout:
            text += f", dropout={self.dropout}"
        if self.bidirectional:
            text += f", bidirectional={self.bidirectional}"
        return text


class RNN(RNNBase):
    """h' = tanh(W_ih x + b_ih + W_hh h + b_hh), or relu (Elman 1990)."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        _plain(nonlinearity)  # refuses what it does not know
        super().__init__(
            input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional
        )
        self.nonlinearity = nonlinearity
        self.to(dtype=dtype)

    def _step(self) -> Step:
        return _plain(self.nonlinearity)


class GRU(RNNBase):
    """Gated recurrent unit (Cho et al. 2014), gates in the order r, z, n."""

    gates = 3

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(
            input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional
        )
        self.to(dtype=dtype)

    def _step(self) -> Step:
        return _gated


class LSTM(RNNBase):
    """Long short-term memory (Hochreiter and Schmidhuber 1997), gates in the order i, f, g, o."""

    gates = 4

    def _step(self) -> Step:
        return _long_short

    def _state_sizes(self) -> tuple[int, ...]:
        return (self.proj_size or self.hidden_size, self.hidden_size)

    def forward(self, input: Tensor, hx: Any = None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """(output of the last layer for every step, (h, c) after the last step)."""
        output, (hidden, cell) = self._run_layers(input, hx)
        return output, (hidden, cell)


class RNNCellBase(Module):
    """One step of a layer: input [n, input_size] or [input_size]."""

    gates = 1

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.input_size, self.hidden_size, self.bias = input_size, hidden_size, bias
        rows = self.gates * hidden_size
        self.weight_ih = Parameter(shape=(rows, input_size))
        self.weight_hh = Parameter(shape=(rows, hidden_size))
        self.register_parameter("bias_ih", Parameter(shape=(rows,)) if bias else None)
        self.register_parameter("bias_hh", Parameter(shape=(rows,)) if bias else None)
        self.reset_parameters()
        self.to(dtype=dtype)

    def reset_parameters(self) -> None:
        bound = 1.0 / math.sqrt(self.hidden_size)
        for parameter in self.parameters():
            init.uniform_(parameter, -bound, bound)

    def _advance(self, input: Tensor, state: State | None, step: Step, parts: int) -> State:
        if input.ndim not in (1, 2) or input.shape[-1] != self.input_size:
            raise ShapeError(
                f"{type(self).__name__} takes [n, {self.input_size}] or [{self.input_size}], not {list(input.shape)}",
                user_location(),
            )
        expected = (*input.shape[:-1], self.hidden_size)
        if state is None:
            state = tuple(zeros(*expected, dtype=input.dtype) for _ in range(parts))
        for part in state:
            if part.shape != expected:
                raise ShapeError(
                    f"{type(self).__name__}: the state has the shape {list(part.shape)}, {list(expected)} is needed",
                    user_location(),
                )
        x = F.linear(input, self.weight_ih, self.bias_ih)
        return step(x, F.linear(state[0], self.weight_hh, self.bias_hh), state)

    def extra_repr(self) -> str:
        text = f"{self.input_size}, {self.hidden_size}"
        return text if self.bias else f"{text}, bias={self.bias}"


class RNNCell(RNNCellBase):
    """One step of RNN: input [n, input_size], state and result [n, hidden_size]; the state is zeros if left out."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "tanh",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        _plain(nonlinearity)  # refuses what it does not know
        super().__init__(input_size, hidden_size, bias)
        self.nonlinearity = nonlinearity
        self.to(dtype=dtype)

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        state = None if hx is None else (hx,)
        return self._advance(input, state, _plain(self.nonlinearity), 1)[0]

    def extra_repr(self) -> str:
        text = super().extra_repr()
        return text if self.nonlinearity == "tanh" else f"{text}, nonlinearity={self.nonlinearity}"


class GRUCell(RNNCellBase):
    """One step of GRU: input [n, input_size], state and result [n, hidden_size]; the state is zeros if left out."""

    gates = 3

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        return self._advance(input, None if hx is None else (hx,), _gated, 1)[0]


class LSTMCell(RNNCellBase):
    """One step of LSTM: input [n, input_size], state and result (h, c), both [n, hidden_size], zeros if left out."""

    gates = 4

    def forward(
        self, input: Tensor, hx: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        hidden, cell = self._advance(input, hx, _long_short, 2)
        return hidden, cell


__all__ = ["GRU", "GRUCell", "LSTM", "LSTMCell", "RNN", "RNNBase", "RNNCell", "RNNCellBase"]
