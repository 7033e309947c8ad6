"""Policies at the table."""

import torch
from toys import Leaving, Matrix

from marl_engine.numerics.categorical import Categorical
from marl_engine.rollout.rollout import play, score
from marl_engine.rollout.stream import Stream
from marl_engine.types import Policy


class Counting(Policy):
    """Plays the number of turns that it remembers."""

    def forward(self, rows, legal=None, memory=None):
        seen = torch.zeros(len(rows), 1) if memory is None else memory
        return Categorical(-100 * (torch.arange(5.0) - seen).abs()), seen + 1


def test_memory_lasts_as_long_as_a_game():
    """Games of three turns, one of which begins two turns before the other; two seats, each with its own memory."""
    game = Matrix(torch.eye(5), patience=3)
    turn = game.restore({"clock": torch.tensor([0, 2])})
    for profile in ([Counting()] * 2, [Counting(), Counting()]):
        trajectory, _ = play(game, profile, turn, torch.arange(2), 0, 6)
        assert trajectory.action[:, 0].tolist() == [[0, 0], [1, 1], [2, 2]] * 2
        assert trajectory.action[:, 1].tolist() == [[0, 0], [0, 0], [1, 1], [2, 2], [0, 0], [1, 1]]
        turn = game.restore({"clock": torch.tensor([0, 2])})


def test_a_seat_that_has_left_earns_nothing_whatever_it_is_paid():
    """Seat 1 is there for two turns of four; both are paid 1 a turn and 100 at the end."""
    game = Leaving(torch.ones(5, 5), patience=4)
    profile, seeds = [Counting()] * 2, torch.arange(3)
    assert score(game, profile, seeds).tolist() == [[104.0, 2.0]] * 3
    trajectory, _ = play(game, profile, game.reset(seeds), seeds, 0, 6)
    assert trajectory.alive[:, 0, 1].tolist() == [True, True, False, False, True, True]
    assert trajectory.reward[:, 0].tolist() == [[1, 1], [1, 1], [1, 0], [101, 0], [1, 1], [1, 1]]
    assert Stream(game, seeds).play(profile, 4)[1].tolist() == [[104.0, 2.0]] * 3
