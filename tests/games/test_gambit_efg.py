"""Gambit's .efg files are read as in its manual, and with the same result as by OpenSpiel where it reads them."""

import re
import sys
from itertools import islice

import numpy as np
import pyspiel
import pytest
import torch
from small_efg_games import A_ALONE, CHANCE_ENDS, OVER_LAST, PENNIES, PLAYERS

from games.gambit.efg import parse_efg
from games.normal_form.games import MatrixGame
from games.openspiel.game import OpenSpiel
from games.openspiel.tree_walk import walk_tree
from marl_engine.extensive_form.sequence_form import expected_payoffs, nash_conv, realization_plan, uniform_strategy
from marl_engine.policies.tabular import TabularSpec, stack_tables
from marl_engine.responders.exact import ExactResponder
from marl_engine.rollout.rollout import score
from solvers.cfr.cfr import CFR
from solvers.cfr.mccfr import MCCFR
from solvers.populations.anytime_double_oracle import AnytimeDoubleOracle

POKER = f"""{PLAYERS} "a comment; {{ in braces }}"
c "deal" 1 "cards" {{ "king" 1/2 "queen" .5 }} 0
p "" 1 1 "king" {{ "bet" "fold" }} 0
p "" 2 1 "B" {{ "call" "fold" }} 0
t "" 1 "big" {{ 2, -2 }}
t "" 2 "won" {{ 1.0 -1.0 }}
t "" 3 "lost" {{ -1, 1 }}
p "" 1 2 "queen" {{ "bet" "fold" }} 0
p "" 2 1 "B" {{ "call" "fold" }} 0
t "" 4 "bigger" {{ -2, 2 }}
t "" 2 "won" {{ 1, -1 }}
t "" 3 "lost" {{ -1, 1 }}
"""
LABELS = f"""{PLAYERS}
""
p "" 1 1 "(1,1)" {{ "R" "L" }} 0
p "" 2 1 "(2,1)" {{ "L" "R" "M" }} 0
t "" 1 "" {{ 7, 0 }}
t "" 2 "" {{ 5, 6 }}
t "" 3 "" {{ 0, 1 }}
p "" 2 2 "(2,2)" {{ "M" "L" }} 0
t "" 4 "" {{ 3, 3 }}
t "" 5 "" {{ -1, 1e1 }}
"""
PAID_ON_THE_WAY = f"""{PLAYERS}
c "" 7 "" {{ "up" 1/3 "down" 2/3 }} 9 "entry" {{ -1/10, .2 }}
p "" 1 5 "" {{ "H" "T" }} 0
p "" 2 8 "" {{ "h" "t" }} 3 "tip" {{ 1, 0 }}
t "" 0
t "" 4 "prize" {{ 0, 6 }}
p "" 2 8 0
t "" 4
t "" 0
t "" 3
"""
DRIVER = f"""{PLAYERS} p "" 1 1 "" {{ "exit" "on" }} 0 t "" 1 "" {{ 0 0 }}
p "" 1 1 0 t "" 2 "" {{ 4, 0 }} t "" 3 "" {{ 1 0 }}"""
FOLD = f"""{PLAYERS}
p "" 1 1 "" {{ "fold" "H" "T" }} 0
t "" 1 "" {{ 1/5, -1/5 }}
{PENNIES}"""
CHANCE_ALONE = f"""{PLAYERS} c "" 1 "" {{ "a" 1/4 "b" 3/4 }} 0 t "" 1 "" {{ 8, 0 }} t "" 2 "" {{ 0, 4 }}"""


def ignore_progress(done):
    """Ignores the progress of a traversal."""


@pytest.fixture
def save_game(tmp_path, monkeypatch):
    """Returns a function that writes a text to a file and returns its path."""
    monkeypatch.setenv("MARL_ENGINE_CACHE", str(tmp_path / "cache"))

    def save(text):
        (tmp_path / "game.efg").write_text(text)
        return str(tmp_path / "game.efg")

    return save


