"""Sampled play of trees: single turns and stretches agree, and both agree with OpenSpiel's states."""

from copy import deepcopy
from hashlib import sha256

import numpy as np
import pyspiel
import pytest
import torch
from small_efg_games import A_ALONE, CHANCE_ENDS, OVER_LAST

from games.openspiel.game import OpenSpiel
from games.openspiel.load import load_sequential
from marl_engine.extensive_form.tree_play import CHANCE_STREAM
from marl_engine.numerics.rng import GOLDEN, derive_seeds, draw_uniforms, mix_bits, to_unit_interval
from marl_engine.numerics.state import get_state, set_state
from marl_engine.policies.mlp import MLPSpec
from marl_engine.policies.tabular import TabularSpec
from marl_engine.rollout.rollout import play
from marl_engine.rollout.stream import Stream
from marl_engine.rollout.tabulation import tabulated_game

GOOFSPIEL = "goofspiel(imp_info=True,num_cards=4,points_order=descending)"  # whose moves are simultaneous
RECORDED = {  # digests of 40 turns of 32 copies, as they were played before play was compiled
    "kuhn_poker": "a4e5d8bca05a262d",
    "kuhn_poker(players=3)": "67107f8d6f76f55b",
    "leduc_poker": "9d9a32de768b7152",
    "tiny_hanabi": "61d64033b6c56c39",
    GOOFSPIEL: "7530b7b0ca9cf9a3",
    "liars_dice(dice_sides=3)": "b95426bdf9d93188",
    CHANCE_ENDS: "0d4509f6ccef79ec",
    OVER_LAST: "c86fd341ae864558",
    A_ALONE: "9b8cdba0c6041190",
}
SPELLED_OUT = """EFG 2 R "chance may end it at once, or between A and B" { "A" "B" "who never moves" }
c "" 1 "" { "over" 1/4 "play" 1/2 "over, too" 1/4 } 0
t "" 1 "" { 8, 0, 1 }
p "" 1 1 "" { "H" "T" } 0
c "" 2 "" { "on" 2/3 "over" 1/3 } 0
p "" 2 1 "" { "h" "t" } 0
t "" 2 "" { 1, -1, 2 }
t "" 3 "" { -1, 1, 3 }
t "" 4 "" { 5, 5, 5 }
p "" 2 1 "" { "h" "t" } 0
t "" 5 "" { -1, 1, 0 }
t "" 6 "" { 1, -1, 0 }
t "" 7 "" { 3, 0, 1 }
"""  # as OpenSpiel wants it
NAMES = [name if "EFG" not in name else "efg" for name in RECORDED]
COPIES, TURNS, CLOCK = 32, 40, 3


@pytest.fixture
def path_of(tmp_path, monkeypatch):
    """Writes the text of an .efg game to a file and returns its path; returns other names as they are."""
    monkeypatch.setenv("MARL_ENGINE_CACHE", str(tmp_path / "cache"))

    def save(name):
        if not name.startswith("EFG"):
            return name
        (tmp_path / "game.efg").write_text(name)
        return str(tmp_path / "game.efg")

    return save


def uneven_tables(game):
    """Returns tables with different probabilities for all actions."""
    profile = TabularSpec().profile(game)
    for policy in profile:
        weights = draw_uniforms(torch.arange(len(policy.strategy)), 0, 1, 1).flatten().double() + 0.1
        for row in policy.place:
            places = row[row >= 0]
            policy.strategy[places] = weights[places] / weights[places].sum()
    return profile


def turn_by_turn(profile):
    """Returns the same policies without the flag that they can be tabulated."""
    profile = deepcopy(profile)
    for policy in profile:
        policy.tabular = False
    return profile


def legal_of(trajectory, actions):
    """Returns legal actions (T, B, P, A), also if they are omitted because all are legal."""
    if trajectory.legal is not None:
        return trajectory.legal
    return torch.ones(*trajectory.acting.shape, actions, dtype=torch.bool)


@pytest.mark.parametrize("name", RECORDED, ids=NAMES)
def test_seeds_give_the_recorded_games(name, path_of):
    game, seeds = OpenSpiel(path_of(name)), derive_seeds(1, COPIES)
    profile = uneven_tables(game)
    for each in (profile, turn_by_turn(profile)):
        turn = game.reset(seeds)
        digest = sha256()
        for field in turn[:7]:
            digest.update(field.numpy().tobytes())
        played, after, _ = play(game, each, turn, seeds, CLOCK, TURNS)
        legal = legal_of(played, game.actions)
        for field in (played.observation, played.acting, played.action, played.reward, played.done, legal):
            digest.update(field.contiguous().numpy().tobytes())
        digest.update(after.observation.numpy().tobytes())
        assert digest.hexdigest()[:16] == RECORDED[name]


@pytest.mark.parametrize("name", RECORDED, ids=NAMES)
def test_a_stretch_is_its_turns(name, path_of):
    """Every field of the trajectory, bit for bit, and the turn and state after it."""
    game, seeds = OpenSpiel(path_of(name)), derive_seeds(2, COPIES)
    profile = uneven_tables(game)
    assert tabulated_game(game, profile, TURNS * COPIES) is game
    results = []
    for each in (profile, turn_by_turn(profile)):
        played, after, _ = play(game, each, game.reset(seeds), seeds, CLOCK, TURNS)
        assert not any(memory for memory in played.memory)
        results.append([*played._replace(memory=None), *after, *game.state().values()])
    for one, other in zip(*results, strict=True):
        assert one is other is None or (one.dtype == other.dtype and torch.equal(one, other))


