"""The repeated convention game: matches pay, labels are seen in the next turn, games open anew."""

import torch

from games.convention import Convention
from marl_engine.numerics.rng import derive_seeds


def test_labels_that_match_pay_both_seats_and_are_seen_by_the_other_in_the_next_turn():
    game = Convention(actions=3, horizon=3)
    turn = game.reset(derive_seeds(0, 2))
    assert turn.observation.tolist() == [[[0, 0, 0, 0, 1]] * 2] * 2
    turn = game.step(torch.tensor([[2, 2], [0, 1]]))
    assert turn.reward.tolist() == [[1, 1], [0, 0]]
    assert turn.observation.tolist() == [[[0, 0, 1, 1, 0]] * 2, [[0, 1, 0, 0, 0], [1, 0, 0, 0, 0]]]
    turn = game.step(torch.tensor([[0, 1], [1, 1]]))
    assert turn.reward.tolist() == [[0, 0], [1, 1]]
    assert turn.observation.tolist() == [[[0, 1, 0, 0, 0], [1, 0, 0, 0, 0]], [[0, 1, 0, 1, 0]] * 2]
    assert not turn.done.any()
    turn = game.step(torch.tensor([[1, 1], [1, 1]]))
    assert turn.done.all()
    assert turn.reward.tolist() == [[1, 1], [1, 1]]
    assert turn.observation.tolist() == [[[0, 0, 0, 0, 1]] * 2] * 2  # of the next games
