"""Ratings of small tables of results, checked against values known by hand or from the theory."""

from functools import partial

import numpy as np
import pytest
from result_tables import expectations, results_of

from marl_engine.ratings import find_cycles, rank
from marl_engine.ratings.cycles import cyclic_share, transitive_part
from marl_engine.ratings.elo import POINTS, decompose, derivatives, fit, rate_cyclic_elo, rate_elo, win_chances
from marl_engine.ratings.mean_payoff import rate_payoff
from marl_engine.ratings.meta_game import find_plateau, rate_alpha_rank, rate_nash
from marl_engine.ratings.results import WIDTH, Tally, resample, swap
from marl_engine.ratings.skill import rate_skill

RPS = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]])  # rock, paper, scissors
PRISONERS = np.array([[3.0, 0.0], [5.0, 1.0]])


def rating(ranking, key):
    """Returns the rating of a ranking with a key."""
    return next(each for each in ranking.ratings if each.key == key)


@pytest.mark.parametrize("results", [expectations(RPS), results_of(100 * (RPS > 0))], ids=["exact", "sampled"])
def test_rock_paper_scissors_has_equal_ratings_everywhere(results):
    ranking = rank(results)
    for each, value in {"payoff": 0, "elo": 0, "melo": 0, "nash": 1 / 3, "skill_nash": 0, "alpha_rank": 1 / 3}.items():
        np.testing.assert_allclose(rating(ranking, each).value, value, atol=1e-6, err_msg=each)
    skill = rating(ranking, "skill")
    assert (skill.high - skill.low).min() > 0
    assert ((skill.low < skill.value.mean()) & (skill.value.mean() < skill.high)).all()
    assert ranking.cycles.share == pytest.approx(1)
    assert ranking.cycles.triples == 1
    assert "e0 beats e2, e2 beats e1, and e1 beats e0" in ranking.cycles.verdict
    assert "no single rating can describe these results" in ranking.cycles.verdict


def test_ten_to_one_is_400_points():
    elo = rate_elo(results_of([[0, 10], [1, 0]]))
    assert elo.value[0] - elo.value[1] == pytest.approx(400)
    assert elo.value.sum() == pytest.approx(0)


def test_a_draw_is_half_a_win_for_both():
    """Two wins and two draws of four games are scores of 3 and 1: 190.85 points apart."""
    elo = rate_elo(results_of([[0, 2], [0, 0]], draws=2))
    assert elo.value[0] - elo.value[1] == pytest.approx(400 * np.log10(3))


def test_maximum_likelihood_recovers_the_ratings_that_made_the_scores():
    true = np.array([1.5, 0.5, 0.0, -2.0])
    games = np.array([[0, 7, 3, 9], [7, 0, 0, 4], [3, 0, 0, 5], [9, 4, 5, 0]])  # two of them have not met
    score = games * win_chances(true[:, None] - true)
    found, _ = fit(partial(derivatives, score=score, games=games), np.zeros(4, int))
    np.testing.assert_allclose(found, true, atol=1e-8)


def test_the_interval_of_two_entrants():
    """The variance of the difference is 1 / (n p q), so that of a centred rating is a quarter of it."""
    elo = rate_elo(results_of([[0, 240], [160, 0]]))
    width = POINTS * WIDTH * 0.5 / np.sqrt(400 * 0.6 * 0.4)
    np.testing.assert_allclose(elo.high - elo.value, width)


def test_perfect_records_are_bounds():
    """Of four who beat all below them; the order is kept, the spaces are equal by symmetry, and a note says why."""
    elo = rate_elo(results_of(np.triu(np.full((4, 4), 10), 1)))
    assert np.isfinite(elo.value).all()
    assert (np.diff(elo.value) < -50).all()
    np.testing.assert_allclose(elo.value, -elo.value[::-1], atol=1e-6)
    (note,) = elo.notes
    assert "(e0, e3)" in note
    assert "bounds" in note


