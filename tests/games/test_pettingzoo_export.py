"""Games of this engine as PettingZoo environments pass PettingZoo's own tests, and come back as the same games."""

import sys
import warnings

import numpy as np
import pytest
import torch
from pettingzoo.test import api_test, parallel_api_test, parallel_seed_test, seed_test
from pettingzoo.utils import wrappers
from toys import Leaving, Locks

from games.mpe import ParticleWorlds
from games.openspiel import OpenSpiel, OpenSpielStates
from games.overcooked import Overcooked
from games.pettingzoo.copies import episode_seed
from games.pettingzoo.export import to_pettingzoo
from games.pettingzoo.game import PettingZoo
from marl_engine.errors import Refused
from marl_engine.rollout.game_contract import random_actions

TURNS = {
    "kuhn_poker": lambda: to_pettingzoo(OpenSpiel("kuhn_poker")),
    "tic_tac_toe": lambda: to_pettingzoo(OpenSpiel("tic_tac_toe")),
    "overcooked": lambda: to_pettingzoo(Overcooked(horizon=20), turns=True),
    "locks": lambda: to_pettingzoo(Locks(), turns=True),
    "goofspiel": lambda: to_pettingzoo(OpenSpielStates("goofspiel(num_cards=4)"), turns=True),
}
TOGETHER = {
    "overcooked": lambda: to_pettingzoo(Overcooked(horizon=20)),
    "leaving": lambda: to_pettingzoo(Leaving(torch.eye(2), patience=4)),
    "speaker_listener": lambda: to_pettingzoo(ParticleWorlds("simple_speaker_listener", max_cycles=9)),
    "tag": lambda: to_pettingzoo(ParticleWorlds("simple_tag", max_cycles=9, continuous_actions=True)),
}


@pytest.mark.parametrize("name", TURNS)
def test_turns_pass_pettingzoos_tests(name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        api_test(TURNS[name](), num_cycles=60)
        api_test(wrappers.OrderEnforcingWrapper(wrappers.AssertOutOfBoundsWrapper(TURNS[name]())), num_cycles=20)
        seed_test(TURNS[name], num_cycles=20)


@pytest.mark.parametrize("name", TOGETHER)
def test_parallel_environments_pass_pettingzoos_tests(name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        parallel_api_test(TOGETHER[name](), num_cycles=60)
        parallel_seed_test(TOGETHER[name], num_cycles=20)


@pytest.mark.parametrize("continuous", [False, True])
def test_seats_have_their_own_spaces(continuous):
    """Those of mpe2: the speaker sees the colour of a landmark and says a word; the listener moves."""
    from mpe2 import simple_speaker_listener_v4

    env = to_pettingzoo(ParticleWorlds("simple_speaker_listener", continuous_actions=continuous))
    model = simple_speaker_listener_v4.parallel_env(continuous_actions=continuous)
    seen, infos = env.reset(seed=0)
    model.reset(seed=0)
    for agent, other in zip(env.possible_agents, model.possible_agents, strict=True):
        assert env.action_space(agent) == model.action_space(other)
        assert env.observation_space(agent).shape == model.observation_space(other).shape == seen[agent].shape
        if not continuous:
            assert infos[agent]["action_mask"].tolist() == [1] * int(model.action_space(other).n)


def kuhn():
    """A factory as a user would write it."""
    return to_pettingzoo(OpenSpiel("kuhn_poker"))


def test_a_game_that_comes_back_is_the_same(monkeypatch):
    """The copies open with the seeds that the exported game draws; movers see the features of information sets."""
    monkeypatch.setitem(sys.modules, "kuhn_factory", sys.modules[__name__])
    game, native = PettingZoo("kuhn_factory:kuhn", workers=0), OpenSpiel("kuhn_poker")
    turn = game.reset(torch.arange(20))
    starts = [np.random.default_rng(episode_seed(copy, 0)).integers(2**62) for copy in range(20)]
    own = native.reset(torch.tensor(starts))
    going = torch.ones(20, dtype=torch.bool)
    for step in range(4):
        assert torch.equal(turn.acting[going], own.acting[going])
        seen = native.features[own.observation[..., 0].long()].where(own.acting[..., None], turn.observation)
        assert torch.equal(turn.observation[going], seen[going])
        assert torch.equal(turn.legal[turn.acting & going[:, None]], own.legal[own.acting & going[:, None]])
        actions = random_actions(native, own, step)
        turn, own = game.step(actions), native.step(actions)
        assert torch.equal(turn.reward[going], own.reward[going])
        assert torch.equal(turn.done[going], own.done[going])
        going &= ~own.done
    assert not going.any()


def test_a_game_with_turns_is_no_parallel_environment():
    with pytest.raises(Refused, match="move in turn"):
        to_pettingzoo(OpenSpiel("kuhn_poker"), turns=False)


def test_seeds_open_the_same_games():
    one, other = TURNS["kuhn_poker"](), TURNS["kuhn_poker"]()
    for seed in range(5):
        one.reset(seed=seed)
        other.reset(seed=seed)
        assert np.array_equal(one.last()[0]["observation"], other.last()[0]["observation"])
