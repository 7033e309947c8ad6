"""Trees agree with OpenSpiel's, and games that do not fit are refused before they are compiled."""

from itertools import islice

import numpy as np
import pytest

from games.openspiel.game import OpenSpiel
from games.openspiel.load import estimate_size, format_size, load_sequential
from games.openspiel.tree_walk import walk_tree
from marl_engine.extensive_form.sequence_form import expected_payoffs, nash_conv, realization_plan, uniform_strategy
from marl_engine.extensive_form.tree import END
from marl_engine.policies.tabular import TabularSpec, stack_tables
from marl_engine.responders.exact import ExactResponder
from solvers.cfr.cfr import CFR


def ignore_progress(done):
    """Ignores the progress of a traversal."""


def solve(name, iterations):
    """Returns payoffs (P,) of CFR+'s average, and its distance from equilibrium."""
    game = OpenSpiel(name)
    profile = TabularSpec().profile(game)
    *_, last = islice(CFR(floor=True, gamma=1.0).solve(profile, ExactResponder(game)), iterations)
    return expected_payoffs(game.form, realization_plan(game.form, stack_tables(profile))), last.metrics["nash_conv"]


@pytest.mark.parametrize(
    "name",
    [
        "kuhn_poker",
        "kuhn_poker(players=3)",
        "leduc_poker",
        "tiny_hanabi",
        "first_sealed_auction(max_value=4)",
        "goofspiel(imp_info=True,num_cards=4,points_order=descending)",
        "dark_hex(board_size=2,gameversion=adh)",
        "oshi_zumo(coins=6,size=1,horizon=8,min_bid=1)",
        "bargaining(max_turns=2,max_num_instances=10)",
    ],
)
def test_information_sets_equal_those_of_openspiel(name):
    """Information sets built from observations, as for Hanabi, equal those of OpenSpiel."""
    (tree, form), (other, same) = (
        walk_tree(load_sequential(name), ignore_progress, watched=watched) for watched in (True, False)
    )
    for own, reference in ((tree._replace(name=0), other._replace(name=0)), (form, same)):
        assert all(np.array_equal(*pair) for pair in zip(own, reference, strict=True))
    assert len(set(tree.name)) == len(tree.name)


def test_hanabi_equals_its_openspiel_states():
    """Payoffs of uniform play, from the arrays and from OpenSpiel's states."""
    name = "hanabi(players=2,colors=1,ranks=2,hand_size=1,max_information_tokens=1,max_life_tokens=1)"

    def worth(state):
        if state.is_terminal():
            return np.array(state.returns())
        if state.is_chance_node():
            return sum(chance * worth(state.child(action)) for action, chance in state.chance_outcomes())
        return np.mean([worth(state.child(action)) for action in state.legal_actions()], axis=0)

    form = OpenSpiel(name).form
    assert expected_payoffs(form, realization_plan(form, uniform_strategy(form))) == pytest.approx(
        worth(load_sequential(name).new_initial_state())
    )


def test_all_games_of_tic_tac_toe():
    """255,168. With random play the first player wins 737 of 1260 and loses 121 of 420; with optimal play it is a
    draw.
    """
    game = OpenSpiel("tic_tac_toe")
    outcomes, count = np.unique(game.tree.payoff[:, 0], return_counts=True)
    assert dict(zip(outcomes.tolist(), count.tolist(), strict=True)) == {1: 131_184, -1: 77_904, 0: 46_080}
    assert expected_payoffs(game.form, realization_plan(game.form, uniform_strategy(game.form)))[0] == pytest.approx(
        737 / 1260 - 121 / 420
    )
    player, to, child = game.tree.player.tolist(), game.tree.to.tolist(), game.tree.child.tolist()
    value = [0.0] * len(player)
    for node in range(len(player) - 1, -1, -1):
        if player[node] == END:
            value[node] = game.tree.payoff[game.tree.infoset[node], 0]
        else:
            value[node] = (max, min)[player[node]](value[each] for each in to[child[node] : child[node + 1]])
    assert value[0] == 0


def test_the_second_of_three_in_kuhn_poker_loses_a_48th():
    """In all equilibria of Szafron et al. (2013), whatever the other players win from each other."""
    payoffs, distance = solve("kuhn_poker(players=3)", 2000)
    assert distance < 1e-4
    assert payoffs[1] == pytest.approx(-1 / 48, abs=1e-5)