def information_sets(root, names):
    """Returns pyspiel's names of the actions in each information set."""
    labels, waiting = {}, [root]
    while waiting:
        state = waiting.pop()
        if not (state.is_terminal() or state.is_chance_node()):
            actions = [state.action_to_string(action) for action in state.legal_actions()]
            labels[state.information_state_string()] = actions
        waiting += [state.child(action) for action in state.legal_actions()]
    return [(name, labels[name]) for name in names]


@pytest.mark.parametrize("text", [POKER, LABELS])
def test_arrays_are_those_of_openspiel(text, save_game):
    """All except the features; also NashConv, and a strategy converted to OpenSpiel and back."""
    path = save_game(text)
    reference = pyspiel.load_game(f"efg_game(filename={path})")
    for first, second in zip(
        walk_tree(parse_efg(text), ignore_progress), walk_tree(reference, ignore_progress), strict=True
    ):
        for name in set(first._fields) - {"tensor"}:
            assert np.array_equal(getattr(first, name), getattr(second, name)), name
    game = OpenSpiel(f"efg_game(filename={path})")
    assert game.information_sets() == information_sets(reference.new_initial_state(), game.tree.name.tolist())
    strategy = np.where(uniform_strategy(game.form) < 1, 0.0, 1.0)
    strategy[game.form.first[:-1]] = 1
    policy = game.tabular(strategy)
    assert np.array_equal(game.strategy(policy), strategy)
    distance = pyspiel.nash_conv(reference, pyspiel.TabularPolicy(policy))
    assert nash_conv(game.form, realization_plan(game.form, strategy)) == pytest.approx(distance)


def test_stripped_down_poker():
    """Reiley et al. 2008: bluff with a third of the queens, call with two thirds, value 1/3."""
    tree, form = walk_tree(parse_efg(POKER), ignore_progress)
    strategy = np.array([1, 1, 1, 0, 1 / 3, 2 / 3, 2 / 3, 1 / 3])
    assert tree.name.tolist() == ["0-0-1-king", "0-0-2-queen", "1-1-1-B"]
    assert nash_conv(form, realization_plan(form, strategy)) == pytest.approx(0, abs=1e-12)
    assert expected_payoffs(form, realization_plan(form, strategy)) == pytest.approx([1 / 3, -1 / 3])


def test_outcomes_on_the_way_add_up():
    """By hand: -1/10 and .2 in any case; (up, H) 1 more for A, and 6 for B by t; (up, T, h) 6 for B; down 1 for
    A.
    """
    tree, form = walk_tree(parse_efg(PAID_ON_THE_WAY), ignore_progress)
    assert tree.payoff.tolist() == [[0.9, 0.2], [0.9, 6.2], [-0.1, 6.2], [-0.1, 0.2], [0.9, 0.2]]
    assert tree.chance[:2].tolist() == [1 / 3, 2 / 3]
    assert expected_payoffs(form, realization_plan(form, uniform_strategy(form))) == pytest.approx(
        [-0.1 + 1 / 6 + 2 / 3, 0.2 + 1]
    )


def test_payoffs_on_a_path_are_summed_exactly():
    """1/10 + 2/10 is 3/10, unlike the sum of their floats."""
    text = f'{PLAYERS} p "" 1 1 "" {{ "a" }} 1 "" {{ 0.1 0 }} t "" 2 "" {{ 0.2 0 }}'
    assert walk_tree(parse_efg(text), ignore_progress)[0].payoff.tolist() == [[0.3, 0]]


def test_information_sets_have_names_after_the_file_is_deleted(save_game, tmp_path):
    """A run whose file was moved can still write its strategies."""
    game = OpenSpiel(save_game(POKER))
    (tmp_path / "game.efg").unlink()
    assert game.information_sets() == [
        ("0-0-1-king", ["bet", "fold"]),
        ("0-0-2-queen", ["bet", "fold"]),
        ("1-1-1-B", ["call", "fold"]),
    ]