def test_groups_that_have_not_met_are_rated_apart():
    wins = np.zeros((5, 5))
    wins[:2, :2], wins[2:4, 2:4] = [[0, 3], [1, 0]], [[0, 1], [9, 0]]
    elo = rate_elo(results_of(wins))
    assert elo.value[:2].sum() == pytest.approx(0)
    assert elo.value[2:4].sum() == pytest.approx(0)
    assert elo.value[3] - elo.value[2] == pytest.approx(400 * np.log10(9))
    assert np.isnan(elo.value[4])
    assert "3 groups" in elo.notes[0]


def test_two_more_dimensions_describe_a_cycle():
    """Logits of 4 around the cycle: the transitive part is 0, and one pair of singular values is 4 times root 3."""
    logits = 4.0 * RPS
    r, vectors, form = decompose(logits)
    np.testing.assert_allclose(np.linalg.svd(logits)[1], [6.928203, 6.928203, 0], atol=1e-6)
    np.testing.assert_allclose(r, 0, atol=1e-12)
    np.testing.assert_allclose(vectors @ form @ vectors.T, logits, atol=1e-9)
    np.testing.assert_allclose(form, -form.T, atol=1e-9)
    (note,) = rate_cyclic_elo(results_of(100 * (RPS > 0))).notes
    assert "0.495 without, 0.000 with" in note


def test_dimensions_for_a_cycle_leave_transitive_results_alone():
    r, vectors, form = decompose(np.subtract.outer([2.0, 0.0, -2.0], [2.0, 0.0, -2.0]))
    np.testing.assert_allclose(r, [2, 0, -2])
    np.testing.assert_allclose(vectors @ form @ vectors.T, 0, atol=1e-12)


def test_openskill_depends_on_the_order_and_its_mean_less_so():
    pytest.importorskip("openskill")
    good = rate_skill(results_of([[0, 300, 300], [0, 0, 300], [0, 0, 0]]))
    assert good.value[0] > good.value[1] + 5 > good.value[2] + 10
    assert "the order alone moves a rating by up to" in good.notes[0]
    np.testing.assert_array_equal(good.value, rate_skill(results_of([[0, 300, 300], [0, 0, 300], [0, 0, 0]])).value)


def test_nash_averaging_of_transitive_results_is_on_the_best():
    weight, skill = rate_nash(expectations([[0, 1, 2], [-1, 0, 1], [-2, -1, 0]]))
    np.testing.assert_allclose(weight.value, [1, 0, 0], atol=1e-9)
    np.testing.assert_allclose(skill.value, [0, -1, -2], atol=1e-9)


def test_nash_averaging_ignores_copies_where_mean_payoff_does_not():
    """A second rock: both share the weight of one. Paper, which beats it, then has the best mean payoff."""
    copies = np.ix_([0, 0, 1, 2], [0, 0, 1, 2])
    weight, skill = rate_nash(expectations(RPS[copies]))
    np.testing.assert_allclose(weight.value, [1 / 6, 1 / 6, 1 / 3, 1 / 3], atol=1e-5)
    np.testing.assert_allclose(skill.value, 0, atol=1e-5)
    np.testing.assert_allclose(rate_payoff(expectations(RPS[copies])).value, [0, 0, 1 / 3, -1 / 3], atol=1e-9)


def test_alpha_rank_of_the_prisoners_dilemma_is_on_defection():
    np.testing.assert_allclose(rate_alpha_rank(expectations(PRISONERS)).value, [0, 1], atol=1e-3)


def test_a_plateau_is_where_masses_stop_changing():
    masses = np.array([[0.5, 0.5], [0.6, 0.4], [0.9, 0.1], [0.9095, 0.0905], [0.91, 0.09]])
    assert find_plateau(masses) == 3
    assert find_plateau(masses[:1]) == 0


