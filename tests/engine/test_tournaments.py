"""Tournaments: matches counted by hand, two ways to one number, and a store that loses and repeats nothing."""

import multiprocessing
import os
import signal
import sqlite3
import time

import numpy as np
import pytest
import torch
from toys import Matrix

from games.openspiel import OpenSpiel
from marl_engine.errors import Refused
from marl_engine.policies import TabularSpec
from marl_engine.ratings.results import Tally
from marl_engine.tournaments import MatchStore, Tournament, enter
from marl_engine.tournaments.baselines import FunctionPolicy, play_greedily
from marl_engine.tournaments.entrants import make_entrant
from marl_engine.tournaments.field import Field
from marl_engine.tournaments.matches import Match, cuts, deal_seeds, play_match, seatings
from marl_engine.tournaments.schedules import round_robin, spent_confidence, swiss_round
from marl_engine.tournaments.store import Row
from marl_engine.tournaments.tree_matches import play_pairs, prepare_tree_play, weigh_pairs

KUHN = {"_target_": "games.openspiel.OpenSpiel", "name": "kuhn_poker"}
RPS = {"_target_": "games.normal_form.MatrixGame", "name": "rock_paper_scissors"}
FORK = multiprocessing.get_context("fork")


def passive(observation, legal, seat, noise):
    """Takes the first legal action: passes in Kuhn poker."""
    return legal.argmax(1)


def active(observation, legal, seat, noise):
    """Takes the last legal action: bets in Kuhn poker."""
    return legal.shape[1] - 1 - legal[:, ::-1].argmax(1)


def play(words, section, folder, **options):
    """Plays a tournament, and returns it and its results."""
    store = MatchStore(folder)
    tournament = Tournament(enter(words, section), store, **options)
    for _ in tournament.play():
        pass
    return tournament, tournament.results()


def stored_rows(folder):
    """Returns the rows of a store without times."""
    with sqlite3.connect(folder / "matches.sqlite") as connection:
        return connection.execute("SELECT one, other, begin, deals, games, wins, draws, first FROM matches").fetchall()


