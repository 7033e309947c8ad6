"""Aloha pays what simple rules are known to earn."""

import pytest
import torch

from games.aloha import SEND, Aloha
from marl_engine.numerics.rng import derive_seeds, draw_uniforms

COPIES = 2000


def earn(game, rule):
    """Returns the mean payoff of a game in which rule(backlog (B, P), number of the turn) says who sends (B, P)."""
    turn, total = game.reset(derive_seeds(1, COPIES)), 0.0
    for number in range(game.horizon):
        turn = game.step(rule(turn.observation.argmax(-1), number).long() * SEND)
        total += turn.reward[:, 0].mean().item()
    assert turn.done.all()
    return total


def coin(backlog, number):
    """Everybody sends half of the time."""
    return draw_uniforms(derive_seeds(2, len(backlog)), number, 1, backlog.shape[1])[0] < 0.5


def colours(game):
    """Returns the cells of one colour of a chessboard."""
    return torch.tensor([(row + column) % 2 == 0 for row in range(game.rows) for column in range(game.columns)])


def in_order(game):
    """Returns the rule by which a seat sends unless a neighbour before it does."""

    def rule(backlog, number):
        sends = torch.zeros_like(backlog, dtype=torch.bool)
        for seat in range(game.players):
            sends[:, seat] = (backlog[:, seat] > 0) & ~(sends & (game.neighbours[seat] > 0)).any(1)
        return sends

    return rule


@pytest.mark.parametrize(
    ("columns", "half", "alternate", "ordered"), [(5, 6.20, 9.55, 9.27), (2, 2.48, 3.82, 3.75)], ids=["2x5", "2x2"]
)
def test_rules_earn_what_they_are_known_to_earn(columns, half, alternate, ordered):
    game = Aloha(columns=columns)
    assert earn(game, lambda backlog, number: backlog < 0) == 0
    assert earn(game, lambda backlog, number: colours(game).expand_as(backlog)) == pytest.approx(half, abs=0.05)
    assert earn(game, lambda backlog, number: (colours(game) == (number % 2 == 0)).expand_as(backlog)) == pytest.approx(
        alternate, abs=0.03
    )
    assert earn(game, in_order(game)) == pytest.approx(ordered, abs=0.03)


def test_collisions_are_paid_by_each_seat_that_collides():
    """A coin loses 297 on four seats, and 844 on ten with the authors' graph, which links the ends of the rows."""
    assert earn(Aloha(columns=2), coin) == pytest.approx(-297, rel=0.025)
    game = Aloha()
    assert earn(game, coin) == pytest.approx(-817, rel=0.015)
    game.neighbours[4, 5] = game.neighbours[5, 4] = 1
    assert earn(game, coin) == pytest.approx(-844, rel=0.015)
    assert earn(game, in_order(game)) == pytest.approx(9.23, abs=0.03)


def test_one_turn_by_hand():
    """Three seats in a row, nothing arrives: 0 and 2 send, then 0 and 1 collide, with no backlog nothing happens."""
    game = Aloha(rows=1, columns=3, arrival=0.0, horizon=4)
    turn = game.reset(derive_seeds(0, 1))
    assert turn.observation[0].argmax(-1).tolist() == [1, 1, 1]
    for actions, reward, backlog in (
        ([1, 1, 0], -20.0, [1, 1, 1]),
        ([1, 0, 1], 0.2, [0, 1, 0]),
        ([1, 1, 1], 0.1, [0, 0, 0]),
        ([1, 1, 1], 0.0, [1, 1, 1]),  # the next game
    ):
        turn = game.step(torch.tensor([actions]))
        assert turn.reward[0].tolist() == pytest.approx([reward] * 3)
        assert turn.observation[0].argmax(-1).tolist() == backlog
    assert turn.truncated.all()
    assert turn.final[0].argmax(-1).tolist() == [0, 0, 0]


def test_backlogs_are_bounded_and_messages_arrive_as_often_as_they_should():
    game, copies = Aloha(arrival=0.6, capacity=3, horizon=50), 500
    turn = game.reset(derive_seeds(0, copies))
    backlogs = []
    for _ in range(10):
        turn = game.step(torch.zeros(copies, 10, dtype=torch.int64))
        backlogs.append(turn.observation.argmax(-1).float().mean().item())
    assert backlogs[0] == pytest.approx(1.6, abs=0.03)
    assert backlogs[1] == pytest.approx(2.2, abs=0.04)
    assert backlogs[-1] == pytest.approx(3, abs=0.01)
