"""The coordination game pays what it should, and is stepped as its arrays say."""

import pytest
import torch

from games.coordination import Coordination
from marl_engine.errors import Refused
from marl_engine.numerics.rng import derive_seeds


@pytest.mark.parametrize(
    ("players", "payoffs"),
    [
        (2, {"00": 3, "01": 0, "10": 0, "11": 2}),
        (3, {"000": 3, "001": 0, "100": 0, "011": 1, "110": 1, "111": 2}),
        (5, {"00000": 3, "01000": 3, "11000": 0, "11100": 1, "11110": 2, "11111": 2}),
        (10, {"0000000000": 3, "0000000111": 3, "0000001111": 0, "0000011111": 0, "0000111111": 1, "0001111111": 2}),
    ],
)
def test_states_pay_for_agreement(players, payoffs):
    game = Coordination(players)
    assert {state: game.earns[int(state, 2)].item() for state in payoffs} == payoffs


def test_a_bit_is_the_action_of_its_seat_unless_it_slips():
    rules = Coordination(3, slip=0.1).markov_rules()
    assert rules.transition.shape == (8, 8, 8)
    torch.testing.assert_close(rules.transition.sum(-1), torch.ones(8, 8, dtype=torch.float64))
    for state in range(8):
        for action in range(8):
            flips = bin(state ^ action).count("1")
            assert rules.transition[5, action, state].item() == pytest.approx(0.1**flips * 0.9 ** (3 - flips))
    assert rules.opening.tolist() == [1 / 8] * 8


def test_steps_follow_the_arrays():
    """The mean payoff of each turn, and of first states after a restart, within 4.5 standard errors."""
    game, copies = Coordination(2, horizon=4), 20_000
    rules, turn = game.markov_rules(), game.reset(derive_seeds(0, copies))
    action = torch.tensor([[0, 1], [0, 0], [1, 1], [1, 0]])  # of each state
    moves = rules.transition[range(4), action @ torch.tensor([2, 1])]
    likely = rules.opening
    for number in range(6):
        states = turn.observation[:, 0, 0].long()
        assert turn.observation.unique(dim=1).shape[1] == 1
        counts = torch.bincount(states, minlength=4) / copies
        assert ((counts - likely).abs() < 4.5 * (likely * (1 - likely) / copies).sqrt()).all()
        turn = game.step(action[states])
        torch.testing.assert_close(turn.reward[:, 1], rules.payoff[states, 0].float())
        assert turn.done.all() == turn.truncated.all() == (number == 3)
        likely = rules.opening if number == 3 else likely @ moves


def test_tables_of_large_teams_are_refused():
    assert Coordination(10).reset(derive_seeds(0, 2)).observation.shape == (2, 10, 1)
    with pytest.raises(Refused, match=r"game\.players must be at most 7 for exact values, not 10"):
        Coordination(10).markov_rules()
