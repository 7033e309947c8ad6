"""Tables: games of people and policies are the games that policies alone play, if people do what a policy would do."""

from random import Random

import numpy as np
import pytest
import torch
from play_room import KITCHEN, untrained
from toys import Alternating

from games.openspiel import OpenSpiel, OpenSpielStates
from marl_engine.errors import Refused
from marl_engine.play.table import Table, check_playable
from marl_engine.rollout.rollout import open_games, play_turns
from marl_engine.rollout.seating import Seating
from marl_engine.spaces import ActionSpace, Spaces

GAMES = {
    "overcooked": KITCHEN,
    "leduc": ("game=leduc_poker",),
    "connect_four": ("game=connect_four", "policy.hidden=[8]"),
    "goofspiel": ("game=openspiel_states", "game.name=goofspiel(num_cards=4)", "policy.hidden=[8]"),
    "memory": ("game=recall", "policy=gru"),
}
SHOWS = {"tic_tac_toe": True, "connect_four": True, "kuhn_poker": True, "leduc_poker": True, "phantom_ttt": False}


def decisions_of(player, seed):
    """Returns the actions and rewards of one game of the policies alone."""
    turn, seeds = open_games(player.game, torch.tensor([seed]))
    seating, decisions = Seating(player.profile, 1, seeds.device), []
    with torch.no_grad():
        for decision in play_turns(player.game, seating, turn, seeds, turns=10_000):
            decisions.append(decision)
            if decision.after.done:
                return decisions


@pytest.mark.parametrize("name", GAMES)
def test_a_person_who_acts_as_a_policy_plays_the_game_of_policies(name):
    player = untrained(*GAMES[name])
    for seed in range(3):
        decisions = decisions_of(player, seed)
        for people in {(0,), tuple(range(player.game.players))}:
            table = Table(player.game, player.profile, people, seed, viewer=0)
            for decision in decisions:
                actions = decision.action[0].tolist()
                table.advance({seat: actions[seat] for seat in people})
            assert table.over
            np.testing.assert_allclose(table.payoffs, sum(each.after.reward[0] for each in decisions).tolist())
            acted = torch.stack([each.before.acting[0] for each in decisions])
            played = torch.stack([each.action[0] for each in decisions])
            assert torch.equal(torch.tensor(table.actions)[acted], played[acted])


@pytest.mark.parametrize("kind", [OpenSpiel, OpenSpielStates])
@pytest.mark.parametrize("name", ["kuhn_poker", "leduc_poker", "kuhn_poker(players=3)", "goofspiel(num_cards=3)"])
def test_words_are_those_of_the_game_that_is_played(kind, name):
    """The narration draws the cards of the game: it names the same information states, moves and payoffs."""
    game, random = kind(name), Random(0)
    sets = game.information_sets() if kind is OpenSpiel else []
    for seed in range(5):
        turn, narration, payoffs, done = game.reset(torch.tensor([seed])), game.narrate(seed), 0.0, False
        while not done:
            actions = [0] * game.players
            for seat in turn.acting[0].nonzero()[:, 0].tolist():
                moves = {move.action: move.name for move in narration.moves(seat)}
                assert sorted(moves) == turn.legal[0, seat].nonzero()[:, 0].tolist()
                if sets:
                    number = turn.observation[0, seat, 0]
                    assert narration.state.information_state_string(seat) == sets[number][0]
                    assert list(moves.values()) == sets[number][1]
                else:
                    assert narration.observation(seat) == narration._view(game.states[0], seat)
                actions[seat] = random.choice(list(moves))
            narration.apply(actions, viewer=0)
            turn = game.step(torch.tensor([actions]))
            payoffs, done = payoffs + turn.reward[0], bool(turn.done)
        np.testing.assert_allclose(narration.state.returns(), payoffs, rtol=1e-6)


@pytest.mark.parametrize("name", SHOWS)
def test_moves_are_told_that_a_seat_can_tell(name):
    """In phantom tic-tac-toe nobody sees the marks of the other; the moves of the other games are public."""
    random, told, hidden = Random(0), 0, 0
    for seed in range(5):
        narration = OpenSpielStates(name).narrate(seed)
        while not narration.state.is_terminal():
            mover = narration.state.current_player()
            action = random.choice(narration.moves(mover)).action
            names = narration.apply([action] * 2, viewer=0)
            if mover == 1 and not narration.state.is_terminal():
                told, hidden = told + (1 in names), hidden + (1 not in names)
    assert bool(told) == SHOWS[name]
    assert bool(hidden) != SHOWS[name]


def test_a_card_that_is_not_ones_own_is_shown_after_the_game_only():
    narration = OpenSpiel("kuhn_poker").narrate(3)
    cards = narration.state.history()
    assert [narration.observation(seat) for seat in (0, 1)] == [str(card) for card in cards]
    narration.apply([0, 0], viewer=0)
    assert narration.observation(0) == f"{cards[0]}p"
    narration.apply([0, 0], viewer=0)
    assert narration.observation(0) == f"{cards[0]} {cards[1]} pp"


def test_cells_are_those_that_moves_mark():
    """A disc falls to the lowest free row of its column; a mark takes the cell that is named."""
    narration = OpenSpielStates("connect_four").narrate(0)
    assert [move.cell for move in narration.moves(0)] == [(5, column) for column in range(7)]
    narration.apply([3, 0], viewer=0)
    assert narration.moves(1)[3].cell == (4, 3)
    assert narration.moves(0) == []
    moves = OpenSpielStates("tic_tac_toe").narrate(0).moves(0)
    assert [move.name for move in moves] == ["x({},{})".format(*move.cell) for move in moves]
    assert all(move.cell is None for move in OpenSpielStates("phantom_ttt").narrate(0).moves(0))


def test_illegal_actions_are_refused_and_play_nothing():
    player = untrained("game=leduc_poker")
    table = Table(player.game, player.profile, [0], 0, viewer=0)
    for choices in ({}, {0: 3}, {0: -1}, {1: 1}):
        with pytest.raises(Refused, match=r"illegal now for seat 0; choose from \[1, 2\]"):
            table.advance(choices)
    assert table.actions == []
    table.advance({0: 1})
    assert len(table.actions) == 1


def test_games_without_words_have_the_names_that_they_have():
    matrix = untrained("game=matrix", "game.name=chicken")
    table = Table(matrix.game, matrix.profile, [1], 0, viewer=1)
    assert [move.name for move in table.moves(1)] == matrix.game.information_sets()[1][1]
    table.advance({1: 0})
    assert [seat for seat, _ in table.log] == [0, 1]
    plain = Table(Alternating(torch.eye(3), patience=2), matrix.profile, [0, 1], 0, viewer=0)
    assert [move.name for move in plain.moves(0)] == ["0", "1", "2"]
    assert plain.moves(1) == []
    cook = untrained(*KITCHEN)
    kitchen = Table(cook.game, cook.profile, [0], 0, viewer=0)
    assert kitchen.real_time
    assert kitchen.moves(0)[kitchen.idle_action()].name == "stay"


@pytest.mark.parametrize(
    "action", [ActionSpace(2, low=-torch.ones(2), high=torch.ones(2)), ActionSpace(4, branches=(2, 2))]
)
def test_games_with_other_actions_are_refused(action):
    game = Alternating(torch.eye(2))
    game.spaces = Spaces((1,), action)
    with pytest.raises(Refused, match="no single choice from a list"):
        check_playable(game)
