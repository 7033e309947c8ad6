"""Evaluations, and the choice of the best one."""

import json

import numpy as np
import pytest
import torch
from command_runs import marl_train
from toys import Matrix

from games.control import Control
from games.normal_form import MatrixGame
from marl_engine.evaluation import exact, make_evaluator
from marl_engine.evaluation.returns import play_against_initial
from marl_engine.evaluation.scores import best_of, error_of_difference
from marl_engine.numerics.distributions.categorical import Categorical
from marl_engine.policies.mlp import MLPSpec
from marl_engine.policies.strategy import extract_strategy
from marl_engine.policies.tabular import TabularSpec, fill_tables
from marl_engine.runners.local import LocalRunner
from marl_engine.runs.players import cross_play, load_player
from marl_engine.types import Policy

SMALL = (
    "responder.num_envs=16",
    "responder.rollout_length=16",
    "responder.minibatches=1",
    "policy.hidden=[8]",
    "seed=0",
)


class Always(Policy):
    """Chooses actions with fixed probabilities."""

    def __init__(self, chances):
        super().__init__()
        self.chances = torch.tensor(chances)

    def forward(self, rows, legal=None, memory=None):
        return Categorical(self.chances.log().expand(len(rows), -1)), memory


def evaluate_profile(payoff, team, profile, initial):
    game = Matrix(torch.tensor(payoff), team=team)
    return make_evaluator(game, initial, LocalRunner(), episodes=64).evaluate(profile).metrics


def test_where_returns_sum_to_a_constant_the_initial_policies_are_played_against():
    """Rock, paper, scissors against a player who always chooses rock: paper earns 1 in either seat, and 0 against
    itself.
    """
    pennies = [[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]]
    rock, paper = Always([1.0, 0.0, 0.0]), Always([0.0, 1.0, 0.0])
    result = evaluate_profile(pennies, False, [paper, paper], [rock, rock])
    assert (result["return/mean"], result["return/initial/mean"], result["return/initial/stderr"]) == (0, 1, 0)
    mixed = Always([0.5, 0.5, 0.0])
    result = evaluate_profile(pennies, False, [mixed, mixed], [rock, rock])
    assert result["return/mean"] == 0
    assert result["return/initial/mean"] == pytest.approx(0.5, abs=4 * result["return/initial/stderr"])
    assert result["return/initial/stderr"] == pytest.approx(0.5 / 128**0.5, rel=0.05)


def test_an_opponent_is_played_against_instead_of_bots_and_scores_the_learner():
    """Action 1 earns 1 from a player who always chooses 0."""
    forward, still = Always([0.0, 1.0]), Always([1.0, 0.0])
    game = Matrix(torch.tensor([[0.0, -1.0], [1.0, 0.0]]), team=False)
    game.bots, game.slow_bots, game.bot_actions = ("random",), (), lambda bot, noise: torch.zeros_like(noise).long()
    game.win_or_lose = True
    runner = LocalRunner()
    assert make_evaluator(game, None, runner, 8).evaluate([still] * 2).score.measure == "return/bot/mean"
    report = make_evaluator(game, None, runner, 8, opponent=[still] * 2).evaluate([forward] * 2)
    assert (report.score.measure, report.score.value) == ("return/opponent/mean", 1.0)
    assert report.headline[1] == "against its opponent, sampled (8 games from each seat; with itself 0 ± 0)"


def test_a_best_response_is_scored_against_the_run_that_it_responds_to(tmp_path, monkeypatch):
    """Also if it starts from other weights, and when it is loaded."""
    monkeypatch.chdir(tmp_path)
    game = ("game=overcooked", "game._target_=toys.Walk", *SMALL, "episodes=16")
    assert marl_train(tmp_path, *game, "run=first", "iterations=6").code == 0
    done = marl_train(
        tmp_path, *game, "solver=best_response", "solver.opponent=runs/first", "run=second", "iterations=6", "seed=1"
    )
    assert done.code == 0, done.err
    summary = json.loads((tmp_path / "runs/second/summary.json").read_text())
    assert summary["best"]["measure"] == "return/opponent/mean"
    assert f"return {summary['return/opponent/mean']:.4g}" in done.out
    assert "against its opponent" in done.out
    first, second = load_player("runs/first@last"), load_player("runs/second@last")
    assert second.evaluate(16)["return/opponent/mean"] == pytest.approx(summary["return/opponent/mean"], abs=1e-6)
    mean = cross_play([second, first], 16).mean
    assert mean[0, 1] == pytest.approx(summary["return/opponent/mean"], abs=1e-6)


