"""Networks of board games: what an action's number depends on, how pieces fall, and games that are refused."""

import pytest
import torch

from games.openspiel import OpenSpielStates
from games.pettingzoo.game import PettingZoo
from marl_engine.networks.board import BoardNetwork, neighbourhoods
from marl_engine.policies.board import BoardSpec

HEIGHT, WIDTH = 6, 7


def drop_pieces(count, generator):
    """Returns boards (N, 1, 6, 7, 3) after random pieces, and the number of pieces in each column (N, 7)."""
    boards, heights = torch.zeros(count, HEIGHT, WIDTH, 3), torch.zeros(count, WIDTH, dtype=torch.int64)
    boards[..., 2] = 1
    for board, height in zip(boards, heights, strict=True):
        for move in range(int(torch.randint(0, 30, (), generator=generator))):
            column = int(torch.randint(0, WIDTH, (), generator=generator))
            if height[column] < HEIGHT:
                board[height[column], column] = torch.eye(3)[move % 2]
                height[column] += 1
    return boards[:, None], heights


def make_network(actions=WIDTH, shape=(1, HEIGHT, WIDTH, 3), reach=2, **changes):
    torch.manual_seed(0)
    settings = {"seats": 0, "activation": "tanh", "gain": 1.0, **changes}
    return BoardNetwork(shape, actions, reach, (8, 5), 4, **settings)


def test_parameters_are_counted_by_formula():
    """Of a window of 5 x 5 cells, the whole board and a seat, their shares, a place, and two layers."""
    layers = (5 * 5 * 3 + 1) * 8, (42 * 3 + 2 + 1) * 4, 4 * 8, 42 * 8, (8 + 1) * 5, 5 + 1
    assert sum(each.numel() for each in make_network(seats=2).parameters()) == sum(layers)


@pytest.mark.parametrize("reach", [1, 3])
def test_a_column_is_judged_by_the_surroundings_of_the_cell_on_which_its_piece_falls(reach):
    """Without the summary of the whole board, slopes are zero exactly at the cells outside the window."""
    network, generator = make_network(reach=reach), torch.Generator().manual_seed(0)
    network.share.weight.data.zero_()
    boards, heights = drop_pieces(20, generator)
    rows = network.encode(boards, torch.zeros(len(boards))).requires_grad_()
    rows_of_cells, columns_of_cells = torch.meshgrid(torch.arange(HEIGHT), torch.arange(WIDTH), indexing="ij")
    for column in range(WIDTH):
        (slopes,) = torch.autograd.grad(network(rows)[:, column].sum(), rows)
        touched = slopes.view(-1, HEIGHT, WIDTH, 3).ne(0).any(-1)
        place = heights[:, column].clamp(max=HEIGHT - 1)[:, None, None]
        near = (rows_of_cells - place).abs() <= reach
        assert torch.equal(touched, near & ((columns_of_cells - column).abs() <= reach))


def test_numbers_shift_with_the_board():
    """Away from the edge, apart from the summary, and from what a place itself is worth, which is 0 at first."""
    network, generator = make_network(), torch.Generator().manual_seed(1)
    network.share.weight.data.zero_()
    boards, _ = drop_pieces(20, generator)
    before, after = (network(network.encode(each, torch.zeros(20))) for each in (boards, boards.roll(1, dims=3)))
    torch.testing.assert_close(after[:, 3:5], before[:, 2:4])


def test_an_action_for_each_cell_is_judged_there():
    """On a board of 3 x 3 each action sees the cells next to its own; windows are those of a loop."""
    network = make_network(9, (1, 3, 3, 2), 1)
    network.share.weight.data.zero_()
    rows = torch.randn(4, 18, requires_grad=True)
    for action in range(9):
        (slopes,) = torch.autograd.grad(network(rows)[:, action].sum(), rows)
        near = [abs(cell // 3 - action // 3) <= 1 and abs(cell % 3 - action % 3) <= 1 for cell in range(9)]
        assert slopes.view(4, 9, 2).ne(0).any(-1).tolist() == [near] * 4
    image, windows = torch.arange(5 * 7 * 2).view(5, 7, 2), neighbourhoods(3, 5, 2, 1)
    for cell, window in enumerate(windows):
        row, column = divmod(cell, 5)
        assert sorted(window.tolist()) == image[row : row + 3, column : column + 3].flatten().tolist()


def test_a_critic_gives_the_mean_and_has_one_last_layer():
    """Scaling the last layer, as PopArt does, scales the value."""
    actor, critic = (make_network(mean=mean, seats=2) for mean in (False, True))
    rows = actor.encode(drop_pieces(5, torch.Generator().manual_seed(2))[0], torch.tensor([0, 1, 0, 1, 0]))
    torch.testing.assert_close(critic(rows), actor(rows).mean(1, keepdim=True))
    before = critic(rows)
    for parameter in critic.output_layer():
        parameter.data.mul_(3)
    torch.testing.assert_close(critic(rows), 3 * before)


def test_a_joint_critic_sees_both_views_of_connect_four():
    game = OpenSpielStates("connect_four", seat_planes=[0, 1])
    critic = BoardSpec(seat_indicator=True).critic(game, joint=True)
    views = torch.rand(3, 2, HEIGHT, WIDTH, 3)
    assert critic(critic.encode(views, torch.zeros(3, dtype=torch.int64))).shape == (3, 1)
    assert critic.around.in_features == 7 * 7 * 6


def test_games_without_such_a_board_are_refused():
    with pytest.raises(
        ValueError,
        match="goes with an action for each of the 20 cells of a board or for each of its 5 columns, not with 7",
    ):
        make_network(7, (1, 4, 5, 3))
    with pytest.raises(ValueError, match=r"policy=board needs observations \(height, width, channels\), not \(11,\)"):
        BoardSpec().profile(OpenSpielStates("kuhn_poker"))
    with pytest.raises(ValueError, match="needs rows from below and a last plane that marks the empty cells"):
        BoardSpec().profile(PettingZoo("pettingzoo.classic.connect_four_v3", workers=0))
    with pytest.raises(ValueError, match=r"policy\.reach must be"):
        BoardSpec(reach=0)