def test_imperfect_recall_is_refused(save_game):
    with pytest.raises(ValueError, match=r"player 0 forgets what it did or knew before '0-0-1-'; .* perfect recall"):
        OpenSpiel(save_game(DRIVER))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('NFG 1 R "" { "" }', "it does not begin with EFG 2 R"),
        ('EFG 2 R { "" }', "after EFG 2 R must come a title and { players }"),
        ('EFG 2 R "" { } t "" 0', "after EFG 2 R must come a title and { players }"),
        (PLAYERS, "node 1: the file ends before the tree does"),
        (f'{PLAYERS} x "" 0', "node 1: it must begin with c, p or t, not with 'x'"),
        (f"{PLAYERS} t 0", "node 1: after t must come its name in quotes, not '0'"),
        (f'{PLAYERS} p "" 3 1 "" {{ "a" }} 0 t "" 0', "node 1: there is no player 3, but 2 of them"),
        (f'{PLAYERS} p "" 1 1 0', "node 1: information set 1 of player 1 has no actions where it first appears"),
        (f'{PLAYERS} p "" 1 1 "" {{ }} 0', "node 1: information set 1 of player 1 has no actions"),
        (f'{PLAYERS} p "" 1 1 "" {{ a b }} 0', "node 1: actions must be names in quotes, not ['a', 'b']"),
        (f'{PLAYERS} p "" 1 x "" {{ "a" }} 0', "node 1: 'x' is no whole number"),
        (f'{PLAYERS} p "" 1 1 "" {{ "a" "b" }} 0 t "" 0', "node 3: the file ends before the tree does"),
        (f'{PLAYERS} t "" 0 t "" 0', "the tree is complete after 1 nodes, and then comes 't'"),
        (f'{PLAYERS} t "" 5', "node 1: outcome 5 has no payoffs where it first appears"),
        (f'{PLAYERS} t "" 5 "" {{ 1 }}', "node 1: outcome 5 has 1 payoffs for 2 players"),
        (f'{PLAYERS} t "" 5 "" {{ 1 nan }}', "node 1: 'nan' is no number"),
        (f'{PLAYERS} t "" 0 "" {{ 1 1 }}', "node 1: outcome 0 does not pay what it paid before"),
        (
            f'{PLAYERS} c "" 1 "" {{ "a" 1/2 "b" 1/3 }} 0',
            "node 1: the probabilities of chance must be chances that add",
        ),
        (f'{PLAYERS} c "" 1 "" {{ "a" 3/2 "b" -1/2 }} 0', "node 1: the probabilities of chance must be chances of 0"),
        (f'{PLAYERS} c "" 1 "" {{ "a" 1 "b" }} 0', "node 1: chance needs pairs of a name in quotes and a probability"),
        (
            f'{PLAYERS} p "" 1 1 "" {{ "a" }} 0 p "" 1 1 "" {{ "b" }} 0',
            "node 2: information set 1 of player 1 is not what it was before",
        ),
        (
            f'{PLAYERS} p "" 1 1 "" {{ "a" "b" }} 0 t "" 0 p "" 1 1 "" {{ "b" "a" }} 0',
            "node 3: information set 1 of player 1 is not what it was before",
        ),
        (f'{PLAYERS} t "" 1 "" {{ 1 1', "a { is not closed"),
    ],
)
def test_invalid_efg_files_are_refused(text, sentence, save_game):
    path = save_game(text)
    with pytest.raises(ValueError, match=re.escape(f"{path}: {sentence}")):
        OpenSpiel(path)


def test_a_missing_file_is_refused():
    with pytest.raises(ValueError, match=r"nowhere\.efg: .*No such file"):
        OpenSpiel("nowhere.efg")


