"""Answers that are generated in shards, by jobs, are those of one batch."""

import pickle
from types import SimpleNamespace

import pytest
import torch
from test_preference_responder import make_responder

from marl_engine.evaluation.win_rate import complete_held_out
from marl_engine.numerics.trees import map_tree
from marl_engine.policies.language.enumerable import EnumerableLM
from marl_engine.policies.mixtures.geometric import freeze, mix_geometrically
from marl_engine.runners import LOCAL
from marl_engine.runners.packets import dump_plain
from marl_engine.runners.processes import run_message
from marl_engine.types import Opponents


class PicklingRunner:
    """Runs jobs in this process, on what a worker would get, and returns what it would send."""

    learners, overlap = 1, False

    def __init__(self):
        self.jobs = 0

    def map(self, job, arguments):
        messages = [dump_plain((job, argument)) for argument in arguments]
        self.jobs += len(messages)
        return [pickle.loads(run_message(message)) for message in messages]


def assert_same_batches(first, second):
    assert (first.completions.texts, first.answers.texts) == (second.completions.texts, second.answers.texts)
    for one, other in ((first.completions, second.completions), (first.answers, second.answers)):
        map_tree(lambda a, b: torch.testing.assert_close(a, b, rtol=0, atol=0), one[:4], other[:4])
    map_tree(lambda a, b: torch.testing.assert_close(a, b, rtol=0, atol=0), first.verdicts, second.verdicts)


@pytest.mark.parametrize(
    ("against", "keys"),
    [
        (None, {}),
        ("mixture", {}),
        ("reference", {"pairs": "across", "loss": "squared"}),
        ("members", {}),
    ],
)
def test_answers_do_not_depend_on_shards(against, keys):
    """Of a policy whose rows are not rounded differently in another batch."""
    batches, jobs = [], PicklingRunner()
    for runner, shard in ((LOCAL, None), (LOCAL, 3), (jobs, 3)):
        _, profile, reference, responder = make_responder(prompts=7, opponents=3, shard=shard, runner=runner, **keys)
        opponents = {
            None: None,
            "mixture": Opponents([mix_geometrically(profile, reference, 0.3)]),
            "reference": Opponents([reference]),
            "members": Opponents([reference, freeze(profile)], (0.4, 0.6)),
        }[against]
        batches.append(responder.collector.collect(profile[0], opponents))
    assert jobs.jobs == 3
    assert_same_batches(batches[1], batches[0])
    assert_same_batches(batches[2], batches[0])


def test_evaluations_are_jobs_of_a_runner():
    game, policy, jobs = (
        SimpleNamespace(train_prompts=0, texts=["?"]),
        EnumerableLM(torch.zeros(1, 3), 3, 1),
        PicklingRunner(),
    )
    alone, others = (complete_held_out(game, policy, 70, "cpu", runner=runner) for runner in (LOCAL, jobs))
    assert jobs.jobs == 3
    assert [each.texts for each in alone] == [each.texts for each in others]
