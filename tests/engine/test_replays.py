"""Replays of a tournament: which matches are shown, and that they are games that were played."""

import numpy as np
import pytest
import torch
from result_tables import expectations
from toys import Matrix

from marl_engine.populations.payoffs import exact_tally
from marl_engine.ratings import rank
from marl_engine.ratings.lineups import LineupTally, count_orders
from marl_engine.ratings.results import tabulate_lineups
from marl_engine.tournaments import MatchStore, Tournament
from marl_engine.tournaments.baselines import FunctionPolicy
from marl_engine.tournaments.entrants import make_entrant
from marl_engine.tournaments.field import Field
from marl_engine.tournaments.matches import deal_seeds, play_seated
from marl_engine.view import replays
from marl_engine.view.replays import choose_matches, draw_replays, find_typical

LADDER = np.subtract.outer([4.0, 3.0, 2.0, 1.0], [4.0, 3.0, 2.0, 1.0])


def shown(ranking, playing=(True,) * 4):
    """Returns the titles and entrants of the matches that are chosen."""
    return [(match.title, match.entrants) for match in choose_matches(ranking, playing)]


def test_the_best_play_and_the_underdog_wins():
    payoff = LADDER.copy()
    payoff[2, 1], payoff[1, 2] = 0.5, -0.5  # the third beats the second
    assert shown(rank(expectations(payoff))) == [
        ("The best and the next", (0, 1)),
        ("The biggest upset", (2, 1)),
        ("The best and another", (0, 2)),
        ("The best and another", (0, 3)),
    ]
    assert shown(rank(expectations(payoff)), (False, True, True, True))[0] == ("The biggest upset", (2, 1))
    assert shown(rank(expectations(payoff)), (True, False, True, False)) == [("The best and the next", (0, 2))]
    assert "The biggest upset" not in dict(shown(rank(expectations(LADDER))))


def test_of_a_team_the_best_and_the_worst_pair_are_shown():
    payoff = np.array([[9.0, 5, 1], [5, 2, 3], [1, 3, 0]])
    ranking = rank(expectations(payoff)._replace(team=True))
    assert shown(ranking, (True,) * 3)[:2] == [("The best pair", (1, 0)), ("The worst pair", (0, 2))]


def test_a_lineup_is_shown_with_all_its_entrants():
    tallies = {}
    for lineup in [(0, 1, 2), (0, 1, 3), (0, 2, 3), (1, 2, 3)]:
        payoffs = -np.array(lineup, float)
        tallies[lineup] = LineupTally(exact_tally(payoffs), count_orders(payoffs[None], np.ones(1)))
    ranking = rank(tabulate_lineups(list("abcd"), tallies, exact=True))
    assert shown(ranking) == [
        ("The best and the next", (0, 1, 2)),
        ("The best and another", (0, 2, 1)),
        ("The best and another", (0, 3, 1)),
    ]


class Drawn(Matrix):
    """A matrix game with another picture at each turn."""

    def render(self, copy=0, caption=""):
        return np.random.default_rng(int(self.clock[0])).integers(0, 256, (64, 64, 3), np.uint8)


def mix(game, name, chance):
    """Returns an entrant that takes action 1 with some probability."""
    policy = FunctionPolicy(name, lambda observation, legal, seat, noise: (noise < chance).astype(np.int64), game)
    return make_entrant(name, "", name, [policy] * 2)


@pytest.fixture
def event(tmp_path):
    """A tournament of three, of whom two agree on action 0 or on action 1 half of the time."""
    game = Drawn(torch.tensor([[1.0, 0.0], [0.0, 3.0]]), patience=6)
    entrants = [mix(game, name, chance) for name, chance in (("half", 0.5), ("most", 0.8), ("few", 0.2))]
    tournament = Tournament(Field(game, {"kind": "toy"}, entrants), MatchStore(tmp_path), games=8)
    for _ in tournament.play():
        pass
    return tournament


def test_a_replay_is_a_game_of_the_match_that_is_close_to_its_mean(event):
    results = event.results()
    match = choose_matches(rank(results), (True,) * 3)[0]
    replay = find_typical(event, results, match)
    entrants = [event.field.entrants[each] for each in match.entrants]
    played = [
        play_seated(event.field.game, seated, deal_seeds(0, 0, 4, entrants)) for seated in (entrants, entrants[::-1])
    ]
    earned = np.concatenate(played)[:, 0]  # of all eight games of the pair
    mean = results.payoff[match.entrants]
    assert earned.mean() == pytest.approx(mean)
    assert np.ptp(earned) > 1
    assert abs(replay.payoffs[0] - mean) == abs(earned - mean).min()


def test_pictures_stay_below_their_limit(event, tmp_path, monkeypatch):
    ranking = rank(event.results())
    whole = draw_replays(event, ranking, tmp_path, 2)
    assert [path.name for _, path in whole] == ["replay_0.gif", "replay_1.gif"]
    assert whole[0][0].startswith("The best pair. Seats and payoffs: ")
    size = whole[0][1].stat().st_size
    monkeypatch.setattr(replays, "MOST_BYTES", size * 2 // 3)
    ((_, path),) = draw_replays(event, ranking, tmp_path, 1)
    assert path.stat().st_size <= size * 2 // 3
