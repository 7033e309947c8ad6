"""Games in normal form agree with their sources: names, files, formulae, raters."""

import re
from itertools import islice
from pathlib import Path

import numpy as np
import pyspiel
import pytest
import torch
from scipy.optimize import linprog

from games.gambit import nfg
from games.normal_form.catalogue import load_classic
from games.normal_form.games import MatrixGame, PreferenceFile, PreferenceMatrix, RandomGame, RaterMatrix
from games.normal_form.payoff_files import load_payoffs
from games.normal_form.random_families import GENERAL, SYMMETRIC, draw_game
from games.openspiel.load import load_sequential
from games.preference.judges.population import population_preference
from marl_engine.extensive_form.sequence_form import nash_conv, realization_plan, uniform_strategy
from marl_engine.policies.tabular import TabularSpec, stack_tables
from marl_engine.responders.exact import ExactResponder
from solvers.mirror_descent.mirror_prox import MirrorProx
from solvers.mirror_descent.mmd import MMD
from solvers.mirror_descent.nash_md import NashMD

SELTEN = """NFG 1 R "Of \\"R. Selten\\", {1975}" { "Player 1" "Player 2" "Player 3" } { 2 1 3 }
"a comment"
1 1 1   0 2 -1.5   1/2 1e1 0
.5 0 0  4 5 6   -7 -8 -9
"""


def value(matrix):
    """Returns the value of a zero-sum game (A, B), by linear programming."""
    rows, columns = matrix.shape
    solution = linprog(
        np.append(np.zeros(rows), -1),
        A_ub=np.column_stack([-matrix.T, np.ones(columns)]),
        b_ub=np.zeros(columns),
        A_eq=[np.append(np.ones(rows), 0)],
        b_eq=[1],
        bounds=[(0, None)] * rows + [(None, None)],
    )
    return -solution.fun


def distinct(matrix):
    """Returns the different rows and columns of a matrix, in order."""
    matrix = matrix.round(9)
    return np.unique(np.unique(matrix, axis=0), axis=1)


def test_nfg_by_hand():
    """Player 1's strategy varies fastest; title, names and comment are ignored."""
    result = nfg.parse_nfg(SELTEN)
    assert result.shape == (3, 2, 1, 3)
    assert result[:, 0, 0, 0].tolist() == [1, 1, 1]
    assert result[:, 1, 0, 0].tolist() == [0, 2, -1.5]
    assert result[:, 0, 0, 1].tolist() == [0.5, 10, 0]
    assert result[:, 1, 0, 2].tolist() == [-7, -8, -9]


def test_nfg_of_outcomes():
    """The same game by outcomes, with an outcome for (1, 1, 3) that pays nothing."""
    outcomes = """NFG 1 R "" { "" "" "" } { { "a" "b" } { "only {" } { "1" "2" "3" } } ""
    { { "one" 1, 1, 1 } { "" 0 2 -3/2 } { "" -7, -8, -9 } { "" .5, 10, 0 } { "" 0.5 0 0 } }
    1 2 4 5 0 3"""
    expected = nfg.parse_nfg(SELTEN)
    expected[:, 0, 0, 2] = 0
    assert np.array_equal(nfg.parse_nfg(outcomes), expected)


def test_a_player_alone_in_an_nfg(tmp_path):
    """It chooses its best action."""
    path = tmp_path / "game.nfg"
    path.write_text('NFG 1 R "alone" { "P" } { 3 }\n1 3 2\n')
    game = MatrixGame(payoffs=str(path))
    assert (game.players, game.actions) == (1, 3)
    assert game.earns.tolist() == [[1, 3, 2]]
    profile = TabularSpec().profile(game)
    *_, last = islice(MMD().solve(profile, ExactResponder(game)), 300)
    assert last.metrics["nash_conv"] < 0.01
    assert profile[0].strategy[1] > 0.99