def test_a_tree_as_a_matrix(save_game, monkeypatch):
    """Player A chooses in advance in both of its sets. OpenSpiel is not needed."""
    monkeypatch.setitem(sys.modules, "pyspiel", None)
    earns = MatrixGame(payoffs=save_game(POKER)).earns
    assert earns[0].tolist() == [[0, 1], [0.5, 0], [-1.5, 0], [-1, -1]]
    assert earns[1].tolist() == (-earns[0]).tolist()


@pytest.mark.parametrize("text", [CHANCE_ENDS, OVER_LAST])
def test_chance_that_ends_a_game_before_anybody_moves(text, save_game):
    """Such games are counted in values and in scores, but have no turn in which someone moves."""
    game = OpenSpiel(save_game(text))
    turn = game.reset(torch.arange(4000))
    assert (turn.acting.sum(1) == 1).all()
    assert turn.done.float().mean() == pytest.approx(1 / 4, abs=0.03)
    assert turn.reward[turn.done].unique(dim=0).tolist() == [[8, 0]]
    assert turn.reward[~turn.done].eq(0).all()
    for _ in range(5):
        turn = game.step(torch.where(turn.legal[:, :, 0], 0, 2))  # H and h
        assert (turn.acting.sum(1) == 1).all()
        assert turn.reward[turn.done].unique(dim=0).tolist() in ([[1, -1]], [])
    payoffs = score(game, TabularSpec().profile(game), torch.arange(4000))
    exact = expected_payoffs(game.form, realization_plan(game.form, uniform_strategy(game.form)))
    assert exact.tolist() == [2, 0]
    assert (abs(payoffs.mean(0).numpy() - exact) < 4 * payoffs.std(0).numpy() / 4000**0.5).all()


@pytest.mark.parametrize("solver", [CFR(floor=True, gamma=1.0), MCCFR(traversals=20), MCCFR("outcome", traversals=100)])
@pytest.mark.parametrize(("text", "value"), [(CHANCE_ENDS, [2, 0]), (OVER_LAST, [2, 0]), (A_ALONE, [8, 0])])
def test_such_games_are_solved(solver, text, value, save_game):
    game = OpenSpiel(save_game(text))
    profile = TabularSpec().profile(game)
    *_, last = islice(solver.solve(profile, ExactResponder(game)), 400)
    assert last.metrics["nash_conv"] < 0.1
    assert expected_payoffs(game.form, realization_plan(game.form, stack_tables(profile))) == pytest.approx(
        value, abs=0.1
    )


def test_a_seat_that_never_moves_is_played():
    """Its observation is no information set, so any policy will do."""
    tree, form = walk_tree(parse_efg(A_ALONE), ignore_progress)
    (_, idle) = TabularSpec().profile(Shown(form, tree.legal))
    rows = idle.encode(torch.tensor([[-1], [-1]]), torch.tensor([1, 1]))
    assert idle(rows)[0].log_probs.exp().tolist() == [[0.5, 0.5]] * 2


class Shown:
    """A two-player game of which only the form is needed."""

    players = 2

    def __init__(self, form, legal):
        self.form, self.legal, self.start = form, legal, uniform_strategy(form)


def test_a_game_of_chance_alone_is_refused_with_its_value(save_game):
    with pytest.raises(ValueError, match=r"chance alone decides, with probability 1, .*it is worth \[2\.0, 3\.0\] to"):
        OpenSpiel(save_game(CHANCE_ALONE))


def test_double_oracle_where_the_first_may_leave_before_the_second_moves(save_game):
    """By hand: A folds for 1/5, and B allows no more. The second player's payoff without a move counts."""
    game = OpenSpiel(save_game(FOLD))
    profile = TabularSpec().profile(game)
    *_, last = islice(AnytimeDoubleOracle().solve(profile, ExactResponder(game)), 5)
    assert last.metrics["nash_conv"] == pytest.approx(0, abs=1e-9)
    assert expected_payoffs(game.form, realization_plan(game.form, stack_tables(profile))) == pytest.approx(
        [1 / 5, -1 / 5]
    )