class Walker:
    """One copy of a game, played on OpenSpiel's states."""

    def __init__(self, name, seed):
        efg = name.endswith(".efg")  # `load_sequential` reads those itself
        self.game = pyspiel.load_game("efg_game", {"filename": name}) if efg else load_sequential(name)
        self.seed, self.draws = seed, torch.tensor(0)
        self.state = self.game.new_initial_state()

    def settle(self):
        """Plays chance moves and openings until a player decides; returns the payoff of the first game that
        ended, or None.
        """
        paid = None
        while self.state.is_terminal() or self.state.is_chance_node():
            if self.state.is_terminal():
                paid = self.state.returns() if paid is None else paid
                self.state = self.game.new_initial_state()
            else:
                self.draws += 1
                key = mix_bits(self.seed ^ int(CHANCE_STREAM)) + GOLDEN * self.draws
                noise = float(to_unit_interval(mix_bits(key)))
                actions, chances = zip(*self.state.chance_outcomes(), strict=True)
                outcome = int((np.cumsum(chances)[:-1] <= noise).sum())
                self.state = self.state.child(actions[outcome])
        return paid


@pytest.mark.parametrize("name", ["kuhn_poker(players=3)", "leduc_poker", GOOFSPIEL, SPELLED_OUT])
def test_play_equals_openspiel_states(name, path_of):
    name = path_of(name)
    game, seeds = OpenSpiel(name), derive_seeds(3, 6)
    played, *_ = play(game, uneven_tables(game), game.reset(seeds), seeds, 0, 80)
    names, legal = {}, legal_of(played, game.actions)
    for copy, seed in enumerate(seeds):
        walker = Walker(name, seed)
        walker.settle()
        for turn in range(len(played.done)):
            mover = walker.state.current_player()
            assert played.acting[turn, copy].nonzero().flatten().tolist() == [mover]
            key = mover, walker.state.information_state_string(mover)
            assert names.setdefault(int(played.observation[turn, copy, mover, 0]), key) == key
            assert (played.observation[turn, copy].flatten() == -1).sum() == game.players - 1
            assert legal[turn, copy, mover].nonzero().flatten().tolist() == walker.state.legal_actions()
            walker.state = walker.state.child(int(played.action[turn, copy, mover]))
            paid = walker.settle()
            assert bool(played.done[turn, copy]) == (paid is not None)
            assert played.reward[turn, copy].tolist() == pytest.approx(paid or [0] * game.players)
    assert len(set(names.values())) == len(names)


@pytest.mark.parametrize("shared", [True, False])
def test_networks_are_tabulated_for_a_stretch(shared):
    """Equal actions, and log-probabilities up to rounding; each network is evaluated 938 times for 2,560
    decisions.
    """
    game, seeds = OpenSpiel("leduc_poker"), derive_seeds(4, 64)
    torch.manual_seed(0)
    profile = MLPSpec(shared=shared).profile(game)
    assert tabulated_game(game, profile, 40 * 64) is game
    one, other = (play(game, each, game.reset(seeds), seeds, 0, 40)[0] for each in (profile, turn_by_turn(profile)))
    assert torch.equal(one.action, other.action)
    assert torch.equal(one.reward, other.reward)
    assert one.log_prob == pytest.approx(other.log_prob, abs=1e-6)


def test_few_decisions_are_not_worth_a_table():
    """Leduc poker has 936 information sets, and each decision evaluates two seats."""
    game = OpenSpiel("leduc_poker")
    profile = TabularSpec().profile(game)
    assert tabulated_game(game, profile, 468) is game
    assert tabulated_game(game, profile, 467) is None
    assert tabulated_game(game, turn_by_turn(profile), 468) is None


def test_streams_continue_and_sum_payoffs():
    """Two stretches equal one, also across a checkpoint; the payoffs of games are the sums of their rewards."""
    profile = uneven_tables(OpenSpiel("kuhn_poker"))
    full, halves, later = (Stream(OpenSpiel("kuhn_poker"), derive_seeds(5, 16)) for _ in range(3))
    played, paid = full.play(profile, 40)
    first, paid_first = halves.play(profile, 20)
    set_state(later, deepcopy(get_state(halves)))
    second, paid_second = later.play(profile, 20)
    assert torch.equal(played.action, torch.cat([first.action, second.action]))
    assert torch.equal(paid, torch.cat([paid_first, paid_second]))
    assert len(paid) == played.done.sum()
    assert torch.equal(paid, played.reward[played.done])  # of Kuhn poker, which pays at the end only


def test_an_illegal_action_moves_nobody():
    """By logits that are not finite, and in single turns."""
    game, seeds = OpenSpiel("leduc_poker"), derive_seeds(6, 600)
    torch.manual_seed(0)
    profile = MLPSpec().profile(game)
    profile[0].network.biases[-1].data[:] = torch.nan
    turn = game.reset(seeds)
    before = game.state()
    for wrong in (
        lambda: play(game, profile, turn, seeds, 0, 2),
        lambda: game.step(torch.zeros(600, 2, dtype=torch.int64)),
        lambda: game.step(torch.full((600, 2), -1)),
    ):
        with pytest.raises(ValueError, match=r"action (0|-1) is illegal at '\[Observer: 0\].*; choose from \[1, 2\]"):
            wrong()
        assert all(torch.equal(each, before[name]) for name, each in game.state().items())
    with pytest.raises(ValueError, match=r"actions must be int64 \(600, 2\), not torch.int64 \(600,\)"):
        game.step(torch.ones(600, dtype=torch.int64))


def test_a_copy_of_a_game_shares_its_arrays_and_plays_alone():
    game = OpenSpiel("leduc_poker")
    turn = game.reset(derive_seeds(7, 4))
    other = deepcopy(game)
    assert other.tree is game.tree
    other.step(torch.ones_like(turn.legal[..., 0], dtype=torch.int64))
    assert torch.equal(game.restore(game.state()).observation, turn.observation)