def test_nfg_files_are_read_as_by_openspiel(tmp_path):
    path = tmp_path / "game.nfg"
    path.write_text('NFG 1 R "t" { "one" "two" } { 2 3 }\n1 -1  0.5 2  0.25 3\n0 0  10 4  -3 -2.5\n')
    game = pyspiel.load_game(f"nfg_game(filename={path})")
    reference = [[[game.player_utility(p, a, b) for b in range(3)] for a in range(2)] for p in range(2)]
    assert np.array_equal(load_payoffs(str(path)), reference)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('EFG 2 R "" { "" } { 2 } 1 2', "it does not begin with NFG 1 R"),
        ('NFG 1 R { "" } { 2 } 1 2', "after NFG 1 R must come a title, { players } and { strategies }"),
        ('NFG 1 R "" { "" "" } { 2 2 1 } 1 2', "it names 2 players and gives [2, 2, 1] strategies"),
        ('NFG 1 R "" { "" "" } { 2 2 } 1 2 3 4 5 6 7', "4 combinations of strategies need 8 payoffs, not 7"),
        ('NFG 1 R "" { "" "" } { 2 1 } 1 2 3 x', "'x' is no number"),
        ('NFG 1 R "" { "" "" } { 2 1 } 1 2 3 1/0', "'1/0' is no number"),
        ('NFG 1 R "" { "" "" } { 2 1 } { { "" 1, 2 } { "" 3 } } 1 2', "outcome 2 is not a name and 2 payoffs"),
        ('NFG 1 R "" { "" "" } { 2 1 } { { "" 1, 2 } { "" 3 4 } } 1 3', "there is no outcome 3, but 2 of them"),
        ('NFG 1 R "" { "" "" { 2 1 } 1 2 3 4', "a { is not closed"),
        ('NFG 1 R "" { "" "" } } { 2 1 } 1 2 3 4', "a } closes nothing"),
        ('NFG 1 R "" { "" " } { 2 1 } 1 2 3 4', "a quotation mark is not closed"),
    ],
)
def test_invalid_nfg_files_are_refused(text, sentence, tmp_path):
    path = tmp_path / "game.nfg"
    path.write_text(text)
    with pytest.raises(ValueError, match=re.escape(f"game.payoffs: {path} cannot be read as a .nfg file: {sentence}")):
        MatrixGame(payoffs=str(path))


def test_other_files_are_refused(tmp_path):
    (tmp_path / "game.txt").write_text("1 2")
    with pytest.raises(ValueError, match=r"its name must end with one of \.npy, \.csv, \.nfg, \.efg"):
        MatrixGame(payoffs=str(tmp_path / "game.txt"))
    (tmp_path / "game.csv").write_text("1,nan")
    with pytest.raises(ValueError, match=r"game\.csv must be finite numbers; at \[0, 1\] it has nan"):
        MatrixGame(payoffs=str(tmp_path / "game.csv"))
    with pytest.raises(ValueError, match=r"nowhere\.nfg cannot be read as a \.nfg file"):
        MatrixGame(payoffs="nowhere.nfg")


@pytest.mark.parametrize(
    ("text", "row"),
    [
        ("\ufeff1,-1\n-1,1\n", [[1, -1], [-1, 1]]),
        ("1;-1\r\n-1;1\r\n", [[1, -1], [-1, 1]]),
        ("0,5;-1\n\n-1;1e3\n", [[0.5, -1], [-1, 1000]]),
        ("left,right\n1,-1\n-1,1", [[1, -1], [-1, 1]]),
        (',"to the left",right\nup, 1, -1/2\ndown,-1,1', [[1, -0.5], [-1, 1]]),
        ("1/3,-1/3\n-1/3,1/3\n", [[1 / 3, -1 / 3], [-1 / 3, 1 / 3]]),
        ("1\t2\n3\t4", [[1, 2], [3, 4]]),
        ("1  2\n3  4", [[1, 2], [3, 4]]),
        ("0.3", [[0.3]]),
    ],
)
def test_common_formats_of_text_tables_are_read(text, row, tmp_path):
    (tmp_path / "game.CSV").write_text(text, encoding="utf-8")
    assert load_payoffs(str(tmp_path / "game.CSV")).tolist() == [row, (-np.array(row)).tolist()]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("1,2\n3", "its rows have 1 or 2 numbers"),
        ("1,2\n3,x", "'x' in row 2, column 2 is no number"),
        ("a,b\n1,1/0", "'1/0' in row 1, column 2 is no number"),
        ("", "it is empty"),
        ("1,inf", "must be finite numbers; at [0, 1] it has inf"),
    ],
)
def test_invalid_tables_are_refused(text, sentence, tmp_path):
    (tmp_path / "game.csv").write_text(text)
    with pytest.raises(ValueError, match=re.escape(sentence)):
        MatrixGame(payoffs=str(tmp_path / "game.csv"))


