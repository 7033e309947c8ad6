"""Each copy of a game draws an opponent when a game opens, and keeps it until the game is done."""

from itertools import product

import numpy as np
import pytest
import torch
from toys import Matrix

from games.openspiel.game import OpenSpiel
from marl_engine.numerics.distributions.categorical import Categorical
from marl_engine.numerics.rng import derive_seeds
from marl_engine.numerics.state import get_state, set_state
from marl_engine.policies.mixtures.population import MixturePolicy
from marl_engine.policies.mlp import MLPSpec
from marl_engine.responders.ppo import PPO
from marl_engine.rollout.opponents import draw_members, expand_mixtures
from marl_engine.rollout.stream import Stream
from marl_engine.runs.checkpoint import read, write
from marl_engine.types import Opponents, Policy

WEIGHTS = (0.5, 0.2, 0.3)


class Always(Policy):
    """Plays one action of several."""

    def __init__(self, action, actions=3):
        super().__init__()
        self.register_buffer("logits", torch.where(torch.arange(actions) == action, 0.0, -100.0))

    def forward(self, rows, legal=None, memory=None):
        return Categorical(self.logits.expand(len(rows), -1).clone()), None


class Counting(Policy):
    """Plays the number of turns in its memory."""

    def initial_memory(self, count):
        return torch.zeros(count, 1)

    def forward(self, rows, legal=None, memory=None):
        return Categorical(-100 * (torch.arange(3.0) - memory).abs()), memory + 1


MEMBERS = [[Always(0), Always(action)] for action in range(3)]
SEEDS = derive_seeds(3, 400)


def play_members(patience, *stretches):
    """Returns who plays in seat 1, (T, B), in consecutive stretches of play."""
    stream = Stream(Matrix(torch.eye(3), patience=patience), SEEDS)
    parts = [stream.play_opponents(Opponents(MEMBERS, WEIGHTS), turns)[0].action[..., 1] for turns in stretches]
    return torch.cat(parts)


def test_opponents_are_drawn_with_their_weights():
    """Chi-square of 20,000 games is below 13.8, the 0.999 quantile with 2 degrees of freedom."""
    counts = np.bincount(play_members(1, 50).flatten(), minlength=3)
    expected = 20_000 * np.array(WEIGHTS)
    assert ((counts - expected) ** 2 / expected).sum() < 13.8
    firsts, seconds = play_members(1, 2)
    pairs = np.bincount(3 * firsts + seconds, minlength=9)  # of games that follow one another in a copy
    expected = 400 * np.outer(WEIGHTS, WEIGHTS).flatten()
    assert ((pairs - expected) ** 2 / expected).sum() < 26.1  # 8 degrees


def test_no_game_changes_its_opponent_midway():
    """Games of four turns, in one stretch of play and in pieces that end within games."""
    full = play_members(4, 40).view(10, 4, 400)
    assert (full == full[:, :1]).all()
    assert not (full[1:] == full[:-1]).all()
    assert torch.equal(play_members(4, 3, 1, 6, 30).view(10, 4, 400), full)


def test_a_draw_is_a_function_of_the_seed_of_its_copy_and_the_decision():
    opponents = Opponents(MEMBERS, WEIGHTS)
    assert torch.equal(draw_members(opponents, SEEDS, 7)[100:103], draw_members(opponents, SEEDS[100:103], 7))
    assert not torch.equal(draw_members(opponents, SEEDS, 7), draw_members(opponents, SEEDS, 8))


@pytest.mark.parametrize("patience", [1, 3])
def test_two_opponents_that_are_one_play_as_one(patience):
    torch.manual_seed(0)
    profile = MLPSpec(hidden=(8,)).profile(game := Matrix(torch.eye(3), patience=patience))
    one, two = (Stream(game, SEEDS) for game in (Matrix(torch.eye(3), patience=patience), game))
    plain, _ = one.play(profile, 12)
    trajectory, _ = two.play_opponents(Opponents([profile, list(profile)], (0.4, 0.6)), 12)
    assert torch.equal(plain.action, trajectory.action)
    torch.testing.assert_close(plain.log_prob, trajectory.log_prob, rtol=0, atol=0)


class Counted(Always):
    """Counts the rows that it is asked for."""

    rows = 0

    def forward(self, rows, legal=None, memory=None):
        self.rows += len(rows)
        return super().forward(rows, legal, memory)