def test_mean_payoffs_vary_as_much_as_their_errors_say(tmp_path):
    """Of six random strategies in Kuhn poker, over 60 tournaments with 100 games of each pair."""
    game = OpenSpiel("kuhn_poker")
    torch.manual_seed(0)
    profiles = [TabularSpec().profile(game) for _ in range(6)]
    for policy in (policy for profile in profiles for policy in profile):
        chance = torch.rand(len(policy.strategy) // 2, dtype=torch.float64)
        policy.strategy.copy_(torch.stack([chance, 1 - chance], dim=1).flatten())
    entrants = [make_entrant(str(number), "", str(number), profile) for number, profile in enumerate(profiles)]
    field = Field(game, KUHN, entrants)
    means, errors = [], []
    for seed in range(60):
        tournament = Tournament(field, MatchStore(tmp_path / str(seed)), games=100, seed=seed)
        for _ in tournament.play():
            pass
        results = tournament.results()
        assert all(tournament.tabular)
        means.append(np.nanmean(results.payoff, axis=1))
        errors.append(np.sqrt(np.nansum(results.stderr**2, axis=1)) / 5)
    assert np.std(means, axis=0, ddof=1).mean() == pytest.approx(np.mean(errors), rel=0.15)


def test_every_entrant_sits_in_every_seat():
    assert seatings(2).tolist() == [[True, False], [False, True]]
    three = seatings(3)
    assert three.shape == (6, 3)
    assert (three.sum(0) == 3).all()
    assert sorted(three.sum(1).tolist()) == [1, 1, 1, 2, 2, 2]


def test_slow_matches_are_given_to_the_runner_together(tmp_path, monkeypatch):
    """A runner can play them at the same time, and each is stored as soon as it has been played."""
    monkeypatch.setattr("marl_engine.tournaments.matches.PACE", 0.0)
    given, stored = [], []

    class Counter:
        def complete(self, job, arguments):
            given.append(len(arguments))
            for number, argument in enumerate(arguments):
                yield number, job(argument)
                stored.append(len(stored_rows(tmp_path)))

    words = [f"{__name__}:passive", f"{__name__}:active", "random"]
    play(words, KUHN, tmp_path, games=64, runner=Counter())
    assert given == [3]
    assert stored == [1, 2, 3]


def test_rock_paper_scissors_by_hand(tmp_path):
    _, results = play(["rock", "paper", "scissors"], RPS, tmp_path, games=10)
    assert results.payoff.round(9).tolist()[1][0] == 1
    assert (results.wins[[1, 2, 0], [0, 1, 2]] == 10).all()
    assert (results.wins.T[[1, 2, 0], [0, 1, 2]] == 0).all()
    assert (results.stderr[results.met] == 0).all()


def test_sampled_and_exact_results_agree(tmp_path):
    """Kuhn poker by three ways: sampled on the tree, sampled by stepping the game, and computed over all paths."""
    tournament, sampled = play(["random", f"{__name__}:passive"], KUHN, tmp_path, games=4000)
    assert tournament.tabular == [True, False]
    game, first = tournament.field.game, tournament.field.entrants[0]
    form, legal = game.form, game.legal
    passes = np.zeros(form.sequences)
    passes[: form.players] = 1
    passes[form.first[:-1]] = 1  # the first legal action of each information set
    play_on_tree = prepare_tree_play(game, [first, first])
    play_on_tree.strategies[1] = passes
    pair = np.array([[0, 1]])
    exact = Tally(*weigh_pairs(play_on_tree, pair)[0])
    on_tree = Tally(*play_pairs(play_on_tree, pair, deal_seeds(0, 0, 2000), np.zeros(1, np.int64))[0])
    assert legal.sum(1).max() == 2
    assert exact.first == pytest.approx(-exact.second)
    for wins, draws, games, mean, error in (
        (sampled.wins[0, 1], sampled.draws[0, 1], sampled.games[0, 1], sampled.payoff[0, 1], sampled.stderr[0, 1]),
        (on_tree.wins, on_tree.draws, on_tree.games, on_tree.first / 2000, sampled.stderr[0, 1]),
    ):
        assert games == 4000
        assert abs(mean - exact.first) < 4 * error
        assert abs(wins / games - exact.wins) < 4 * 0.5 / 4000**0.5
        assert draws == exact.draws == 0


def test_copies_tie_exactly_and_share_their_matches(tmp_path):
    field = enter(["random", "rock"], RPS)
    copy = make_entrant("twin", "copy", "random", field.entrants[0].profile)
    tournament = Tournament(Field(field.game, RPS, [*field.entrants, copy]), MatchStore(tmp_path), games=64)
    for _ in tournament.play():
        pass
    results = tournament.results()
    assert results.payoff[0, 2] == 0
    np.testing.assert_array_equal(results.payoff[0, 1], results.payoff[2, 1])
    assert len(stored_rows(tmp_path)) == 2


def constant(game, action, name):
    """Returns an entrant that always takes one action."""
    act = FunctionPolicy(name, lambda observation, legal, seat, noise: np.full(len(seat), action), game)
    return make_entrant(name, "", name, [act] * game.players)


def test_the_tally_of_a_match_by_hand():
    """The row earns 5 from the column for action 1. On each of 3 deals `one` plays it once in each seat."""
    game = Matrix(torch.tensor([[0.0, 0.0], [5.0, 5.0]]), team=False)
    tally = Tally(*play_match(Match(game, constant(game, 1, "one"), constant(game, 0, "zero"), deal_seeds(0, 0, 3))))
    assert tally == Tally(3, 6, 3, 3, 7.5, -7.5, 18.75, 18.75, -18.75)  # 5 and 0: a mean of 2.5 on each deal


def test_greedy_takes_the_action_that_pays_most():
    game = Matrix(torch.tensor([[0.0, 0.0, 0.0], [2.0, 2.0, 2.0], [1.0, 1.0, 1.0]]), team=False)
    turn = game.reset(torch.arange(50))
    actions = play_greedily(game, turn, torch.rand(50, 2))
    assert (actions[:, 0] == 1).all()
    assert len(set(actions[:, 1].tolist())) == 3  # all the same to the column: any of them


def test_without_a_payoff_nobody_is_a_team(tmp_path):
    section = {"_target_": "games.overcooked.Overcooked", "layout": "cramped_room", "horizon": 5}
    _, results = play(["random", "greedy"], section, tmp_path, games=4)
    assert not results.team  # nobody has delivered a soup, so all payoffs are 0


def test_a_team_also_plays_with_itself(tmp_path):
    game = Matrix(torch.tensor([[1.0, 0.0], [0.0, 2.0]]))
    entrants = [constant(game, 1, "one"), constant(game, 0, "zero")]
    tournament = Tournament(Field(game, {"kind": "toy"}, entrants), MatchStore(tmp_path), games=8)
    for _ in tournament.play():
        pass
    results = tournament.results()
    assert results.team
    assert results.payoff.tolist() == [[2, 0], [0, 1]]


def test_equal_seeds_give_equal_results_and_others_do_not(tmp_path):
    words = ["random", "greedy", f"{__name__}:passive"]
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        play(words, KUHN, tmp_path / name, games=40, seed=seed)
    assert stored_rows(tmp_path / "a") == stored_rows(tmp_path / "b") != stored_rows(tmp_path / "c")


def test_more_entrants_and_more_games_play_only_what_is_new(tmp_path):
    _, before = play(["random", "rock"], RPS, tmp_path, games=100)
    rows = stored_rows(tmp_path)
    play(["random", "rock", "paper"], RPS, tmp_path, games=100)
    assert set(rows) < set(stored_rows(tmp_path))
    assert len(stored_rows(tmp_path)) == 3 * len(rows)
    _, more = play(["rock", "random"], RPS, tmp_path, games=300)
    assert more.games[0, 1] == 300
    _, fresh = play(["random", "rock"], RPS, tmp_path / "fresh", games=300)
    assert fresh.wins[1, 0] == more.wins[0, 1] > before.wins[1, 0]


def test_stretches_end_where_the_ranking_is_looked_at():
    assert list(cuts(100, 1024)) == [32, 64, 100]
    assert list(cuts(3000, 1024)) == [32, 64, 128, 256, 512, 1024, 2048, 3000]
    assert list(cuts(70, 32)) == [32, 64, 70]


def test_a_decided_ranking_ends_early_and_an_undecided_one_does_not(tmp_path):
    """Scissors beats paper for certain; two random players never come apart."""
    _, decided = play(["paper", "scissors"], RPS, tmp_path / "decided", games=2000, confidence=0.95)
    assert decided.games[0, 1] == 64
    _, open_ended = play(["random", "rock"], RPS, tmp_path / "open", games=500, confidence=0.95)
    assert open_ended.games[0, 1] == 500


def test_looks_together_have_the_stated_confidence():
    assert sum(1 - spent_confidence(0.95, look) for look in range(1, 10_000)) == pytest.approx(0.05, rel=1e-3)


def test_a_swiss_tournament_repeats_no_pair_and_finds_the_best(tmp_path):
    section = {"_target_": "games.normal_form.MatrixGame", "payoffs": str(tmp_path / "ladder.csv")}
    ladder = np.sign(np.subtract.outer(np.arange(9), np.arange(9)))
    np.savetxt(tmp_path / "ladder.csv", ladder, delimiter=",")
    words = [str(number) for number in range(9)]
    tournament, results = play(words, section, tmp_path / "swiss", games=4, schedule="swiss")
    assert (results.games[results.met] == 4).all()
    assert results.met.sum(1).max() <= 6
    assert results.met.sum() < 9 * 8
    np.testing.assert_array_equal(results.wins[8][results.met[8]], 4)
    _, again = play(words, section, tmp_path / "swiss", games=4, schedule="swiss")
    np.testing.assert_array_equal(results.games, again.games)
    assert tournament.names == words
    assert len(swiss_round(results)) <= 4


def test_round_robin_is_all_pairs():
    assert round_robin(3) == [(0, 1), (0, 2), (1, 2)]


TALLY = np.array(Tally(2, 4, 1, 1, 0.5, -0.5, 1.25, 1.25, -1.25))


def write_matches(folder, pipe, seed, count):
    """Adds the same stretches in an order of its own, and reports each one that is stored."""
    store = MatchStore(folder)
    for pair in np.random.default_rng(seed).permutation(count).tolist():
        store.add([Row(f"a{pair}", "b", 0, TALLY)])
        os.write(pipe, pair.to_bytes(2, "little"))


def start_writer(folder, seed=0, count=300):
    """Starts a process that writes; returns it and where it reports."""
    reading, writing = os.pipe()
    process = FORK.Process(target=write_matches, args=(folder, writing, seed, count))
    process.start()
    os.close(writing)
    return process, reading


def test_a_writer_that_is_killed_loses_nothing_that_it_counted(tmp_path):
    MatchStore(tmp_path).close()
    process, reading = start_writer(tmp_path, count=2**16)  # which takes longer than it lives
    while len(reported := os.read(reading, 40)) < 2:
        pass
    time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    while more := os.read(reading, 1000):
        reported += more
    counted = {f"a{int.from_bytes(reported[place : place + 2], 'little')}" for place in range(0, len(reported), 2)}
    stored = {pair[0] for pair in MatchStore(tmp_path).tallies()}
    assert counted <= stored
    assert len(stored) <= len(counted) + 1
    assert process.exitcode == -signal.SIGKILL


def test_two_writers_count_every_game_once(tmp_path):
    MatchStore(tmp_path).close()
    writers = [start_writer(tmp_path, seed) for seed in range(2)]
    for process, reading in writers:
        while os.read(reading, 1000):
            pass
        process.join()
        assert process.exitcode == 0
    tallies = MatchStore(tmp_path).tallies()
    assert len(tallies) == 300
    assert all((tally == TALLY).all() for tally in tallies.values())


def test_matches_are_only_added(tmp_path):
    store = MatchStore(tmp_path)
    store.add([Row("x", "a", 0, TALLY), Row("x", "a", 2, TALLY)])
    ((key, tally),) = store.tallies().items()
    assert key == ("a", "x")
    assert Tally(*tally) == (4, 8, 4, 2, -1, 1, 2.5, 2.5, -2.5)  # what the first won, the other lost
    assert store.ends() == {("a", "x"): 4}
    assert Tally(*store.tallies(2)["a", "x"]).deals == 2
    for statement in ("DELETE FROM matches", "UPDATE matches SET wins = 0"):
        with pytest.raises(sqlite3.IntegrityError, match="only added"):
            store.file.connection.execute(statement)


def test_other_files_and_impossible_numbers_are_refused(tmp_path):
    (tmp_path / "matches.sqlite").write_bytes(b"not a database, and longer than a header of SQLite" * 20)
    with pytest.raises(Refused, match="is not a store of matches"):
        MatchStore(tmp_path)
    with sqlite3.connect(tmp_path / "other.sqlite") as connection:
        connection.execute("CREATE TABLE matches (one TEXT)")
    other = tmp_path / "other"
    other.mkdir()
    (tmp_path / "other.sqlite").rename(other / "matches.sqlite")
    with pytest.raises(Refused, match="is not a store of matches of this version"):
        MatchStore(other)
    store = MatchStore(tmp_path / "new")
    for wrong in (TALLY + np.array([0, 0, 9, 0, 0, 0, 0, 0, 0]), TALLY * np.nan):
        with pytest.raises(Refused):
            store.add([Row("a", "b", 0, wrong)])
    store.agree(seed=0)
    with pytest.raises(Refused, match="were played with seed=0, not 1"):
        store.agree(seed=1)