def test_two_tables_make_a_bimatrix(tmp_path):
    for name, table in zip(("row", "column"), load_classic("chicken"), strict=True):
        np.savetxt(tmp_path / f"{name}.csv", table, delimiter=",")
    (tmp_path / "long.csv").write_text("1,2,3")
    row, column, long = (str(tmp_path / f"{name}.csv") for name in ("row", "column", "long"))
    assert np.array_equal(MatrixGame(payoffs=row, column_payoffs=column).earns, load_classic("chicken"))
    with pytest.raises(ValueError, match=r"must be two tables of one shape, not \(2, 2\) in .*row.csv and \(1, 3\)"):
        MatrixGame(payoffs=row, column_payoffs=long)
    with pytest.raises(ValueError, match=r"give game\.payoffs"):
        MatrixGame(column_payoffs=column)


@pytest.mark.parametrize("kind", ["complex128", "datetime64[s]"])
def test_arrays_that_are_no_real_numbers_are_refused(kind, tmp_path):
    np.save(tmp_path / "game.npy", np.ones((2, 2)).astype(kind))
    for game in (MatrixGame, PreferenceFile):
        with pytest.raises(ValueError, match="must be real numbers, not an array of"):
            game(payoffs=str(tmp_path / "game.npy"))


@pytest.mark.parametrize("rounded", ["float32", "six digits"])
def test_rounded_preferences_are_preferences(rounded, tmp_path):
    """P + P' = 1 is made exact; larger deviations are refused with their place."""
    for draw in range(100):
        chance = np.random.default_rng(draw).random((4, 4))
        full = np.tril(chance, -1) + np.triu(1 - chance.T, 1) + np.eye(4) / 2
        np.save(tmp_path / "mine.NPY", full.astype(np.float32) if rounded == "float32" else full.round(6))
        Path(tmp_path / "mine.NPY.npy").rename(tmp_path / "mine.NPY")
        game = PreferenceFile(payoffs=str(tmp_path / "mine.NPY"))
        assert game.earns[0].numpy() == pytest.approx(full - 0.5, abs=1e-6)
        assert game.symmetric
        assert torch.equal(game.earns[0], -game.earns[1])
    np.savetxt(tmp_path / "wrong.csv", full.round(2) + 0.01 * np.eye(4), delimiter=",")
    with pytest.raises(ValueError, match=r"P\[a, b\] \+ P\[b, a\] = 1; P\[0, 0\] is 0\.51 and P\[0, 0\] is 0\.51"):
        PreferenceFile(payoffs=str(tmp_path / "wrong.csv"))


def test_policies_of_own_preferences_start_uniform(tmp_path):
    from marl_engine.commands.command_line.cli_config import compose_config
    from marl_engine.runs.factory import build

    (tmp_path / "mine.csv").write_text("0.5,1,0\n0,0.5,1\n1,0,0.5\n")
    keys = ["game=preference/file", f"game.payoffs={tmp_path}/mine.csv", "solver=nash_md"]
    components = build(compose_config("train", keys))
    assert stack_tables(components.profile)[2:] == pytest.approx(np.full(6, 1 / 3))


@pytest.mark.parametrize("reference", [[np.nan, 0.5, 0.5], [0.6, 0.6, 0.1], [1, 0, 0], [0.5, 0.5]])
def test_invalid_references_are_refused(reference):
    with pytest.raises(ValueError, match=r"game\.reference must be"):
        PreferenceMatrix(reference=reference)


@pytest.mark.parametrize("name", ["matrix_rpsw", "matrix_shapleys_game", "matrix_bos", "blotto(coins=4,fields=3)"])
def test_matrix_games_of_openspiel(name):
    game = pyspiel.extensive_to_matrix_game(pyspiel.load_game(name))
    reference = [game.row_utilities(), game.col_utilities()]
    assert np.array_equal(load_classic(name), reference)


def test_matching_pennies_for_three():
    """The first wants to match the second, the second the third, and the third to differ from the first."""
    for a, b, c in np.ndindex(2, 2, 2):
        earned = [1 if same else -1 for same in (a == b, b == c, c != a)]
        assert load_classic("matching_pennies_3p")[:, a, b, c].tolist() == earned


def test_small_games_are_solved_at_once():
    """Kuhn poker in normal form has value -1/18 and the plans of OpenSpiel's normal form, without repetition."""
    payoffs = load_classic("kuhn_poker")
    game = pyspiel.extensive_to_matrix_game(load_sequential("kuhn_poker"))
    assert payoffs.shape == (2, 27, 64)
    assert np.allclose(distinct(payoffs[0]), distinct(np.array(game.row_utilities())), atol=1e-9)
    assert value(payoffs[0]) == pytest.approx(-1 / 18)


