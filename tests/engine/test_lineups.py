"""Free-for-all tournaments: balanced designs, three ways to one payoff, and ratings known from the theory."""

import sqlite3
from itertools import combinations, permutations

import numpy as np
import pytest

from marl_engine.errors import Refused
from marl_engine.extensive_form.sequence_form import expected_payoffs, owners, realization_plan, uniform_strategy
from marl_engine.policies.tabular import TablePolicy, fill_tables
from marl_engine.populations.payoffs import Tally, exact_tally
from marl_engine.ratings import rank
from marl_engine.ratings.elo import POINTS, rate_elo
from marl_engine.ratings.lineups import LineupTally, count_orders, payoff_places
from marl_engine.ratings.mean_payoff import rate_payoff
from marl_engine.ratings.meta_game import rate_alpha_rank
from marl_engine.ratings.plackett_luce import choices_of
from marl_engine.ratings.results import WIDTH, tabulate_lineups
from marl_engine.ratings.skill import rate_skill
from marl_engine.tournaments import MatchStore, Tournament, enter
from marl_engine.tournaments.entrants import make_entrant
from marl_engine.tournaments.field import Field
from marl_engine.tournaments.lineups.designs import choose_lineups, williams_design, with_copies
from marl_engine.tournaments.lineups.store import LineupStore

KUHN = {"_target_": "games.openspiel.OpenSpiel", "name": "kuhn_poker(players=3)"}
PASSIVE, BOLD = f"{__name__}:passive", f"{__name__}:bold"


def passive(observation, legal, seat, noise):
    """Takes the first legal action: passes, and folds."""
    return legal.argmax(1)


def bold(observation, legal, seat, noise):
    """Takes the last legal action: bets, and calls."""
    return legal.shape[1] - 1 - legal[:, ::-1].argmax(1)


def wild(observation, legal, seat, noise):
    """Takes any legal action."""
    return (noise[:, None] < (legal / legal.sum(1, keepdims=True)).cumsum(1)).argmax(1)


def hold(field, folder, **options):
    """Plays a free-for-all; returns its results."""
    tournament = Tournament(field, MatchStore(folder), schedule="free_for_all", **options)
    for _ in tournament.play():
        pass
    return tournament.results()


@pytest.fixture(scope="module")
def strategies():
    """A game, and strategies (S,) for all seats: uniform, the first legal action, the last one."""
    game = enter(["random", PASSIVE], KUHN).game
    form = game.form
    uniform = uniform_strategy(form)
    first, last = np.zeros_like(uniform), np.zeros_like(uniform)
    first[form.first[:-1]] = 1
    last[form.first[1:] - 1] = 1
    return game, [uniform, first, last]


@pytest.fixture(scope="module")
def tables(strategies):
    """The same strategies as entrants."""
    game, rows = strategies
    entrants = []
    for name, row in zip(("uniform", "first", "last"), rows, strict=True):
        profile = [TablePolicy(game.form, game.legal, seat, game.start) for seat in range(3)]
        fill_tables(profile, row)
        entrants.append(make_entrant(name, "", name, profile))
    return Field(game, KUHN, entrants)


def seat_means(game, rows, lineup):
    """Returns what the entrants of a line-up earn as a mean over all orders of the seats, by the sequence form."""
    owner, total = owners(game.form), np.zeros(3)
    for seats in permutations(range(3)):  # seats[p] is the place of who sits in seat p
        mixed = np.select([owner == seat for seat in range(3)], [rows[lineup[place]] for place in seats])
        total[list(seats)] += expected_payoffs(game.form, realization_plan(game.form, mixed))
    return total / 6


def rows_of(folder):
    """Returns the stored rows without times."""
    with sqlite3.connect(folder / "lineups.sqlite") as connection:
        return connection.execute("SELECT entrants, begin, deals, mean, orders FROM lineups").fetchall()


