"""Recurrent layers: gated recurrent units (Cho et al. 2014, arXiv:1406.1078) and long short-term memory (Hochreiter and
Schmidhuber 1997, Neural Computation 9:1735, with the forget gate of Gers et al. 2000), and a network around one.

The formulae are those of torch.nn.GRU and torch.nn.LSTM, which know no games that open in the midst of a sequence.
Products with inputs are taken of all turns at once, so that only those with the memory are taken turn by turn.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from marl_engine.networks.cnn import CNN
from marl_engine.networks.mlp import MLP, activate_
from marl_engine.numerics.trees import choose_rows


class GRU(nn.Module):
    """r, z = sigmoid(W x + U h), n = tanh(W x + r * (U h + b)), h' = (1 - z) * n + z * h; memory h (N, H)."""

    def __init__(self, inputs: int, units: int):
        super().__init__()
        self.units = units
        self.input_weight = nn.Parameter(orthogonal_blocks(inputs, units, 3))
        self.memory_weight = nn.Parameter(orthogonal_blocks(units, units, 3))
        self.input_bias, self.memory_bias = (nn.Parameter(torch.zeros(3 * units)) for _ in range(2))

    def initial_memory(self, count: int) -> Tensor:
        """Returns zeros (count, H)."""
        return self.input_bias.new_zeros(count, self.units)

    def project(self, inputs: Tensor) -> Tensor:
        """Returns the contribution of inputs (M, D) to the gates, (M, 3 H)."""
        return torch.addmm(self.input_bias, inputs, self.input_weight)

    def step(self, projected: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Returns outputs (N, H) and the new memory, from `project` and the memory before."""
        reset, update, new = projected.chunk(3, dim=-1)
        old_reset, old_update, old_new = torch.addmm(self.memory_bias, memory, self.memory_weight).chunk(3, dim=-1)
        candidate = torch.tanh(new + torch.sigmoid(reset + old_reset) * old_new)
        output = torch.lerp(candidate, memory, torch.sigmoid(update + old_update))
        return output, output


class LSTM(nn.Module):
    """i, f, o = sigmoid(W x + U h), c' = f * c + i * tanh(W x + U h), h' = o * tanh c'; memory (h, c), (N, H) each.

    The bias of the forget gate is 1 at first (Jozefowicz et al. 2015).
    """

    def __init__(self, inputs: int, units: int):
        super().__init__()
        self.units = units
        self.input_weight = nn.Parameter(orthogonal_blocks(inputs, units, 4))
        self.memory_weight = nn.Parameter(orthogonal_blocks(units, units, 4))
        self.bias = nn.Parameter(torch.cat([torch.zeros(units), torch.ones(units), torch.zeros(2 * units)]))

    def initial_memory(self, count: int) -> tuple[Tensor, Tensor]:
        """Returns zeros (count, H), twice."""
        return self.bias.new_zeros(count, self.units), self.bias.new_zeros(count, self.units)

    def project(self, inputs: Tensor) -> Tensor:
        """Returns the contribution of inputs (M, D) to the gates, (M, 4 H)."""
        return torch.addmm(self.bias, inputs, self.input_weight)

    def step(self, projected: Tensor, memory: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Returns outputs (N, H) and the new memory, from `project` and the memory before."""
        hidden, cell = memory
        gates = torch.addmm(projected, hidden, self.memory_weight)
        enter, keep, leave, candidate = gates.chunk(4, dim=-1)
        cell = torch.sigmoid(keep) * cell + torch.sigmoid(enter) * torch.tanh(candidate)
        hidden = torch.sigmoid(leave) * torch.tanh(cell)
        return hidden, (hidden, cell)


CELLS = {"gru": GRU, "lstm": LSTM}


def orthogonal_blocks(inputs: int, units: int, gates: int) -> Tensor:
    """A weight (D, gates * H), orthogonal for each gate."""
    return torch.cat([nn.init.orthogonal_(torch.empty(inputs, units)) for _ in range(gates)], dim=1)


class RecurrentNetwork(nn.Module):
    """A trunk on observations, a recurrent layer with H units, and a linear output layer."""

    def __init__(self, trunk: MLP | CNN, cell: str, units: int, outputs: int, gain: float):
        super().__init__()
        self.trunk = trunk
        self.cell: Any = CELLS[cell](trunk.outputs, units)
        self.weight = nn.Parameter(nn.init.orthogonal_(torch.empty(units, outputs), gain))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def encode(self, observation: Tensor, seat: Tensor) -> Tensor:
        """Returns the rows (N, …) of observations (N, …) of seats (N,); see `MLP.encode`."""
        return self.trunk.encode(observation, seat)

    def observe(self, rows: Tensor) -> None:
        """See `MLP.observe`."""
        self.trunk.observe(rows)

    def output_layer(self) -> tuple[nn.Parameter, nn.Parameter]:
        """Returns weight and bias of the last layer."""
        return self.weight, self.bias

    def initial_memory(self, count: int) -> Any:
        """Returns the memory of `count` rows when a game opens."""
        return self.cell.initial_memory(count)

    def forward(self, rows: Tensor, memory: Any) -> tuple[Tensor, Any]:
        """Returns the outputs (N, outputs) of a turn and the new memory, from rows (N, …) and the last memory."""
        hidden, memory = self.cell.step(self._project(rows), memory)
        return torch.addmm(self.bias, hidden, self.weight), memory

    def unroll(self, rows: Tensor, memory: Any, opens: Tensor, acting: Tensor) -> tuple[Tensor, Sequence[Any]]:
        """Returns the outputs (T, N, outputs) for rows (T, N, …), and the memory after each turn (T,).

        Memory (N, …) is that before the first turn. It is cleared before turns in which a game opens (T, N), and does
        not change where a seat is not acting (T, N).
        """
        projected = self._project(rows.flatten(0, 1)).view(*rows.shape[:2], -1).unbind(0)
        initial = self.cell.initial_memory(rows.shape[1])
        some_open, all_act = opens.any(1).tolist(), acting.all(1).tolist()
        hidden, memories = [], []
        for turn in range(len(rows)):
            if some_open[turn]:
                memory = choose_rows(opens[turn], initial, memory)
            output, after = self.cell.step(projected[turn], memory)
            memory = after if all_act[turn] else choose_rows(acting[turn], after, memory)
            hidden.append(output)
            memories.append(memory)
        return torch.stack(hidden) @ self.weight + self.bias, memories

    def _project(self, rows: Tensor) -> Tensor:
        """Returns the contribution of rows (M, …) to the gates (M, …)."""
        return self.cell.project(activate_(self.trunk(rows), self.trunk.activation))