def test_games_too_large_for_a_matrix_are_refused():
    sentence = r"game\.name=leduc_poker cannot be played at once: its normal form has .* combinations of plans"
    with pytest.raises(ValueError, match=sentence):
        MatrixGame("leduc_poker")
    with pytest.raises(ValueError, match=r"there is no matrix game 'matrix_rspw'; .* or a small game of OpenSpiel"):
        MatrixGame("matrix_rspw")


@pytest.mark.parametrize("family", [*GENERAL, *SYMMETRIC])
def test_a_draw_is_a_game(family):
    first, repetition, second = (draw_game(family, 2, 6, draw) for draw in (0, 0, 1))
    assert np.array_equal(first, repetition)
    assert not np.array_equal(first, second)


@pytest.mark.parametrize("players", [2, 3])
def test_zero_sum_and_teams(players):
    assert draw_game("zero_sum", players, 4, 0).sum(0) == pytest.approx(np.zeros([4] * players), abs=1e-12)
    payoff = draw_game("team", players, 4, 0)
    assert all(np.array_equal(each, payoff[0]) for each in payoff)


@pytest.mark.parametrize("family", SYMMETRIC)
def test_seats_of_symmetric_games_may_be_exchanged(family):
    """b earns against a what a earns against b in the other seat; all but one are zero-sum with value 0."""
    row, column = draw_game(family, 2, 10, 3)
    assert np.array_equal(row, column.T)
    if family != "symmetric":
        assert row == pytest.approx(-row.T, abs=1e-12)
        assert value(row) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(
    ("family", "spread"), [("normal", 1), ("zero_sum", 1), ("symmetric", 1), ("antisymmetric", 1), ("skill", 2.5**0.5)]
)
def test_spread_of_payoffs(family, spread):
    """For skill: 1/2 from (W - W') / 2, and 2 from the difference of two skills."""
    row = np.concatenate([draw_game(family, 2, 100, draw)[0].ravel() for draw in range(10)])
    assert row.std() == pytest.approx(spread, rel=0.05)


def test_transitive_games_have_a_best_action():
    """The odds of a against c are those of a against b times those of b against c."""
    row = draw_game("transitive", 2, 8, 0)[0]
    odds = (1 + row) / (1 - row)
    assert odds[:, :, None] * odds[None] == pytest.approx(np.broadcast_to(odds[:, None], (8, 8, 8)))
    best = row[:, 0].argmax()
    assert (np.delete(row, best, axis=0) < row[best]).all()


def test_cyclic_games_are_in_balance():
    form = RandomGame("cyclic", actions=7).form
    assert nash_conv(form, realization_plan(form, uniform_strategy(form))) == pytest.approx(0, abs=1e-12)
    form = RandomGame("antisymmetric", actions=7).form
    assert nash_conv(form, realization_plan(form, uniform_strategy(form))) > 0.5


def test_disc_games_are_areas():
    """Areas of parallelograms of two points: rank two, and at most one."""
    row = draw_game("disc", 2, 30, 0)[0]
    assert np.linalg.matrix_rank(row) == 2
    assert np.abs(row).max() < 1


def test_blotto_by_hand():
    """Two soldiers: 002, 011, 020, 101, 110, 200."""
    row = draw_game("blotto", 2, 6, 0)[0]
    first, gap = (1 + row[5, 1]) / 2, row[0, 2]  # 200 against 011 wins the first field and loses the rest
    second, third = (1 - first - gap) / 2, (1 - first + gap) / 2
    assert min(first, second, third) > 0
    assert row[0, 1] == pytest.approx(third - second)
    assert row[3, 4] == pytest.approx(third - second)
    assert row[4, 5] == pytest.approx(second - first)
    assert row[4, 1] == pytest.approx(first - third)


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({"family": "hawk_dove"}, "game.family must be one of uniform, normal, zero_sum, team, symmetric, "),
        ({"family": "disc", "players": 3}, "game.players must be 2 for family=disc, not 3; more have uniform, "),
        ({"family": "blotto", "actions": 11}, "game.actions of family=blotto must be one of 3, 6, 10, 15, "),
        ({"family": "normal", "players": 7}, "10 actions of 7 players are more than 1,000,000 combinations"),
        ({"actions": 1}, "game.actions must be a whole number of 2 or more"),
    ],
)
def test_invalid_random_games_are_refused(keys, sentence):
    with pytest.raises(ValueError, match=re.escape(sentence)):
        RandomGame(**keys)


CIRCLE = [[3, 2, 1], [1, 3, 2], [2, 1, 3]]  # abc, bca, cab


