"""Judges that say that they are pure are asked by jobs, with the same verdicts; others in the process of the run."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from test_answers import PicklingRunner
from torch.testing import assert_close

from games.preference.game import PromptGame
from games.preference.judges import LLMJudge
from marl_engine.errors import Halted, Refused
from marl_engine.evaluation.win_rate import make_referee
from marl_engine.responders.preference.referee import Referee
from marl_engine.runners import LOCAL, ProcessRunner

NUMBERS = torch.tensor([4, 0, 4, 2, 1, 3, 5])
SAYINGS = ["Yes!", "No.", "A good day, a very good day", "I hate rain and I hate the sun", "", "Why not? Why?"]
TEXTS = [[SAYINGS[(3 * group + place * place) % 6] for place in range(4)] for group in range(7)]
OTHERS = [[SAYINGS[(5 * group + place) % 6] for place in range(2)] for group in range(7)]
RATERS = {
    "_target_": "games.preference.judges.RaterJudge",
    "raters": [{"variety": 1.0}, {"plain": 1.0, "length": 0.3}, {"brevity": 1.0}],
    "jury": 5,
}


@dataclass
class Tally:
    """Likes longer answers, a little more if the prompt is long. Notes in a folder which process it is asked in."""

    folder: str
    questions: int = 0

    def prefers(self, prompts, firsts, seconds):
        self.questions += len(prompts)
        with open(Path(self.folder) / "asked", "a") as file:
            file.write(f"{os.getpid()}\n" * len(prompts))
        return [
            0.5 + np.tanh((len(one) - len(other)) * (0.01 + 1e-4 * len(prompt))) / 2
            for prompt, one, other in zip(prompts, firsts, seconds, strict=True)
        ]


class PureTally(Tally):
    antisymmetric = pure = True


class UntestedTally(Tally):
    pure = True


class MeteredTally(PureTally):
    def costs(self):
        return {"judge/questions": float(self.questions)}


class Flattered(Tally):
    pure = True

    def prefers(self, prompts, firsts, seconds):
        return [0.9] * len(prompts)


class Confused(Tally):
    antisymmetric = pure = True

    def prefers(self, prompts, firsts, seconds):
        return [2.0] * len(prompts)


class Contrary(PromptGame):
    """A user's game, in which the worse answer is preferred."""

    def prefers(self, numbers, firsts, seconds):
        return 1 - np.asarray(super().prefers(numbers, firsts, seconds))


def game_of(judge, folder, kind=PromptGame):
    return kind({"_target_": f"{__name__}.{judge.__name__}", "folder": str(folder)})


def verdicts(game, shard, runner, sample_labels=False):
    """Returns all kinds of comparisons of seven prompts, and their number."""
    referee = Referee(game, sample_labels, torch.Generator().manual_seed(0), shard, runner)
    tables = [
        referee.compare_all(NUMBERS, TEXTS),
        referee.compare_with(NUMBERS, TEXTS, OTHERS),
        *referee.run_tournament(NUMBERS, TEXTS),
    ]
    return tables, referee.queries


@pytest.mark.parametrize("sample_labels", [False, True])
def test_verdicts_of_jobs_are_those_of_the_game(sample_labels):
    """And there are three jobs for each of the six times that something is compared: three rounds of a tournament."""
    jobs, game = PicklingRunner(), PromptGame(RATERS)
    (expected, count), *others = (
        verdicts(game, *sharing, sample_labels) for sharing in ((None, LOCAL), (3, LOCAL), (3, jobs))
    )
    assert count == 7 * (6 + 8 + 5)
    assert jobs.jobs == 3 * 6
    assert len(expected[1].unique()) > 2 - sample_labels
    for tables, queries in others:
        assert queries == count
        assert all(map(torch.equal, tables, expected))


def test_workers_are_asked_whole_prompts_and_the_process_of_the_run_is_not(tmp_path):
    """Two processes, in shards of two prompts."""
    runner, game = ProcessRunner(2), game_of(PureTally, tmp_path)
    table = Referee(game, False, torch.Generator(), 2, runner).compare_with(NUMBERS, TEXTS, OTHERS)
    runner.pool.shutdown()
    asked = (tmp_path / "asked").read_text().split()
    assert len(asked) == 7 * 8
    assert str(os.getpid()) not in asked
    assert game.judges.questions == 0
    assert torch.equal(table, Referee(game, False, torch.Generator()).compare_with(NUMBERS, TEXTS, OTHERS))


@pytest.mark.parametrize(
    ("judge", "kind"), [(Tally, PromptGame), (MeteredTally, PromptGame), (PureTally, Contrary)], ids=str
)
def test_what_does_not_say_that_it_is_pure_or_counts_costs_is_asked_here(judge, kind, tmp_path):
    """Also a game with rules of its own, which its judge does not know."""
    game, jobs = game_of(judge, tmp_path, kind), PicklingRunner()
    tables, count = verdicts(game, 3, jobs)
    assert jobs.jobs == 0
    assert game.judges.questions == count + 3 * 32 * (judge is Tally)
    plain = Referee(game_of(PureTally, tmp_path), False, torch.Generator()).compare_with(NUMBERS, TEXTS, OTHERS)
    assert_close(tables[1], 1 - plain if kind is Contrary else plain)


def test_a_judge_of_an_endpoint_counts_costs_in_the_process_of_the_run():
    game = PromptGame({"_target_": f"games.preference.judges.{LLMJudge.__name__}"})
    assert game.list_queries(NUMBERS[:6], SAYINGS, SAYINGS[::-1]) is None


def test_the_first_comparisons_are_tested_here_once(tmp_path):
    game, jobs = game_of(UntestedTally, tmp_path), PicklingRunner()
    verdicts(game, 3, jobs)
    assert (game.judges.questions, jobs.jobs) == (3 * 32, 18)
    with pytest.raises(Refused, match="Flattered favours a place"):
        verdicts(game_of(Flattered, tmp_path), 3, jobs)


def test_a_worker_refuses_what_are_no_probabilities(tmp_path):
    with pytest.raises(Halted, match=r"a chance between 0 and 1 for each of 24 comparisons, and gave 2.0"):
        verdicts(game_of(Confused, tmp_path), 4, PicklingRunner())


def test_the_comparisons_of_evaluations_are_jobs_of_a_batch():
    game, jobs = PromptGame(RATERS), PicklingRunner()
    numbers, firsts = torch.arange(70), [SAYINGS[number % 6] for number in range(70)]
    rates = [make_referee(game, runner).compare(numbers, firsts, firsts[::-1]) for runner in (LOCAL, jobs)]
    assert jobs.jobs == 3
    assert torch.equal(*rates)