def test_dark_hex():
    """On a 2x2 board the first player wins three times in four, if a player who hits a stone loses the turn."""
    payoffs, distance = solve("dark_hex(board_size=2,gameversion=adh)", 1000)
    assert distance < 2e-3
    assert payoffs[0] == pytest.approx(1 / 2, abs=distance)


def test_suits_do_not_matter():
    for name in ("leduc_poker", "leduc_poker(suit_isomorphism=True)"):
        form = OpenSpiel(name).form
        assert nash_conv(form, realization_plan(form, uniform_strategy(form))) == pytest.approx(4.747222, abs=1e-6)


def test_a_game_that_shows_nothing_has_features():
    features = OpenSpiel("coordinated_mp").features
    assert len(np.unique(features, axis=0)) == len(features)


def test_a_long_game(tmp_path):
    """A centipede game of 3,000 moves, longer than Python's stack, from Gambit's .efg."""
    legs, path = 3000, tmp_path / "centipede.efg"
    moves = [
        f'p "" {leg % 2 + 1} {leg // 2 + 1} "" {{ "stop" "go" }} 0 t "" {leg + 1} "" {{ {leg}, 0 }}'
        for leg in range(legs)
    ]
    path.write_text("\n".join(['EFG 2 R "centipede" { "one" "two" }', *moves, f't "" {legs + 1} "" {{ 0, 0 }}']))
    tree, form = walk_tree(load_sequential(f"efg_game(filename={path})"), ignore_progress)
    assert (len(tree.player), len(tree.name), form.sequences) == (2 * legs + 1, legs, 2 * legs + 2)


def test_a_walk_reports_its_progress():
    reports = []
    walk_tree(load_sequential("sheriff"), reports.append)  # 28,085 histories
    assert reports == [0, 10_000, 20_000]


@pytest.mark.parametrize(
    ("name", "histories", "within"),
    [
        ("kuhn_poker", 58, 0),
        ("goofspiel(imp_info=True,num_cards=4,points_order=descending)", 1077, 0),
        ("leduc_poker", 9457, 0.05),
        ("tic_tac_toe", 549_946, 0.05),
        ("liars_dice", 294_883, 0.3),  # where one that goes on is rare, and has most of the histories below it
    ],
)
def test_sizes_are_estimated(name, histories, within):
    assert estimate_size(load_sequential(name)) == pytest.approx(histories, rel=within)


def test_sizes_in_words():
    assert [format_size(size) for size in (58, 294_883, 2 * 10**10, 10**574)] == [
        "58",
        "290,000",
        "20,000,000,000",
        "10^574",
    ]


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        (
            "connect_four",
            r"connect_four has about 10\^\d+ histories, and at most 20,000,000 are compiled; choose a smaller",
        ),
        ("phantom_ttt", r"phantom_ttt has about \d\d,000,000,000 histories"),
        ("chess", r"chess has about 10\^\d\d\d histories"),
        ("leduc_poker(players=4)", r"leduc_poker\(players=4\) has about \d+,000,000 histories"),
        ("dark_hex(num_rows=2,num_cols=3)", "player 1 forgets what it did or knew before .*perfect recall"),
        ("liars_dice_ir(dice_sides=3)", "player 1 forgets what it did or knew before .*perfect recall"),
        ("stones_and_gems", "'stones_and_gems' does not say what its chances are"),
        ("mfg_garnet", "'mfg_garnet' is a game of infinitely many players"),
        ("crossword", "cannot play 'crossword' through: LegalActions unimplemented"),
        ("khun_poker", "no game 'khun_poker'; choose from kuhn_poker, "),
        ("kuhn_poker(seats=3)", "OpenSpiel refuses 'kuhn_poker\\(seats=3\\)'"),
    ],
)
def test_game_that_cannot_be_compiled_is_refused(name, sentence):
    with pytest.raises(ValueError, match=sentence):
        OpenSpiel(name)


def test_a_walk_beyond_its_estimate_stops(monkeypatch):
    monkeypatch.setattr("games.openspiel.tree_walk.LARGEST", 15_000)
    with pytest.raises(ValueError, match="there are more than 15,000 histories; choose a smaller game"):
        walk_tree(load_sequential("sheriff"), ignore_progress)


def test_a_walk_that_would_fill_the_memory_stops(monkeypatch):
    monkeypatch.setattr("games.openspiel.tree_walk.WIDEST", 100_000)
    with pytest.raises(ValueError, match=r"information sets with \d+ actions do not fit; choose a smaller game"):
        walk_tree(load_sequential("sheriff"), ignore_progress)