@pytest.mark.parametrize("team_payoff", [[[0.0, 0.0], [0.0, 1.0]], [[0.0, 0.0], [0.0, 0.0]]])
def test_a_team_that_has_earned_nothing_yet_is_no_zero_sum_game(team_payoff):
    first, second = Always([1.0, 0.0]), Always([0.0, 1.0])
    assert "return/initial/mean" not in evaluate_profile(team_payoff, True, [first] * 2, [first] * 2)
    assert "return/initial/mean" not in evaluate_profile(team_payoff, True, [first] * 2, [second] * 2)


def against(*scores, error=0.05):
    """Returns evaluations of a game whose returns sum to 0."""
    return [
        (number, {"return/mean": 0.0, "return/initial/mean": score, "return/initial/stderr": error})
        for number, score in enumerate(scores)
    ]


def test_the_last_is_the_best_where_the_fixed_measure_does_not_say_otherwise():
    """Scores within two standard errors of the difference, 2 * 0.05 * sqrt(2) = 0.141, count as equal."""
    assert best_of(against(0.0, 0.8, 0.9, 0.78))[:2] == (3, 0.78)
    assert best_of(against(0.0, 0.8, 0.9, 0.75))[:2] == (2, 0.9)
    assert best_of(against(0.0, 0.9, 0.8, 0.7))[:2] == (2, 0.8)
    assert best_of(against(0.0, 0.8, 0.9, 0.75))[2] == "return/initial/mean"


def test_evaluations_with_the_same_games_are_compared_game_by_game():
    """The later profile earns 0.1 less in each block of games: worse, although luck moves both by more than that."""
    luck = [0.9, -0.9, 0.3, -0.3]

    def evaluation(score):
        blocks = {f"return/initial/block/{number}": score + each for number, each in enumerate(luck)}
        return {"return/mean": 0.0, "return/initial/mean": score, "return/initial/stderr": 0.3, **blocks}

    evaluations = [(1, evaluation(0.9)), (2, evaluation(0.8))]
    assert best_of(evaluations)[:2] == (1, 0.9)
    metrics = evaluations[1][1]
    metrics["return/initial/block/0"] -= 0.8  # the differences are now 0.9, 0.1, 0.1 and 0.1
    assert error_of_difference(evaluations[0][1], metrics, "return/initial/mean") == pytest.approx(0.2)
    assert best_of(evaluations)[:2] == (2, 0.8)


def test_the_error_of_a_difference_is_that_of_the_same_games():
    """Two policies that are nearly alike choose the same actions in most games with equal seeds."""
    initial, first, second = (Always(each) for each in ([0.5, 0.5], [0.9, 0.1], [0.85, 0.15]))
    payoff = [[0.0, 1.0], [-1.0, 0.0]]
    results = [evaluate_profile(payoff, False, [each] * 2, [initial] * 2) for each in (first, second)]
    independent = (sum(each["return/initial/stderr"] ** 2 for each in results)) ** 0.5
    assert error_of_difference(*results, "return/initial/mean") < 0.6 * independent
    blocks = [each for name, each in results[0].items() if name.startswith("return/initial/block/")]
    assert np.mean(blocks) == pytest.approx(results[0]["return/initial/mean"], abs=1e-6)


def test_the_best_of_equal_scores_is_the_last():
    """NashConv, where less is better, and returns: the highest, and the last of equal ones."""
    distances = [(number, {"nash_conv": each, "return/mean": 0.0}) for number, each in enumerate([0.3, 0.1, 0.1, 0.2])]
    assert best_of(distances) == (2, -0.1, "nash_conv")
    returns = [(number, {"return/mean": each, "return/stderr": 9.0}) for number, each in enumerate([20, 60, 60, 40])]
    assert best_of(returns) == (2, 60, "return/mean")
    assert best_of([]) is None


def test_a_measure_that_was_not_always_there_is_not_compared_by():
    assert best_of([(1, {"return/mean": 5.0}), *against(0.0, 3.0)])[:] == (1, 5.0, "return/mean")


