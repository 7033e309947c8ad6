"""Play: memory of policies, and seats that leave."""

from copy import deepcopy

import pytest
import torch
from toys import Alternating, Leaving, Matrix

from marl_engine.numerics.distributions.categorical import Categorical
from marl_engine.numerics.state import get_state, set_state
from marl_engine.rollout.rollout import play, score
from marl_engine.rollout.stream import Stream
from marl_engine.runs.checkpoint import read, write
from marl_engine.types import Policy


class Counting(Policy):
    """Plays the number of turns in its memory."""

    def initial_memory(self, count):
        return {"seen": (torch.zeros(count, 1),), "nothing": None}

    def forward(self, rows, legal=None, memory=None):
        (count,) = memory["seen"]
        return Categorical(-100 * (torch.arange(5.0) - count).abs()), {"seen": (count + 1,), "nothing": None}


class Alone(Counting):
    """The same with a tensor as memory instead of a tree."""

    def initial_memory(self, count):
        return torch.zeros(count, 1)

    def forward(self, rows, legal=None, memory=None):
        return Categorical(-100 * (torch.arange(5.0) - memory).abs()), memory + 1


def test_memory_lasts_as_long_as_a_game():
    """Games of three turns, one of which starts two turns earlier; each of two seats has its own memory."""
    game = Matrix(torch.eye(5), patience=3)
    turn = game.restore({"clock": torch.tensor([0, 2])})
    for profile in ([Counting()] * 2, [Counting(), Counting()]):
        trajectory, *_ = play(game, profile, turn, torch.arange(2), 0, 6)
        assert trajectory.action[:, 0].tolist() == [[0, 0], [1, 1], [2, 2]] * 2
        assert trajectory.action[:, 1].tolist() == [[0, 0], [0, 0], [1, 1], [2, 2], [0, 0], [1, 1]]
        turn = game.restore({"clock": torch.tensor([0, 2])})


@pytest.mark.parametrize("shared", [True, False])
def test_memory_goes_on_from_stretch_to_stretch_and_through_checkpoints(shared, tmp_path):
    """Games of four turns in stretches of three: the action is the turn of the game."""
    profile = [Counting()] * 2 if shared else [Counting(), Counting()]
    game, seeds = Matrix(torch.eye(5), patience=4), torch.arange(2)
    stream, actions = Stream(game, seeds), []
    for number in range(4):
        if number == 2:
            state = read(write(tmp_path, 0, get_state(stream)))
            stream = Stream(deepcopy(game), seeds)
            set_state(stream, state)
        trajectory, _ = stream.play(profile, 3)
        actions += trajectory.action[:, 1, 1].tolist()
    assert actions == [0, 1, 2, 3] * 3


def test_memory_is_unchanged_while_a_seat_waits():
    """Seats move in turn, so each has acted half as often as turns have passed."""
    game, seeds = Alternating(torch.eye(5), patience=6), torch.arange(2)
    stream = Stream(game, seeds)
    actions = torch.cat([stream.play([Counting()] * 2, 3)[0].action[:, 0] for _ in range(4)])
    assert actions[:, 0].tolist() == [0, 1, 1, 2, 2, 3] * 2
    assert actions[:, 1].tolist() == [0, 0, 1, 1, 2, 2] * 2


def test_a_newcomer_of_another_layout_begins_with_its_initial_memory():
    game, seeds = Matrix(torch.eye(5), patience=9), torch.arange(2)
    stream = Stream(game, seeds)
    stream.play([Counting()] * 2, 3)
    trajectory, _ = stream.play([Counting(), Alone()], 2)
    assert trajectory.action[:, 0].tolist() == [[3, 0], [4, 1]]


def test_rewards_of_departed_seats_are_ignored():
    """Seat 1 stays for two turns of four; the game pays both 1 a turn and 100 at the end."""
    game = Leaving(torch.ones(5, 5), patience=4)
    profile, seeds = [Counting()] * 2, torch.arange(3)
    assert score(game, profile, seeds).tolist() == [[104.0, 2.0]] * 3
    trajectory, *_ = play(game, profile, game.reset(seeds), seeds, 0, 6)
    assert trajectory.alive[:, 0, 1].tolist() == [True, True, False, False, True, True]
    assert trajectory.reward[:, 0].tolist() == [[1, 1], [1, 1], [1, 0], [101, 0], [1, 1], [1, 1]]
    assert Stream(game, seeds).play(profile, 4)[1].tolist() == [[104.0, 2.0]] * 3
