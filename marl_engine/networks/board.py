"""A network for board games: each action is judged by what surrounds its place on the board.

If there is an action for each cell, as in Hex or Go, its place is that cell. If there is one for each column, as in
Connect Four, pieces fall, and its place is the cell above the pieces of the column. The same layers see each place: the
cells around it, its row and column, and a summary of the whole board. So what is learned at one place, such as how to
stop a line, is known at all of them. (Programs that play Go judge points by the patterns around them: Silver et al.
2016, "Mastering the game of Go with deep neural networks and tree search".)
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from marl_engine.networks.mlp import MLP, activate_, append_seat


def neighbourhoods(height: int, width: int, depth: int, reach: int) -> Tensor:
    """Returns the numbers of the window around each cell (H * W, K) in a flattened image with a border of `reach`."""
    side, wide = 2 * reach + 1, width + 2 * reach
    image = torch.arange((height + 2 * reach) * wide * depth).view(-1, wide, depth)
    windows = image.unfold(0, side, 1).unfold(1, side, 1)  # (H, W, C, side, side)
    return windows.flatten(2).flatten(0, 1)


class BoardNetwork(nn.Module):
    """Maps boards (N, H, W, C), and seats (N,) if `seats` > 0, to a number for each action, or to their mean (N, 1).

    `shape` is (V, H, W, C): a joint critic is shown the V views (N, V, H, W, C) of all seats, the own one first. A
    window extends `reach` cells from a place to each side; beyond the edge are zeros. Where there is an
    action for each column, the last plane of a view must mark the empty cells, and pieces fall to the first row.
    `summary` is the number of units that see the whole board, `hidden` those of the layers that judge a place. With
    `mean`, the output is that of a critic. Weights are initialised orthogonally with gain sqrt 2, those of the last
    layer with `gain`.

    Raises ValueError unless there is an action for each cell or for each column.
    """

    cells: Tensor
    windows: Tensor

    def __init__(
        self,
        shape: tuple[int, int, int, int],
        actions: int,
        reach: int,
        hidden: Sequence[int],
        summary: int,
        *,
        seats: int,
        activation: str,
        gain: float,
        mean: bool = False,
    ):
        super().__init__()
        views, height, width, depth = shape
        if actions not in (height * width, width):
            raise ValueError(
                f"policy=board goes with an action for each of the {height * width} cells of a board or for each of "
                f"its {width} columns, not with {actions} actions"
            )
        self.shape, self.actions, self.reach, self.seats, self.mean = shape, actions, reach, seats, mean
        self.falls, self.activation = actions != height * width, activation
        planes, places = views * depth, height * width
        self.register_buffer("windows", neighbourhoods(height, width, planes, reach), persistent=False)
        self.register_buffer("cells", torch.arange(actions), persistent=False)
        self.around = nn.Linear(self.windows.shape[1], hidden[0])
        self.whole = nn.Linear(places * planes + seats, summary)
        self.share = nn.Linear(summary, hidden[0], bias=False)
        self.place = nn.Embedding(places, hidden[0])
        for layer in (self.around, self.whole, self.share):
            nn.init.orthogonal_(layer.weight, 2**0.5)
        for bias in (self.around.bias, self.whole.bias, self.place.weight):
            nn.init.zeros_(bias)
        self.head = MLP(torch.zeros(hidden[0]), hidden[1:], 1, seats=0, activation=activation, gain=gain)

    def encode(self, observation: Tensor, seat: Tensor) -> Tensor:
        """Returns rows (N, V * H * W * C + seats) for `forward`."""
        return append_seat(observation.flatten(1).float(), seat, self.seats)

    def forward(self, rows: Tensor) -> Tensor:
        """Maps rows from `encode` to the numbers of all actions (N, A), or to their means (N, 1)."""
        rows = rows.to(self.around.weight.dtype)
        views = rows[:, : rows.shape[1] - self.seats].unflatten(1, self.shape)
        board = views.permute(0, 2, 3, 1, 4).flatten(3)  # (N, H, W, V * C)
        bordered = F.pad(board, (0, 0, *4 * [self.reach])).flatten(1)
        cells = self._places(views)
        windows = bordered.gather(1, self.windows[cells].flatten(1)).view(*cells.shape, -1)
        common = self.share(activate_(self.whole(rows), self.activation))
        hidden = activate_(self.around(windows) + self.place(cells) + common[:, None], self.activation)
        numbers = self.head(hidden.flatten(0, 1)).view(len(rows), -1)
        return numbers.mean(1, keepdim=True) if self.mean else numbers

    def _places(self, views: Tensor) -> Tensor:
        """Returns the cell of each action (N, A); that of an action in a full column is its highest cell."""
        if not self.falls:
            return self.cells.expand(len(views), -1)
        height = self.shape[1]
        filled = (views[:, 0, :, :, -1] == 0).sum(1).clamp(max=height - 1)  # (N, W): pieces in each column
        return filled * self.actions + self.cells

    def observe(self, rows: Tensor) -> None:
        """Boards are not normalised; see `MLP.observe`."""

    def output_layer(self) -> tuple[nn.Parameter, nn.Parameter]:
        """Returns weight and bias of the last layer."""
        return self.head.output_layer()