def test_a_run_of_a_zero_sum_game_shows_and_saves_exploitability(tmp_path):
    """Its return against itself is always 0.

    Only seat 0 moves, so a learner earns more against the initial policies.
    """
    keys = ("game=overcooked", "game._target_=toys.Walk", "run=own", "iterations=12", "evaluate_every=2")
    run = marl_train(tmp_path, *keys, *SMALL, "save_every=100")
    assert run.code == 0, run.err
    summary = json.loads((tmp_path / "runs/own/summary.json").read_text())
    assert summary["return/mean"] == 0
    assert summary["best"]["measure"] == "return/initial/mean"
    assert summary["best"]["score"] == pytest.approx(summary["return/initial/mean"], abs=0.2)
    assert summary["best"]["iteration"] > 6
    line = (
        f"return {summary['return/initial/mean']:.4g} ± {summary['return/initial/stderr']:.2g} against where it began"
    )
    assert line in run.out
    assert "all returns sum to 0" in run.out
    resumed = marl_train(tmp_path, "resume=runs/own", "iterations=14")
    assert resumed.code == 0
    assert json.loads((tmp_path / "runs/own/summary.json").read_text())["best"]["iteration"] > 8


def test_a_game_of_one_seat_is_not_scored_with_its_seats_swapped():
    game = Control(horizon=3)
    report = make_evaluator(game, None, LocalRunner(), episodes=4).evaluate(
        MLPSpec(hidden=[4]).profile(game), full=True
    )
    assert {"return/mean", "return/greedy/mean"} <= report.metrics.keys()
    assert not [name for name in report.metrics if "swapped" in name]
    assert "swapped" not in report.headline[1]


def test_an_evaluator_is_chosen_by_what_the_game_can_do():
    """Scores are minus NashConv for an extensive game, and returns for one that is played."""
    game = MatrixGame("prisoners_dilemma")
    solved = make_evaluator(game, None, LocalRunner()).evaluate(TabularSpec().profile(game), full=True)
    assert (solved.score.measure, solved.score.error) == ("nash_conv", 0)
    assert solved.score.value == pytest.approx(-solved.metrics["nash_conv"]) != 0
    assert [each.name for each in solved.artefacts] == ["strategy.json"]
    profile = [Always([0.0, 1.0])] * 2
    report = make_evaluator(Matrix(torch.eye(2)), None, LocalRunner(), episodes=3).evaluate(profile)
    assert report.score[:3] == ("return/mean", "return", 1.0)
    assert report.headline == ("return 1 ± 0", "sampled (3 games)")


def test_seats_that_win_and_lose_the_same_games_have_no_error():
    """Line-ups play the same seeds: seat 1 loses in each game what seat 0 wins, so the mean is exactly 0."""
    won = torch.tensor([1.0, -1.0, 1.0, 1.0])
    results = [torch.stack([won, -won], dim=1)] * 2
    metrics = play_against_initial([None] * 2, [None] * 2, results[0], lambda lineups: results)
    assert set(metrics) >= {"return/initial/mean", "return/initial/stderr", "return/initial/block/3"}
    assert set(metrics.values()) == {0.0}


def test_profiles_of_an_extensive_game_are_tabulated_once(monkeypatch):
    """Each pair of profiles is compared in both seats of rock, paper, scissors."""
    game, calls = MatrixGame("rock_paper_scissors"), []
    monkeypatch.setattr(exact, "extract_strategy", lambda *each: calls.append(each) or extract_strategy(*each))
    profiles = [TabularSpec().profile(game) for _ in range(3)]
    for action, profile in enumerate(profiles):
        fill_tables(profile, np.concatenate([[1, 1], np.eye(3)[action], np.eye(3)[action]]))
    table = exact.ExactEvaluator(game).compare(profiles)
    assert [[mean for mean, _ in row] for row in table] == [[0, -1, 1], [1, 0, -1], [-1, 1, 0]]
    assert len(calls) == 3


def test_returns_of_eleven_seats_are_in_their_order():
    metrics = {"nash_conv": 1.0, "exploitability": 0.1, "return/mean": 0.0, "gain/0": 0.0}
    _, label = exact.headline(metrics | {f"return/{seat}": float(seat) for seat in range(11)})
    assert label.endswith("returns " + ", ".join(f"{seat}.0000" for seat in range(11)))