def test_bootstrap_samples_have_the_standard_errors_and_sums_of_the_results():
    """In a zero-sum game what one gains the other loses, in every sample."""
    results = results_of([[0, 60, 5], [40, 0, 50], [5, 50, 0]])
    samples = resample(results)
    np.testing.assert_allclose((samples + samples.transpose(0, 2, 1))[:, results.met], 0, atol=1e-9)
    spread = samples.std(0)
    np.testing.assert_allclose(spread[results.met], results.stderr[results.met], rtol=0.1)
    payoff = rate_payoff(results)
    error = np.sqrt((results.stderr**2)[:, [1, 2]][0].sum()) / 2
    assert payoff.high[0] - payoff.low[0] == pytest.approx(2 * WIDTH * error, rel=0.1)


def test_a_pair_with_few_games_is_not_taken_for_certain():
    results = results_of([[0, 1, 50], [0, 0, 50], [50, 50, 0]])
    assert results.payoff[0, 1] == 1
    assert results.stderr[0, 1] == pytest.approx(1, rel=0.02)  # the deviation of the other pairs
    assert results.stderr[0, 2] == pytest.approx(0.1, rel=0.02)


def test_swapped_tallies_are_those_of_the_other():
    tally = np.array(Tally(3, 6, 4, 1, 2.5, -2.5, 3.25, 3.25, -3.25))
    assert Tally(*swap(tally))[:6] == (3, 6, 1, 1, -2.5, 2.5)
    np.testing.assert_array_equal(swap(swap(tally)), tally)


def test_the_cyclic_part_is_what_no_rating_explains():
    """Ratings (2, 0, -2) and a cycle of 1: the leads of three pairs are 3, 3 and -3."""
    s, cycle = np.array([2.0, 0.0, -2.0]), -RPS.astype(float)
    lead, met = s[:, None] - s + cycle, ~np.eye(3, dtype=bool)
    np.testing.assert_allclose(transitive_part(lead, met), s, atol=1e-12)
    share = (cycle**2).sum() / (lead**2).sum()
    assert cyclic_share(lead, np.zeros((3, 3)), met) == pytest.approx(share)


def test_chance_makes_no_cycles():
    """Of 100 tournaments of eight equal entrants at most the declared 5 percent find one, up to three deviations."""
    random, found = np.random.default_rng(0), 0
    for _ in range(100):
        wins = np.triu(random.binomial(200, 0.5, (8, 8)), 1)
        wins = wins + np.tril(200 - wins.T, -1)
        found += find_cycles(results_of(wins)).triples > 0
    assert found <= 5 + 3 * (100 * 0.05 * 0.95) ** 0.5


def test_the_strongest_cycle_is_named_among_many_entrants():
    lead = np.subtract.outer(np.arange(12.0)[::-1], np.arange(12.0)[::-1])
    lead[2, 7], lead[7, 2] = -4, 4  # an upset: 7 beats 2, which beats 3 to 6, which beat 7
    cycles = find_cycles(expectations(lead / 2))
    assert cycles.triples == 4
    assert cycles.strongest[0].entrants == (2, 4, 7)
    assert cycles.strongest[0].weakest == 2
    assert "ratings describe most results" in cycles.verdict


def test_a_team_is_rated_by_whom_it_can_play_with():
    """Two conventions: pairs of one convention earn 1, others 0. The third entrant plays half of each."""
    payoff = np.array([[1, 0, 0.5], [0, 1, 0.5], [0.5, 0.5, 0.5]])
    ranking = rank(expectations(payoff)._replace(team=True))
    assert [each.key for each in ranking.ratings] == ["payoff", "self_play", "nash", "skill_nash"]
    np.testing.assert_allclose(rating(ranking, "payoff").value, [0.25, 0.25, 0.5])
    np.testing.assert_allclose(rating(ranking, "self_play").value, [1, 1, 0.5])
    assert ranking.order == (2, 0, 1)
    assert np.isnan(ranking.cycles.share)


def test_without_any_difference_nothing_is_ranked():
    ranking = rank(expectations(np.zeros((3, 3))))
    assert ranking.cycles.verdict == "No entrant is ahead of another; all ratings are equal."
    np.testing.assert_allclose(rating(ranking, "alpha_rank").value, 1 / 3)