def test_three_raters_go_in_circles():
    """Two of three prefer a to b, b to c, and c to a."""
    result = population_preference(np.array(CIRCLE, float), np.full(3, 1 / 3), temperature=0)
    assert result == pytest.approx(np.array([[1 / 2, 2 / 3, 1 / 3], [1 / 3, 1 / 2, 2 / 3], [2 / 3, 1 / 3, 1 / 2]]))


def test_one_rater_is_bradley_and_terry():
    """Odds are those of exp(score / temperature)."""
    score = np.array([0.3, -1.0, 2.0])
    result = population_preference(score[None], np.ones(1), temperature=0.5)
    worth = np.exp(score / 0.5)
    assert result == pytest.approx(worth[:, None] / (worth[:, None] + worth))


@pytest.mark.parametrize("temperature", [0, 0.2, 1])
def test_raters_of_one_mind_never_go_in_circles(temperature):
    """They agree on the order but not on distances: the further apart two answers are, the more often the better
    one wins.
    """
    scores = np.sort(np.random.default_rng(0).standard_normal((4, 6)), axis=1)[:, ::-1]
    result = population_preference(scores, np.array([0.1, 0.2, 0.3, 0.4]), temperature)
    above = np.triu_indices(6, 1)
    assert (result[above] > 0.5).all()
    assert (np.diff(result, axis=1) >= 0).all()
    assert (np.diff(result, axis=0) <= 0).all()


def test_shares_and_ties():
    """Six of ten prefer a to b, and all are indifferent between b and c."""
    result = population_preference(np.array([[2.0, 1, 1], [0, 1, 1]]), np.array([0.6, 0.4]), temperature=0)
    assert result[0].tolist() == pytest.approx([0.5, 0.6, 0.6])
    assert result[1, 2] == 0.5


@pytest.mark.parametrize(
    ("solver", "weight"),
    [
        (MirrorProx(magnet_weight=0.1), 0),
        (MMD(magnet_weight=0.1, step_size=0.5), 0),
        (NashMD(magnet_weight=0.1, step_size=0.5), 0.05),
    ],
)
def test_preference_solvers_end_where_they_should_on_raters(solver, weight):
    """At pi ~ mu exp(P pi / w); Nash-MD with the mixture pi^(1 - b) mu^b at w / (1 - b), where b = step * w."""
    start = np.array([0.7, 0.2, 0.1])
    game = RaterMatrix(scores=CIRCLE, temperature=0, reference=start.tolist())
    profile = TabularSpec().profile(game)
    for progress in solver.solve(profile, ExactResponder(game)):
        if progress.iteration == 1000:
            break
    mixture = stack_tables(profile)[2:5] ** (1 - weight) * start**weight
    mixture /= mixture.sum()
    answer = start * np.exp(game.earns[0].numpy() @ mixture / 0.1 * (1 - weight))
    assert mixture == pytest.approx(answer / answer.sum(), abs=1e-8)


def test_the_preset_goes_in_circles():
    """No answer beats all others; three share the equilibrium in proportion to the margins between the other two."""
    game = RaterMatrix(raters=3, answers=4, temperature=0.3, draw=14)
    margin = game.earns[0].numpy()
    assert ((margin < 0).sum(1) >= 1).all()
    profile = TabularSpec().profile(game)
    for progress in MMD(step_size=1.0, magnet_weight=0.05, move_every=50).solve(profile, ExactResponder(game)):
        if progress.iteration == 4000:
            break
    weight = np.array([abs(margin[1, 2]), abs(margin[0, 2]), abs(margin[0, 1]), 0])
    assert stack_tables(profile)[2:6] == pytest.approx(weight / weight.sum(), abs=1e-4)


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({"temperature": -1}, "game.temperature must be a finite number of 0 or more, not -1"),
        ({"shares": [0.5, 0.5]}, "game.shares must be 3 numbers, one for each rater, that sum to 1, not [0.5, 0.5]"),
        ({"scores": [[1, 2], [1]]}, "game.scores must be a list of as many numbers, 2 or more, for each rater"),
        ({"scores": [[1, float("nan")], [1, 2]]}, "game.scores must be finite numbers; at [0, 1] it has nan"),
        ({"temperature": float("inf")}, "game.temperature must be a finite number of 0 or more, not inf"),
        ({"answers": 1}, "game.answers must be a whole number of 2 or more, not 1"),
        ({"reference": [0.5, 0.5]}, "game.reference must be 4 positive numbers that sum to 1"),
    ],
)
def test_invalid_raters_are_refused(keys, sentence):
    with pytest.raises(ValueError, match=re.escape(sentence)):
        RaterMatrix(**keys)