@pytest.mark.parametrize("players", range(2, 8))
def test_seats_and_neighbours_are_balanced(players):
    design = williams_design(players)
    assert (np.sort(design, axis=0) == np.repeat(np.arange(players), len(design) // players)[:, None]).all()
    neighbours = np.zeros((players, players), int)
    np.add.at(neighbours, (design[:, :-1], design[:, 1:]), 1)
    assert (neighbours == len(design) // players * (1 - np.eye(players))).all()


@pytest.mark.parametrize(("count", "players", "shared"), [(10, 3, 4), (9, 4, 4), (12, 5, 3), (6, 4, 5)])
def test_chosen_lineups_cover_all_pairs_and_go_on_as_they_began(count, players, shared):
    lineups = choose_lineups(count, players, shared)
    meetings = np.zeros((count, count), int)
    for lineup in lineups:
        for one, other in combinations(lineup, 2):
            meetings[one, other] += 1
    upper = meetings[np.triu_indices(count, 1)]
    assert (upper.min(), len(set(lineups))) == (shared, len(lineups))
    assert upper.max() <= 2 * shared
    assert choose_lineups(count, players, shared, lineups[:5]) == lineups
    assert choose_lineups(count, players, shared, lineups) == lineups


def test_few_entrants_meet_in_all_lineups():
    assert choose_lineups(5, 3, 3) == list(combinations(range(5), 3))
    assert len(with_copies(4, 3)) == 20 - 4


def test_an_order_has_places_and_equals_share_one():
    payoffs = np.array([[3.0, 1.0, 2.0], [1.0, 1.0, -2.0], [0.0, 0.0, 0.0], [5.0, 1.0, 2.0]])
    assert count_orders(payoffs, np.ones(4)) == {(0, 2, 1): 2, (0, 0, 2): 1, (0, 0, 0): 1}


def test_exact_payoffs_are_those_of_the_sequence_form(strategies, tables, tmp_path):
    """Also of line-ups with copies, which make the payoffs of each seat for each profile of entrants."""
    game, rows = strategies
    results = hold(tables, tmp_path, exact=True)
    lineups = results.lineups
    assert len(lineups.entrants) == 10
    assert (lineups.covariance == 0).all()
    assert all(sum(orders.values()) == pytest.approx(1) for orders in lineups.orders)
    payoffs = lineups.mean[payoff_places(lineups, 3)]
    for profile in [(0, 1, 2), (2, 0, 1), (0, 0, 1), (1, 2, 2), (2, 1, 2), (1, 1, 1)]:
        expected = seat_means(game, rows, profile)
        same = np.equal.outer(profile, profile)
        np.testing.assert_allclose(payoffs[(slice(None), *profile)], same @ expected / same.sum(1), atol=1e-12)
    np.testing.assert_allclose(results.payoff[0, 1:], seat_means(game, rows, (0, 1, 2))[0], atol=1e-12)


def test_games_on_the_tree_and_stepped_games_have_the_exact_payoffs(strategies, tables, tmp_path):
    exact = hold(tables, tmp_path / "exact", exact=True)
    on_tree = hold(tables, tmp_path / "tree", games=6000)
    stepped = hold(enter(["random", PASSIVE, BOLD], KUHN), tmp_path / "stepped", games=6000)
    for sampled in (on_tree, stepped):
        assert sampled.games[0, 1] == 6000
        assert (sampled.stderr[sampled.met] < 0.04).all()
        assert (abs(sampled.payoff - exact.payoff) < 4 * sampled.stderr)[sampled.met].all()
        share = sampled.wins / 6000 - exact.wins
        assert abs(share[sampled.met]).max() < 4 * 0.5 / 6000**0.5


def test_more_entrants_play_only_what_is_new_and_equal_seeds_play_alike(tmp_path):
    three, four = ["random", PASSIVE, BOLD], ["random", PASSIVE, BOLD, f"{__name__}:wild"]
    hold(enter(three, KUHN), tmp_path / "a", games=12)
    rows = rows_of(tmp_path / "a")
    results = hold(enter(four, KUHN), tmp_path / "a", games=12)
    assert set(rows) < set(rows_of(tmp_path / "a"))
    assert len(results.lineups.entrants) == 20
    for name in "bc":
        hold(enter(four, KUHN), tmp_path / name, games=12)
    assert rows_of(tmp_path / "b") == rows_of(tmp_path / "c")


def test_other_games_and_fields_are_refused(tmp_path):
    rps = {"_target_": "games.normal_form.MatrixGame", "name": "rock_paper_scissors"}
    for words, section, sentence in [
        (["rock", "paper"], rps, "is for games with more than two seats, unlike MatrixGame"),
        (["random", PASSIVE], KUHN, "needs 3 entrants or more, one for each seat of OpenSpiel, not 2"),
    ]:
        with pytest.raises(Refused, match=sentence):
            hold(enter(words, section), tmp_path)


def test_damaged_rows_are_refused(tmp_path):
    store = LineupStore(tmp_path)
    store.file.add(
        "INSERT INTO lineups VALUES (?, ?, ?, ?, ?, ?, ?)", [("a b", 0, 1, "[0, 0]", "[]", "[[0, 1, 1]]", 0.0)]
    )
    with pytest.raises(Refused, match="is damaged: a line-up has no valid payoffs"):
        store.tallies()
    with pytest.raises(sqlite3.IntegrityError, match="only added"):
        store.file.connection.execute("DELETE FROM lineups")


def tally_of(orders, payoffs=None):
    """Returns the tally of a line-up of 1,000 deals with numbers of games by order."""
    players = len(next(iter(orders)))
    mean = np.zeros(players) if payoffs is None else np.array(payoffs, float)
    return LineupTally(Tally(1000, mean, 1000 * np.eye(players)), orders)


def orders_of(strengths, games):
    """Returns the expected numbers of games by order in the model of Plackett and Luce, for strengths (P,)."""
    orders = {}
    for ranking in permutations(range(len(strengths))):
        chance = np.prod(
            [strengths[each] / sum(strengths[later] for later in ranking[place:]) for place, each in enumerate(ranking)]
        )
        orders[tuple(np.argsort(ranking).tolist())] = games * chance
    return orders


def test_likelihood_of_orders_recovers_the_ratings_that_made_them():
    """Five entrants, of whom four meet at a time; two of the five line-ups are missing."""
    true = np.array([1.0, 0.5, 0.0, -0.3, -1.2])
    lineups = [(0, 1, 2, 3), (1, 2, 3, 4), (0, 2, 3, 4)]
    tallies = {each: tally_of(orders_of(np.exp(true[list(each)]), 1000)) for each in lineups}
    elo = rate_elo(tabulate_lineups(list("abcde"), tallies))
    np.testing.assert_allclose(elo.value, POINTS * true, atol=1e-5)


def test_equals_count_as_all_their_orders():
    """Both may be first among three, with an equal share; then the other one is second."""
    choices = choices_of({(0, 0, 2): 6.0})
    assert {key: value.tolist() for key, value in choices.items()} == {
        (0, 1, 2): [3, 3, 0],
        (0, 2): [3, 0],
        (1, 2): [3, 0],
    }


def test_openskill_rates_all_entrants_of_a_game():
    pytest.importorskip("openskill")
    tallies = {(0, 1, 2): tally_of({(0, 1, 2): 800, (1, 0, 2): 200})}
    skill = rate_skill(tabulate_lineups(list("abc"), tallies))
    assert skill.value[0] > skill.value[1] + 1 > skill.value[2] + 5


def test_games_with_several_opponents_count_once_in_intervals():
    """One line-up: the interval of a mean payoff is that of a single mean, not of a mean over two opponents."""
    results = tabulate_lineups(list("abc"), {(0, 1, 2): tally_of({(0, 1, 2): 6000}, [1, 0, -1])})
    rating = rate_payoff(results)
    np.testing.assert_allclose(rating.value, [1, 0, -1])
    np.testing.assert_allclose(rating.high - rating.value, WIDTH / 1000**0.5, rtol=0.15)


def test_alpha_rank_of_seats_is_on_what_dominates():
    """In the public-goods game of three, who keeps 1 earns more than who gives 1, of which each gets 0.6."""
    tallies = {}
    for lineup in [(0, 0, 0), (0, 0, 1), (0, 1, 1), (1, 1, 1)]:  # 0 gives
        payoffs = 0.6 * lineup.count(0) + np.array(lineup, float)
        orders = count_orders(payoffs[None], np.ones(1))
        tallies[lineup] = LineupTally(exact_tally(payoffs), orders)
    results = tabulate_lineups(["give", "keep"], tallies, exact=True)
    np.testing.assert_allclose(rate_alpha_rank(results).value, [0, 1], atol=1e-3)
    del tallies[0, 0, 1]
    rating = rate_alpha_rank(tabulate_lineups(["give", "keep"], tallies, exact=True))
    assert np.isnan(rating.value).all()
    assert "copies" in rating.notes[0]


def test_a_team_of_three_also_plays_with_itself():
    payoffs = {(0, 1, 2): 1.0, (0, 0, 0): 3.0, (1, 1, 1): 2.0, (2, 2, 2): 0.0}
    tallies = {key: LineupTally(exact_tally(np.full(3, value)), {(0, 0, 0): 1.0}) for key, value in payoffs.items()}
    ranking = rank(tabulate_lineups(list("abc"), tallies, exact=True))
    assert ranking.results.team
    assert [each.key for each in ranking.ratings] == ["payoff", "self_play", "nash", "skill_nash"]
    np.testing.assert_allclose(ranking.ratings[0].value, 1)
    np.testing.assert_allclose(ranking.ratings[1].value, [3, 2, 0])