def test_a_mixture_plays_as_its_members_and_asks_only_those_that_play():
    """Chi-square with 2 degrees of freedom; a third seat's mixture is drawn independently."""
    members = [Counted(action) for action in range(3)]
    profile = [Always(0), MixturePolicy(members, WEIGHTS)]
    stream = Stream(Matrix(torch.eye(3), patience=2), SEEDS)
    actions = stream.play_opponents(Opponents([profile]), 40)[0].action[..., 1].view(20, 2, 400)
    assert torch.equal(actions[:, 0], actions[:, 1])
    counts, expected = np.bincount(actions[:, 0].flatten(), minlength=3), 8000 * np.array(WEIGHTS)
    assert ((counts - expected) ** 2 / expected).sum() < 13.8
    assert sum(member.rows for member in members) == 40 * 400
    both = expand_mixtures(Opponents([[*profile, MixturePolicy(members[:2], (0.25, 0.75))]]))
    assert [[members.index(policy) for policy in each[1:]] for each in both.members] == [
        *map(list, product(range(3), range(2)))
    ]
    assert both.weights == pytest.approx(np.outer(WEIGHTS, (0.25, 0.75)).flatten())


def test_policies_are_asked_where_they_act():
    """Kuhn poker is played by one seat after the other."""
    members = [Counted(0, actions=2), Counted(0, actions=2)]
    stream = Stream(OpenSpiel("kuhn_poker"), SEEDS)
    opponents = Opponents([[first, second] for first, second in product(members, members)], (0.25,) * 4)
    acting = stream.play_opponents(opponents, 6)[0].acting
    assert sum(member.rows for member in members) == acting.sum()


def test_opponents_remember_their_own_game_and_no_other():
    """A policy that counts turns starts at 0 in every game that it plays, and counts on in the next stretch."""
    stream = Stream(Matrix(torch.eye(3), patience=3), SEEDS)
    opponents = Opponents([[Always(0), Counting()], [Always(0), Counting()]], (0.5, 0.5))
    actions = stream.play_opponents(opponents, 9)[0].action[..., 1]
    assert (actions == torch.arange(9)[:, None] % 3).all()


class CountingInPairs(Counting):
    """The same, with a memory that is laid out in another way."""

    def initial_memory(self, count):
        return {"turns": torch.zeros(count, 2)}

    def forward(self, rows, legal=None, memory=None):
        distribution, after = super().forward(rows, legal, memory["turns"][:, :1])
        return distribution, {"turns": after.expand(-1, 2)}


def test_opponents_whose_memories_are_laid_out_differently_remember_beside_each_other(tmp_path):
    """In games of three turns and stretches of two, those who count turns and those who do so in pairs count on."""
    opponents = Opponents([[Always(0), Counting()], [Always(0), CountingInPairs()], MEMBERS[2]], (0.3, 0.4, 0.3))
    stream, actions, members = Stream(Matrix(torch.eye(3), patience=3), SEEDS), [], []
    for number in range(6):
        if number == 2:
            state = read(write(tmp_path, 0, get_state(stream)))
            stream = Stream(Matrix(torch.eye(3), patience=3), SEEDS)
            set_state(stream, state)
        actions.append(stream.play_opponents(opponents, 2)[0].action[..., 1])
        members.append(stream.member)
    played = torch.cat(actions).view(4, 3, 400)
    counted = (played == torch.arange(3)[None, :, None]).all(1)
    assert (counted | (played == 2).all(1)).all()
    drawn = torch.stack(members)[1::3]  # in the midst of games 1 and 3, which begin at turns 3 and 9
    assert torch.equal(drawn == 2, (played == 2).all(1)[[1, 3]])
    for member in range(3):
        assert (drawn == member).any()


def test_checkpoints_store_the_opponents_of_open_games():
    opponents = Opponents(MEMBERS, WEIGHTS)
    one, two = (Stream(Matrix(torch.eye(3), patience=4), SEEDS) for _ in range(2))
    one.play_opponents(opponents, 6)
    set_state(two, get_state(one))
    actions = [stream.play_opponents(opponents, 6)[0].action for stream in (one, two)]
    assert torch.equal(*actions)


def test_a_learner_answers_the_mixture_of_its_opponents():
    """It wins by playing the opponent's action. Action 2 is played in half of all games, 0 and 1 in fewer."""
    torch.manual_seed(0)
    profile = (network := MLPSpec(hidden=(8,))).profile(game := Matrix(torch.eye(3)))
    responder = PPO(game, network, num_envs=64, rollout_length=16, minibatches=1, learning_rate=0.02, entropy_bonus=0)
    opponents = Opponents([[Always(action), Always(action)] for action in range(3)], (0.3, 0.2, 0.5))
    for _ in range(25):
        step = responder.respond(profile, opponents)
    assert step.work == {"steps": 64 * 16 * 2}
    assert (step.batch[0].action[..., 0] == 2).float().mean() > 0.9
    assert (step.batch[1].action[..., 1] == 2).float().mean() > 0.9
